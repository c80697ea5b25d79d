#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - run the benchmarks, cell by cell, and keep what they say.
#
#   bench/run.sh quick|usual|full [CELL...]
#
# Each cell is one program with one set of options.  Its lines of JSON and what it printed go to
# build/bench/LEVEL/CELL.json and .txt; a cell that is there already is not run again, so a run that
# was interrupted goes on where it was.  Other sources, or FRESH=1, start anew.  bench/report.sh
# makes bench/RESULTS.md of the directory.

set -u
cd "$(dirname "$0")/.." || exit 1
level=${1:-usual}
[ $# = 0 ] || shift
only=" $* "
dir=build/bench/$level

# Peers that stand for the others where all would take too long.
some=lmdb-1,tdb-mutex,lfht,tkrzw-tiny,redis-p16,memcached-c50p16
few=lmdb-1,lfht,redis-p16
most=lmdb,tdb-mutex,lfht,tkrzw-tiny,redis-c50p16,memcached-c50p16
shared=lmdb-1,tdb-mutex,lfht,tkrzw-tiny
sizes='8/8 16/100 36/35 20/1000'

# The cells of a level: a name, then the command.  Ten minutes hold what is claimed and one row of
# everything else; left to "full" are the other settings of each peer, servers beside many processes, 3,
# 4, 6 and 12 processes, mixes and batches beside peers or by many processes, skewed keys, readers beside
# writers, RocksDB but for new keys and memory, killed processes of peers, two processes at fixed rates,
# costs of peers, cleaning at 90 % live, ten million keys from a file, and the long forms of what has one.
quick() {
    cat <<END
peers-get       bench/procs --op get --keys 200000 --peers $some --seconds 0.2 --slice 50
peers-set       bench/procs --op overwrite --keys 200000 --peers $some --seconds 0.2 --slice 50
scaling         bench/procs --op get,overwrite --procs 1,2,8 --seconds 0.2 --slice 50
ycsb            bench/ycsb --keys 50000 --peers $few --seconds 0.1 --slice 50
arrivals        bench/arrivals --keys 200000 --seconds 0.3 --slice 50
killed          bench/killed --keys 200000 --seconds 0.5
END
}

usual() {
    cat <<END
get             bench/procs --op get --runs 9 --seconds 0.2 --slice 25
peers-get       bench/procs --op get --peers $most --seconds 0.3 --slice 50
peers-set       bench/procs --op overwrite --peers $most --seconds 0.3 --slice 50
peers-fresh     bench/procs --op fresh --keys 200000 --peers $most,rocksdb --seconds 0.1
procs           bench/procs --op mget,growing,delete,mix --seconds 0.3 --slice 50
scaling         bench/procs --op get,overwrite,mix --procs 1,2,8,16 --seconds 0.2 --slice 50
scaling-4m      bench/procs --op get,mix --keys 4000000 --procs 1,2,8,16 --seconds 0.2 --slice 50
scaling-peers   bench/procs --op mix --keys 200000 --procs 1,2,8,16 --peers $shared --seconds 0.1 --slice 50
sizes           bench/procs --op get,overwrite --key-size 16 --value-size 100 --seconds 0.3 --slice 50
large           bench/procs --op get,overwrite --keys 10000000 --key-size 16 --value-size 100 --seconds 0.3 --slice 50
ycsb            bench/ycsb --keys 50000 --peers $few --seconds 0.1 --slice 50
classic         bench/classic --keys 10000000 --peers redis-1,redis-c50p16 --seconds 0.01
arrivals        bench/arrivals --peers lmdb-1,redis-1 --seconds 0.6 --slice 100
latency         bench/latency --keys 5000000 --seconds 1
killed          bench/killed --seconds 1
load            bench/load.sh --keys 10000,1000000
$(memory 100000)
cost            bench/cost.sh --engines shmkv,limit --ops get,overwrite
END
}

full() {
    cat <<END
peers-get       bench/procs --op get --peers all
peers-set       bench/procs --op overwrite --peers all
peers-fresh     bench/procs --op fresh --peers all
peers-mix       bench/procs --op mix,delete,mget,mput,incr --peers all
procs           bench/procs --op all
scaling         bench/procs --op get,mget,overwrite,mix --procs 1,2,3,4,6,8,12,16
scaling-fresh   bench/procs --op fresh,growing,delete --procs 1,2,4,8,16
scaling-peers   bench/procs --op mix,overwrite --procs 1,2,4,8,16 --peers all --seconds 1
writers         bench/procs --op get --writers 1 --procs 1,2,4
zipf            bench/procs --op get,mix --dist zipf --peers all --seconds 1
hotcold         bench/procs --op get,mix --dist hotcold --peers all --seconds 1
sizes           bench/procs --op get,mget,fresh,overwrite --key-size 16 --value-size 100
large           bench/procs --op get,mget,fresh,overwrite --keys 10000000 --key-size 16 --value-size 100
ycsb            bench/ycsb --procs 1,2,8 --peers all --seconds 1
classic         bench/classic --keys 10000000 --peers redis
arrivals        bench/arrivals --peers all --seconds 3
arrivals-2      bench/arrivals --procs 2 --peers all --seconds 3
latency         bench/latency --keys 10000000
killed          bench/killed --seconds 5
killed-peers    bench/killed --seconds 5 --engines none --peers lmdb-1,redis-1,memcached-1
killed-8        bench/killed --seconds 5 --procs 8
load            bench/load.sh --keys 10000,1000000,10000000
$(memory 1000000)
cost            bench/cost.sh --ops get,overwrite,delete,mget
END
}

memory() {
    local size
    for size in $sizes; do
        echo "memory-${size/\//-} bench/procs --op fresh --keys $1 --key-size ${size%/*}" \
            "--value-size ${size#*/} --runs 1 --seconds 0.01 --peers" \
            "lmdb-1,tdb-mutex,lfht,tkrzw,rocksdb,redis-p16,memcached-p16"
    done
}

# Benchmarks with options of their own.
others() {
    if [ "$level" = full ]; then
        cat <<END
compaction      bench/compaction
churn           bench/churn
missratio       bench/missratio
recover         bench/recover
sync            bench/sync
checkpoint      bench/checkpoint
durability      bench/durability --tests 1000
END
    else
        cat <<END
compaction      bench/compaction --live 60,80 --writers 1 --dist uniform
missratio       bench/missratio --keys 524288 --requests 500000
recover         bench/recover --keys 2000000
sync            bench/sync
checkpoint      bench/checkpoint --op get,overwrite --seconds 1
durability      bench/durability --tests 20
END
    fi
}

cells() {
    case $level in
    quick) quick ;;
    usual)
        usual
        others
        ;;
    full)
        full
        others
        ;;
    esac
}

