#!/bin/bash
# SPDX-License-Identifier: MIT
# look.sh - stat, readers, watch, bench, and the help in all its forms.
. "$(dirname "$0")/common.bash"
top=$(cd "$(dirname "$0")/../.." && pwd)

json_ok() {
    if perl -MJSON::PP -e 1 2>/dev/null; then
        # shellcheck disable=SC2016 # perl's own variables
        holds "$1 is JSON" perl -MJSON::PP -ne 'decode_json($_); END { exit 1 unless $. }' "$2"
    else
        skip "$1 is JSON: no perl JSON::PP"
    fi
}

"$SHMKV" create --size 64M
"$SHMKV" mset a 1 b 2 c 3
"$SHMKV" del c

# ---- stat ----------------------------------------------------------------------------------------

"$SHMKV" stat --json >"$work/stat.json"
json_ok "stat --json" "$work/stat.json"
holds "stat counts keys" grep -q '"keys": 2,' "$work/stat.json"
holds "stat counts puts" grep -qE '"puts": [3-9],' "$work/stat.json"
holds "stat has bytes_per_key" grep -qE '"bytes_per_key": [0-9]+\.[0-9]' "$work/stat.json"
holds "stat in lines" grep -qx $'keys\t2' <("$SHMKV" stat)
"$SHMKV" stat --prometheus >"$work/prometheus"
holds "stat --prometheus counts" grep -qE '^shmkv_puts_total\{store="shm:[^"]*"\} [3-9]' \
    "$work/prometheus"
holds "and measures" grep -qE '^shmkv_memory_bytes\{store="shm:[^"]*"\} [1-9][0-9]*$' \
    "$work/prometheus"
other=$(grep -vE '^# (HELP|TYPE) shmkv_|^shmkv_[a-z_]+\{store="[^"]+"\} [0-9]+$' \
    "$work/prometheus")
holds "in lines of two kinds only" test -z "$other"
refuse "not both" 2 'exclude' stat --json --prometheus
"$SHMKV" info --json >"$work/info.json"
json_ok "info --json" "$work/info.json"
"$SHMKV" ls --json >"$work/ls.json"
json_ok "ls --json" "$work/ls.json"

# ---- watch and readers ---------------------------------------------------------------------------

version=$("$SHMKV" get -v a | sed -n 's/^version: //p')
"$SHMKV" watch a --since "$version" --count 3 --timeout 20s >"$work/watched" &
watcher=$!
await() { # await LINES: until the watcher has printed as many
    for _ in $(seq 100); do
        [ "$(wc -l <"$work/watched")" -ge "$1" ] && return
        sleep 0.05
    done
}
"$SHMKV" set a $'new\nvalue'
await 1
"$SHMKV" readers >"$work/readers"
"$SHMKV" readers --json >"$work/readers.json"
"$SHMKV" del a
await 2
"$SHMKV" set a again
wait $watcher
holds "watch ends after --count" test $? = 0
holds "watch shows a change, escaped" grep -qE '^[1-9][0-9]*	new\\nvalue$' "$work/watched"
holds "watch shows a removal" grep -qx $'0\t' "$work/watched"
holds "watch shows what follows" grep -qE '^[1-9][0-9]*	again$' "$work/watched"
holds "readers knows the watcher" grep -q "^$watcher"$'\t' "$work/readers"
json_ok "readers --json" "$work/readers.json"
holds "and its thread, with an age" grep -qE "^$watcher	shmkv(	[0-9]+){4}	$watcher	[0-9]+\$" \
    "$work/readers"
expect "watch --timeout is 1" 1 "" watch a --timeout 100ms
expect "watch of everything, timed out" 1 "" watch --timeout 100ms
# Neither ends: the first has no limit, the other one's does not fit 64 bits of nanoseconds.
for limit in never 18446744073710ms; do
    timeout 1 "$SHMKV" watch a --timeout "$limit"
    holds "watch --timeout $limit waits" test $? = 124
