#!/bin/bash
# SPDX-License-Identifier: MIT
# oneshot.sh - thousands of processes that set one key each: a segment that each of them opened and
# left nearly empty would be all of the store.  10,000 with SHMKV_TEST_FULL in the environment.
. "$(dirname "$0")/common.bash"

shots=1000
[ -n "${SANITIZE:-}" ] && shots=200
[ -n "${SHMKV_TEST_FULL:-}" ] && shots=10000

# stat_of NAME: that figure of the store.
stat_of() { "$SHMKV" stat | sed -n "s/^$1\t//p"; }

expect "a store of which each shot could have a segment for 64 KiB" 0 "" create --size 64M
bad=0
for i in $(seq $shots); do
    "$SHMKV" set "key$i" "value$i" || bad=$((bad + 1))
done
holds "$shots processes set one key each" test $bad = 0
expect "and all are there" 0 "$shots" count
wrong=$("$SHMKV" scan | awk -F '\t' '"value" substr($1, 4) != $2' | head -n 1)
holds "with their values" test -z "$wrong"

# A record takes less than 64 bytes; a second segment is open while the first one fills.
segment=$(stat_of segment_size)
most=$((shots * 64 / segment + 2))
used=$(stat_of segments)
holds "in as few segments as one process would have used" test "${used:-$shots}" -le "$most"

# The same beside others: four at a time take turns with the segments that are left.
bad=0
for i in $(seq 4); do
    (
        for j in $(seq $((shots / 8))); do
            "$SHMKV" set "beside$i-$j" "value" || exit 1
        done
    ) &
    jobs_[i]=$!
done
for i in $(seq 4); do
    wait "${jobs_[i]}" || bad=$((bad + 1))
done
holds "four at a time" test $bad = 0
used=$(stat_of segments)
holds "take few more" test "${used:-$shots}" -le $((most + 8))
expect "and nothing is wrong" 0 "" check
finish
