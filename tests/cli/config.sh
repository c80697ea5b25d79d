#!/bin/bash
# SPDX-License-Identifier: MIT
# config.sh - settings of a store, printed and changed while it is in use; what info says of them.
# shellcheck disable=SC2317 # what is called at the end, by a trap
. "$(dirname "$0")/common.bash"

store=$work/store.shmkv
more_cleanup() {
    "$SHMKV" -f "$store" destroy --force 2>/dev/null
    "$SHMKV" -f "$SHMKV_STORE-cache" destroy --force 2>/dev/null
}
setting() {
    "$SHMKV" config | sed -n "s/^$1\t//p"
}

refuse "a store that is not there" 3 "there is no store" config
"$SHMKV" create --size 16M
holds "the size it was made with" test "$(setting size)" = 16777216
holds "is no cache" test "$(setting cache)" = no
holds "has no image" test -z "$(setting image)"
holds "has memory, in two objects" test -e "$(setting memory)" -a -e "$(setting memory).sync"
most=$(setting size_most)
holds "and may grow threefold, about" test "$most" -ge 50331648 -a "$most" -le 67108864
holds "--json" grep -qx "{\"size\": 16777216, \"size_most\": $most, \"segment_size\": [0-9]*, \
\"cache\": false, \"memory\": \"[^\"]*\"}" <("$SHMKV" config --json)

# Filled until it is full; then there is room again, for those who have it open, too.
awk 'BEGIN { for (i = 0; i < 30000; i++) printf "k%d\t%01000d\n", i, i }' >"$work/fill.tsv"
run load "$work/fill.tsv"
holds "30 MB do not fit into 16 MiB" test "$status" = 3
# (one that is killed leaves a dead process, of which check tells until its entry is taken anew)
"$SHMKV" watch changed --since 0 --count 1 --timeout 60s >/dev/null &
watcher=$!
expect "raise the size" 0 "" config size=48M
# (grep -q would leave at the line, and info die of SIGPIPE)
holds "which info tells" test "$("$SHMKV" info | sed -n 's/^size\t//p')" = 50331648
expect "30 MB fit into 48 MiB" 0 "" load "$work/fill.tsv"
expect "all of them" 0 30000 count
expect "and the store is sound" 0 "" check
"$SHMKV" set changed yes
holds "who had it open meanwhile sees what is put" wait $watcher
"$SHMKV" del changed

refuse "less than is in use" 3 "in use.*delete" config size=16M
refuse "less than any store may have" 2 "not 1M to 16T" config size=4K
refuse "more than it can have" 3 "larger store" config size=1T
refuse "no size" 2 "'big' is no size" config size=big
refuse "nothing" 2 "'0' is no size" config size=0
refuse "an unknown setting" 2 "'colour' is no setting" config colour=red
refuse "a good one and an unknown one" 2 "'colour' is no setting" config size=40M colour=red
refuse "a good one twice" 2 "twice" config size=40M size=41M
refuse "no value" 2 "KEY=VALUE" config size
refuse "an interval of a volatile store" 3 "no image" config interval=5s
refuse "no interval" 2 "'soon' is no time" config interval=soon
refuse "none at all" 2 "'0' is no time" config interval=0
refuse "a setting that is fixed" 2 "'cache' cannot be changed" config cache=yes
holds "and nothing has changed" test "$(setting size)" = 50331648
expect "nor been lost" 0 30000 count

expect "what is deleted makes room" 0 "" del --prefix k2
expect "to lower the size" 0 "" config size=40M
holds "which is so" test "$(setting size)" = 41943040
expect "and the store is sound" 0 "" check
memory=$("$SHMKV" stat | sed -n 's/^memory\t//p')
holds "with its memory below it" test "$memory" -le 41943040
expect "it takes writes" 0 "" set a b
"$SHMKV" clear
expect "an empty one can be small" 0 "" config size=8M
expect "and takes writes" 0 "" set a b

