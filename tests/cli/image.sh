#!/bin/bash
# SPDX-License-Identifier: MIT
# image.sh - stores with an image, from a shell: made, read after the memory is gone, copied,
# verified, repaired, removed.
# shellcheck disable=SC2317 # what is called at the end, by a trap
. "$(dirname "$0")/common.bash"

store=$work/store.shmkv
copy=$work/copy.shmkv
SHMKV_STORE=$store
more_cleanup() {
    local file
    for file in "$work"/*.shmkv; do "$SHMKV" -f "$file" destroy --force 2>/dev/null; done
}
# What is left of a store after a power loss, or a restart of the machine.
forget() {
    find /dev/shm -name 'shmkv.*' -delete
}
only_with_private_shm "stores with an image"

refuse "a store that is not there" 3 "there is no store" get a
holds "reading made none" test ! -e "$store"
expect "create" 0 "" create --size 32M --mode 640
holds "makes a file of that mode" test "$(stat -c %a "$store")" = 640
refuse "create again" 3 exists create
expect "set" 0 "" set key value
expect "get" 0 value get key
forget
expect "get after the memory is gone" 0 value get key
expect "a ttl" 0 "" set brief value --ttl 1h
seq 10000 | sed 's/.*/key& value&/' >"$work/pairs.data"
expect "a load" 0 "" load "$work/pairs.data"
expect "sync" 0 "" sync
expect "sync with a limit" 0 "" sync --timeout 10s
forget
expect "all pairs after the memory is gone" 0 10002 count
"$SHMKV" dump --format space --prefix key | grep -v '^key value$' | sort >"$work/got"
sort "$work/pairs.data" >"$work/want"
same "unchanged" "$work/got" "$work/want"
holds "and expiry is kept" grep -q '[0-9]ms' <("$SHMKV" ttl brief)
expect "del" 0 "" del key
expect "checkpoint" 0 "" checkpoint
forget
expect "what was removed stays so" 1 "" get key

memory=$("$SHMKV" ls --json | sed 's/.*"name": "\([^"]*\)".*/\1/')
refuse "its memory is no store of its own" 3 "memory of an image" -f "$memory" set key lost
expect "check" 0 "" check
forget
expect "check of what is not in memory" 0 "" check
holds "which does not load it" test -z "$(find /dev/shm -name 'shmkv.*')"

# Who may only read it, and finds it not in memory, reads it all the same.
if is_root && setpriv --reuid=65534 --clear-groups true 2>/dev/null; then
    chmod 755 "$work"
    chmod 644 "$store"
    cp "$SHMKV" "$work/shmkv"
    before=$(sha256sum "$store")
    holds "another user reads it" test \
        "$(setpriv --reuid=65534 --clear-groups "$work/shmkv" count)" = 10001
    holds "which leaves nothing in memory" test -z "$(find /dev/shm -name 'shmkv.*')"
    holds "and the image as it was" test "$(sha256sum "$store")" = "$before"
    chmod 640 "$store"
else
    skip "another user reads it: needs root and setpriv"
fi

"$SHMKV" set when before
expect "backup" 0 "" backup "$copy"
"$SHMKV" set when after
refuse "backup over it" 3 exists backup "$copy"
expect "the copy is as the store was" 0 before -f "$copy" get when
expect "with all pairs" 0 10002 -f "$copy" count
expect "and sound" 0 "" -f "$copy" check
expect "the store is as it is" 0 after get when
cp "$store" "$work/cp.shmkv"
expect "a cp of the file is a store of its own" 0 "" -f "$work/cp.shmkv" set when elsewhere
expect "which the first knows nothing of" 0 after get when

"$SHMKV" -f "$work/large.shmkv" create --size 64M --reserve 200000
holds "an index for the keys that are expected" test \
    "$("$SHMKV" -f "$work/large.shmkv" stat | sed -n 's/^slots\t//p')" -ge 200000

refuse "one that is too large" 3 "larger" -f "$work/small.shmkv" create --size 1M --reserve 100000000
expect "which can be made with less" 0 "" -f "$work/small.shmkv" create --size 1M

# What has a name beside it that a backup might take stays.
rm "$copy"
echo precious >"$copy.partial"
expect "backup beside a file" 0 "" backup "$copy"
holds "which is left alone" test "$(cat "$copy.partial")" = precious
holds "and nothing else is left" test "$(find "$work" -name 'copy.shmkv*' | wc -l)" = 2
refuse "a backup that is no file" 3 "give its path" backup shm:copy
refuse "a backup into no directory" 3 "No such file" backup "$work/none/copy"

# Half of what there is twice was written over: told, and no damage.
cp "$copy" "$work/half.shmkv"
printf '\377\377\377' | dd of="$work/half.shmkv" bs=1 seek=10 conv=notrunc status=none
expect "one of both superblocks is damaged" 0 "note: superblock 0 is damaged, the other is whole" \
    -f "$work/half.shmkv" check
printf '\377\377\377' | dd of="$work/half.shmkv" bs=1 seek=4106 conv=notrunc status=none
for command in "get a" check "repair $work/saved.shmkv"; do
    # shellcheck disable=SC2086 # a command and its arguments
    refuse "both are: $command" 3 "both superblocks are damaged" -f "$work/half.shmkv" $command
    holds "and a repair, which cannot help, is not advised" test -z "$(grep 'repair$' "$work/err")"
done

ln -s "$work/nowhere" "$work/dangling.shmkv"
for command in "get a" "set a b" "create"; do
    # shellcheck disable=SC2086 # a command and its arguments
    refuse "a link to nothing: $command" 3 "symbolic link" -f "$work/dangling.shmkv" $command
done
rm "$work/dangling.shmkv"

refuse "what is no store" 3 "." -f "$work/pairs.data" get a
holds "is left alone" cmp -s "$work/pairs.data" <(seq 10000 | sed 's/.*/key& value&/')
refuse "destroying it" 3 "." -f "$work/pairs.data" destroy
holds "does nothing" test -s "$work/pairs.data"

expect "destroy" 0 "" destroy
holds "removes the file" test ! -e "$store"
refuse "destroy again" 3 "no (such|store)" destroy
expect "destroy of one that is not in memory" 0 "" -f "$work/cp.shmkv" destroy

# Many keys, most of them in two versions, some deleted: an index that is made part by part.
many=$work/many.shmkv
"$SHMKV" -f "$many" create --size 256M
seq 300000 | sed 's/.*/key& old/' >"$work/old.data"
seq 250000 | sed 's/.*/key& new&/' >"$work/new.data"
"$SHMKV" -f "$many" load "$work/old.data"
"$SHMKV" -f "$many" load "$work/new.data"
"$SHMKV" -f "$many" del --prefix key29999 >"$work/out"
expect "sync of many" 0 "" -f "$many" sync
forget
"$SHMKV" -f "$many" dump --format space | sort >"$work/got"
{ cat "$work/new.data" && tail -n 50000 "$work/old.data"; } | grep -v '^key29999' |
    sort >"$work/want"
same "each is there in its last version" "$work/got" "$work/want"
expect "and the store is sound" 0 "" -f "$many" check
"$SHMKV" -f "$many" destroy

# Damage: one byte in the middle of a record.
"$SHMKV" -f "$copy" destroy
"$SHMKV" create --size 32M
"$SHMKV" load "$work/pairs.data"
"$SHMKV" sync
forget
at=$(grep -abo 'value5000' "$store" | head -n 1 | cut -d: -f1)
printf X | dd of="$store" bs=1 seek="$at" conv=notrunc 2>/dev/null
run check
holds "damage is found" test "$status" = 3 -a -n "$out"
refuse "and the store not opened" 3 "repair" get key1
run repair "$work/repaired.shmkv"
holds "repair" test "$status" = 0 -a -n "$out"
expect "saves what is whole" 0 9999 -f "$work/repaired.shmkv" count
expect "a pair beside it" 0 value4999 -f "$work/repaired.shmkv" get key4999
expect "and is sound" 0 "" -f "$work/repaired.shmkv" check

# What is in use is newer in memory than what is read of its image.
mkfifo "$work/pipe"
"$SHMKV" -f "$work/repaired.shmkv" load <"$work/pipe" &
user=$!
exec 3>"$work/pipe"
for _ in $(seq 200); do
    "$SHMKV" ls | grep -E $'\t1\t[a-z ]*$' >/dev/null && break
    sleep 0.05
done
refuse "repair of what is in use" 3 "backup" -f "$work/repaired.shmkv" repair "$work/again.shmkv"
holds "makes nothing" test -z "$(find "$work" -name 'again*')"
exec 3>&-
wait "$user"
expect "and when it is not" 0 "9999 records saved, 0 bytes lost" \
    -f "$work/repaired.shmkv" repair "$work/again.shmkv"
refuse "repair to a name that is taken" 3 "exists" -f "$work/again.shmkv" repair "$store"
finish
