#!/bin/bash
# SPDX-License-Identifier: MIT
# unit.sh - what the service unit forbids is nothing that shmkvd needs: its system calls are compared
# with the unit's filter, and it keeps another user's store with the unit's capabilities, in a file
# system that is read-only but for the directories of the unit.
# shellcheck disable=SC2317 # what is called at the end, by a trap
. "$(dirname "$0")/common.bash"

unit=$(dirname "$0")/../../daemon/shmkvd.service.in
home=""
at_last() {
    find /dev/shm -name 'shmkv.*' -delete
    if [ -n "$home" ]; then rm -rf "$home"; fi
}
only_with_private_shm "the service unit"
at_last=at_last

setting() {
    sed -n "s/^$1=//p" "$unit"
}
manager_has() {
    command -v systemd-analyze >/dev/null && systemd-analyze syscall-filter "$1" >/dev/null 2>&1
}
# The system calls of a group, those of groups in it included.
expand() {
    local word
    systemd-analyze syscall-filter "$1" | sed '1d; s/#.*//' | while read -r word; do
        case $word in
        @*) expand "$word" ;;
        ?*) echo "$word" ;;
        esac
    done
}
expand_all() {
    local word
    for word in "$@"; do
        case $word in
        @*) expand "$word" ;;
        *) echo "$word" ;;
        esac
    done | sort -u
}
# What the lines SystemCallFilter= leave: each adds to those before, or with ~ takes away.
allowed() {
    local line words
    : >"$work/allowed"
    setting SystemCallFilter | while read -r line; do
        read -ra words <<<"${line#\~}"
        expand_all "${words[@]}" >"$work/line"
        case $line in
        ~*) comm -23 "$work/allowed" "$work/line" >"$work/sum" ;;
        *) sort -u "$work/allowed" "$work/line" >"$work/sum" ;;
        esac
        cp "$work/sum" "$work/allowed"
    done
}

# Of another user, where there are others; in memory there is a rest of it, his too, as a creator
# leaves who dies after his first step.
make_image() {
    local rest
    "$SHMKV" -f "$1" create --size 32M --mode 640
    find /dev/shm -name 'shmkv.*' -delete
    if is_root; then chown 65534 "$1"; fi
    "$SHMKV" -f "$1" set first value
    find /dev/shm -name 'shmkv.*' ! -name '*.sync' -delete
    rest=$(find /dev/shm -name 'shmkv.*.sync')
    : >"$rest"
    chmod 600 "$rest"
}

# A life with all that a service does: recovered, kept, written to, reread, killed, ended.
a_life() {
    local a=$1 i
    line "a store is opened" "^shmkvd: $a: keeps house"
    for i in 1 2 3; do "$SHMKV" -f "$a" set "key$i" value; done
    "$SHMKV" -f "$a" sync
    seq 20000 | sed 's/.*/k&\t&/' | "$SHMKV" -f "$a" load
    "$SHMKV" -f "$a" del --prefix k1
    kill -HUP "$main"
    kill -KILL "$(keeper_of "$a")"
    line "and kept by another process" "^shmkvd: $a: opened by" 2
    expect "which has everything" 0 value -f "$a" get key3
    kill -TERM "$main"
}

if ! manager_has @system-service; then
    skip "the filter of system calls: no systemd-analyze"
elif ! command -v strace >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
    skip "the filter of system calls: no strace, or not allowed"
elif [ -n "${SANITIZE:-}" ]; then
    skip "the filter of system calls: the sanitizer makes some of its own"
else
    make_image "$work/a.shmkv"
    strace -f -qq -e signal=none -o "$work/trace" "$SHMKVD" "$work/a.shmkv" 2>>"$log" &
    service=$!
    services+=("$service")
    seen 1 "opened by"
    main=$(pgrep -P "$service" | head -n 1)
    a_life "$work/a.shmkv"
    ends "and ends" 0 "$service"
    sed -nE 's/^[0-9]+ +([a-z0-9_]+)\(.*/\1/p' "$work/trace" | sort -u >"$work/made"
    allowed
    holds "it was seen to call the system" test "$(wc -l <"$work/made")" -gt 20
    comm -23 "$work/made" "$work/allowed" >"$work/refused"
    if [ -s "$work/refused" ]; then
        not_ok "the unit allows each call" "$(cat "$work/refused")"
    else
        ok "the unit allows each call"
    fi
fi

home=$(mktemp -d /var/lib/shmkv-test-XXXXXX 2>/dev/null)
capabilities=$(setting CapabilityBoundingSet | sed 's/CAP_//g; s/ /,+/g' | tr '[:upper:]' '[:lower:]')
# As the unit has it: $home is below a ReadWritePaths=, /tmp and the network are the service's own.
restricted() {
    # shellcheck disable=SC2016 # expanded there
    exec unshare --mount --net --propagation private sh -c '
        mount --bind "$0" "$0" && mount -o remount,bind,ro / && mount -t tmpfs none /tmp &&
            exec "$@"' "$home" setpriv --bounding-set "-all,+$capabilities" --inh-caps=-all \
        --no-new-privs "$@"
}
if [ -n "$home" ] && is_root && (restricted true) 2>/dev/null; then
    a=$home/a.shmkv
    cp "$SHMKVD" "$home/shmkvd"
    make_image "$a"
    holds "all else is read-only" test -z "$(restricted touch /var/written 2>/dev/null && echo yes)"
    : >"$log"
    restricted "$home/shmkvd" "$a" 2>>"$log" &
    main=$!
    service=$main
    services+=("$service")
    a_life "$a"
    ends "with no more than the unit's rights it ends well, too" 0 "$service"
    expect "having written all" 0 value -f "$a" get first
    holds "the memory is the user's" test -z "$(find /dev/shm -name 'shmkv.*' ! -uid 65534)"
    holds "and as open to others as the image" test "$(stat -c %a /dev/shm/shmkv.*.sync)" = 660
    holds "nothing failed" test -z "$(grep -iE 'failed|denied|permi' "$log")"
else
    skip "the unit's rights: needs root, mounts and setpriv"
fi
finish
