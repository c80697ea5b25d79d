# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# common.bash - what the black-box tests of the tool share; each sources it.
#
# A test has a scratch directory $work and a store of its own, $SHMKV_STORE, both removed at the
# end.  Every case prints `ok - NAME`, `not ok - NAME` with what was seen, or `skip - NAME`.

set -u
export LC_ALL=C
SHMKV=${SHMKV:-build/shmkv}
if [ ! -x "$SHMKV" ]; then
    echo "not ok - $SHMKV is not there: build it first, or set SHMKV"
    exit 1
fi
test_name=$(basename "$0" .sh)
work=$(mktemp -d)
export SHMKV_STORE=shm:t-$$-$test_name
failed=0

cleanup() {
    "$SHMKV" destroy --force 2>/dev/null
    if [ "$(type -t more_cleanup)" = function ]; then
        more_cleanup
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

ok() {
    echo "ok - $test_name: $1"
}

not_ok() {
    echo "not ok - $test_name: $1"
    shift
    printf '#   %s\n' "$@"
    failed=1
}

skip() {
    echo "skip - $test_name: $1"
}

# Run the tool; leaves $status, $out (without trailing line feeds) and $err.
run() {
    "$SHMKV" "$@" >"$work/out" 2>"$work/err"
    status=$?
    out=$(tr '\0' '@' <"$work/out")
    err=$(cat "$work/err")
}

# expect NAME STATUS OUTPUT ARGUMENT...: status and standard output are exactly these.
expect() {
    local name=$1 want_status=$2 want_out=$3
    shift 3
    run "$@"
    if [ "$status" = "$want_status" ] && [ "$out" = "$want_out" ]; then
        ok "$name"
    else
        not_ok "$name" "shmkv $*" "status $status, wanted $want_status" "output: $out" \
            "wanted: $want_out" "errors: $err"
    fi
}

# refuse NAME STATUS PATTERN ARGUMENT...: nothing on standard output, and one line on standard
# error that begins with shmkv: and matches the (extended, case-blind) pattern.
refuse() {
    local name=$1 want_status=$2 pattern=$3
    shift 3
    run "$@"
    if [ "$status" = "$want_status" ] && [ -z "$out" ] &&
        grep -qiE -- "^shmkv: .*($pattern)" "$work/err"; then
        ok "$name"
    else
        not_ok "$name" "shmkv $*" "status $status, wanted $want_status" "output: $out" \
            "errors: $err" "wanted: $pattern"
    fi
}

# same NAME FILE FILE: byte for byte.
same() {
    if cmp "$2" "$3" >"$work/cmp" 2>&1; then
        ok "$1"
    else
        not_ok "$1" "$(cat "$work/cmp")"
    fi
}

# holds NAME COMMAND...: the command succeeds.
holds() {
    local name=$1
    shift
    if "$@" >"$work/held" 2>&1; then
        ok "$name"
    else
        not_ok "$name" "$*" "$(head -c 2000 "$work/held")"
    fi
}

# For tests as another user or with a file system of their own.
is_root() {
    [ "$(id -u)" = 0 ]
}

# For tests that remove what is in /dev/shm: tests/run.sh gives them one of their own.
only_with_private_shm() {
    if [ -z "${SHMKV_TEST_PRIVATE:-}" ]; then
        skip "$1: /dev/shm is not the test's own"
        exit 0
    fi
}

finish() {
    exit "$failed"
}
