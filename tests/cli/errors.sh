#!/bin/bash
# SPDX-License-Identifier: MIT
# errors.sh - mistaken commands and bad surroundings: each its own error, and nothing changed.
. "$(dirname "$0")/common.bash"

small=$work/shm
watchers=()
# shellcheck disable=SC2317 # common.bash calls it
more_cleanup() {
    kill "${watchers[@]}" 2>/dev/null
    if mountpoint -q "$small"; then
        umount "$small"
    fi
}

# What the store holds, with the versions of what mistakes are tried on.
look() {
    "$SHMKV" dump | sort
    "$SHMKV" get -v a
}

# unchanged NAME BEFORE: look shows what it did then.
unchanged() {
    holds "$1" test "$(look 2>&1)" = "$2"
}

# whole NAME FILE OPTION...: each pair of the store that begins with fill is a line of the file.
whole() {
    local name=$1 file=$2
    shift 2
    "$SHMKV" "$@" dump --prefix fill | sort >"$work/stored"
    sort "$file" | comm -23 "$work/stored" - >"$work/foreign"
    holds "$name" test -s "$work/stored" -a ! -s "$work/foreign"
}

# ---- the command line ----------------------------------------------------------------------------

long=$(head -c 65536 /dev/zero | tr '\0' k)
# mistakes PREFIX: each is refused; PREFIX begins the names of the cases.
mistakes() {
    refuse "$1no command" 2 'no command'
    refuse "$1an unknown command" 2 "unknown command 'frobnicate'" frobnicate
    refuse "$1an unknown option" 2 "unknown option '--frob'" set a b --frob
    refuse "$1an option of another command" 2 "unknown option '--size'" set a b --size 1G
    refuse "$1too few arguments" 2 'too few arguments: set KEY VALUE' set a
    refuse "$1too many arguments" 2 "'c' is one argument too many" set a b c
    refuse "$1an option without its value" 2 '--ttl needs a value' set a b --ttl
    refuse "$1a flag with a value" 2 '--nx takes no value' set a b --nx=1
    refuse "$1a time that is none" 2 "--ttl: '10 parsecs' is not a time" set a b --ttl '10 parsecs'
    refuse "$1a size that is none" 2 "--size: '1Q' is not a size" create --size 1Q
    refuse "$1a size of nothing" 2 'no size' create --size 0
    refuse "$1a number that is none" 2 "--limit: 'ten' is not a whole number" scan --limit ten
    refuse "$1a number out of range" 2 'is too large' scan --limit 99999999999999999999
    refuse "$1a version out of range" 2 'is too large' cas k 99999999999999999999 x
    refuse "$1a size that no store has" 2 "--size: '1' is not 1M to 16T" create --size 1
    refuse "$1nor may have" 2 "size: '1k' is not 1M to 16T" config size=1k
    refuse "$1a store without a name" 2 "'' is no name of a store" -f '' get a
    refuse "$1a mode that is none" 2 "--mode: '999' is not" create --mode 999
    refuse "$1a version that is none" 2 "'v1' is not a whole number" cas k v1 x
    refuse "$1an empty key" 2 'a key must have 1 to 65535 bytes; this one has 0' set '' v
    refuse "$1an oversized key" 2 'this one has 65536' set "$long" v
    refuse "$1an oversized key to get" 2 'this one has 65536' get "$long"
}
mistakes ""
refuse "none of them made a store" 3 'there is no store' count
(
    unset SHMKV_STORE
    "$SHMKV" get a 2>"$work/err"
)
holds "no store is named" test $? = 2 -a -n "$(grep 'use -f PATH' "$work/err")"
expect "a store with a key" 0 "" set a kept
before=$(look)
mistakes "beside a key: "
refuse "a pattern that is none" 2 "--match: '\[' is no pattern" scan --match '['
refuse "nor to count by" 2 "--match: 'a\[' is no pattern" count --match 'a['
unchanged "and none of them changes anything" "$before"
"$SHMKV" destroy
expect "the longest key is fine" 0 "" set "${long%k}" v
expect "and is found" 0 "v" get "${long%k}"
"$SHMKV" destroy

# ---- wrong stores --------------------------------------------------------------------------------

