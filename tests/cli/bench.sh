#!/bin/bash
# SPDX-License-Identifier: MIT
# bench.sh - the benchmarks run, with every peer that was built, and leave nothing behind.
. "$(dirname "$0")/common.bash"
bench=bench
[ "${OUT:-build}" = build ] || bench=$OUT/bench
json=$work/json
mkdir "$work/tmp"
export TMPDIR=$work/tmp
few='--keys 2000 --seconds 0.02 --slice 10 --runs 1'

if [ ! -x "$bench/procs" ]; then
    skip "$bench/procs is not built"
    finish
elif [ -n "${SANITIZE:-}" ]; then
    skip "the other stores are not made for sanitizers"
    finish
fi

# works NAME LINES COMMAND...: it succeeds and appends at least so many lines of JSON.
works() {
    local name=$1 lines=$2
    shift 2
    rm -f "$json"
    if ! timeout 120 "$@" --json "$json" >"$work/out" 2>"$work/err"; then
        not_ok "$name" "$(tail -n 3 "$work/out" "$work/err")"
    elif [ "$(wc -l <"$json")" -lt "$lines" ]; then
        not_ok "$name" "$(wc -l <"$json") lines, not $lines"
    else
        cat "$json" >>"$work/all.json"
        ok "$name"
    fi
}

# What interface.md promises of each line.
promised='engine bench procs op dist keys key_size value_size ops_per_s p50_ns p99_ns p999_ns max_ns
    bytes_per_key ratio_to_limit runs'

# shellcheck disable=SC2086 # options
{
    works 'every operation' 12 $bench/procs $few --op all --procs 2
    works 'beside peers, in slices' 2 $bench/procs $few --op get --peers all
    works 'beside peers, in passes' 2 $bench/procs $few --op delete --procs 2 --peers all
    works 'numbers of processes in turns' 12 $bench/procs $few --op get,fresh --procs 1,3,2 --peers lfht
    grow=$(grep '"engine": "shmkv"' "$json" | grep -c '"scaling_from": 1, .*"scaling_of_limit": [0-9]')
    if [ "$grow" = 4 ]; then ok 'how they scale'; else not_ok 'how they scale' "$grow lines, not 4"; fi
    works 'YCSB' 6 $bench/ycsb $few --value-size 100 --workload A,D,F
    works 'fixed rates' 4 $bench/arrivals $few
    works 'a classic test' 2 $bench/classic $few --keys 10000 --peers redis --workload '10K get'
    works 'checkpoints' 2 $bench/checkpoint $few --op get --memory cold \
        --store "$work/tmp/bench-checkpoint"
    works 'killed processes' 2 $bench/killed --keys 2000 --seconds 0.3 --runs 1
}

# What says by its status whether all is well.
sound() {
    local name=$1
    shift
    if timeout 200 "$@" >"$work/out" 2>"$work/err"; then
        ok "$name"
    else
        not_ok "$name" "$(tail -n 3 "$work/out" "$work/err")"
    fi
}

# shellcheck disable=SC2086 # options
{
    sound 'churn: memory is bounded, nothing is wrong, no segment is lost' \
        $bench/churn --ops 600000 --size 16 --every 1
    sound 'cleaning, beside a store in which nothing is cleaned' $bench/compaction --size 16M --reader \
        --writers 1 --dist uniform --live 80 --settle 1 --measure 1
    sound 'a cache beside a store' $bench/procs $few --op get,mget --engines shmkv,cache
}

missing=
for member in $promised; do
    if grep -vq "\"$member\": " "$work/all.json"; then
        missing="$missing $member"
    fi
done
if [ -z "$missing" ]; then ok 'lines of JSON'; else not_ok 'lines of JSON' "without$missing"; fi

for peer in lmdb tdb lfht tkrzw rocksdb redis memcached; do
    if grep -q "\"engine\": \"$peer" "$work/all.json"; then
        ok "peer $peer"
    else
        skip "peer $peer is not there"
    fi
done

mkdir "$work/run"
cp "$work/all.json" "$work/run/peers-get.json"
echo "here" >"$work/run/commit"
echo "now" >"$work/run/began"
echo "machine   this one" >"$work/run/peers-get.txt"
if bench/report.sh "$work/run" "$work" >"$work/out" 2>"$work/err" &&
    grep -q '^| shmkv | 1 | get |' "$work/RESULTS.md"; then
    ok 'report'
else
    not_ok 'report' "$(cat "$work/err")"
fi

left=$(find /dev/shm "$TMPDIR" -maxdepth 1 -name 'bench-*' 2>/dev/null)
if [ -z "$left" ]; then ok 'nothing is left'; else not_ok 'nothing is left' "$left"; fi
finish
