#!/bin/bash
# SPDX-License-Identifier: MIT
# trouble.sh - what keeps a store from being kept is told, with what to do, and passes by itself:
# no memory, a full or read-only tmpfs, no permission, another owner, a directory that is none.
. "$(dirname "$0")/common.bash"

a=$SHMKV_STORE
small=$work/small
mkdir "$small"
unmount() {
    if mountpoint -q "$small"; then umount "$small"; fi
}
at_last=unmount

stop() {
    kill -TERM "$service"
    ends "$1" 0 "$service"
    : >"$log"
}

# ---- a directory that will not do ----------------------------------------------------------------

serve --shm-dir "$work/none" "$a"
line "a directory that is not there" "^shmkvd: $a: .*$work/none.* next try in 1 s"
stop "which does not keep it from ending"
serve --shm-dir "$work" --create "$a"
line "one that is on no tmpfs" "^shmkvd: $a: .*tmpfs"
stop "the same"

if is_root && mount -t tmpfs -o size=64k shmkv-small "$small" 2>/dev/null; then
    serve --shm-dir "$small" --create --size 64M "$a"
    line "a tmpfs without room" "^shmkvd: $a: .*(room|space|full|small).*; next try"
    mount -o remount,size=64m "$small"
    line "one that has grown" "^shmkvd: $a: keeps house"
    stop "and ends"
    "$SHMKV" --shm-dir "$small" destroy
    mount -o remount,ro "$small"
    serve --shm-dir "$small" --create --size 16M "$a"
    line "a read-only one" "^shmkvd: $a: .*([Rr]ead-only|permission|denied).*; next try"
    mount -o remount,rw "$small"
    line "that can be written again" "^shmkvd: $a: keeps house"
    stop "and ends"
    "$SHMKV" --shm-dir "$small" destroy
    unmount
else
    skip "a full and a read-only tmpfs: cannot mount"
fi

# ---- nobody reads what it tells ------------------------------------------------------------------

mkfifo "$work/told"
head -n 1 "$work/told" >>"$log" &
reader=$!
"$SHMKVD" --create --size 16M "$a" 2>"$work/told" &
service=$!
services+=("$service")
wait "$reader"
for _ in $(seq 100); do
    "$SHMKV" get a >"$work/out" 2>&1
    [ $? = 1 ] && break # the store is there, and no such key
    sleep 0.1
done
kill -HUP "$service" # it tells that there is nothing to read
sleep 0.5
holds "it goes on if the reader of its lines ends" kill -0 "$service"
stop "and ends as it should"
"$SHMKV" -f "$a" destroy

# ---- a parent that ignores the ends of its children ----------------------------------------------

if env --ignore-signal=CHLD true 2>/dev/null; then
    env --ignore-signal=CHLD "$SHMKVD" --create --size 16M "$a" 2>>"$log" &
    service=$!
    services+=("$service")
    line "it is started with SIGCHLD ignored" "^shmkvd: $a: opened"
    kill -KILL "$(pgrep -P "$service")"
    line "and sees its process die" "^shmkvd: $a: its process .* killed by signal 9"
    line "starts it again" "^shmkvd: $a: opened" 2
    stop "and ends as it should"
    "$SHMKV" -f "$a" destroy
else
    skip "SIGCHLD ignored: env cannot do that"
fi

# ---- another user --------------------------------------------------------------------------------

if is_root && setpriv --reuid=65534 --clear-groups true 2>/dev/null; then
    chmod 755 "$work"
    cp "$SHMKVD" "$work/shmkvd"
    "$SHMKV" -f "$a" create --size 16M --mode 600
    setpriv --reuid=65534 --clear-groups "$work/shmkvd" "$a" 2>>"$log" &
    service=$!
    services+=("$service")
    line "a store that may not be opened" "^shmkvd: $a: .*([Pp]ermission|may not|denied).*next try"
    "$SHMKV" -f "$a" destroy
    "$SHMKV" -f "$a" create --size 16M --mode 666
    line "one that may" "^shmkvd: $a: keeps house"
    stop "and ends"
else
    skip "another user's store: needs root and setpriv"
fi
finish
