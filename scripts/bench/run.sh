#!/usr/bin/env bash
# Runs every benchmark and prints one table, each number beside a limit or a peer from the same run.
# With --write the table also replaces the one in docs/benchmarks.md. Beside the first build it
# takes about ten minutes; it leaves no process and no file outside target/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"

page=docs/benchmarks.md
write=no
case "${1:-}" in
  '') ;;
  --write) write=yes ;;
  *) printf 'Usage: scripts/bench/run.sh [--write]\n' >&2; exit 2 ;;
esac

# Everything that is started works below this directory, also what a job started: so it is found.
# Agents have users of their own and must get through.
TMPDIR="$(mktemp -d)"
chmod 755 "$TMPDIR"
export TMPDIR RUST_BACKTRACE=0 CRITERION_HOME="$ROOT/target/criterion"

processes() {
  local process
  for process in /proc/[0-9]*; do
    case "${process#/proc/}" in "$$" | "$BASHPID") continue ;; esac
    if grep -aqsF "$TMPDIR/" "$process/environ" "$process/cmdline" || readlink "$process/cwd" 2>/dev/null | grep -qF "$TMPDIR/"; then
      printf '%s\n' "${process#/proc/}"
    fi
  done
}
clean_up() {
  local pid
  for pid in $(processes); do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$TMPDIR"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

step "Plugins"
./scripts/build-examples.sh
if ! [ -f plugins/dist/tool-rules.wasm ] || ! [ -f tests/guests/dist/denies-all.wasm ]; then ./scripts/build-plugins.sh --guests; fi

[ -x /usr/sbin/sshd ] || install_without_services openssh-server
[ -x /usr/sbin/lighttpd ] || install_without_services lighttpd lighttpd-mod-openssl

step "Build"
# The whole workspace each time: a smaller selection has other features, and builds the dependencies again.
cargo build --locked --release --workspace --features gatehouse/gcp --bins --bench broker --bench decision --bench loading --bench service
cargo build --locked --release --manifest-path tests/peers/Cargo.toml

step "The parts: a decision and the same rule in other languages, loading, the broker"
rm -rf "$CRITERION_HOME"
timeout 300 cargo bench --locked --quiet --workspace --features gatehouse/gcp --bench decision --bench broker -- --quiet --noplot
timeout 300 cargo bench --locked --quiet --workspace --features gatehouse/gcp --bench loading
timeout 60 tests/peers/target/release/peers "$CRITERION_HOME"

step "The whole service"
table="$TMPDIR/table.md"
timeout 900 cargo bench --locked --quiet --workspace --features gatehouse/gcp --bench service > "$table"
cat "$table"

if [ "$write" = yes ]; then
  awk -v table="$table" '
    /^<!-- table -->/ { print; while ((getline line < table) > 0) if (line != "") print line; skip = 1; next }
    /^<!-- end -->/ { skip = 0 }
    !skip
  ' "$page" > "$TMPDIR/page.md"
  cp "$TMPDIR/page.md" "$page"
  note "written to $page"
fi