refuse "a missing store" 3 "there is no store $SHMKV_STORE " get a
refuse "a missing store for del" 3 'there is no store' del a
refuse "a missing store for destroy" 3 "there is no store $SHMKV_STORE\$" destroy
refuse "a name without shm:" 3 'there is no store plain' -f plain get a
refuse "a file that is no image" 3 'passwd: is not the image of a shmkv store' -f /etc/passwd get a
echo 'my diary' >"$work/diary"
refuse "nor is it written to" 3 'diary: is not the image of a shmkv store' -f "$work/diary" set a b
holds "it is as it was" test "$(cat "$work/diary")" = 'my diary'
refuse "an empty name" 3 'shm:: a name is shm: and 1 to 200 of' -f shm: get a
refuse "a name with a slash" 3 'shm:a/b: a name is shm: and 1 to 200 of' -f shm:a/b set a b
long=$(head -c 201 /dev/zero | tr '\0' n)
refuse "a name that is too long" 3 'nnn: a name is shm: and 1 to 200 of' -f "shm:$long" set a b
refuse "a directory that is not there" 3 'nowhere for shared memory: No such file' \
    --shm-dir "$work/nowhere" set a b

# ---- oversized values ----------------------------------------------------------------------------

expect "a small store" 0 "" create --size 16M
expect "with a key" 0 "" set a kept
before=$(look)
refuse "cannot be made twice" 3 'exists' create --size 16M
head -c 40000000 /dev/zero | "$SHMKV" set a - 2>"$work/err" >"$work/out"
holds "an oversized value" test $? = 3 -a -n "$(grep -i 'too large' "$work/err")"
unchanged "changes nothing" "$before"
head -c 40000000 /dev/zero | "$SHMKV" append a - 2>"$work/err"
holds "an oversized append" test $? = 3 -a -n "$(grep -i 'too large' "$work/err")"
unchanged "changes nothing, too" "$before"
expect "check finds nothing" 0 "" check

# Fill it: a clear error, what is there stays, deletion makes room.
awk 'BEGIN { for (i = 0; i < 40000; i++) printf "fill%d\t%01000d\n", i, i }' >"$work/fill.tsv"
refuse "a full store" 3 'no room|full' load "$work/fill.tsv"
holds "load says how far it came" grep -qE 'stopped at record [0-9]+; [0-9]+ pairs' "$work/err"
expect "what was there stays" 0 "kept" get a
stored=$("$SHMKV" count --prefix fill)
holds "a good part was stored" test "$stored" -gt 5000
whole "and is whole" "$work/fill.tsv"
expect "deletion works on a full store" 0 "$stored" del -v --prefix fill
expect "and makes room" 0 "" set b "$(head -c 50000 "$work/fill.tsv" | tr -d '\n')"
expect "check finds nothing after that" 0 "" check
"$SHMKV" destroy

# ---- a full tmpfs --------------------------------------------------------------------------------

