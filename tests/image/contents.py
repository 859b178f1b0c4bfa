"""Whether a list of what is in an image is CycloneDX, and names what it must."""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
assert error is None, error
urls = [component["purl"] for component in json.loads(text)["components"]]
assert len(urls) == len(set(urls)), "something is in it twice"
for wanted in ("pkg:deb/debian/git@", "pkg:deb/debian/openssh-client@", "pkg:cargo/wasmtime@48.", "pkg:cargo/gatehouse@", "pkg:cargo/shell-guard@", "pkg:npm/%40anthropic-ai/claude-code@"):
    assert any(url.startswith(wanted) for url in urls), f"{wanted} is missing"
print(f"    {len(urls)} packages in it")
