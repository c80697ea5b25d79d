#!/bin/bash
# SPDX-License-Identifier: MIT
# cache.sh - a store that was made with create --cache: never full, and sound.
. "$(dirname "$0")/common.bash"

expect "create --cache" 0 "" create --cache --size 4M
expect "holds what is put" 0 "" set first 1
expect "and gives it back" 0 "1" get first
expect "a deleted key" 0 "" del first
run get first
holds "is gone" test "$status" = 1

# Several times as much as there is room for.
pairs() {
    awk 'BEGIN { for (i = 0; i < 200000; i++) printf "k%d\tvalue%d of a cache\n", i, i }'
}
pairs >"$work/pairs"
holds "a load of more than it holds is not refused" "$SHMKV" load <"$work/pairs"
holds "keys were evicted" grep -qx $'evictions\t[1-9][0-9]*' <("$SHMKV" stat)
"$SHMKV" count >"$work/count"
# shellcheck disable=SC2016 # awk's own fields
holds "some are there, and not all" awk '{ exit !($1 > 1000 && $1 < 190000) }' "$work/count"
wrong=$("$SHMKV" scan | awk -F '\t' '$2 != "value" substr($1, 2) " of a cache"' | head -3)
holds "what is there is what was put" test -z "$wrong"
run get first
holds "the deleted key did not come back" test "$status" = 1
holds "the youngest key is there" "$SHMKV" get k199999
holds "the cache is sound" "$SHMKV" check

# The same in a store is refused.
"$SHMKV" destroy --force
expect "create without --cache" 0 "" create --size 4M
run load <"$work/pairs"
holds "a store of that size is full" test "$status" != 0

# What is evicted leaves no tombstone: nothing of it may be on a disk, to come back from there.
refuse "a cache has no image" 3 'a cache has no image' -f "$work/image" create --cache --size 4M
holds "no file is made" test ! -e "$work/image"
finish
