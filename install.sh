#!/bin/sh
# Installs `secret-gate`, the client of Secret Gate, for this user, and sets up the coding agents of this machine.
#
#   sh install.sh [--server URL] [--tool NAME]... [--sha256 SUM] [--api-key-file PATH]
#                 [--from checkout|server|release] [--dir FOLDER] [--yes] [--no-setup]
#
# Where it takes the client from, unless --from says: in a checkout, what was built there; else the server that --server
# names; else the release page. A client is installed only if its SHA-256 sum is the one given with --sha256, which
# should come from somewhere else than the client; for a release, the sums of the release page are used where none is
# given. A server's client without a sum is installed after a warning, and only over https or from this machine.
set -eu

REPOSITORY=https://github.com/secret-gate/secret-gate
RELEASES=${SECRET_GATE_RELEASES:-$REPOSITORY/releases/latest/download}

# In a function, so that half a script does nothing.
main() {
    server='' sum='' from='' folder='' key_file='' yes='' setup=yes
    tools=''
    while [ $# -gt 0 ]; do
        case $1 in
            --server | --tool | --sha256 | --api-key-file | --from | --dir)
                [ -n "${2:-}" ] || fail "$1 needs a value" "$0 --help lists what there is"
                ;;
        esac
        case $1 in
            --server) server=${2%/} && shift ;;
            --tool)
                case $2 in
                    '' | *[!a-z-]*) fail "--tool $2 is no name of an agent" 'secret-gate setup --help lists them' ;;
                esac
                tools="$tools --tool $2" && shift
                ;;
            --sha256) sum=$(printf '%s' "$2" | tr 'A-F' 'a-f') && shift ;;
            --api-key-file) key_file=$2 && shift ;;
            --from) from=$2 && shift ;;
            --dir) folder=$2 && shift ;;
            --yes) yes=yes ;;
            --no-setup) setup='' ;;
            -h | --help) usage && return ;;
            *) fail "there is no option $1" "$0 --help lists what there is" ;;
        esac
        shift
    done
    check_options

    work=$(mktemp -d)
    new=''
    trap 'rm -rf "$work"; [ -z "$new" ] || rm -f "$new"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    platform
    case $from in
        checkout) from_checkout ;;
        server) from_server ;;
        release) from_release ;;
    esac
    check_sum
    check_program
    put_in_place
    set_up
}

usage() {
    cat <<'END'
Installs secret-gate, the client of Secret Gate, and sets up the coding agents of this machine.

  --server URL          the server to ask; hands out the client, too
  --api-key-file PATH   file with the API key for that server
  --tool NAME           the agent to set up; repeatable (default: those that are found)
  --sha256 SUM          what the client's SHA-256 sum has to be
  --from WHERE          checkout, server or release
  --dir FOLDER          where to install (default: ~/.local/bin)
  --yes                 change the agents' files without asking
  --no-setup            install the client alone
END
}

check_options() {
    here=$(checkout)
    if [ -z "$from" ]; then
        if [ -n "$here" ]; then from=checkout; elif [ -n "$server" ]; then from=server; else from=release; fi
    fi
    case $from in
        checkout) [ -n "$here" ] || fail 'this script does not lie in a checkout' 'git clone the repository, and run it there' ;;
        server) [ -n "$server" ] || fail '--from server needs --server URL' ;;
        release) ;;
        *) fail "--from $from is none of checkout, server, release" ;;
    esac
    case $server in
        '' | http://?* | https://?*) ;;
        *) fail "the URL of --server does not start with http:// or https://" 'it looks like https://gate.example.org' ;;
    esac
    # a closing bracket, which IPv6 addresses have, can't stand in a list of characters
    case $(printf '%s/' "$server" | tr -d ']') in
        *[!A-Za-z0-9._~:/%[-]*) fail 'the URL of --server has characters that do not belong there' ;;
    esac
    if [ -n "$sum" ]; then
        case $sum in
            *[!0-9a-f]*) fail '--sha256 is not a SHA-256 sum' 'it has 64 digits from 0 to f' ;;
        esac
        [ ${#sum} -eq 64 ] || fail '--sha256 is not a SHA-256 sum' 'it has 64 digits from 0 to f'
    fi
    if [ -n "$key_file" ]; then
        [ -n "$server" ] || fail '--api-key-file needs --server, since a key is for one server'
        [ -s "$key_file" ] || fail "--api-key-file $key_file is missing or empty" 'it holds the key alone, on one line'
    fi
    if [ -z "$folder" ]; then
        [ -n "${HOME:-}" ] || fail 'HOME is not set' 'set it, or name a folder with --dir'
        folder=$HOME/.local/bin
    fi
    case $folder in
        /*) ;;
        *) folder=$PWD/$folder ;;
    esac
}

# The folder of the checkout that this script lies in; nothing where it was piped into a shell, whose name may be that of
# a file in this folder.
checkout() {
    case $0 in
        install.sh | */install.sh) ;;
        *) return 0 ;;
    esac
    [ -f "$0" ] || return 0
    place=$(cd "$(dirname "$0")" && pwd)
    if [ -f "$place/secret-gate-cli/Cargo.toml" ]; then printf '%s' "$place"; fi
}

