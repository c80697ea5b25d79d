#!/bin/bash
# SPDX-License-Identifier: MIT
# debian.sh - every stanza of the machine's Debian package lists in, and out again unchanged.
. "$(dirname "$0")/common.bash"
stanzas=$(dirname "$0")/../../scripts/debian-stanzas.sh

if [ ! -e /var/lib/dpkg/status ] || ! "$stanzas" >"$work/in.null" 2>"$work/err"; then
    skip "no package lists on this machine: $(head -n 1 "$work/err")"
    finish
fi

# One pair a line, so that sort and cmp can be used: NUL becomes LF and LF becomes NUL.
lines() {
    tr '\0\n' '\n\0' | paste -d $'\1' - - | sort
}

"$stanzas" --last | lines >"$work/want"
pairs=$(wc -l <"$work/want")
holds "there are packages" test "$pairs" -gt 0
expect "load of $pairs packages" 0 "" load --format null "$work/in.null"
expect "as many keys" 0 "$pairs" count
"$SHMKV" dump --format null | lines >"$work/got"
same "dump gives every stanza back, the last of each name" "$work/want" "$work/got"

"$SHMKV" dump "$work/out.jsonl"
"$SHMKV" clear
expect "the same through jsonl" 0 "" load "$work/out.jsonl"
"$SHMKV" dump --format null | lines >"$work/got"
same "nothing is lost there" "$work/want" "$work/got"
expect "and the store is sound" 0 "" check
finish
