# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# common.bash - what the black-box tests of shmkvd share, beside those of the tool.
#
# A service is started with `serve ARGUMENT...`: its lines go to $log, its number is $service.
# `line PATTERN` waits until a line matches.  Services and helpers end with the test.

. "$(dirname "${BASH_SOURCE[0]}")/../cli/common.bash"
SHMKVD=${SHMKVD:-$(dirname "$SHMKV")/shmkvd}
if [ ! -x "$SHMKVD" ]; then
    echo "not ok - $SHMKVD is not there: build it first, or set SHMKVD"
    exit 1
fi
service=""
services=()
helpers=()
stores=("$SHMKV_STORE")
at_last=: # a test's own cleaning, when all services are gone
log=$work/log
: >"$log"

more_cleanup() {
    local pid name
    for pid in "${services[@]}" "${helpers[@]}"; do
        kill -CONT "$pid" 2>/dev/null
        kill -KILL "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    for name in "${stores[@]}"; do
        for _ in $(seq 50); do # the processes of a killed service need a moment to end
            "$SHMKV" -f "$name" destroy 2>/dev/null
            "$SHMKV" ls | cut -f1 | grep -qxF "$name" || break
            sleep 0.1
        done
    done
    $at_last
}

# serve ARGUMENT...: start a service; its lines are added to $log.
serve() {
    "$SHMKVD" "$@" 2>>"$log" &
    service=$!
    services+=("$service")
}

# seen COUNT PATTERN: at least so many lines match, within ten seconds.
seen() {
    local _
    for _ in $(seq 100); do
        [ "$(grep -cE -- "$2" "$log")" -ge "$1" ] && return
        sleep 0.1
    done
    return 1
}

# line NAME PATTERN [COUNT]
line() {
    if seen "${3:-1}" "$2"; then
        ok "$1"
    else
        not_ok "$1" "no line matches: $2" "the lines are:" "$(tail -n 30 "$log")"
    fi
}

# ends NAME STATUS PID: within ten seconds, with that status.
ends() {
    local _ got
    for _ in $(seq 100); do
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    if kill -0 "$3" 2>/dev/null; then
        not_ok "$1" "process $3 goes on" "$(tail -n 30 "$log")"
        return
    fi
    wait "$3"
    got=$?
    if [ "$got" = "$2" ]; then ok "$1"; else not_ok "$1" "status $got, wanted $2" "$(cat "$log")"; fi
}

# The process that keeps store $1 of service $2: what the log says of it.
keeper_of() {
    sed -nE "s|^shmkvd: $1: opened by process ([0-9]+) .*|\1|p" "$log" | tail -n 1
}
