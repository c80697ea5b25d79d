#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cost.sh - what one operation costs: instructions and cache misses by cachegrind, system calls by
# strace.
#
#   bench/cost.sh [--engines LIST] [--ops LIST] [--json FILE]
#
# bench/one is run with few operations and with many; the difference is what they cost, without
# making and filling the store.  Cachegrind simulates the caches of this processor, without
# prefetching: the misses tell how often memory is asked, not how long that takes.  Of a server it
# is the client's part only, and so called.

set -u
cd "$(dirname "$0")/.." || exit 1
engines=shmkv,limit,lmdb,tdb-mutex,tdb-fcntl,lfht,tkrzw-hash,redis,memcached
ops=get,overwrite,delete
json=
few=20000
many=120000
while [ $# -gt 1 ]; do
    case $1 in
    --engines) engines=$2 ;;
    --ops) ops=$2 ;;
    --json) json=$2 ;;
    *) break ;;
    esac
    shift 2
done
if [ $# != 0 ]; then
    echo "usage: bench/cost.sh [--engines LIST] [--ops LIST] [--json FILE]" >&2
    exit 2
fi
log=$(mktemp)
trap 'rm -f "$log"*' EXIT

# bench/one of engine $1, operation $2, so many operations $3, under the command that follows.
one() {
    local engine=$1 op=$2 count=$3 of
    shift 3
    case $engine in
    shmkv | cache | limit) of="--engines $engine" ;;
    *) of="--engines none --peers $engine" ;;
    esac
    # shellcheck disable=SC2086 # two words
    "$@" bench/one $of --op "$op" --keys 150000 --memory cold --ops "$count" >/dev/null 2>&1
}

# Instructions, first-level data misses, last-level misses of engine $1, operation $2, count $3; in a
# log of its own, $4.
simulate() {
    one "$1" "$2" "$3" valgrind --tool=cachegrind --cache-sim=yes --trace-children=no \
        --cachegrind-out-file=/dev/null --log-file="$log.$4" || return
    awk '{ gsub(",", "") }
        /I +refs:/ { i = $4 }
        /D1 +misses:/ { d = $4 }
        /LL misses:/ { l = $4 }
        END { print i, d, l }' "$log.$4"
}

# System calls of engine $1, operation $2, count $3.
calls() {
    one "$1" "$2" "$3" strace -c -o "$log.calls" || return
    awk '$NF == "total" { print ($4 ~ /^[0-9]+$/) ? $4 : $3 }' "$log.calls"
}

printf '%-14s %-10s %14s %14s %14s %20s\n' engine operation instructions 'D1 misses' 'LL misses' \
    'system calls per M'
for engine in ${engines//,/ }; do
    for op in ${ops//,/ }; do
        # Counted, not timed: both may run at once.
        simulate "$engine" "$op" $few few >"$log.i1" &
        simulate "$engine" "$op" $many many >"$log.i2"
        wait
        read -r i1 d1 l1 <"$log.i1"
        read -r i2 d2 l2 <"$log.i2"
        read -r c1 < <(calls "$engine" "$op" $few)
        read -r c2 < <(calls "$engine" "$op" $many)
        if [ -z "${i1:-}" ] || [ -z "${i2:-}" ] || [ -z "${c1:-}" ] || [ -z "${c2:-}" ]; then
            printf '%-14s %-10s skipped: bench/one, valgrind or strace failed\n' "$engine" "$op"
            continue
        fi
        echo "$engine $op $i1 $i2 $d1 $d2 $l1 $l2 $c1 $c2 $((many - few)) $many" |
            awk -v json="$json" '{
                n = $11
                i = ($4 - $3) / n; d = ($6 - $5) / n; l = ($8 - $7) / n; c = ($10 - $9) / n * 1e6
                printf "%-14s %-10s %14.1f %14.2f %14.2f %20.0f\n", $1, $2, i, d, l, c
                if (json != "")
                    printf "{\"engine\": \"%s\", \"bench\": \"cost\", \"procs\": 1, " \
                        "\"op\": \"%s\", \"keys\": 150000, \"key_size\": 36, \"value_size\": 35, " \
                        "\"instructions\": %.1f, \"d1_misses\": %.2f, \"ll_misses\": %.2f, " \
                        "\"calls_per_million\": %.0f}\n", $1, $2, i, d, l, c >> json
            }'
    done
done
