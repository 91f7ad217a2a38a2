# Starts what the checks talk to, and stops it at the end. Sourced by the scripts beside it.
# shellcheck shell=sh
# shellcheck disable=SC2034 # what it sets is for those scripts

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
target=$(CDPATH='' cd -- "${CARGO_TARGET_DIR:-$root/target}" && pwd)
venv=$target/venv

for program in connect-double telegram-double secret-gate-server; do
    if [ ! -x "$target/debug/$program" ]; then
        echo "no program at $target/debug/$program" >&2
        echo "hint: cargo build -p secret-gate-doubles -p secret-gate-server --bins" >&2
        exit 2
    fi
done

# The environment is made anew only when the pins change.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

# Loopback must be reached directly.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 PYTHONDONTWRITEBYTECODE=1

logs=$(mktemp -d)
pids=
stop() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$logs"
}
trap stop EXIT
trap 'exit 1' INT TERM

# start NAME PROGRAM ARGUMENT...: in the background, with all that it prints in the log of that name.
start() {
    log=$logs/$1
    shift
    : >"$log"
    "$@" >>"$log" 2>&1 &
    pids="$pids $!"
}

# found NAME PATTERN: waits for the pattern's group in the log of that name.
found() {
    tries=0
    until value=$(sed -n "s/$2/\\1/p" "$logs/$1" | head -n 1) && [ -n "$value" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then
            echo "$1 does not start:" >&2
            cat "$logs/$1" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "$value"
}

# exported NAME VARIABLE: the value of an "export VARIABLE=value" line that it prints once it listens.
exported() {
    found "$1" "^export $2=\\(.*\\)"
}

start_connect() {
    start connect "$target/debug/connect-double" --listen 127.0.0.1:0 --demo "$@"
    connect_url=$(exported connect OP_CONNECT_HOST)
    connect_token=$(exported connect OP_CONNECT_TOKEN)
}

start_telegram() {
    start telegram "$target/debug/telegram-double" --listen 127.0.0.1:0 "$@"
    telegram_url=$(exported telegram TELEGRAM_API_URL)
    telegram_token=$(exported telegram TELEGRAM_BOT_TOKEN)
}

# start_server CONNECT_URL VARIABLE=VALUE...: the real server, with limits that a fuzzer does not reach, and requests
# that end while it works.
start_server() {
    host=$1
    shift
    start server env -i OP_CONNECT_HOST="$host" OP_CONNECT_TOKEN="$connect_token" \
        TELEGRAM_API_URL="$telegram_url" TELEGRAM_BOT_TOKEN="$telegram_token" TELEGRAM_CHAT_ID=42 \
        BIND_ADDRESS=127.0.0.1 PORT=0 WEBHOOK_BASE_URL=http://127.0.0.1 LOG_FORMAT=json \
        REQUEST_TTL=10s CLEANUP_INTERVAL=5s MAX_PENDING=10000 MAX_PENDING_PER_REQUESTER=10000 \
        MAX_REQUESTS_PER_MINUTE=1000000 MAX_LOOKUPS_PER_MINUTE=1000000 "$@" "$target/debug/secret-gate-server"
    server_url=http://$(found server '.*"listening".*"address":"\([^"]*\)".*')
}
