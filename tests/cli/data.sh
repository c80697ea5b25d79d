#!/bin/bash
# SPDX-License-Identifier: MIT
# data.sh - the commands that work on one key.
. "$(dirname "$0")/common.bash"

# The first write makes the store, a read does not.
refuse "a read makes no store" 3 'there is no store' get a
expect "set makes the store" 0 "" set a one
expect "get" 0 "one" get a
expect "set replaces" 0 "" set a two
expect "get sees the new value" 0 "two" get a
expect "get of an absent key is 1 and silent" 1 "" get b
expect "exists" 0 "" exists a
expect "exists of an absent key" 1 "" exists b
expect "exists of several keys" 0 "" exists a a
expect "of which one is absent" 1 "" exists a b
refuse "or is none" 2 'a key must have 1 to 65535 bytes' exists a ''
refuse "even behind an absent one" 2 'a key must have 1 to 65535 bytes' exists b ''

# Raw bytes: nothing added, nothing lost.
head -c 100000 /dev/urandom >"$work/random"
"$SHMKV" set bin - <"$work/random"
"$SHMKV" get bin >"$work/back"
same "a binary value through - and back" "$work/random" "$work/back"
expect "an empty value" 0 "" set empty ""
"$SHMKV" get empty >"$work/back"
holds "is empty" test ! -s "$work/back"
holds "a value ends without line feed in a pipe" test "$("$SHMKV" get a | wc -c)" = 3
if script -qec true /dev/null >/dev/null 2>&1; then
    script -qec "$SHMKV get a" /dev/null </dev/null >"$work/terminal"
    holds "and with one on a terminal" test "$(tr -d '\r' <"$work/terminal")" = "two"
    holds "really with one" grep -q '^two' "$work/terminal"
    holds "one line on the terminal" test "$(wc -l <"$work/terminal")" = 1
else
    skip "line feed on a terminal: no script(1), or no terminal for it"
fi

expect "--nx on a present key is 1" 1 "" set a three --nx
expect "--nx changed nothing" 0 "two" get a
expect "--nx on an absent key" 0 "" set n fresh --nx
expect "--xx on an absent key is 1" 1 "" set absent v --xx
expect "--xx made nothing" 1 "" exists absent
expect "--xx on a present key" 0 "" set n changed --xx
refuse "--nx with --xx" 2 'exclude' set a b --nx --xx

expect "a value that looks like a number" 0 "" set neg -5
expect "is kept" 0 "-5" get neg
expect "a value that looks like an option, after --" 0 "" set opt -- --nx
expect "is kept, too" 0 "--nx" get opt
refuse "and without -- it is one" 2 "unknown option '--bogus'" set opt --bogus

# Versions and cas.
expect "cas 0 on an absent key" 0 "" cas c 0 first
expect "cas 0 on a present key" 1 "" cas c 0 again
version=$("$SHMKV" get -v c | sed -n 's/^version: //p')
holds "get -v shows the version" test "${version:-0}" -gt 0
holds "get -v shows that it does not expire" grep -q '^expires: never' <("$SHMKV" get -v c)
holds "get -v shows the value last" test "$("$SHMKV" get -v c | tail -n 1)" = first
expect "cas with the version" 0 "" cas c "$version" second
expect "cas with the old version" 1 "" cas c "$version" third
expect "the value is that of the first cas" 0 "second" get c
expect "a wrong version changes nothing of an absent key" 1 "" cas gone 77 x
version=$("$SHMKV" set -v c third)
expect "set -v prints a version that cas takes" 0 "" cas c "$version" fourth

# Counters.
expect "incr of an absent key" 0 "1" incr n1
expect "incr by" 0 "43" incr n1 42
expect "incr by a negative number" 0 "-7" incr n1 -50
refuse "incr of a text" 3 "$SHMKV_STORE: key 'a': .*(64-bit decimal|decimal number)" incr a
expect "which is unchanged" 0 "two" get a
refuse "incr by a text" 2 "'x' is not" incr n1 x
expect "the largest counter" 0 "" set big 9223372036854775807
refuse "does not overflow" 3 "$SHMKV_STORE: key 'big': .*leaves 64 bits" incr big
expect "and is unchanged" 0 "9223372036854775807" get big

expect "append" 0 "" append a "+more"
expect "appended" 0 "two+more" get a
expect "append to an absent key" 0 "" append fresh start
expect "starts it" 0 "start" get fresh

