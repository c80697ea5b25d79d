#!/bin/bash
# SPDX-License-Identifier: MIT
# inside.sh - run by systemd in the Debian of boot.sh, with shmkvd enabled since the boot.
export SHMKV=/usr/bin/shmkv
# shellcheck disable=SC1091 # which lint sees where it is
. "$(dirname "$0")/../cli/common.bash"

conf=/etc/shmkv/shmkvd.conf
drop_in=/run/systemd/system/shmkvd.service.d
data=/var/lib/app/data.shmkv

property() {
    systemctl show --property "$1" --value shmkvd
}
main() {
    property MainPID
}
# within SECONDS COMMAND...: until it succeeds.
within() {
    local tenths=$(($1 * 10)) _
    shift
    for _ in $(seq $tenths); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    return 1
}
journal_has() {
    journalctl --sync
    journalctl --quiet --unit shmkvd "$@" | grep -q .
}
# What is behind "$1:" in the status of the service's first process.
status_of() {
    sed -n "s/^$1:[[:space:]]*//p" "/proc/$(main)/status"
}
# How many restarts there were since the last `systemctl start`.
restarted() {
    [ "$(property NRestarts)" -ge "$1" ] && systemctl is-active shmkvd && [ "$(main)" != "$before" ]
}
keeps() {
    property StatusText | grep -q "^$1 kept"
}
# Settings of the service, none: the unit's own.
with() {
    rm -rf $drop_in
    if [ $# != 0 ]; then
        mkdir -p $drop_in
        printf '[Service]\n' >$drop_in/test.conf
        printf '%s\n' "$@" >>$drop_in/test.conf
    fi
    systemctl daemon-reload
}

# ---- since the boot ------------------------------------------------------------------------------

holds "the unit has no mistakes" systemd-analyze verify --man=no shmkvd.service
holds "it was started by the boot, and said that it is ready" systemctl is-active shmkvd
holds "and how many stores it keeps" within 10 keeps 1
holds "the store was made" "$SHMKV" -f $data info
expect "and is written to" 0 "" -f $data set key value
expect "and synced" 0 "" -f $data sync
holds "lines go to the journal" within 10 journal_has --grep 'keeps house'
holds "with priorities: nothing is wrong" test -z "$(journalctl -q -u shmkvd -p warning -o cat |
    grep '^shmkvd')"

# ---- what it may not -----------------------------------------------------------------------------

holds "three capabilities" test "$((16#$(status_of CapBnd)))" = $((1 << 0 | 1 << 1 | 1 << 3))
holds "no new ones" test "$(status_of NoNewPrivs)" = 1
holds "system calls are filtered" test "$(status_of Seccomp)" = 2
at_home() {
    nsenter --target "$(main)" --mount --net "$@"
}
holds "/usr is read-only" at_home sh -c '! touch /usr/written'
holds "/etc is read-only" at_home sh -c '! touch /etc/written'
holds "/var/lib is not" at_home touch /var/lib/written
holds "/tmp is its own" at_home sh -c 'touch /tmp/written'
holds "and not ours" test ! -e /tmp/written
holds "it sees no network" test -z "$(at_home cat /proc/net/dev | grep -v '|' | grep -v ' lo:')"
holds "and no other processes" at_home grep -q ' /proc proc .*hidepid=invisible' /proc/mounts
exposure=$(systemd-analyze security --no-pager shmkvd | tail -n 1)
echo "# $exposure"
holds "its exposure is low" grep -qE ': [0-2]\.[0-9] ' <<<"$exposure"

# ---- its life ------------------------------------------------------------------------------------

printf '[shm:sessions]\ncreate = yes\nsize = 16M\n' >>$conf
before=$(main)
holds "it rereads its configuration" systemctl reload shmkvd
holds "which has one store more" within 10 "$SHMKV" -f shm:sessions info
holds "as the manager knows" within 10 keeps 2
holds "by the same process" test "$(main)" = "$before"
echo 'nonsense' >>$conf
systemctl reload shmkvd
holds "a wrong line is told" within 10 journal_has --priority err --grep "$conf:[0-9]+: "
holds "and changes nothing" test "$(main)" = "$before"
sed -i '$d' $conf
systemctl reload shmkvd

kill -KILL "$before"
holds "killed, it comes back" within 20 restarted 1
expect "with all that was there" 0 value -f $data get key

holds "it ends when it is asked to" systemctl stop shmkvd
holds "with final checkpoints" test "$(property Result)" = success
rm -f /dev/shm/shmkv.*
holds "the memory gone as after a power loss, it starts" systemctl start shmkvd
holds "and tells what it recovered" within 10 journal_has --grep 'recovered 1 records'
expect "which is what there was" 0 value -f $data get key

with WatchdogSec=2
systemctl restart shmkvd
before=$(main)
kill -STOP "$before"
holds "stopped by somebody, it is killed and comes back" within 30 restarted 1
holds "by the watchdog" within 10 journal_has --grep '[Ww]atchdog'
expect "and the store goes on" 0 value -f $data get key

# ---- without root's rights, and where it may not write -------------------------------------------

printf '[/var/lib/theirs/a.shmkv]\ncreate = yes\nsize = 16M\n' >$conf
with User=65534 CapabilityBoundingSet=
systemctl restart shmkvd
holds "as another user it starts" systemctl is-active shmkvd
holds "with no capability" test "$(status_of CapEff)" = 0000000000000000
holds "and keeps his store" within 10 test -e /var/lib/theirs/a.shmkv
holds "which is his" test "$(stat -c %u /var/lib/theirs/a.shmkv)" = 65534

printf '[/usr/lib/data.shmkv]\ncreate = yes\n' >$conf
with
systemctl restart shmkvd
holds "a store where it may not write is told" within 10 journal_has --grep \
    '/usr/lib/data.shmkv: .*Read-only file system'
holds "and waited for" systemctl is-active shmkvd

rm $conf
systemctl restart shmkvd
holds "without a configuration it does not start" test "$(property ActiveState)" = inactive
holds "which is no failure" test "$(property Result)" = success
echo end
finish
