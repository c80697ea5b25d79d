#!/bin/bash
# SPDX-License-Identifier: MIT
# disk.sh - stores with an image in bad surroundings: a full disk, a read-only one, a file cut
# short, taken to another file system, of another owner; a /dev/shm that is too small.  Each is an
# error of its own, and what was synced stays.
# shellcheck disable=SC2317 # what is called at the end, by a trap
. "$(dirname "$0")/common.bash"

only_with_private_shm "images on bad disks"
disk=$work/disk
small=$work/small
SHMKV_STORE=$disk/store
mkdir "$disk" "$small"
more_cleanup() {
    local place
    find /dev/shm -name 'shmkv.*' -delete
    for place in "$disk" "$small"; do
        if mountpoint -q "$place"; then umount "$place"; fi
    done
}
forget() {
    find /dev/shm -name 'shmkv.*' -delete
}
pairs() { # COUNT BYTES
    awk -v n="$1" -v b="$2" 'BEGIN { for (i = 0; i < n; i++) printf "k%d\t%0*d\n", i, b, i }'
}

if ! is_root; then
    skip "disks of their own: needs root"
    finish
fi

# ---- a disk of its own, by a loop device where there is one --------------------------------------

truncate -s 24M "$work/device"
if ! { mkfs.ext4 -q -F "$work/device" && mount -o loop "$work/device" "$disk"; } 2>"$work/err"; then
    if ! mount -t tmpfs -o size=20M shmkv-disk "$disk" 2>/dev/null; then
        skip "disks of their own: cannot mount"
        finish
    fi
fi
expect "a store" 0 "" create --size 32M
expect "with a key" 0 "" set key one
expect "synced" 0 "" sync
head -c 64M /dev/zero >"$disk/ballast" 2>/dev/null
pairs 4000 2000 >"$work/more.tsv"
expect "writes on a full disk" 0 "" load "$work/more.tsv"
refuse "a sync on a full disk" 3 "no room|full|used up" sync
expect "the store lives" 0 "" set key two
cp "$SHMKV_STORE" "$work/copy"
expect "and the image is as it was synced" 0 one -f "$work/copy" get key
"$SHMKV" -f "$work/copy" destroy
refuse "no other image fits" 3 "no room|full|used up|No space" -f "$disk/other" create --size 64M
holds "and leaves no file that cannot be made anew" test "$(stat -c %s "$disk/other" 2>/dev/null || echo 0)" = 0
rm -f "$disk/other" "$disk/ballast"
expect "with room again it is synced" 0 "" sync
forget
expect "and there" 0 two get key
expect "with all the rest" 0 4001 count

mount -o remount,ro "$disk"
refuse "a sync on a read-only disk" 3 "read-only" sync
expect "reading goes on" 0 two get key
forget
expect "also from the image alone" 0 two get key
holds "which takes no memory for others" test -z "$(find /dev/shm -name 'shmkv.*')"
refuse "writing does not" 3 "read-only|may not be written" set key three
refuse "making one" 3 "[Rr]ead-only" -f "$disk/other" create --size 16M
mount -o remount,rw "$disk"
expect "and does when it can be written" 0 "" set key three
expect "synced" 0 "" sync
forget

# ---- another file system -------------------------------------------------------------------------

mv "$disk/store" "$work/moved"
expect "an image taken to another file system" 0 three -f "$work/moved" get key
expect "is the store, with all" 0 4001 -f "$work/moved" count
expect "and written to" 0 "" -f "$work/moved" set key four
expect "synced there" 0 "" -f "$work/moved" sync
forget
expect "and stays" 0 four -f "$work/moved" get key
refuse "where it was there is none" 3 "no store" get key
forget

# ---- cut short, of another owner -----------------------------------------------------------------

cp "$work/moved" "$disk/cut"
truncate -s 1M "$disk/cut"
refuse "an image cut short" 3 "cut short" -f "$disk/cut" get key
run -f "$disk/cut" check
holds "is found by check" test "$status" = 3 -a -n "$out"
holds "and left alone" test "$(stat -c %s "$disk/cut")" = 1048576
truncate -s 5000 "$disk/cut"
refuse "cut to its first page" 3 "cut short|damaged|never finished" -f "$disk/cut" get key
truncate -s 0 "$disk/cut"
refuse "an empty file" 3 "no store" -f "$disk/cut" get key
rm "$disk/cut"

other=(setpriv --reuid=65534 --clear-groups)
if "${other[@]}" true 2>/dev/null; then
    chmod 755 "$work" "$disk"
    cp "$SHMKV" "$work/shmkv"
    "${other[@]}" "$work/shmkv" -f "$work/moved" get key 2>"$work/err"
    holds "another user's image" test $? = 3 -a -n "$(grep 'may not' "$work/err")"
    chmod 666 "$work/moved"
    holds "that he may read and write" test \
        "$("${other[@]}" "$work/shmkv" -f "$work/moved" get key)" = four
    chmod 600 "$work/moved"
    # Somebody else has put something under the name of its memory.
    forget
    "$SHMKV" -f "$work/moved" get key >/dev/null
    chown 65533 /dev/shm/shmkv.*
    "${other[@]}" "$work/shmkv" -f "$work/moved" get key 2>"$work/err"
    holds "memory of a third user is not trusted" test $? = 3 -a -s "$work/err"
    forget
else
    skip "another user's image: needs setpriv"
fi

# ---- a small directory of shared memory ----------------------------------------------------------

mount -t tmpfs -o size=6M shmkv-small "$small"
here=(--shm-dir "$small" -f "$work/moved")
refuse "an image that is larger than the memory for it" 3 "room|full" "${here[@]}" get key
holds "leaves nothing there" test -z "$(ls -A "$small")"
expect "and is as it was" 0 four -f "$work/moved" get key
expect "fewer keys" 0 "" -f "$work/moved" del --prefix k1
expect "another image" 0 "" "${here[@]}" -f "$work/narrow" create --size 64M
run "${here[@]}" -f "$work/narrow" load "$work/more.tsv"
holds "is filled until there is no memory" test "$status" = 3 -a -n "$(grep -iE 'room|full' "$work/err")"
stored=$("$SHMKV" "${here[@]}" -f "$work/narrow" count)
expect "what there is can be synced" 0 "" "${here[@]}" -f "$work/narrow" sync
find "$small" -delete -mindepth 1
mount -o remount,size=64M "$small"
expect "and is recovered" 0 "$stored" "${here[@]}" -f "$work/narrow" count
expect "and sound" 0 "" "${here[@]}" -f "$work/narrow" check
expect "and removed" 0 "" "${here[@]}" -f "$work/narrow" destroy
expect "the other too" 0 "" -f "$work/moved" destroy
finish