done
"$SHMKV" set e v --ttl 1s
version=$("$SHMKV" get -v e | sed -n 's/^version: //p')
expect "watch notices an expiry" 0 $'0\t' watch e --since "$version" --count 1 --timeout 10s
"$SHMKV" watch --count 1 --timeout 20s --json >"$work/any" &
watcher=$!
for _ in $(seq 100); do # it may not be waiting yet
    "$SHMKV" set any "$RANDOM"
    kill -0 $watcher 2>/dev/null || break
    sleep 0.05
done
wait $watcher
holds "watch of everything" test $? = 0 -a -n "$(grep '"puts": ' "$work/any")"
# Who has written leaves after a while: that is no write.
"$SHMKV" watch --timeout 3s >"$work/any" &
watcher=$!
sleep 1
"$SHMKV" set any thing
wait $watcher
holds "one line for one write" test "$(wc -l <"$work/any")" = 1
refuse "watch --since without key" 2 'needs a KEY' watch --since 3

# ---- bench ---------------------------------------------------------------------------------------

before=$("$SHMKV" dump | sort)
run bench --seconds 1 --keys 2000 --json
holds "bench" test "$status" = 0 -a "$(wc -l <"$work/out")" = 4
json_ok "bench --json" "$work/out"
holds "bench left the user's keys alone" test "$before" = "$("$SHMKV" dump | sort)"
holds "bench removed its store" test -z "$("$SHMKV" ls | grep '^shm:bench-')"
"$SHMKV" bench --seconds 1 --keys 2000 2>/dev/null | head -n 1 >/dev/null
holds "also if nobody reads what it prints" test -z "$("$SHMKV" ls | grep '^shm:bench-')"
refuse "bench of nothing" 2 'at least 1' bench --keys 0
"$SHMKV" bench --seconds 60 --keys 1000 >/dev/null 2>&1 &
bench=$!
for _ in $(seq 100); do
    "$SHMKV" ls | grep -q "^shm:bench-$bench" && break
    sleep 0.05
done
kill -TERM $bench
wait $bench
holds "bench interrupted says so" test $? = 3
holds "and has removed its store" test -z "$("$SHMKV" ls | grep "^shm:bench-$bench")"

# ---- help ----------------------------------------------------------------------------------------

run --help
holds "--help" test "$status" = 0
holds "--version" grep -qE '^shmkv [0-9]+\.[0-9]+\.[0-9]+$' <("$SHMKV" --version)
"$SHMKV" help >"$work/help"
holds "help is the same" test $? = 0 -a -s "$work/help" -a -z "$(diff "$work/help" "$work/out")"
"$SHMKV" help set >"$work/help"
holds "help COMMAND" test $? = 0 -a -z "$("$SHMKV" set --help | diff "$work/help" -)"
refuse "help of an unknown command" 2 "unknown command 'frobnicate'" help frobnicate
run --help
# Two blanks at the front, a word in small letters: a command.
commands=$(sed -nE 's/^  ([a-z]+) .*/\1/p' "$work/out")
holds "it lists the commands" test "$(wc -w <<<"$commands")" -ge 25
for command in $commands; do
    run "$command" --help
    options=$(grep -oE -- '--[a-z-]+' "$work/out" | sort -u)
    missing=""
    grep -qE "^\.(It|Sh|Ss|Ic|Nm) (Ic )?$command\b" "$top/man/shmkv.1" || missing+=" manual"
    for file in shmkv.bash _shmkv; do
        grep -qE "\b$command\b" "$top/completions/$file" || missing+=" $file"
    done
    for option in $options; do
        grep -qE -- "Fl -${option#--}( |$)" "$top/man/shmkv.1" || missing+=" manual:$option"
        for file in shmkv.bash _shmkv; do
            grep -qF -- "$option" "$top/completions/$file" || missing+=" $file:$option"
        done
    done
    if [ "$status" = 0 ] && [ -z "$missing" ]; then
        ok "help, manual and completions know $command"
    else
        not_ok "help, manual and completions know $command" "status $status" "missing:$missing"
    fi
done
if command -v mandoc >/dev/null; then
    holds "the manual is clean" test -z "$(mandoc -T lint -W warning "$top/man/shmkv.1")"
else
    skip "the manual is clean: no mandoc"
fi
holds "the bash completion is bash" bash -n "$top/completions/shmkv.bash"
finish
