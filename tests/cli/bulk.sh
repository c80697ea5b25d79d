#!/bin/bash
# SPDX-License-Identifier: MIT
# bulk.sh - load, dump, scan and count: formats, bad lines, filters.
. "$(dirname "$0")/common.bash"

# ---- each format there and back ------------------------------------------------------------------

awk 'BEGIN { for (i = 0; i < 5000; i++) printf "key-%05d\tvalue %d with\ta tab\n", i, i * 7 }' \
    >"$work/in.tsv"
sed 's/\t/ /' "$work/in.tsv" >"$work/in.data"
sed 's/\t/\n/' "$work/in.tsv" | tr '\n' '\0' >"$work/in.null"
for format in tsv data null; do
    "$SHMKV" destroy 2>/dev/null
    expect "load of .$format" 0 "" load "$work/in.$format"
    expect "all pairs of .$format" 0 "5000" count
    expect "a pair of .$format" 0 $'value 7 with\ta tab' get key-00001
    case $format in
    data) "$SHMKV" dump --format space | sort >"$work/out.$format" ;;
    null) "$SHMKV" dump --format null | tr '\0' '\n' | paste -d $'\1' - - |
        sort | tr '\1' '\n' >"$work/out.null" ;;
    *) "$SHMKV" dump | sort >"$work/out.$format" ;;
    esac
done
for format in tsv data; do
    sort "$work/in.$format" >"$work/sorted"
    same "dump of .$format" "$work/sorted" "$work/out.$format"
done
sed 's/\t/\n/' "$work/out.tsv" >"$work/sorted"
same "dump of .null" "$work/sorted" "$work/out.null"

# Any bytes through jsonl: the dump of a load of a dump is that dump.
"$SHMKV" destroy
printf 'k\xff\0\n\tend\0' >"$work/odd"
"$SHMKV" set $'tab\tand\nline' - <"$work/odd"
"$SHMKV" set $'\xc3\xa4' $'\xe2\x82\xac "quoted" \\'
"$SHMKV" set $'\x80bad' ""
"$SHMKV" dump "$work/one.jsonl"
"$SHMKV" destroy
expect "load of jsonl" 0 "" load "$work/one.jsonl"
"$SHMKV" dump --json | sort >"$work/two.jsonl"
sort "$work/one.jsonl" >"$work/one.sorted"
same "jsonl carries any bytes" "$work/one.sorted" "$work/two.jsonl"
"$SHMKV" get $'tab\tand\nline' >"$work/back"
same "and the value is the same" "$work/odd" "$work/back"
if perl -MJSON::PP -e 1 2>/dev/null; then
    # shellcheck disable=SC2016 # perl's own variables
    holds "jsonl is JSON" perl -MJSON::PP -ne 'decode_json($_)' "$work/one.jsonl"
else
    skip "jsonl is JSON: no perl JSON::PP"
fi

# The same, large and random, through null (without NUL) and jsonl.
"$SHMKV" clear
head -c 3000000 /dev/urandom >"$work/large"
"$SHMKV" set large - <"$work/large"
"$SHMKV" dump --json >"$work/large.jsonl"
"$SHMKV" clear
expect "a record larger than the reading block" 0 "" load "$work/large.jsonl"
"$SHMKV" get large >"$work/back"
same "came whole" "$work/large" "$work/back"

# A named pipe.
mkfifo "$work/pipe"
cat "$work/in.tsv" >"$work/pipe" &
writer=$!
timeout 20 "$SHMKV" load "$work/pipe"
holds "load of a named pipe" test $? = 0
wait "$writer"
holds "reads all that is written to it" test $? = 0 -a "$("$SHMKV" count --prefix key-)" = 5000
"$SHMKV" del --prefix key-

# A pipe gives 64 KiB at once; looking through the whole of a long record each time took forty
# times the processor time that the file took.  That is a matter of rounds, which nothing shows
# outside but time: of the process alone, beside the same by a file, with five times what it needs.
(
    printf 'long\t'
    head -c 80M /dev/zero | tr '\0' x
) >"$work/long.tsv"
TIMEFORMAT=%U
by_file=$({ time "$SHMKV" load "$work/long.tsv"; } 2>&1)
by_pipe=$({ time "$SHMKV" load < <(cat "$work/long.tsv"); } 2>&1)
holds "a long record by a pipe: $by_pipe s, by a file: $by_file s" \
    awk -v a="$by_pipe" -v b="$by_file" 'BEGIN { exit !(a < 8 * b + 0.5) }'
