#!/bin/bash
# SPDX-License-Identifier: MIT
#
# load.sh - how long loading a data file takes, and the memory that the store then has.
#
#   bench/load.sh [--keys LIST] [--json FILE]
#
# The file has lines of key, blank, value, of 36 and 35 bytes; `shmkv load` reads it into a new
# volatile store of default size.  Memory is what the store's objects take of /dev/shm.

set -u
cd "$(dirname "$0")/.." || exit 1
keys=10000,1000000
json=
while [ $# -gt 1 ]; do
    case $1 in
    --keys) keys=$2 ;;
    --json) json=$2 ;;
    *) break ;;
    esac
    shift 2
done
if [ $# != 0 ]; then
    echo "usage: bench/load.sh [--keys LIST] [--json FILE]" >&2
    exit 2
fi
store=bench-load-$$
data=$(mktemp)
trap 'rm -f "$data"; build/shmkv -f "shm:$store" destroy >/dev/null 2>&1' EXIT

# Load the data into a new store; prints nanoseconds and bytes of memory.
load() {
    local began
    build/shmkv -f "shm:$store" destroy >/dev/null 2>&1
    began=$(date +%s%N)
    build/shmkv -f "shm:$store" load --format space "$data" >/dev/null || return
    echo "$(($(date +%s%N) - began)) $(du -cB1 /dev/shm/*"$store"* | tail -n 1 | cut -f 1)"
}

for count in ${keys//,/ }; do
    bench/gen --keys "$count" >"$data"
    payload=$((count * 71))
    for _ in 1 2 3; do
        load || exit 1
    done | sort -n | awk -v keys="$count" -v payload="$payload" -v json="$json" '
        { ns[NR] = $1; bytes[NR] = $2 }
        END {
            rate = keys / ns[2] * 1e9
            printf "loading %9d keys: %8.3f s, %9.0f keys/s; %6.1f MB of memory for %.1f MB\n", \
                keys, ns[2] / 1e9, rate, bytes[2] / 1e6, payload / 1e6
            if (json != "")
                printf "{\"engine\": \"shmkv\", \"bench\": \"load\", \"procs\": 1, " \
                    "\"op\": \"load\", \"keys\": %d, \"key_size\": 36, \"value_size\": 35, " \
                    "\"ops_per_s\": %.0f, \"ops_per_s_min\": %.0f, \"ops_per_s_max\": %.0f, " \
                    "\"seconds\": %.3f, \"memory_bytes\": %d, \"payload_bytes\": %d, " \
                    "\"bytes_per_key\": %.1f, \"runs\": 3}\n", keys, rate, keys / ns[3] * 1e9, \
                    keys / ns[1] * 1e9, ns[2] / 1e9, bytes[2], payload, bytes[2] / keys >> json
        }'
done
