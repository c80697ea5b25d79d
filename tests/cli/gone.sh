#!/bin/bash
# SPDX-License-Identifier: MIT
# gone.sh - the path of an image is known to its memory: ls, info and stat show it, and gc removes
# the memory of images that are gone, unless that would lose something.
# shellcheck disable=SC2317 # what is called at the end, by a trap
. "$(dirname "$0")/common.bash"

store=$work/store.shmkv
disk=$work/disk
SHMKV_STORE=$store
more_cleanup() {
    if mountpoint -q "$disk"; then umount "$disk"; fi
    find /dev/shm -name 'shmkv.*' -delete
}
only_with_private_shm "images that are gone"

# The fields of a line of ls: `listed NAME STATE`.
listed() {
    "$SHMKV" ls | grep -qE "^$1"$'\t[0-9]+\t[0-9]+\t[0-9]+\t'"$2\$"
}
in_memory() {
    [ -n "$(find /dev/shm -name 'shmkv.*')" ]
}
# A process that has the store open for writing.
attach() {
    "$SHMKV" -f "$1" incr counter >/dev/null
    mkfifo "$work/pipe"
    "$SHMKV" -f "$1" load <"$work/pipe" &
    attached=$!
    exec 3>"$work/pipe"
    rm "$work/pipe"
    for _ in $(seq 200); do
        "$SHMKV" ls | grep -qE $'\t1\t[a-z ]*$' && return
        sleep 0.05
    done
    return 1
}
# It dies while it writes: what it wrote is in memory, and its last checkpoint is not made.
die_writing() {
    attach "$1"
    printf 'late\tvalue\nlong\t%0300000d\nmore\t' 0 >&3
    for _ in $(seq 200); do
        [ "$("$SHMKV" -f "$1" get late 2>/dev/null)" = value ] && break
        sleep 0.05
    done
    kill -KILL "$attached"
    wait "$attached" 2>/dev/null
    exec 3>&-
}

"$SHMKV" create --size 16M
"$SHMKV" set key value
holds "ls shows the path" listed "$store" usable
holds "ls --json shows it, and what the memory is called" \
    grep -q "{\"name\": \"shm:[0-9a-f.]*\", \"image\": \"$store\", " <("$SHMKV" ls --json)
holds "info shows it" grep -qx $'image\t'"$store" <("$SHMKV" info)
holds "stat shows it" grep -qx $'image\t'"$store" <("$SHMKV" stat)
holds "stat --json shows it" grep -qF "\"image\": \"$store\"" <("$SHMKV" stat --json)
tool=$(realpath "$SHMKV")
holds "another name" test "$(cd "$work" && "$tool" -f ./store.shmkv incr counter)" = 1
holds "it is absolute however it is opened" listed "$store" usable
expect "gc leaves what is used" 0 0 gc

mv "$store" "$work/moved.shmkv"
holds "an image that was moved is told" listed "$store" "the image is gone"
mv "$work/moved.shmkv" "$store"
holds "and one that is back" listed "$store" usable
mv "$store" "$work/moved.shmkv"
expect "opened by its new name" 0 "" -f "$work/moved.shmkv" set key other
holds "that is its path" listed "$work/moved.shmkv" usable
expect "and gc leaves it" 0 0 gc

mv "$work/moved.shmkv" "$store"
expect "gc removes the memory of one that was moved" 0 1 gc
holds "all of it" test -z "$(find /dev/shm -name 'shmkv.*')"
expect "which loses nothing" 0 other get key

attach "$store"
rm "$store"
expect "while it is in use it stays" 0 0 gc
holds "and is told" listed "$store" "the image is gone"
exec 3>&-
wait "$attached"
rm -f "$store" # made anew by nobody
find /dev/shm -name 'shmkv.*' -delete

# Killed in the middle of writing: the memory has what the image has not.
"$SHMKV" create --size 16M
die_writing "$store"
mv "$store" "$work/moved.shmkv"
run gc
holds "what was never in the image stays" test "$status" = 0 -a "$out" = 0
holds "and that is told, with what to do" grep -q "^shmkv: $store: .*destroy" <<<"$err"
expect "so the moved image has it" 0 value -f "$work/moved.shmkv" get late
"$SHMKV" -f "$work/moved.shmkv" sync
rm "$work/moved.shmkv"
refuse "destroy of another one that is not there" 3 "no store" -f "$work/none.shmkv" destroy
holds "leaves it" in_memory
expect "destroy of one whose file was removed" 0 "" -f "$work/moved.shmkv" destroy
holds "removes what was left" test -z "$(find /dev/shm -name 'shmkv.*')"
refuse "once" 3 "no store" -f "$work/moved.shmkv" destroy

"$SHMKV" create --size 16M
"$SHMKV" set key value
cp "$store" "$work/new.shmkv"
mv "$work/new.shmkv" "$store"
holds "an image that was replaced is told" listed "$store" "the image is gone"
expect "gc removes the memory of the old one" 0 1 gc
expect "the new one has its own" 0 value get key
expect "which gc leaves" 0 0 gc
"$SHMKV" destroy

mkdir -p "$work/deep/er"
"$SHMKV" -f "$work/deep/er/a.shmkv" create --size 16M
rm -r "$work/deep"
expect "the directory is gone, too" 0 1 gc
"$SHMKV" -f "$work/tab	and"$'\n'"line.shmkv" create --size 16M
holds "a path is one field of one line" listed "$work/tab\\\\tand\\\\nline\.shmkv" usable
"$SHMKV" -f "$work/tab	and"$'\n'"line.shmkv" destroy

# The longest that is kept has 3071 bytes.
long=$work/$(printf 'd%.0s' $(seq 200))
while [ ${#long} -lt 2850 ]; do
    long=$long/$(printf 'd%.0s' $(seq 200))
done
mkdir -p "$long"
long=$long/$(printf 'e%.0s' $(seq $((3071 - ${#long} - 1))))
"$SHMKV" -f "$long" create --size 16M
holds "a path of 3071 bytes" listed "$long" usable
rm "$long"
expect "gc knows it" 0 1 gc
"$SHMKV" -f "${long}e" create --size 16M
holds "of a longer one the memory's name is shown" listed 'shm:[0-9a-f.]+' usable
rm "${long}e"
expect "and gc leaves it" 0 0 gc
"$SHMKV" -f "$("$SHMKV" ls | cut -f 1)" destroy
holds "until it is destroyed by that name" test -z "$(find /dev/shm -name 'shmkv.*')"

mkdir "$disk"
if is_root && mount -t tmpfs -o size=64M shmkv-disk "$disk" 2>/dev/null; then
    "$SHMKV" -f "$disk/a.shmkv" create --size 16M
    mount --move "$disk" "$work/deep" 2>/dev/null || umount -l "$disk"
    holds "an image on a disk that is not mounted is told" \
        listed "$disk/a.shmkv" "the image cannot be seen"
    expect "and gc leaves it" 0 0 gc
    find /dev/shm -name 'shmkv.*' -delete
else
    skip "an image on a disk that is not mounted: cannot mount"
fi
finish
