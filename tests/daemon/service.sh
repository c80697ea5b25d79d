#!/bin/bash
# SPDX-License-Identifier: MIT
# service.sh - shmkvd from outside: stores, signals, deaths, stand-by, configuration.
. "$(dirname "$0")/common.bash"

a=$SHMKV_STORE
b=$SHMKV_STORE-b
c=$SHMKV_STORE-c
stores+=("$b" "$c")

# ---- the command line ----------------------------------------------------------------------------

usage() {
    local name=$1 pattern=$2
    shift 2
    timeout 5 "$SHMKVD" "$@" >"$work/out" 2>"$work/err"
    local status=$?
    if [ $status = 2 ] && [ ! -s "$work/out" ] && grep -qE "$pattern" "$work/err"; then
        ok "$name"
    else
        not_ok "$name" "status $status" "$(cat "$work/err")"
    fi
}
usage "an unknown option" "unknown|unrecognized" --frobnicate "$a"
usage "a bad interval" "interval wants a time" --interval soon "$a"
usage "a size that no store can have" "size wants .*1M to 16T" --test --create --size 1 "$a"
for name in "" shm: shm:a/b shm:a.sync "shm:$(printf '%0201d' 0)" /x/; do
    usage "a name that no store can have: '${name:0:12}'" "^shmkvd: '$name': " --test "$name"
    usage "not tried for ever: '${name:0:12}'" "^shmkvd: '$name': " "$name"
done
printf '[shm:a/b]\n[/x/]\nsize=1k\nfoo = 1\n' >"$work/names.conf"
for wrong in '1: a name is' '2: .*directory' '3: size wants' "4: no setting 'foo'; there are"; do
    usage "in the file: $wrong" "^shmkvd: $work/names.conf:$wrong" -t -c "$work/names.conf"
done
usage "a file that is not there" "$work/none: No such file" --config "$work/none"
holds "--help" grep -q -- '--config' <("$SHMKVD" --help)
holds "--version" test "$("$SHMKVD" --version)" = "shmkvd $("$SHMKV" --version | cut -d' ' -f2)"
printf 'interval = 1s\n[%s\nfoo = 1\n' "$a" >"$work/bad.conf"
usage "bad lines are named" "^shmkvd: $work/bad.conf:2: " --test --config "$work/bad.conf"
usage "all of them" "^shmkvd: $work/bad.conf:3: " --test --config "$work/bad.conf"
printf '# fine\n[%s]\ncreate = yes\n' "$a" >"$work/good.conf"
holds "a good one passes the test" "$SHMKVD" --test --config "$work/good.conf"
holds "which makes nothing" test -z "$("$SHMKV" ls | grep -F "$a")"

# ---- several stores, one of them not there -------------------------------------------------------

"$SHMKV" -f "$a" create --size 16M
"$SHMKV" -f "$a" set key value
serve "$a" "$b"
line "a store is opened" "^shmkvd: $a: opened by process [0-9]+ in [0-9]+ ms: 1 keys"
line "and kept" "^shmkvd: $a: keeps house"
line "one that is not there is told" "^shmkvd: $b: there is no store .* next try in 1 s"
holds "once" test "$(grep -c "^shmkvd: $b: there is no store" "$log")" = 1
"$SHMKV" -f "$b" create --size 16M
line "and taken when it comes" "^shmkvd: $b: keeps house"
line "the other goes on" "^shmkvd: $a: keeps house"
holds "the tool sees who is there" grep -q shmkvd <("$SHMKV" -f "$a" readers)

# ---- deaths --------------------------------------------------------------------------------------

kill -KILL "$(keeper_of "$a")"
line "a killed keeper is told" "^shmkvd: $a: its process [0-9]+ was killed by signal 9"
line "and followed by another" "^shmkvd: $a: opened by" 2
expect "nothing is lost" 0 value -f "$a" get key
first=$service
kill -KILL "$first"
wait "$first" 2>/dev/null
line "the keepers end with a killed service" "^shmkvd: $b: closed"
: >"$log"
serve "$a" "$b"
line "which simply starts again" "^shmkvd: $a: keeps house"

# ---- stand-by ------------------------------------------------------------------------------------

second_log=$work/second
"$SHMKVD" "$a" 2>"$second_log" &
second=$!
services+=("$second")
log=$second_log line "a second service stands by" "$a: stands by: process [0-9]+ \(shmkvd\) keeps house"
kill -TERM "$service"
ends "the first ends as asked" 0 "$service"
log=$second_log line "and the second takes over" "$a: keeps house now; process [0-9]+ is gone"
kill -INT "$second"
ends "and ends as asked, by SIGINT" 0 "$second"

# ---- a keeper that is stopped, a store that is removed -------------------------------------------

: >"$log"
serve --create --size 16M "$a" "$c"
line "--create makes a store" "^shmkvd: $c: keeps house"
"$SHMKV" -f "$c" destroy --force
line "a removed store is told" "^shmkvd: $c: the store was removed"
line "and made anew" "^shmkvd: $c: opened by" 2
keeper=$(keeper_of "$a")
kill -STOP "$keeper"
kill -TERM "$service"
ends "a stopped keeper is woken to end" 0 "$service"

# ---- SIGHUP --------------------------------------------------------------------------------------

: >"$log"
conf=$work/shmkvd.conf
printf '[%s]\n' "$a" >"$conf"
serve --config "$conf"
line "a store of the configuration" "^shmkvd: $a: keeps house"
printf '[%s]\n[%s]\n' "$a" "$b" >"$conf"
kill -HUP "$service"
line "is read anew" "^shmkvd: $conf: read; 2 stores"
line "one was added" "^shmkvd: $b: keeps house"
holds "the other was left alone" test "$(grep -c "^shmkvd: $a: opened" "$log")" = 1
printf '[%s]\ninterval = 5s\nwrong\n' "$a" >"$conf"
kill -HUP "$service"
line "a bad line is named" "^shmkvd: $conf:3: "
line "and the old settings stay" "^shmkvd: $conf: not taken over"
printf '[%s]\n[shm:a/b]\n' "$a" >"$conf"
kill -HUP "$service"
line "nor is a store taken that there cannot be" "^shmkvd: $conf: not taken over" 2
holds "with both stores" test "$(grep -c ": closed" "$log")" = 0
printf '[%s]\ninterval = 5s\n' "$a" >"$conf"
kill -HUP "$service"
line "a store is taken out" "^shmkvd: $b: closed"
line "and one is opened with other settings" "^shmkvd: $a: opened by" 2
: >"$conf"
kill -HUP "$service"
line "all are taken out" "^shmkvd: $a: closed" 2
kill -TERM "$service"
ends "a service without stores" 0 "$service"

# ---- held back -----------------------------------------------------------------------------------

: >"$log"
"$SHMKV" -f "$b" destroy
"$SHMKV" -f "$b" create --size 8M
serve "$b"
line "a small store" "^shmkvd: $b: keeps house"
awk 'BEGIN { for (i = 0; i < 7500; i++) printf "k%d\t%01000d\n", i, i }' >"$work/fill.tsv"
refuse "a store is filled" 3 "no room" -f "$b" load "$work/fill.tsv"
line "almost full is told" "^shmkvd: $b: is almost full: current values take [0-9]+ %"
"$SHMKV" -f "$b" clear
line "and room again" "^shmkvd: $b: has room again"
kill -TERM "$service"
ends "ends" 0 "$service"
finish