mkdir "$small"
if is_root && mount -t tmpfs -o size=8M shmkv-small "$small" 2>/dev/null; then
    here=(--shm-dir "$small")
    expect "a store elsewhere" 0 "" "${here[@]}" set a kept
    refuse "a full file system" 3 'is full \(8192 KiB\): delete keys, .* make the store smaller' \
        "${here[@]}" load "$work/fill.tsv"
    expect "leaves the store intact" 0 "kept" "${here[@]}" get a
    whole "and what it took is whole" "$work/fill.tsv" "${here[@]}"
    expect "check finds nothing on it" 0 "" "${here[@]}" check
    expect "destroy gives it back" 0 "" "${here[@]}" destroy --force
    holds "all of it" test -z "$(ls -A "$small")"
    head -c 9000000 /dev/zero >"$small/ballast" 2>/dev/null
    refuse "no room for even an empty store" 3 'is full \(8192 KiB\)' "${here[@]}" set a b
    rm "$small/ballast"
    run "${here[@]}" gc
    holds "a failed creation leaves nothing" test -z "$(ls -A "$small")"

    # Who opens it while its processes fill a page of entries, and there is no other page.  The last
    # one is looked for in the kernel: who asks the store takes an entry himself.
    expect "another store" 0 "" "${here[@]}" set a kept
    watchers=()
    for _ in {1..63}; do
        "$SHMKV" "${here[@]}" watch b >"$work/seen" 2>&1 &
        watchers+=($!)
    done
    patience=600
    until [ "$("$SHMKV" "${here[@]}" readers | wc -l)" = 64 ] || [ $((patience--)) = 0 ]; do
        sleep 0.1
    done
    "$SHMKV" "${here[@]}" watch b >"$work/seen" 2>&1 &
    watchers+=($!)
    until grep -q futex "/proc/${watchers[63]}/wchan" || [ $((patience--)) -le 0 ]; do
        sleep 0.1
    done
    holds "64 processes have it open" test "$patience" -gt 0
    head -c 9000000 /dev/zero >"$small/ballast" 2>/dev/null
    refuse "the 65th has no room" 3 'is full \(8192 KiB\)' "${here[@]}" set a b
    refuse "to read, too" 3 'is full \(8192 KiB\)' "${here[@]}" get a
    kill -9 "${watchers[5]}" "${watchers[40]}"
    wait "${watchers[5]}" "${watchers[40]}" 2>/dev/null
    unset 'watchers[5]' 'watchers[40]' # their pids may be somebody else's from here on
    refuse "who only reads has none after deaths" 3 'is full \(8192 KiB\)' "${here[@]}" get a
    expect "who writes buries the dead" 0 "" "${here[@]}" set a b
    expect "and makes room for readers" 0 "b" "${here[@]}" get a
    kill "${watchers[@]}" 2>/dev/null
    wait "${watchers[@]}" 2>/dev/null
    watchers=()
    rm "$small/ballast"
    expect "destroy gives that back, too" 0 "" "${here[@]}" destroy --force
    holds "all of it" test -z "$(ls -A "$small")"

    # A file that is no store, under a store's name.
    "$SHMKV" "${here[@]}" set a b
    for file in "$small"/*; do
        head -c 65536 /dev/urandom >"$file"
    done
    run "${here[@]}" get a
    holds "a scribbled store is an error, not a crash" test "$status" = 3 \
        -a -n "$(grep 'is no object of a store' "$work/err")"
    umount "$small"
else
    skip "a full file system: cannot mount"
    skip "a full file system that processes join: cannot mount"
    skip "a scribbled store: cannot mount"
fi

# ---- standard output and error that are closed ---------------------------------------------------

# Their numbers are the next that open(2) gives away: what is printed must not get into the store.
head -c 200000 /dev/urandom >"$work/large"
for store in "$SHMKV_STORE" "$work/closed.img"; do
    "$SHMKV" -f "$store" set large - <"$work/large"
    "$SHMKV" -f "$store" set word text
    before=$("$SHMKV" -f "$store" dump --format jsonl | sort | md5sum)
    "$SHMKV" -f "$store" get large >&- 2>"$work/err"
    holds "output that is closed is an error, $store" test $? = 3 \
        -a -n "$(grep 'standard output: cannot write' "$work/err")"
    "$SHMKV" -f "$store" dump >&- 2>&-
    "$SHMKV" -f "$store" incr word 2>&-
    holds "the status is right without any, $store" test $? = 3
    "$SHMKV" -f "$store" incr word <&- >&- 2>&-
    printf 'no pair\n' | "$SHMKV" -f "$store" load --skip-bad -v >&- 2>&-
    holds "and the store is as it was, $store" test "$before" = \
        "$("$SHMKV" -f "$store" dump --format jsonl 2>&1 | sort | md5sum)"
    expect "check finds nothing, $store" 0 "" -f "$store" check
    "$SHMKV" -f "$store" destroy
done

# ---- permissions ---------------------------------------------------------------------------------

other=(setpriv --reuid=65534 --clear-groups)
if is_root && "${other[@]}" true 2>/dev/null; then
    "$SHMKV" set a kept
    "${other[@]}" "$SHMKV" get a 2>"$work/err"
    holds "another user's store" test $? = 3 -a -n "$(grep -i 'may not' "$work/err")"
    "$SHMKV" destroy
    "$SHMKV" create --size 64M --mode 644
    "$SHMKV" set a kept
    before=$(look)
    "${other[@]}" "$SHMKV" set a stolen 2>"$work/err"
    holds "a store that is read-only for others" test $? = 3 \
        -a -n "$(grep 'may read .* but not write it' "$work/err")"
    holds "can be read" test "$("${other[@]}" "$SHMKV" get a 2>&1)" = kept
    unchanged "and is unchanged" "$before"
    "$SHMKV" destroy
else
    skip "another user's store: needs root and setpriv"
    skip "a read-only store: needs root and setpriv"
fi
finish
