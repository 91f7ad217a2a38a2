#!/bin/sh
# Checks the real server on both of its sides: schemathesis fuzzes it by its own OpenAPI document, and all that it says
# to Connect meanwhile is held against the vendor's.
#
#   cargo build -p secret-gate-doubles -p secret-gate-server --bins
#   secret-gate-core/doubles/third-party/check_server.sh [SCHEMATHESIS_OPTION...]
#
# Without options it takes few examples and one seed. For longer: --max-time 600. With API_KEY set to anything, the
# server needs that key.
set -eu
# shellcheck source=secret-gate-core/doubles/third-party/start.sh
. "$(dirname -- "$0")/start.sh"
if [ $# -eq 0 ]; then
    set -- --seed 1 --max-examples 50
fi

start_connect --items "$here/connect-items.json"
start_telegram --auto approve
start proxy "$venv/bin/python" "$here/recording_proxy.py" "$connect_url" "$logs/traffic"

# A client to hand out, and the key where one is wanted.
mkdir "$logs/clients"
echo 'not a program' >"$logs/clients/client-linux-amd64"
if [ -n "${API_KEY:-}" ]; then
    echo "fuzzer $(printf %s "$API_KEY" | sha256sum | cut -d ' ' -f 1)" >"$logs/keys"
    set -- "$@" --header "Authorization: Bearer $API_KEY"
fi
start_server "$(exported proxy OP_CONNECT_HOST)" CLIENT_DIR="$logs/clients" ${API_KEY:+API_KEYS_FILE="$logs/keys"}

"$venv/bin/python" "$here/drive_server.py" "$server_url" "$connect_url" "$connect_token"

# It leaves files where it runs.
if ! (cd "$logs" && "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" \
    run "$server_url/openapi.json" --no-color "$@") >"$logs/fuzz" 2>&1; then
    cat "$logs/fuzz"
    exit 1
fi
sed -n 's/^ *\([0-9]* generated, [0-9]* passed\).*/secret-gate-server: schemathesis agrees, \1/p' "$logs/fuzz"
if grep -E '"level":"ERROR"|panicked' "$logs/server"; then
    echo 'mismatch: the server has errors in its log' >&2
    exit 1
fi

"$venv/bin/python" "$here/check_connect_openapi.py" "$logs/traffic"
