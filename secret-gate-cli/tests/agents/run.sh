#!/bin/sh
# Asks the real agents whether they see what `secret-gate setup` has written for them, in a home of its own.
#
#   cargo build -p secret-gate-cli --bin secret-gate
#   secret-gate-cli/tests/agents/run.sh
#
# Not part of every run: the agents are installed from npm into the cargo target directory, which takes two
# gigabytes. They are only asked to list MCP servers, which needs no account and no model.
set -eu
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-$(cd ../../.. && pwd)/target}
client=$target/debug/secret-gate
[ -x "$client" ] || { echo "error: $client is missing: cargo build -p secret-gate-cli --bin secret-gate" >&2 && exit 1; }

agents=$target/agents
if ! cmp -s package.json "$agents/package.json"; then
    rm -rf "$agents"
    mkdir -p "$agents"
    cp package.json "$agents"
    npm install --prefix "$agents" --no-audit --no-fund --loglevel=error || {
        rm "$agents/package.json"
        exit 1
    }
fi

# not under /tmp, where Codex refuses to work
work=$(mktemp -d "$target/agents-home-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
home=$work/home
mkdir -p "$home/project"
cd "$home/project"

at_home() {
    env -i HOME="$home" PATH="$agents/node_modules/.bin:$PATH" TERM=dumb timeout 120 "$@" </dev/null
}

# what was there before: a file of each, with something that is not ours
mkdir -p "$home/.claude" "$home/.codex" "$home/.gemini" "$home/.config/opencode" "$home/.cline/data/settings"
printf '{"mcpServers":{"other":{"type":"stdio","command":"true"}}}' >"$home/.claude.json"
printf '{\n\t"permissions": {"allow": ["Bash(ls:*)"]}\n}\n' >"$home/.claude/settings.json"
printf '# mine\r\n[mcp_servers.other]\r\ncommand = "true"\r\nenabled = false\r\n' >"$home/.codex/config.toml"
printf '{"security": {"folderTrust": {"enabled": false}}}\n' >"$home/.gemini/settings.json"
printf '{\n  // mine\n  "mcp": {},\n}\n' >"$home/.config/opencode/opencode.jsonc"
printf '{"mcpServers": {"other": {"command": "true"}}}\n' >"$home/.cline/data/settings/cline_mcp_settings.json"

cp -R "$home" "$work/before"
at_home "$client" setup --yes --server http://127.0.0.1:9 >/dev/null
at_home "$client" setup --remove --yes >/dev/null
rm -rf "$home/.agents" "$work/before/.agents"
find "$home" -depth -type d -empty ! -path "$home/project" -delete
diff -r "$work/before" "$home"
echo 'removal: every file is as it was before'

at_home "$client" setup --yes --server http://127.0.0.1:9 >/dev/null
failed=0
asked() {
    name=$1
    words=$2
    shift 2
    at_home "$@" >"$work/said" 2>&1 || true
    if grep -q "$words" "$work/said"; then
        echo "$name: lists it"
    else
        echo "$name: does NOT list it" >&2
        cat "$work/said" >&2
        failed=1
    fi
}
# where the agent starts the server to list it, that works, too
asked 'Claude Code' 'secret-gate: .*Connected' claude mcp list
asked 'Codex' 'tool_timeout_sec: 900' codex mcp get secret-gate
asked 'OpenCode' 'secret-gate.*connected' opencode mcp list
asked 'Gemini CLI' 'secret-gate: .*Connected' gemini mcp list
asked 'Gemini CLI, skill' 'secret-gate \[Enabled\]' gemini skills list
asked 'Cline' 'secret-gate \[stdio\]' cline config mcp
exit $failed
