#!/usr/bin/env bash
# An MCP server over standard input and output with one tool, which leaves a mark when it is called.
while read -r line; do
  id=$(grep -o '"id":[0-9]*' <<<"$line" | head -n 1 | cut -d: -f2)
  answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
  case "$line" in
    *'"initialize"'*) answer '{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"marker","version":"1"}}' ;;
    *'"tools/list"'*) answer '{"tools":[{"name":"leave_mark","description":"leaves a mark","inputSchema":{"type":"object","properties":{}}}]}' ;;
    *'"tools/call"'*)
      touch "/tmp/gatehouse-tests/gatehouse-mark-by-mcp-$$"
      answer '{"content":[{"type":"text","text":"gatehouse-mark left"}]}'
      ;;
    *'"id"'*) answer '{}' ;;
  esac
done