"$SHMKV" -f "$SHMKV_STORE-cache" create --size 16M --cache
holds "a cache says so" grep -qx $'cache\tyes' <("$SHMKV" -f "$SHMKV_STORE-cache" config)
holds "in info, too" grep -q '"cache": true' <("$SHMKV" -f "$SHMKV_STORE-cache" info --json)
holds "info of another one says no" grep -qx $'cache\tno' <("$SHMKV" info)

# With an image; the new size is in it.
only_with_private_shm "the size of an image"
"$SHMKV" destroy
"$SHMKV" -f "$SHMKV_STORE-cache" destroy
SHMKV_STORE=$store
"$SHMKV" create --size 16M
"$SHMKV" set key value
holds "an image is named" test "$(setting image)" = "$store"
holds "info names it" grep -qx $'image\t'"$store" <("$SHMKV" info)
bytes=$("$SHMKV" info | sed -n 's/^image_bytes\t//p')
holds "and tells what it takes on the disk" test "${bytes:-0}" -gt 4096
for size in 40M 8M; do
    expect "set it to $size" 0 "" config size=$size
    find /dev/shm -name 'shmkv.*' -delete
    expect "the image opens" 0 value get key
    holds "with the size it had" test "$(setting size)" = $((${size%M} << 20))
done
holds "by itself it is written each second" test "$(setting interval)" = 1000ms
expect "change the interval" 0 "" config interval=250ms
find /dev/shm -name 'shmkv.*' -delete
holds "the image has it" test "$(setting interval)" = 250ms
holds "in JSON, too" grep -q '"interval_ms": 250}' <("$SHMKV" config --json)
expect "both at once" 0 "" config interval=2m size=32M
holds "are changed" test "$(setting interval) $(setting size)" = "120000ms 33554432"
refuse "a good one, and a size that is none for it" 3 "1 MiB" config interval=5s size=16T
refuse "more than a year" 3 "366 days" config interval=1000d
holds "change nothing" test "$(setting interval) $(setting size)" = "120000ms 33554432"
"$SHMKV" backup "$work/backup.shmkv"
holds "a backup has it" grep -qx $'interval\t120000ms' \
    <("$SHMKV" -f "$work/backup.shmkv" config)
"$SHMKV" repair "$work/repaired.shmkv" >/dev/null
holds "so has a repaired one" grep -qx $'interval\t120000ms' \
    <("$SHMKV" -f "$work/repaired.shmkv" config)
"$SHMKV" -f "$work/backup.shmkv" destroy
"$SHMKV" -f "$work/repaired.shmkv" destroy

# Who has it open obeys from now on.  Both intervals are far from what is waited for.
durable() {
    cp "$store" "$work/copy.shmkv"
    local value
    value=$("$SHMKV" -f "$work/copy.shmkv" get "$1" 2>/dev/null)
    "$SHMKV" -f "$work/copy.shmkv" destroy
    [ "$value" = "$2" ]
}
soon_durable() {
    for _ in $(seq 100); do
        durable "$@" && return
        sleep 0.1
    done
    return 1
}
expect "an hour" 0 "" config interval=1h
mkfifo "$work/pipe"
"$SHMKV" load <"$work/pipe" &
loader=$!
{
    # A line is taken when the block that it is in was read.
    printf 'first\tone\n%s\t%0300000d\n' pad 0
    holds "a keeper that begins writes what is there" soon_durable first one >&4
    printf 'slow\tone\n%s\t%0300000d\nlast' pad 1
    for _ in $(seq 100); do
        [ "$("$SHMKV" get slow 2>/dev/null)" = one ] && break
        sleep 0.1
    done
    holds "what was put is there" test "$("$SHMKV" get slow)" = one >&4
    sleep 0.5
    holds "and not yet written" test ! "$(durable slow one && echo yes)" >&4
    "$SHMKV" -f "$store" config interval=50ms
    holds "with a shorter interval it is, soon" soon_durable slow one >&4
    printf '\tone\n'
} 4>&1 >"$work/pipe"
wait "$loader"
expect "it is sound" 0 "" check
finish
