#!/bin/bash
# SPDX-License-Identifier: MIT
# killed.sh - shmkvd and its processes killed at random under load: nothing acknowledged is lost,
# and it can be started again at any moment.  SHMKV_TEST_FULL: ten times as often.
. "$(dirname "$0")/common.bash"

rounds=25
if [ -n "${SHMKV_TEST_FULL:-}" ]; then rounds=250; fi
a=$SHMKV_STORE

# Adds to a counter until $work/stop is there; what was acknowledged goes to file $1.
count_up() {
    local n=0
    while [ ! -e "$work/stop" ]; do
        "$SHMKV" -f "$a" incr counter >"$1.last" || break
        n=$((n + 1))
        echo $n >"$1"
    done
}

# Loads and overwrites, so that there is something to clean.
churn() {
    while [ ! -e "$work/stop" ]; do
        "$SHMKV" -f "$a" load "$work/fill.tsv" || break
    done
}

# Large enough that a writer may lose its processor for 100 ms inside a write and hold back none of
# the room that the others need.
"$SHMKV" -f "$a" create --size 128M
awk 'BEGIN { for (i = 0; i < 5000; i++) printf "k%d\t%0500d\n", i, i }' >"$work/fill.tsv"
serve "$a"
line "it begins" "^shmkvd: $a: opened"
count_up "$work/acknowledged" 2>"$work/count.err" &
counter=$!
churn 2>"$work/churn.err" &
churner=$!
helpers+=("$counter" "$churner")

for ((i = 0; i < rounds; i++)); do
    sleep "0.$((RANDOM % 40 + 10))"
    victim=$service
    if [ $((RANDOM % 2)) = 0 ]; then
        victim=$(pgrep -P "$service" | head -n 1)
    fi
    kill -KILL "${victim:-$service}" 2>/dev/null
    if [ "${victim:-$service}" = "$service" ]; then
        wait "$service" 2>/dev/null
        serve "$a"
    fi
done
touch "$work/stop"
wait "$counter" "$churner"
cat "$work/count.err" "$work/churn.err" >"$work/failed"
holds "no write failed meanwhile: $(head -n 1 "$work/failed")" test ! -s "$work/failed"
expect "every increment that was acknowledged is there" 0 "$(cat "$work/acknowledged")" \
    -f "$a" get counter
expect "all pairs, too" 0 5001 -f "$a" count
: >"$log"
kill -TERM "$service"
ends "it ends well after $rounds kills" 0 "$service"
"$SHMKV" compact # processes of killed services may be dying still: what they leave is a note
run check
holds "the store is sound" test "$status" = 0 -a -z "$(grep -v '^note: ' <<<"$out")"
finish
