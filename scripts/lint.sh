#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lint.sh - every check of the sources that needs no run of the program; `make lint`.
#
#   scripts/lint.sh            check; ends with "N passed, N failed"
#   scripts/lint.sh --format   rewrite the sources in the format that is checked
#   scripts/lint.sh CHECK...   run only these: format, floors, gcc, clang, headers, symbols, tidy,
#                              cppcheck, shell, man

set -u
shopt -s nullglob
c_files=({libshmkv,cli,bench,bench/peers,daemon,examples,tests,tests/support}/*.c)
h_files=({libshmkv,cli,bench,bench/peers,daemon,examples,tests,tests/support}/*.h)
shell_files=(scripts/*.sh bench/*.sh tests/*.sh tests/cli/*.sh tests/daemon/*.sh tests/systemd/*.sh tests/model/*.sh .ci/run)
man_files=(man/*.[1-8])
jobs=$(nproc)
flags=(-std=c17 -D_GNU_SOURCE= -Ilibshmkv -Icli -Itests -Itests/support -Idaemon -DSHMKV_POINTS)
clang_format=$(command -v clang-format-14 || echo clang-format)
library_tls_limit=640 # bytes; what all libraries of a program share is less than 2 KiB
out=build/lint
log=$out/log
mkdir -p "$out"

if [ "${1:-}" = --format ]; then
    exec "$clang_format" -i "${c_files[@]}" "${h_files[@]}"
fi

check_format() {
    "$clang_format" --dry-run -Werror "${c_files[@]}" "${h_files[@]}"
}

# Build everything with compiler $1, every warning an error.  gcc finds some while it optimizes.
build_with() {
    local optimize=-O0
    [ "$1" != gcc ] || optimize=-O2
    make --no-print-directory -k -j"$jobs" CC="$1" CFLAGS="$optimize -g0" WERROR=1 OUT="$out/$1" \
        BENCH="$out/$1/bench" all tests >"$log.$1" 2>&1 && return
    grep -v '^  \(CC\|AR\|LINK\) ' "$log.$1"
    return 1
}

check_gcc() {
    build_with gcc
}

check_clang() {
    build_with clang
}

# Each header can be included alone, and the public one from C++.
check_headers() {
    local header failed=0
    for header in libshmkv/*.h cli/*.h daemon/*.h; do
        echo "#include \"$header\"" |
            gcc "${flags[@]}" -I. -Wall -Wextra -Werror -fsyntax-only -x c - || failed=1
    done
    echo '#include "libshmkv/shmkv.h"' |
        clang -I. -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ - || failed=1
    echo '#include "libshmkv/shmkv.h"' |
        gcc -I. -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c - || failed=1
    return $failed
}

# The shared library exports exactly what the header declares, and needs little TLS.
check_symbols() {
    local so=$out/gcc/libshmkv.so.0 tls
    [ -e "$so" ] || build_with gcc || return
    tls=$(readelf -lW "$so" | awk '$1 == "TLS" { print $6 }')
    diff -U0 --label declared --label exported \
        <(gcc -E -P -x c libshmkv/shmkv.h | tr '\n' ' ' | tr ';' '\n' |
            sed -n 's/.*__attribute__((visibility("default")))[^(]*[ *]\(shmkv_[a-z_0-9]*\)(.*/\1/p' |
            sort -u) \
        <(nm -D --defined-only "$so" | awk '{ print $3 }' | sort -u) || return
    if [ $((${tls:-0})) -gt $library_tls_limit ]; then
        echo "$so: $((tls)) bytes of TLS, more than $library_tls_limit"
        return 1
    fi
}

# The sources; of bench/peers/ those whose headers are there.
readable_files() {
    local file
    for file in "${c_files[@]}"; do
        case $file in
        bench/peers/*) gcc "${flags[@]}" -E "$file" >/dev/null 2>&1 || continue ;;
        esac
        echo "$file"
    done
}

check_tidy() {
    readable_files |
        xargs -P "$jobs" -I '{}' clang-tidy --quiet '{}' -- "${flags[@]}" 2>/dev/null
}

check_cppcheck() {
    cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
        --suppressions-list=scripts/cppcheck.txt --error-exitcode=1 -j "$jobs" \
        -D_GNU_SOURCE= -D__x86_64__ -DSHMKV_POINTS -U__aarch64__ -Ilibshmkv -Icli -Idaemon -Itests \
        "${c_files[@]}"
}

check_shell() {
    shellcheck "${shell_files[@]}"
}

check_man() {
    if [ ${#man_files[@]} = 0 ]; then
        return 0
    fi
    mandoc -T lint -W warning "${man_files[@]}"
}

passed=0 failed=0
count() {
    if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# Run check $1 and print its findings and the verdict.
run() {
    local status=0
    "check_$1" >"$log" 2>&1 || status=1
    if [ $status = 0 ]; then
        echo "ok - $1"
    else
        cat "$log"
        echo "not ok - $1"
    fi
    count $status
}

# The floors' script has verdicts of its own.
run_floors() {
    local line
    while IFS= read -r line; do
        echo "$line"
        case $line in
        'ok - '*) count 0 ;;
        'not ok - '*) count 1 ;;
        esac
    done < <(scripts/lint-floors.sh)
}

if [ $# = 0 ]; then
    set -- format floors gcc clang headers symbols tidy cppcheck shell man
fi
for check in "$@"; do
    if [ "$check" = floors ]; then run_floors; else run "$check"; fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
