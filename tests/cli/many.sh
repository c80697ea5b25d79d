#!/bin/bash
# SPDX-License-Identifier: MIT
# many.sh - many processes of the tool on one store at once, some of them killed.
. "$(dirname "$0")/common.bash"

# Nobody has made the store: all try, none fails.
for i in $(seq 8); do
    (
        for _ in $(seq 25); do
            "$SHMKV" incr counter >/dev/null || exit 1
        done
    ) &
    jobs_[i]=$!
done
bad=0
for i in $(seq 8); do
    wait "${jobs_[i]}" || bad=$((bad + 1))
done
holds "eight processes create and count at once" test $bad = 0
expect "and lose no count" 0 "200" get counter

# Loads side by side.
for i in $(seq 4); do
    awk -v n="$i" 'BEGIN { for (i = 0; i < 5000; i++) printf "w%d-%d\tvalue%d\n", n, i, i }' |
        "$SHMKV" load &
    jobs_[i]=$!
done
bad=0
for i in $(seq 4); do
    wait "${jobs_[i]}" || bad=$((bad + 1))
done
holds "four loads at once" test $bad = 0
expect "store every pair" 0 "20001" count

# Writers killed at any moment leave a sound store that others go on writing.
for round in $(seq 10); do
    awk 'BEGIN { for (i = 0; i < 200000; i++) printf "k%d\tround%d\n", i % 5000, i }' |
        "$SHMKV" load 2>/dev/null &
    victim=$!
    sleep "0.0$((round % 7 + 1))"
    kill -9 $victim 2>/dev/null
    wait $victim 2>/dev/null
    "$SHMKV" incr after >/dev/null || break
done
expect "others go on after each kill -9" 0 "10" get after
holds "somebody cleaned up after them" grep -qx $'reaped\t[1-9][0-9]*' <("$SHMKV" stat)
# The killed have miscounted, which check may note.
run check
holds "and the store is sound" test "$status" = 0 -a -z "$(grep -v '^note: ' "$work/out")"
torn=$("$SHMKV" scan --prefix k | grep -vE '^k[0-9]+	round[0-9]+$')
holds "and its pairs are whole" test -z "$torn"
finish