case $level in
quick | usual | full) ;;
*)
    echo "usage: bench/run.sh quick|usual|full [CELL...]" >&2
    exit 2
    ;;
esac
# That of the sources: a report that was committed is no reason to run anew.
sources=(libshmkv Makefile ':(glob)bench/*.[ch]' bench/peers)
commit=$(git log -1 --format=%h -- "${sources[@]}" 2>/dev/null || echo unknown)
git diff --quiet HEAD -- "${sources[@]}" 2>/dev/null || commit=$commit-changed
if [ -n "${FRESH:-}" ] || [ "$(cat "$dir/commit" 2>/dev/null)" != "$commit" ]; then
    rm -rf "$dir"
fi
mkdir -p "$dir"
echo "$commit" >"$dir/commit"
[ -e "$dir/began" ] || date -u '+%Y-%m-%d %H:%M UTC' >"$dir/began"
failed=0
mapfile -t cells < <(cells)
echo "bench: ${#cells[@]} cells, to $dir:"
printf '  %s\n' "${cells[@]}"
for cell in "${cells[@]}"; do
    read -r name command <<<"$cell"
    case $only in
    '  ' | *" $name "*) ;;
    *) continue ;;
    esac
    if [ -e "$dir/$name.seconds" ]; then
        echo "bench: $name is there"
        continue
    fi
    echo "bench: $name: $command"
    rm -f "$dir/$name.json"
    echo "$command" >"$dir/$name.command"
    began=$(date +%s.%N)
    json=(--json "$dir/$name.json")
    case $name in sync | durability) json=() ;; esac # they print a table, no more
    # shellcheck disable=SC2086 # a command and its options
    if $command "${json[@]}" 2>&1 | tee "$dir/$name.txt" && [ "${PIPESTATUS[0]}" = 0 ]
    then
        echo "$(date +%s.%N) $began" | awk '{ printf "%.0f\n", $1 - $2 }' >"$dir/$name.seconds"
        echo "bench: $name took $(cat "$dir/$name.seconds") s"
    else
        echo "bench: $name failed" >&2
        failed=1
    fi
done
cat "$dir"/*.seconds | awk '{ s += $1 } END { print "bench: " s " seconds in all" }'
exit $failed
