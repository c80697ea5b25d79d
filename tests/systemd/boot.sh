#!/bin/bash
# SPDX-License-Identifier: MIT
#
# boot.sh - shmkvd under a real systemd: a bare Debian gets the package and is booted in a
# container, where inside.sh runs; its cases are reported here.
#
#   tests/systemd/boot.sh        from the top directory, as root; called by make check-systemd
#
# The Debian is made once, in build/systemd/base; it is a bookworm, so this wants a package that was
# made on one, or on what is older.

set -u
dir=build/systemd
root=$PWD/$dir/root
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

give_up() {
    echo "not ok - boot: $1"
    if [ -f "$2" ]; then tail -n 30 "$2"; fi
    exit 1
}
for tool in debootstrap systemd-nspawn; do
    command -v $tool >/dev/null || { echo "skip - boot: no $tool" && exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "skip - boot: needs root" && exit 77; }

mkdir -p $dir
if [ ! -d $dir/base ]; then
    rm -rf $dir/making
    debootstrap --variant=minbase --include=systemd,systemd-sysv,libtinfo6,libncurses6 bookworm \
        $dir/making "$mirror" >$dir/debootstrap.log 2>&1 ||
        give_up "no bare Debian could be made" $dir/debootstrap.log
    mv $dir/making $dir/base
fi
rm -rf "$root"
cp -a $dir/base "$root"
package=$(find build -maxdepth 1 -name 'shmkv_*.deb' -printf '%T@ %p\n' | sort -n | tail -n 1)
cp "${package#* }" "$root/root/shmkv.deb" || give_up "there is no package: make deb" ""
mkdir -p "$root/root/tests" "$root/etc/shmkv" "$root/var/lib/app" "$root/var/lib/theirs"
cp -r tests/cli tests/systemd "$root/root/tests/"
chown 65534 "$root/var/lib/theirs"
printf '[/var/lib/app/data.shmkv]\ncreate = yes\nsize = 32M\n' >"$root/etc/shmkv/shmkvd.conf"
cat >"$root/etc/systemd/system/inside.service" <<'END'
[Unit]
After=multi-user.target
[Service]
Type=idle
ExecStart=/bin/bash /root/tests/systemd/inside.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/root/cases
StandardError=file:/root/errors
END
mkdir "$root/etc/systemd/system/default.target.wants"
ln -s ../inside.service "$root/etc/systemd/system/default.target.wants/"
: >"$root/etc/machine-id" # the container gets its own
chroot "$root" dpkg -i /root/shmkv.deb >$dir/dpkg.log 2>&1 ||
    give_up "the package cannot be installed" $dir/dpkg.log
chroot "$root" systemctl enable shmkvd >$dir/enable.log 2>&1 ||
    give_up "the service cannot be enabled" $dir/enable.log

options=(--quiet --register=no --machine=shmkv-test)
if [ ! -d /run/systemd/system ]; then # no manager here who would give it a unit
    options+=(--keep-unit)
fi
systemd-nspawn "${options[@]}" --directory="$root" --boot </dev/null >$dir/console.log 2>&1
[ -f "$root/root/cases" ] || give_up "nothing ran inside" $dir/console.log
cat "$root/root/cases"
sed 's/^/# /' "$root/root/errors"
grep -q '^end$' "$root/root/cases" || give_up "it did not come to its end" $dir/console.log
! grep -q '^not ok' "$root/root/cases"