platform() {
    case $(uname -s) in
        Linux) os=linux ;;
        Darwin) os=darwin ;;
        *) fail "there is no client for $(uname -s)" 'it runs on Linux and macOS' ;;
    esac
    case $(uname -m) in
        x86_64 | amd64) arch=amd64 ;;
        aarch64 | arm64) arch=arm64 ;;
        *) fail "there is no client for $(uname -m)" 'build it: cargo install --locked --path secret-gate-cli, in a checkout' ;;
    esac
    name=client-$os-$arch
}

from_checkout() {
    built=${CARGO_TARGET_DIR:-$here/target}/release/secret-gate
    if [ ! -f "$built" ]; then
        command -v cargo >/dev/null || fail 'there is no client in this checkout, and no cargo to build it with' \
            'install Rust (https://rustup.rs), or take the client from elsewhere with --from server or --from release'
        say 'building the client, which takes some minutes'
        (cd "$here" && cargo build --release --locked --package secret-gate-cli --bin secret-gate) ||
            fail 'the client could not be built'
    fi
    origin=$built
    cp "$built" "$work/client"
}

from_server() {
    is_safe_way || [ -n "$sum" ] ||
        fail "the client from $server would travel unencrypted, and nothing could tell whether it was altered" \
            'use https, or give its sum with --sha256'
    check_downloader
    origin=$server/client/$os/$arch
    say "downloading $origin"
    if ! download "$origin" "$work/client"; then
        tell "error: $server did not hand out the client"
        tell 'hint: whoever runs the server can put it there, as '"$name"' in its folder CLIENT_DIR; or take it from elsewhere:'
        tell '  the release page:  sh install.sh --from release --server '"$server"
        tell '  a checkout:        git clone '"$REPOSITORY"' && sh secret-gate/install.sh --server '"$server"
        exit 1
    fi
    if [ -z "$sum" ]; then
        tell "warning: no sum was given, so this is whatever $server hands out; with --sha256 SUM it is checked"
    fi
}

