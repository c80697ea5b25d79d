#!/bin/bash
# SPDX-License-Identifier: MIT
# top.sh - the top command: one table, JSON, and the screen in a terminal.
. "$(dirname "$0")/common.bash"

refuse "a store that is not there" 3 "there is no store" top
"$SHMKV" create --size 16M
"$SHMKV" set a b
(while sleep 0.01; do "$SHMKV" set a c || exit; done) 2>/dev/null &
writer=$!
"$SHMKV" watch --timeout 60s >/dev/null &
watcher=$!
run top --once
holds "one table" test "$status" = 0 -a -z "$err"
holds "with the columns" grep -q '^PID  *NAME  *THREADS  *OPS/S' "$work/out"
holds "with the process that is attached" grep -qE "^$watcher +shmkv +1 " "$work/out"
holds "and with who stands" grep -qE '^(no section stands|oldest section: process )' "$work/out"
holds "and with rates" grep -qE '^gets/s [0-9]+  puts/s [1-9]' "$work/out"
run top --json
holds "JSON" grep -qE '^\{"gets_per_s": [0-9]+, .*"processes": \[\{"pid": .*"age_ms": [0-9]+.*\}\]\}$' "$work/out"
if ! script -qec true /dev/null >/dev/null 2>&1; then
    skip "the screen: no script(1), or no terminal for it"
else
    (sleep 2; printf h; sleep 1; printf q) |
        TERM=xterm timeout 20 script -qec "$SHMKV top" "$work/screen" >/dev/null 2>&1
    ended=$?
    if grep -q 'without ncurses' "$work/screen"; then
        skip "the screen: built without ncurses"
        kill $writer $watcher
        finish
    fi
    holds "q ends the screen" test "$ended" = 0
    holds "which showed the store" grep -q 'puts/s' "$work/screen"
    TERM=xterm timeout 20 script -qec "$SHMKV top </dev/null" "$work/screen" >/dev/null 2>&1
    ended=$?
    holds "without keys to read it prints one table" test "$ended" = 0 -a \
        "$(grep -c 'puts/s' "$work/screen")" = 1
    # Of a terminal that is gone there are no keys, at once; who outlives it must not draw for ever.
    cat >"$work/outlive" <<EOF
trap '' HUP
echo \$\$ >"$work/pid"
exec "$SHMKV" top
EOF
    rm -f "$work/screen" # the table above is not the one that is waited for
    TERM=xterm script -qfec "bash '$work/outlive'" "$work/screen" >/dev/null 2>&1 < <(sleep 20) &
    terminal=$!
    for _ in $(seq 100); do
        grep -qs 'puts/s' "$work/screen" && break
        sleep 0.1
    done
    kill -9 "$terminal"
    wait "$terminal" 2>/dev/null
    for _ in $(seq 50); do
        kill -0 "$(cat "$work/pid")" 2>/dev/null || break
        sleep 0.1
    done
    holds "without its terminal it ends" test ! -e "/proc/$(cat "$work/pid")"
    kill -9 "$(cat "$work/pid")" 2>/dev/null
    for term in no-such-terminal ''; do
        TERM=$term timeout 20 script -qec "$SHMKV top" "$work/screen" >/dev/null 2>&1
        ended=$?
        holds "a terminal of unknown kind '$term'" test "$ended" = 3 -a -n "$(grep \
            "^shmkv: cannot use this terminal (TERM=$term): .*--once" "$work/screen")"
    done
fi
kill $writer $watcher 2>/dev/null
wait 2>/dev/null
finish