holds "is whole, too" cmp <(cut -f 2 "$work/long.tsv" | tr -d '\n') <("$SHMKV" get long)
"$SHMKV" del long
rm "$work/long.tsv"

# ---- expiry --------------------------------------------------------------------------------------

"$SHMKV" clear
"$SHMKV" set t v --ttl 1h
"$SHMKV" dump "$work/ttl.jsonl"
holds "jsonl carries the expiry" grep -qE '"ttl_ms": 3[56][0-9]{5}' "$work/ttl.jsonl"
"$SHMKV" clear
"$SHMKV" load "$work/ttl.jsonl"
holds "and load takes it" test "$("$SHMKV" ttl t)" != never
run dump
holds "tsv says that it does not" grep -q '1 pairs expire' "$work/err"
holds "but carries the pair" test "$status$out" = "0t"$'\t'"v"

# ---- what a format cannot carry ------------------------------------------------------------------

"$SHMKV" clear
"$SHMKV" set $'has\ttab' v
run dump
holds "dump names a pair that tsv cannot carry" \
    grep -qF 'has\ttab' "$work/err"
holds "with status 3 and the remedy" test "$status" = 3 -a -n "$(grep -- '--format jsonl' "$work/err")"
echo precious >"$work/keep.tsv"
refuse "a dump that fails" 3 'a tab' dump "$work/keep.tsv"
holds "leaves the old file" test "$(cat "$work/keep.tsv")" = precious
holds "and no other" test "$(find "$work" -name 'keep.tsv*' | wc -l)" = 1
expect "space carries a tab in a key" 0 $'has\ttab v' dump --format space
"$SHMKV" clear
"$SHMKV" set "with space" v
refuse "but no space" 3 'with space.*space' dump --format space
"$SHMKV" clear
printf 'a\0b' | "$SHMKV" set nul -
refuse "null cannot carry NUL" 3 'NUL' dump --format null

# ---- bad lines -----------------------------------------------------------------------------------

"$SHMKV" clear
printf 'a\t1\nb\t2\nbad line\nc\t3\n\td\ne\t5' >"$work/bad.tsv"
refuse "a bad line ends the load" 3 'bad.tsv:3: no tab' load "$work/bad.tsv"
holds "and says what was stored" grep -q 'after storing 2 pairs' "$work/err"
expect "the lines before it are stored" 0 "2" count
run load --skip-bad "$work/bad.tsv"
holds "--skip-bad goes on" test "$status" = 0
holds "and reports each" test "$(grep -cE 'bad.tsv:(3|5): ' "$work/err")" = 2
holds "and how many" grep -q '2 bad records were passed over' "$work/err"
expect "the others are stored" 0 "4" count
expect "a last line without line feed is one" 0 "5" get e
run load --skip-bad --format jsonl "$work/bad.tsv"
holds "everything bad" test "$status" = 0 -a "$(grep -c 'bad.tsv:' "$work/err")" = 6
printf 'k\0v\0half' >"$work/cut.null"
refuse "a cut-off null file" 3 'cut.null:2: the input ends inside' load "$work/cut.null"
expect "its whole pairs are stored" 0 "v" get k
awk 'BEGIN { for (i = 0; i < 70000; i++) printf "k"; print "\tlong key"; print "fine\tv" }' \
    >"$work/long.tsv"
refuse "a key that is too long" 3 'long.tsv:1: the key is longer than 65535' load "$work/long.tsv"
expect "is passed over by --skip-bad" 0 "" load --skip-bad "$work/long.tsv"
expect "and the next is stored" 0 "v" get fine

# ---- files ---------------------------------------------------------------------------------------

"$SHMKV" destroy
refuse "a file that is not there" 3 'nowhere.tsv: .*No such file' load "$work/nowhere.tsv"
refuse "a directory" 3 'directory' load "$work"
refuse "made no store" 3 'there is no store' count
if is_root && setpriv --reuid=65534 --clear-groups true 2>/dev/null; then
    chmod 711 "$work"
    cp "$work/in.tsv" "$work/secret.tsv"
    chmod 600 "$work/secret.tsv"
    setpriv --reuid=65534 --clear-groups "$SHMKV" load "$work/secret.tsv" 2>"$work/err"
    holds "an unreadable file" test $? = 3 -a -n "$(grep 'Permission denied' "$work/err")"
    refuse "made no store either" 3 'there is no store' count
