#!/bin/bash
# SPDX-License-Identifier: MIT
#
# demo.sh - what shmkv is, in half a minute: `make demo`.
#
# Loads 1,000,000 UUID keys into a store in shared memory, reads them from several processes while
# another one writes, and sends the machine's Debian package lists through a store and back.
# No daemon runs.  Stores and files are removed at the end.

set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."

keys=${DEMO_KEYS:-1000000}
seconds=${DEMO_SECONDS:-2}
store=shm:demo-$$
work=$(mktemp -d "${TMPDIR:-/tmp}/shmkv-demo.XXXXXX")
shmkv=build/shmkv

clean_up() {
    rm -rf "$work"
    "$shmkv" -f "$store" destroy --force >/dev/null 2>&1 || true
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say() {
    printf '\n== %s\n' "$*"
}

now() {
    date +%s%N
}

# per_second COUNT BEGIN: "1.23 s, 4.56 M/s"
per_second() {
    awk -v n="$1" -v ns="$(($(now) - $2))" \
        'BEGIN { printf "%.2f s, %.2f M a second", ns / 1e9, n / ns * 1e3 }'
}

stat_of() {
    "$shmkv" -f "$store" stat | cat | awk -v name="$1" '$1 == name { print $2 }'
}

size_of() {
    awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'
}

say "A data set: $keys UUIDs, values of 35 bytes, one pair a line"
bench/gen --keys "$keys" >"$work/uuid.data"
head -n 2 "$work/uuid.data"
echo "... ($(size_of "$(stat -c %s "$work/uuid.data")"))"

say "Load it into $store: build/shmkv load --format space"
begin=$(now)
"$shmkv" -f "$store" load --format space "$work/uuid.data" 2>/dev/null
echo "$("$shmkv" -f "$store" count) keys in $(per_second "$keys" "$begin")"
echo "memory: $(size_of "$(stat_of memory)"), $(stat_of bytes_per_key) bytes per key, all included"

say "1, 2 and 4 processes read at random while one more overwrites"
bench/procs --store "$store" --keys "$keys" --op get --procs 1,2,4 --writers 1 \
    --seconds "$seconds" --runs 1 --keep-keeper
echo "(the memory grew by what the writer wrote: nothing was short of room)"

say "Nothing was lost, nothing is damaged"
"$shmkv" -f "$store" check
echo "$("$shmkv" -f "$store" count) keys, every checksum and invariant holds"
"$shmkv" -f "$store" destroy

# One pair a line, for sort and cmp: NUL becomes LF and LF becomes NUL.
lines() {
    tr '\0\n' '\n\0' | paste -d $'\1' - - | sort
}

if [ ! -e /var/lib/dpkg/status ]; then
    say "No Debian package lists on this machine: left out"
    exit 0
fi
say "Real input: every stanza of this machine's Debian package lists, in and out again"
scripts/debian-stanzas.sh >"$work/in.null"
scripts/debian-stanzas.sh --last | lines >"$work/want"
begin=$(now)
"$shmkv" -f "$store" load --format null "$work/in.null" 2>/dev/null
pairs=$("$shmkv" -f "$store" count)
bytes=$(stat -c %s "$work/in.null")
echo "$pairs packages, $(size_of "$bytes"), loaded in $(per_second "$pairs" "$begin")"
"$shmkv" -f "$store" dump --format null | lines >"$work/got"
if ! cmp "$work/want" "$work/got"; then
    echo "demo: the dump differs from what was loaded" >&2
    exit 1
fi
echo "dumped and sorted: byte for byte what was loaded ($(size_of "$(stat -c %s "$work/got")"))"
say "Done.  Nothing stays in /dev/shm; 'make help' and README.md tell where to go on."