# Expiry.
expect "ttl of a permanent key" 0 "never" ttl a
expect "set --ttl" 0 "" set t v --ttl 100s
left=$("$SHMKV" ttl t)
holds "ttl has a unit" test "${left%ms}" != "$left"
holds "ttl is what was set" test "${left%ms}" -gt 90000 -a "${left%ms}" -le 100000
expect "touch takes ttl's own output" 0 "" touch t "$left"
# The longest life ends with the clock: what ttl and dump say of it is taken back as well.
expect "the longest life" 0 "" touch t "$(((1 << 63) - 1))ms"
expect "touch takes what that has left" 0 "" touch t "$("$SHMKV" ttl t)"
"$SHMKV" get t --json >"$work/longest.jsonl"
expect "and so does load" 0 "" load "$work/longest.jsonl"
# In a time namespace the store's clock and the wall clock are as if this had been set back.
if is_root && unshare --time --boottime 3600 true 2>/dev/null; then
    later=(unshare --time --boottime 3600 "$SHMKV")
    "$SHMKV" set t v --ttl 2h
    left=$("${later[@]}" ttl t)
    holds "ttl is right if the wall clock was set" \
        test "${left%ms}" -gt 3500000 -a "${left%ms}" -le 3600000
    holds "so is a dump" grep -qE '"ttl_ms": 3[56][0-9]{5}[,}]' <("${later[@]}" dump --json --prefix t)
    expires=$(date -d "$("${later[@]}" get -v t | sed -n 's/^expires: //p')" +%s)
    holds "and the date of get -v" test $((expires - $(date +%s) - 3500)) -gt 0 -a \
        $((expires - $(date +%s))) -le 3600
else
    skip "a wall clock that was set: no time namespaces"
fi
expect "touch never" 0 "" touch t never
expect "makes it permanent" 0 "never" ttl t
expect "touch of an absent key is 1" 1 "" touch absent 5s
expect "a short life" 0 "" set short v --ttl 700ms
expect "is there" 0 "v" get short
sleep 1
expect "and gone" 1 "" get short
expect "gone for --nx, too" 0 "" set short w --nx
expect "append keeps the expiry" 0 "" set t v --ttl 100s
expect "append to it" 0 "" append t w
holds "kept" test "$("$SHMKV" ttl t)" != never
expect "set drops the expiry" 0 "" set t v
expect "dropped" 0 "never" ttl t
expect "--keep-ttl" 0 "" set t v --ttl 100s
expect "set --keep-ttl" 0 "" set t w --keep-ttl
holds "kept by set" test "$("$SHMKV" ttl t)" != never
holds "get -v shows when" grep -qE '^expires: 20[0-9]{2}-[0-9]{2}-' <("$SHMKV" get -v t)

expect "del" 0 "" del a
expect "deleted" 1 "" get a
expect "del of an absent key is 1" 1 "" del a
"$SHMKV" mset d1 v d2 v d3 v p:1 v p:2 v p 3
expect "del of some absent keys removes the others" 1 "2" del -v d1 nothere d2
expect "one is left" 0 "" exists d3
expect "del --prefix" 0 "2" del -v --prefix p:
expect "leaves what only begins like it" 0 "3" get p
expect "del --prefix of nothing is done" 0 "0" del -v --prefix p:
refuse "del of nothing" 2 'at least one key' del
refuse "del of keys and prefix" 2 'not both' del a --prefix b

"$SHMKV" mset m1 one m2 two
expect "mget" 0 $'m1\tone\nm2\ttwo' mget m1 m2
expect "mget passes over what is absent" 1 $'m2\ttwo' mget nothere m2
expect "mget --json" 0 '{"key": "m1", "value": "one"}' mget m1 --json
refuse "mset without the last value" 2 "'b' has no value" mset a 1 b
expect "which stored nothing" 1 "" exists a
printf 'from stdin' | "$SHMKV" mset s1 - s2 v
expect "mset with -" 0 "from stdin" get s1
refuse "mset with two -" 2 'only one' mset a - b -

expect "get --json" 0 "" set j $'q"\n\x01'
holds "escapes" grep -qF '"value": "q\"\n\u0001"' <("$SHMKV" get --json j)
printf '\xff\xfe' | "$SHMKV" set j -
holds "base64 for what is not UTF-8" grep -qF '"value_b64": "//4="' <("$SHMKV" get --json j)
finish