else
    skip "an unreadable file: needs root and setpriv"
fi
printf 'from\tstdin\n' | "$SHMKV" load
expect "load reads standard input" 0 "stdin" get from
printf 'one\t1\n' >"$work/1.tsv"
printf 'two 2\n' >"$work/2.data"
printf 'three\t3\n' | "$SHMKV" load "$work/1.tsv" - "$work/2.data"
expect "load of several files, each in its format" 0 $'one\t1\ntwo\t2\nthree\t3' mget one two three
refuse "an unknown format" 2 "'csv' is not one of" load --format csv "$work/1.tsv"
printf 'two\t3\ntwo\t4\n' | "$SHMKV" load
expect "the last of one key wins" 0 "4" get two

# ---- scan and count ------------------------------------------------------------------------------

"$SHMKV" clear
"$SHMKV" load "$work/in.tsv"
"$SHMKV" scan | sort >"$work/scan"
sort "$work/in.tsv" >"$work/sorted"
same "scan prints every pair once" "$work/sorted" "$work/scan"
"$SHMKV" scan --keys | sort >"$work/scan"
cut -f 1 "$work/sorted" >"$work/keys"
same "scan --keys" "$work/keys" "$work/scan"
holds "scan --limit" test "$("$SHMKV" scan --limit 7 | wc -l)" = 7
expect "scan --limit 0" 0 "" scan --limit 0
holds "scan --prefix" test "$("$SHMKV" scan --keys --prefix key-001 | wc -l)" = 100
holds "scan --match" test "$("$SHMKV" scan --keys --match 'key-0??[12]5' | wc -l)" = 100
expect "count --prefix" 0 "1000" count --prefix key-04
expect "count --match" 0 "500" count --match '*7'
holds "scan --keys --json" grep -qx '{"key": "key-00000"}' <("$SHMKV" scan --keys --json)
holds "scan --keys --format null" \
    test "$("$SHMKV" scan --keys --format null | tr -cd '\0' | wc -c)" = 5000
expect "clear" 0 "" clear
expect "nothing is left" 0 "0" count
expect "scan of nothing" 0 "" scan

echo '{}' >"$work/empty.jsonl"
refuse "an empty object" 3 'empty.jsonl:1: key and value are both needed' load "$work/empty.jsonl"

# What replaces a file is not readable by more people than that was.
"$SHMKV" dump "$work/private.tsv"
chmod 600 "$work/private.tsv"
expect "dump over a private file" 0 "" dump "$work/private.tsv"
holds "leaves it private" test "$(stat -c %a "$work/private.tsv")" = 600

# Nor does a dump that is killed leave a part of a file, or touch the one that was there.
mkdir "$work/killed"
echo old >"$work/killed/dump.tsv"
head -c 100000 /dev/zero | tr '\0' x | "$SHMKV" set long -
(
    ulimit -c 0 -f 8
    exec "$SHMKV" dump "$work/killed/dump.tsv"
) 2>/dev/null
holds "a dump is killed by its limit" test $? = $((128 + $(kill -l XFSZ)))
holds "and leaves what was there" test "$(head -qc 99 "$work"/killed/*)" = old
"$SHMKV" del long

# A full disk is not a success.
if [ -w /dev/full ]; then
    "$SHMKV" load "$work/in.tsv"
    "$SHMKV" scan >/dev/full 2>"$work/err"
    holds "scan to a full disk fails" test $? = 3 -a -n "$(grep 'No space left' "$work/err")"
    "$SHMKV" set k v
    "$SHMKV" get k >/dev/full 2>"$work/err"
    holds "get to a full disk fails" test $? = 3 -a -n "$(grep 'No space left' "$work/err")"
    timeout 20 "$SHMKV" watch k --since 1 >/dev/full 2>"$work/err"
    holds "watch to a full disk ends" test $? = 3 -a -n "$(grep 'No space left' "$work/err")"
    refuse "dump to a full disk fails" 3 'No space left' dump /dev/full
else
    skip "a full disk: no /dev/full"
fi
finish