# Whether what comes from the server is encrypted, or stays on this machine.
is_safe_way() {
    case $server in
        https://*) return 0 ;;
    esac
    host=${server#http://}
    host=${host%%/*}
    case $host in
        "[::1]" | "[::1]":* | localhost | localhost:*) return 0 ;;
    esac
    case ${host%:*} in
        *[!0-9.]*) return 1 ;;
        127.*) return 0 ;;
        *) return 1 ;;
    esac
}

from_release() {
    check_downloader
    origin=$RELEASES/$name
    say "downloading $origin"
    download "$origin" "$work/client" || fail "$origin could not be downloaded" \
        "try again, or build it: git clone $REPOSITORY && sh secret-gate/install.sh"
    if [ -z "$sum" ]; then
        download "$RELEASES/SHA256SUMS" "$work/sums" || fail "$RELEASES/SHA256SUMS could not be downloaded" \
            'try again, or give the sum with --sha256'
        sum=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$name\$/\1/p" "$work/sums")
        [ -n "$sum" ] || fail "$RELEASES/SHA256SUMS has no sum of $name"
    fi
}

is_gnu_wget() {
    case $(wget --version 2>/dev/null) in
        'GNU Wget'*) return 0 ;;
        *) return 1 ;;
    esac
}

# That of busybox takes none of our options, checks no certificate and goes where it is sent.
check_downloader() {
    ! command -v curl >/dev/null || return 0
    command -v wget >/dev/null || fail 'there is neither curl nor wget' 'install one of them'
    [ -n "$sum" ] || is_gnu_wget || fail 'the wget of this machine does not check where things come from' \
        'install curl, or give the sum of the client with --sha256'
}

# Downloads $1 to $2, with what this machine has. Fails where not everything has come. What comes from a server comes from
# that server; a release page sends elsewhere.
download() (
    case $1 in
        https://*) protocol='=https' ;;
        *)
            protocol='=http'
            # what is to stay on this machine does not leave it
            unset http_proxy HTTP_PROXY all_proxy ALL_PROXY
            ;;
    esac
    if command -v curl >/dev/null; then
        follow=''
        [ "$from" != release ] || follow=--location
        # shellcheck disable=SC2086 # an option or nothing
        status=$(curl --fail --silent --show-error $follow --proto "$protocol" --proto-redir "$protocol" --globoff \
            --connect-timeout 20 --speed-limit 100 --speed-time 60 --output "$2" --write-out '%{http_code}' -- "$1") ||
            return 1
        case $status in
            3??) tell "error: $1 sends elsewhere, which is not followed" && return 1 ;;
        esac
        return 0
    fi
    options=''
    if is_gnu_wget; then
        options='--tries=3 --timeout=60'
        [ "$from" = release ] || options="$options --max-redirect=0"
    fi
    # shellcheck disable=SC2086 # options or nothing
    wget -q $options -O "$2" "$1"
)

sum_of() {
    if command -v sha256sum >/dev/null; then
        sha256sum <"$1"
    elif command -v shasum >/dev/null; then
        shasum -a 256 <"$1"
    elif command -v openssl >/dev/null; then
        openssl dgst -sha256 -r <"$1"
    else
        fail 'there is no program to check the sum with' 'install sha256sum, shasum or openssl'
    fi | cut -d ' ' -f 1
}

check_sum() {
    [ -n "$sum" ] || return 0
    found=$(sum_of "$work/client")
    [ -n "$found" ] || fail 'the sum can not be checked'
    [ "$found" = "$sum" ] || fail "the client from $origin is not the one that was meant: its sum is $found and not $sum" \
        'do not use it; find out who altered it, or whether the sum is of another version'
    say 'its sum is right'
}

# Whether it is a program for this machine, before it is run.
check_program() {
    case $os in
        # bytes 18 and 19 of an ELF file name the processor
        linux) begin='7f 45 4c 46' place=18 amd64='3e 00' arm64='b7 00' ;;
        darwin) begin='cf fa ed fe' place=4 amd64='07 00' arm64='0c 00' ;;
    esac
    [ "$(bytes 0 4)" = "$begin" ] || fail "what came from $origin is not a program for $os"
    if [ $arch = amd64 ]; then wanted=$amd64; else wanted=$arm64; fi
    [ "$(bytes "$place" 2)" = "$wanted" ] || fail "what came from $origin is not a program for $arch" \
        "this machine is $os $arch"
    [ $os = darwin ] || is_whole || fail "what came from $origin is cut off" 'try again'
}

# Whether an ELF file reaches as far as it says itself: to the end of its section headers, which come last. One that is
# cut off before them may well run.
is_whole() {
    # from byte 40 on: 8 of where they begin, at 58 two of the size of one, at 60 two of how many there are
    # shellcheck disable=SC2046 # numbers
    set -- $(od -An -tu1 -j 40 -N 22 "$work/client")
    [ $# -eq 22 ] || return 1
    begin=$(($1 + 256 * ($2 + 256 * ($3 + 256 * $4))))
    size=$((${19} + 256 * ${20}))
    count=$((${21} + 256 * ${22}))
    [ "$(wc -c <"$work/client")" -ge $((begin + size * count)) ]
}

# So many bytes of the client from there on, in hexadecimal digits.
bytes() {
    od -An -tx1 -j "$1" -N "$2" "$work/client" 2>/dev/null | tr -s ' \n' ' ' | sed 's/^ //; s/ $//'
}

put_in_place() {
    { mkdir -p "$folder" && new=$(mktemp "$folder/.secret-gate-XXXXXX"); } 2>"$work/said" || {
        cat "$work/said" >&2
        fail "nothing can be written to $folder" 'name another folder with --dir'
    }
    { cat "$work/client" >"$new" && chmod 755 "$new"; } || fail "nothing can be written to $folder" 'is the disk full?'
    # tried where it is to be: some machines run nothing from their temporary folder
    version=$("$new" --version 2>"$work/said") || version=''
    case $version in
        'secret-gate '*) ;;
        *)
            cat "$work/said" >&2
            fail "what came from $origin does not run here" 'perhaps it is cut off, or for another system; try again'
            ;;
    esac
    [ ! -d "$folder/secret-gate" ] || fail "$folder/secret-gate is a folder" 'name another folder with --dir'
    # renamed, since a program that runs can't be written to
    mv -f "$new" "$folder/secret-gate" || fail "$folder/secret-gate can't be replaced"
    new=''
    say "installed $version as $folder/secret-gate"
    case :$PATH: in
        *:"$folder":*) ;;
        *) tell "hint: $folder is not on your PATH; add it in your shell's start file" ;;
    esac
}

set_up() {
    [ -n "$setup" ] || return 0
    # shellcheck disable=SC2086 # a list of options and names
    set -- setup $tools
    [ -z "$server" ] || set -- "$@" --server "$server"
    [ -z "$key_file" ] || set -- "$@" --api-key-file "$key_file"
    if [ -n "$yes" ]; then
        "$folder/secret-gate" "$@" --yes </dev/null
    elif [ -t 0 ]; then
        "$folder/secret-gate" "$@"
    elif [ -t 1 ] && (: </dev/tty) 2>/dev/null; then
        # this script came through standard input, and the person is at the terminal
        "$folder/secret-gate" "$@" </dev/tty
    else
        tell "hint: nobody can be asked here, so no agent was set up; run this when you are at a terminal, or add --yes:"
        tell "  $(quoted "$folder/secret-gate" "$@")"
    fi
}

# The words as a shell reads them.
quoted() {
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:@%+=-]*) printf "'%s' " "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")" ;;
            *) printf '%s ' "$word" ;;
        esac
    done
}

say() {
    printf '%s\n' "$1"
}

tell() {
    printf '%s\n' "$1" >&2
}

fail() {
    tell "error: $1"
    [ -z "${2:-}" ] || tell "hint: $2"
    exit 1
}

main "$@"
