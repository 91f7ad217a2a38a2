#!/bin/sh
# Checks the doubles with clients that others wrote.
#
#   cargo build -p secret-gate-doubles --bins
#   secret-gate-core/doubles/third-party/run.sh [CONNECT_DOUBLE TELEGRAM_DOUBLE]
#
# Builds nothing: the two programs are given, or taken from the cargo target directory.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
connect_double=${1:-$target/debug/connect-double}
telegram_double=${2:-$target/debug/telegram-double}

for program in "$connect_double" "$telegram_double"; do
    if [ ! -x "$program" ]; then
        echo "run.sh: no program at $program" >&2
        echo "hint: cargo build -p secret-gate-doubles --bins" >&2
        exit 2
    fi
done

# The environment is made anew only when the pins change.
venv=$target/venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

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

"$connect_double" --listen 127.0.0.1:0 --demo >"$logs/connect" &
pids="$pids $!"
"$telegram_double" --listen 127.0.0.1:0 >"$logs/telegram" &
pids="$pids $!"

# The value of an "export NAME=value" line that a double prints once it listens.
exported() {
    tries=0
    until value=$(sed -n "s/^export $2=//p" "$logs/$1") && [ -n "$value" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then
            echo "run.sh: the $1 double does not start" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "$value"
}

connect_url=$(exported connect OP_CONNECT_HOST)
connect_token=$(exported connect OP_CONNECT_TOKEN)
telegram_url=$(exported telegram TELEGRAM_API_URL)
telegram_token=$(exported telegram TELEGRAM_BOT_TOKEN)

# The SDKs must reach loopback directly.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 PYTHONDONTWRITEBYTECODE=1

"$venv/bin/python" "$here/check_connect_sdk.py" "$connect_url" "$connect_token"
"$venv/bin/python" "$here/check_telegram_ptb.py" "$telegram_url" "$telegram_token"
"$venv/bin/python" "$here/check_telegram_aiogram.py" "$telegram_url" "$telegram_token"
