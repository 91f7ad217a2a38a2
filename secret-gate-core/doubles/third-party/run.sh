#!/bin/sh
# Checks the doubles and the server with programs that others wrote.
#
#   cargo build -p secret-gate-doubles -p secret-gate-server --bins
#   secret-gate-core/doubles/third-party/run.sh
#
# Builds nothing: the programs are taken from the cargo target directory.
set -eu
# shellcheck source=secret-gate-core/doubles/third-party/start.sh
. "$(dirname -- "$0")/start.sh"

# shellcheck disable=SC2119 # without options
start_connect
# shellcheck disable=SC2119
start_telegram
"$venv/bin/python" "$here/check_connect_sdk.py" "$connect_url" "$connect_token"
"$venv/bin/python" "$here/check_telegram_ptb.py" "$telegram_url" "$telegram_token"
"$venv/bin/python" "$here/check_telegram_aiogram.py" "$telegram_url" "$telegram_token"

"$here/check_server.sh"
