#!/bin/bash
# SPDX-License-Identifier: MIT
# image.sh - shmkvd keeps stores with an image: checkpoints, recovery after the memory is gone, a
# full disk, a read-only one, deaths, and the end.
# shellcheck disable=SC2317 # what is called at the end, by a trap
. "$(dirname "$0")/common.bash"

only_with_private_shm "stores with an image"
a=$work/a.shmkv
disk=$work/disk
mkdir "$disk"
at_last() {
    if mountpoint -q "$disk"; then umount "$disk"; fi
    find /dev/shm -name 'shmkv.*' -delete
}
at_last=at_last

# The contents of a copy of the image, which is what a power loss now would leave.
survives() {
    local file=$work/lost.shmkv value
    cp "$1" "$file"
    value=$("$SHMKV" -f "$file" get "$2" 2>&1)
    "$SHMKV" -f "$file" destroy
    [ "$value" = "$3" ]
}
soon_survives() {
    for _ in $(seq 50); do
        survives "$@" && return
        sleep 0.1
    done
    return 1
}

serve --create --size 32M --interval 100ms "$a"
line "a store is made" "^shmkvd: $a: keeps house"
holds "with an image" test -s "$a"
expect "it is written to" 0 "" -f "$a" set key one
holds "and the write is durable soon" soon_survives "$a" key one

keeper=$(keeper_of "$a")
kill -KILL "$keeper"
expect "a write while its keeper is dead" 0 "" -f "$a" set key two
line "the keeper is followed by another" "^shmkvd: $a: opened by" 2
holds "which writes what there is" soon_survives "$a" key two

"$SHMKV" -f "$a" set last words
kill -TERM "$service"
ends "ends" 0 "$service"
holds "and has written everything" survives "$a" last words

# As after a restart of the machine.
find /dev/shm -name 'shmkv.*' -delete
: >"$log"
serve "$a"
line "recovery is told" "^shmkvd: $a: recovered [0-9]+ records from the image in [0-9]+ ms"
expect "nothing is lost" 0 words -f "$a" get last
find /dev/shm -name 'shmkv.*' -delete
line "memory that was removed is told" "^shmkvd: $a: the store was removed while it was open"
line "and the store recovered" "^shmkvd: $a: recovered " 2
expect "again with nothing lost" 0 words -f "$a" get last
kill -TERM "$service"
ends "ends again" 0 "$service"

if is_root && mount -t tmpfs -o size=4M shmkv-disk "$disk" 2>/dev/null; then
    b=$disk/b.shmkv
    : >"$log"
    serve --create --size 32M --interval 100ms "$b"
    line "a store on a small disk" "^shmkvd: $b: keeps house"
    "$SHMKV" -f "$b" set key one
    holds "is written" soon_survives "$b" key one
    head -c 64M /dev/zero >"$disk/fill" 2>/dev/null
    awk 'BEGIN { for (i = 0; i < 3000; i++) printf "k%d\t%01000d\n", i, i }' >"$work/fill.tsv"
    expect "more is written" 0 "" -f "$b" load "$work/fill.tsv"
    line "a full disk is told" "^shmkvd: $b: a checkpoint failed: .*(full|space|room)"
    holds "with the image as it was" survives "$b" key one
    expect "and the store alive" 0 "" -f "$b" set key two
    rm "$disk/fill"
    "$SHMKV" -f "$b" del --prefix k1
    line "when there is room it succeeds" "^shmkvd: $b: checkpoints succeed again"
    holds "and what was written is there" soon_survives "$b" key two
    kill -TERM "$service"
    ends "ends well" 0 "$service"
    mount -o remount,ro "$disk"
    : >"$log"
    serve "$b"
    line "a read-only disk is told" "^shmkvd: $b: a checkpoint failed: .*read-only"
    mount -o remount,rw "$disk"
    line "until it can be written" "^shmkvd: $b: checkpoints succeed again"
    kill -TERM "$service"
    ends "and ends" 0 "$service"
else
    skip "a full and a read-only disk: cannot mount"
fi
finish
