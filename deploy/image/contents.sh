#!/usr/bin/env bash
# What this image is made of, as CycloneDX 1.5: Debian's packages, crates, packages of npm.
set -euo pipefail
shopt -s nullglob

lines() {
  # shellcheck disable=SC2016
  dpkg-query --show --showformat='deb|${Package}|${Version}|\n'
  cat /contents/* /opt/playwright/packages 2>/dev/null || true
}
lines | sort -u | awk -F'|' '
  # A name or a version in a package URL: https://github.com/package-url/purl-spec
  function encoded(text) { gsub(/%/, "%25", text); gsub(/@/, "%40", text); gsub(/\+/, "%2B", text); gsub(/:/, "%3A", text); return text }
  function quoted(text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
  BEGIN { printf "{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\"metadata\":{\"component\":{\"type\":\"container\",\"name\":\"gatehouse\"}},\"components\":[" }
  {
    url = "pkg:" ($1 == "deb" ? "deb/debian" : $1) "/" encoded($2) "@" encoded($3)
    if (seen[url]++) next
    printf "%s\n{\"type\":\"library\",\"bom-ref\":%s,\"name\":%s,\"version\":%s,\"purl\":%s", (count++ ? "," : ""), quoted(url), quoted($2), quoted($3), quoted(url)
    if ($4 != "") printf ",\"licenses\":[{\"license\":{\"name\":%s}}]", quoted($4)
    printf "}"
  }
  END { print "\n]}" }
'
