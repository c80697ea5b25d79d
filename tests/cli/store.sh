#!/bin/bash
# SPDX-License-Identifier: MIT
# store.sh - the commands that concern whole stores.
. "$(dirname "$0")/common.bash"

expect "create" 0 "" create --size 64M --reserve 100000 --mode 640
holds "it is empty" test "$("$SHMKV" count)" = 0
holds "with the limit asked for" grep -qx $'size\t67108864' <("$SHMKV" info)
holds "and its name" grep -qx $'store\t'"$SHMKV_STORE" <("$SHMKV" info)
slots=$("$SHMKV" info | sed -n 's/^slots\t//p')
holds "and an index for the keys reserved" test "${slots:-0}" -ge 100000
objects=$(find /dev/shm -name "shmkv*${SHMKV_STORE#shm:}*" ! -name '*.sync' -perm 640)
holds "in the mode asked for" test -n "$objects"
holds "ls lists it" grep -q "^$SHMKV_STORE"$'\t67108864\t[0-9]*\t0\tusable$' <("$SHMKV" ls)
holds "ls --json, too" grep -q "{\"name\": \"$SHMKV_STORE\", \"size\": 67108864, " \
    <("$SHMKV" ls --json)
refuse "create again" 3 'exists' create

"$SHMKV" set a b
expect "check of a sound store" 0 "" check
expect "clear" 0 "" clear
expect "cleared" 0 "0" count

# Compaction gives memory back.
awk 'BEGIN { for (i = 0; i < 20000; i++) printf "k%d\t%01000d\n", i, i }' >"$work/fill.tsv"
"$SHMKV" load "$work/fill.tsv"
expect "a store of 20000 pairs is sound" 0 "" check
stat() {
    "$SHMKV" stat | sed -n "s/^$1\t//p"
}
full=$(stat memory)
"$SHMKV" clear
expect "compact" 0 "" compact
holds "compact gives the memory of an emptied store back" test "$(stat memory)" -lt $((full / 8))
expect "check after compact" 0 "" check

# In a container that shows another boot's number to some of its processes, but not to all.
in_container() {
    # shellcheck disable=SC2016 # expanded there
    unshare --mount --propagation private sh -c '
        mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"' "$work/boot_id" "$@"
}
echo 01234567-89ab-cdef-0123-456789abcdef >"$work/boot_id"
if is_root && in_container true 2>/dev/null; then
    "$SHMKV" set where outside
    holds "a store of outside is seen in a container" \
        test "$(in_container "$SHMKV" get where)" = outside
    in_container "$SHMKV" set where inside
    expect "and written to" 0 inside get where
    holds "one is made in a container" \
        in_container "$SHMKV" -f "$SHMKV_STORE-c" create --size 1M
    in_container "$SHMKV" -f "$SHMKV_STORE-c" set where inside
    expect "and seen outside" 0 inside -f "$SHMKV_STORE-c" get where
    expect "where it can be destroyed" 0 "" -f "$SHMKV_STORE-c" destroy
else
    skip "a container's number of the boot: needs root and mounts"
fi

# Somebody is attached.
"$SHMKV" watch --timeout 20s >/dev/null 2>&1 &
watcher=$!
for _ in $(seq 50); do
    "$SHMKV" ls | grep -q "^$SHMKV_STORE"$'\t.*\t1\tusable' && break
    sleep 0.1
done
refuse "destroy of a store in use" 3 ' in use: .*readers.*--force' destroy
holds "says so once" test "$(grep -o readers <<<"$err" | wc -l)" = 1
expect "which is still there" 0 "" set a b
expect "destroy --force" 0 "" destroy --force
refuse "gone" 3 'there is no store' get a
kill $watcher 2>/dev/null
wait $watcher 2>/dev/null
holds "nothing of it is left" test -z "$(find /dev/shm -name "shmkv*${SHMKV_STORE#shm:}*")"
run gc
holds "gc prints a number" test "$status" = 0 -a -n "$out" -a -z "${out//[0-9]/}"
finish
