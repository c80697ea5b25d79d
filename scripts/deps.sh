#!/bin/bash
# SPDX-License-Identifier: MIT
#
# deps.sh - see what is missing for the named purposes, and install it.
#
#   scripts/deps.sh build|check|screen|lint|model|fuzz|coverage|deb|systemd|bench|aarch64...
#
# Prints nothing if all is there.  Installs with apt-get as root or through sudo; on other systems,
# or without the right to, it says what is needed and the exact command, and fails.

set -u
CC=${CC:-cc}

# Purpose, what to look for (a command, a header, or aarch64's library), the Debian package that
# has it.
needs() {
    cat <<'END'
build    make                    make
build    cc                      gcc
build    stdio.h                 libc6-dev
build    xxhash.h                libxxhash-dev
check    cmocka.h                libcmocka-dev
check    urcu.h                  liburcu-dev
screen   curses.h                libncurses-dev
check    strace                  strace
check    mandoc                  mandoc
check    timeout                 coreutils
check    unshare                 util-linux
check    find                    findutils
lint     gcc                     gcc
lint     clang                   clang
lint     clang-format-14         clang-format-14
lint     clang-tidy              clang-tidy
lint     cppcheck                cppcheck
lint     shellcheck              shellcheck
lint     mandoc                  mandoc
model    spin                    spin
model    gcc                     gcc
fuzz     clang                   clang
coverage gcovr                   gcovr
deb      dpkg-shlibdeps          dpkg-dev
systemd  debootstrap             debootstrap
systemd  systemd-nspawn          systemd-container
bench    lmdb.h                  liblmdb-dev
bench    tdb.h                   libtdb-dev
bench    urcu/rculfhash.h        liburcu-dev
bench    tkrzw_langc.h           libtkrzw-dev
bench    rocksdb/c.h             librocksdb-dev
bench    redis-server            redis-server
bench    memcached               memcached
bench    gnuplot                 gnuplot-nox
bench    valgrind                valgrind
bench    strace                  strace
aarch64  aarch64-linux-gnu-gcc   gcc-aarch64-linux-gnu
aarch64  aarch64/c               libc6-dev-arm64-cross
aarch64  aarch64/cmocka          libcmocka-dev:arm64
aarch64  aarch64/urcu            liburcu-dev:arm64
aarch64  qemu-aarch64            qemu-user
END
}

have() {
    case $1 in
    cc) command -v "$CC" >/dev/null ;;
    cmocka.h)
        printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>
            #include <setjmp.h>\n#include <cmocka.h>\n' | "$CC" -E -x c - >/dev/null 2>&1
        ;;
    aarch64/*)
        echo 'int main(void) { return 0; }' |
            aarch64-linux-gnu-gcc -o /dev/null -x c - -l"${1#*/}" >/dev/null 2>&1
        ;;
    *.h) echo "#include <$1>" | "$CC" -E -x c - >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# The packages that are missing for purposes "$@".
missing() {
    local purpose what package
    needs | while read -r purpose what package; do
        case " $* " in
        *" $purpose "*) have "$what" || echo "$package" ;;
        esac
    done | sort -u
}

apt_install() {
    if [[ " ${packages[*]} " = *:arm64\ * ]]; then
        "$@" dpkg --add-architecture arm64 && "$@" apt-get update >&2
    fi
    "$@" apt-get install -y --no-install-recommends "${packages[@]}" >&2 && return
    # The lists may be empty or old, as in a fresh container.
    "$@" apt-get update >&2
    "$@" apt-get install -y --no-install-recommends "${packages[@]}" >&2
}

mapfile -t packages < <(missing "$@")
if [ ${#packages[@]} = 0 ]; then
    exit 0
fi
echo "shmkv: missing for $*: ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
if ! command -v apt-get >/dev/null; then
    echo "shmkv: please install what these Debian packages hold, by the names they have here" >&2
    exit 1
elif [ "$(id -u)" = 0 ]; then
    apt_install env
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    apt_install sudo
else
    echo "shmkv: please run: sudo apt-get install ${packages[*]}" >&2
    exit 1
fi
mapfile -t packages < <(missing "$@")
if [ ${#packages[@]} != 0 ]; then
    echo "shmkv: still missing: ${packages[*]}; install them by hand, then run this again" >&2
    exit 1
fi
