#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - run test programs one after the other, count their test cases, and sum up.
#
#   tests/run.sh PROGRAM...      from the top directory; called by make check, torture and fuzz
#
# A program reports each case on a line of its own, `ok ...`, `not ok ...` or `skip ...` (cmocka
# does so in its TAP format); one that reports nothing is one case, told by its exit status, 77
# being a skip.  One that dies, fails without naming a case, reports fewer cases than it announced,
# runs into its time limit or leaves shmkv* in /dev/shm has one failed case more.
# The whole output of each is in $OUT/log/.  The last line is "N passed, N failed[, N skipped]".
#
# Environment: OUT (build directory), SANITIZE, TORTURE_SECONDS (for each torture_*), FUZZ_SECONDS,
# BUILT (exit status of the build: a failed one is a failed case, and what it did build is run),
# PATIENCE (a factor of all time limits, for a machine that is slow or has other work),
# RUNNER (a command that runs the programs, as an emulator does).

set -u
OUT=${OUT:-build}
SANITIZE=${SANITIZE:-}
TORTURE_SECONDS=${TORTURE_SECONDS:-10}
FUZZ_SECONDS=${FUZZ_SECONDS:-30}
PATIENCE=${PATIENCE:-1}
export OUT SANITIZE TORTURE_SECONDS

# As root, run with a /dev/shm of our own: other programs' stores cannot disturb the tests, nor the
# tests them.  Where that is not allowed the machine's own is used.
if [ -z "${SHMKV_TEST_PRIVATE:-}" ] && [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then
    export SHMKV_TEST_PRIVATE=1
    # shellcheck disable=SC2016 # expanded by the inner shell
    exec unshare --mount --propagation private bash -c \
        'mount -t tmpfs -o mode=1777 shmkv-tests /dev/shm && exec "$0" "$@"' "$0" "$@"
fi

export CMOCKA_MESSAGE_OUTPUT=TAP
export SHMKV=$PWD/$OUT/shmkv
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
read -r -a prefix <<<"${RUNNER:-}"
if [ "$SANITIZE" = thread ]; then
    prefix=(setarch -R) # its shadow memory needs the addresses to be where they always are
fi

passed=0 failed=0 skipped=0
mkdir -p "$OUT/log"
export SHMKV_POINT_LOG=$PWD/$OUT/log/points # what the crash tests do, for points.sh
: >"$SHMKV_POINT_LOG"

shm_names() {
    find /dev/shm -maxdepth 1 -name 'shmkv*' -printf '%f\n' 2>/dev/null | sort
}

# Seconds that $1 may take.
time_limit() {
    local seconds
    case $1 in
    torture_*) seconds=$((TORTURE_SECONDS * 10 + 120)) ;;
    fuzz_*) seconds=$((FUZZ_SECONDS + 60)) ;;
    crash_*) seconds=300 ;;
    *) seconds=120 ;;
    esac
    case $SANITIZE in
    '') ;;
    thread) seconds=$((seconds * 12)) ;;
    *) seconds=$((seconds * 4)) ;;
    esac
    echo $((seconds * PATIENCE))
}

# Run program $1 called $2 with its arguments.
launch() {
    local arguments=()
    case $2 in
    torture_*) arguments=("$TORTURE_SECONDS") ;;
    fuzz_*)
        mkdir -p "$OUT/corpus/$2"
        arguments=("-max_total_time=$FUZZ_SECONDS" "-artifact_prefix=$OUT/$2-" -verbosity=0
            -error_exitcode=1 -timeout_exitcode=1 "$OUT/corpus/$2")
        if [ -d "tests/corpus/$2" ]; then
            arguments+=("tests/corpus/$2")
        fi
        ;;
    replay_*) arguments=("tests/corpus/fuzz_${2#replay_}"/*) ;;
    esac
    timeout --kill-after=5 "$(time_limit "$2")" "${prefix[@]}" "$1" "${arguments[@]}" </dev/null
}

# What is wrong with a run as a whole; nothing if all is well.
verdict() {
    local status=$1 reported=$2 planned=$3 bad=$4 left=$5
    case $status in
    0)
        if [ "$planned" -gt "$reported" ]; then
            echo "reported $reported of $planned cases"
        fi
        ;;
    77) ;;
    124 | 137) echo "ran into its time limit, or was killed (status $status)" ;;
    *)
        if [ "$bad" = 0 ]; then
            echo "exit status $status"
        fi
        ;;
    esac
    if [ -n "$left" ]; then
        echo "left in /dev/shm: $left"
    fi
}

# Run one program and add to the sums.
run() {
    local name log status before left good bad skips planned wrong start
    name=$(basename "$1" .sh)
    log=$OUT/log/$name.log
    before=$(shm_names)
    start=${EPOCHREALTIME/./}
    echo "program $name" >>"$SHMKV_POINT_LOG"
    launch "$1" "$name" >"$log" 2>&1
    status=$?
    left=$(comm -13 <(echo "$before") <(shm_names) | tr '\n' ' ')
    skips=$(grep -acE '^skip( |$)|^(not )?ok .*# SKIP' "$log")
    good=$(grep -aE '^ok( |$)' "$log" | grep -acv '# SKIP')
    bad=$(grep -aE '^not ok( |$)' "$log" | grep -acv '# SKIP')
    planned=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    wrong=$(verdict $status $((good + bad + skips)) "$planned" "$bad" "$left")
    if [ $((good + bad + skips)) = 0 ] && [ -z "$wrong" ]; then
        if [ $status = 77 ]; then skips=1; else good=1; fi
    fi
    printf '%-24s %4d passed' "$name" "$good"
    if [ "$skips" -gt 0 ]; then printf ', %d skipped' "$skips"; fi
    printf '  (%d ms)\n' $(((${EPOCHREALTIME/./} - start) / 1000))
    grep -aE '^skip |^(not )?ok .*# SKIP' "$log" | sed 's/^/    /'
    if [ "$bad" -gt 0 ] || [ -n "$wrong" ]; then
        grep -aE '^not ok( |$)' "$log" | grep -av '# SKIP' | sed 's/^/    /'
        if [ -n "$wrong" ]; then
            echo "    not ok - $name: ${wrong//$'\n'/; }"
            bad=$((bad + 1))
        fi
        echo "    ---- end of $log:"
        tail -n 25 "$log" | sed 's/^/    | /'
    fi
    passed=$((passed + good))
    failed=$((failed + bad))
    skipped=$((skipped + skips))
}

if [ "${BUILT:-0}" != 0 ]; then
    echo "not ok - build: exit status $BUILT"
    failed=1
fi
for program in "$@"; do
    run "$program"
done
summary="$passed passed, $failed failed"
if [ $skipped -gt 0 ]; then summary+=", $skipped skipped"; fi
echo "$summary"
[ $failed = 0 ]
