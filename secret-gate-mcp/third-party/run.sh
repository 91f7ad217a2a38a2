#!/bin/sh
# Drives the MCP server with clients that others wrote, against the real server between the doubles of its services.
#
#   cargo build --workspace --bins
#   secret-gate-mcp/third-party/run.sh
#
# Builds nothing. Needs node with npm, and python3 with venv. A client gives up on a call after GIVES_UP seconds (6), a call
# waits for WAITS (4), and one human takes APPROVES (18): with 60, 45 and 180 it is as in real life.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
target=$(CDPATH='' cd -- "${CARGO_TARGET_DIR:-$root/target}" && pwd)
programs=$target/debug

for program in connect-double telegram-double secret-gate-server secret-gate-mcp secret-gate; do
    if [ ! -x "$programs/$program" ]; then
        echo "no program at $programs/$program" >&2
        echo 'hint: cargo build --workspace --bins' >&2
        exit 2
    fi
done

# Each is made anew only when its pins change.
node=$target/node-mcp
if ! cmp -s "$here/package.json" "$node/package.json"; then
    rm -rf "$node"
    mkdir -p "$node"
    cp "$here/package.json" "$node/new.json"
    (cd "$node" && mv new.json package.json && npm install --no-package-lock --no-audit --no-fund --loglevel=error) || {
        rm -rf "$node"
        exit 1
    }
fi
# One of the clients needs Node 20; some systems have an older one.
run_node=node
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
    run_node=$node/node_modules/.bin/node
    if [ ! -x "$run_node" ]; then
        (cd "$node" && npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error node@22)
    fi
fi
for pins in requirements requirements-2025-06-18; do
    venv=$target/venv-mcp-$pins
    if ! cmp -s "$here/$pins.txt" "$venv/pins.txt"; then
        rm -rf "$venv"
        "${PYTHON:-python3}" -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/$pins.txt"
        cp "$here/$pins.txt" "$venv/pins.txt"
    fi
done

# Loopback must be reached directly.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 PYTHONDONTWRITEBYTECODE=1

work=$(mktemp -d)
pids=
stop() {
    # the daemons that the server started
    for socket in "$work"/*/secret-gate.sock; do
        if [ -S "$socket" ]; then
            XDG_RUNTIME_DIR=${socket%/*} "$programs/secret-gate" daemon stop 2>/dev/null || true
        fi
    done
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

# start NAME PROGRAM ARGUMENT...: in the background, with all that it prints in the log of that name.
start() {
    log=$work/$1.log
    shift
    : >"$log"
    "$@" >>"$log" 2>&1 &
    pids="$pids $!"
}

# found NAME PATTERN: waits for the pattern's group in the log of that name.
found() {
    tries=0
    until value=$(sed -n "s/$2/\\1/p" "$work/$1.log" | head -n 1) && [ -n "$value" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then
            echo "$1 does not start:" >&2
            cat "$work/$1.log" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "$value"
}

ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/key"
key=$(awk '{ printf "%s\\\\n", $0 }' "$work/key")
sed "s#SSH_KEY_HERE#$key#" "$here/items.json" >"$work/items.json"

start connect "$programs/connect-double" --listen 127.0.0.1:0 --items "$work/items.json"
# serve NAME TTL: a server with a phone of its own, whose questions stay open so long; `telegram` and `url` say where.
serve() {
    start "telegram-$1" "$programs/telegram-double" --listen 127.0.0.1:0
    telegram=$(found "telegram-$1" '^export TELEGRAM_API_URL=\(.*\)')
    start "$1" env -i OP_CONNECT_HOST="$(found connect '^export OP_CONNECT_HOST=\(.*\)')" \
        OP_CONNECT_TOKEN="$(found connect '^export OP_CONNECT_TOKEN=\(.*\)')" TELEGRAM_API_URL="$telegram" \
        TELEGRAM_BOT_TOKEN="$(found "telegram-$1" '^export TELEGRAM_BOT_TOKEN=\(.*\)')" TELEGRAM_CHAT_ID=42 \
        BIND_ADDRESS=127.0.0.1 PORT=0 WEBHOOK_BASE_URL=http://127.0.0.1 LOG_FORMAT=json MAX_PENDING_PER_REQUESTER=100 \
        MAX_REQUESTS_PER_MINUTE=10000 MAX_LOOKUPS_PER_MINUTE=10000 REQUEST_TTL="$2" "$programs/secret-gate-server"
    url=http://$(found "$1" '.*"listening".*"address":"\([^"]*\)".*')
}

serve impatient 1s
export IMPATIENT="$url"
serve server 15m
server=$url

# modules are looked for beside the file that imports them
cp "$here"/*.mjs "$node/"
"$run_node" "$node/check_sdks.mjs" "$server" "$telegram" "$programs/secret-gate-mcp" "$work"
for pins in requirements requirements-2025-06-18; do
    "$target/venv-mcp-$pins/bin/python" "$here/check_sdk.py" "$server" "$telegram" "$programs/secret-gate-mcp" "$work"
done
