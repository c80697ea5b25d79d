#!/bin/bash
# SPDX-License-Identifier: MIT
#
# deb.sh VERSION - make build/shmkv_VERSION_ARCH.deb: library, header, tool, service and manual in
# one.

set -eu
version=$1
arch=$(dpkg --print-architecture)
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
stage=build/deb
root=$stage/root

rm -rf "$stage"
mkdir -p "$root/DEBIAN" "$stage/debian"
make --no-print-directory install DESTDIR="$PWD/$root" PREFIX=/usr LIBDIR="/usr/lib/$triplet"
if [ -d "$root/usr/share/man" ]; then
    find "$root/usr/share/man" -type f -exec gzip -9n {} +
fi
if [ -d "$root/usr/share/zsh/site-functions" ]; then
    mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
fi
install -D -m 644 LICENSE "$root/usr/share/doc/shmkv/copyright"
strip --strip-unneeded "$root/usr/lib/$triplet"/libshmkv.so.0
strip "$root/usr/bin/shmkv" "$root/usr/sbin/shmkvd"

# dpkg-shlibdeps wants a source package around it; an empty one will do.
printf 'Source: shmkv\n\nPackage: shmkv\nArchitecture: any\n' >"$stage/debian/control"
mapfile -t binaries < <(find "$PWD/$root/usr" -type f \( -name '*.so.*' -o -path '*/bin/*' -o -path '*/sbin/*' \))
depends=$(cd "$stage" && dpkg-shlibdeps -O --ignore-missing-info "${binaries[@]}" |
    sed -n 's/^shlibs:Depends=//p')

cat >"$root/DEBIAN/control" <<END
Package: shmkv
Version: $version
Architecture: $arch
Maintainer: shmkv maintainers <shmkv@localhost>
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Depends: $depends
Section: database
Priority: optional
Description: key-value store that local processes share in memory
 Any number of unrelated processes read and write one store directly in shared
 memory: a read takes no system call, no lock and no copy, and a process killed
 at any instruction stops nobody and loses no acknowledged write.
 .
 This package holds the library, its header, the command-line tool, the service
 that keeps stores, and the manual pages.
END
printf 'activate-noawait ldconfig\n' >"$root/DEBIAN/triggers"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group --build "$root" "build/shmkv_${version}_$arch.deb"
