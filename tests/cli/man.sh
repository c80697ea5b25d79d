#!/bin/bash
# SPDX-License-Identifier: MIT
# man.sh - the manual pages and the README: complete, clean, and their examples work.
. "$(dirname "$0")/common.bash"
top=$(cd "$(dirname "$0")/../.." && pwd)
out_dir=$(cd "${OUT:-build}" && pwd)
header=$top/libshmkv/shmkv.h
pages=("$top"/man/*.[1-8])
sanitize=()
if [ -n "${SANITIZE:-}" ]; then
    sanitize=(-fsanitize="$SANITIZE")
fi

# ---- complete ------------------------------------------------------------------------------------

functions=$(tr '\n' ' ' <"$header" | grep -oE 'SHMKV_API [^(;]*\bshmkv_[a-z_]+\(' |
    grep -oE 'shmkv_[a-z_]+\($' | tr -d '(' | sort -u)
holds "the header declares functions" test "$(wc -w <<<"$functions")" -ge 35
# section NAME PAGE...: lines "PAGE:line" of the pages' sections of this name.
section() {
    awk -v name="$1" '/^\.Sh / { on = $2 == name } on { print FILENAME ":" $0 }' "${@:2}"
}
for function in $functions; do
    page=$(section SYNOPSIS "$top"/man/*.3 | sed -nE "s/:\.F[no] $function( .*)?\$//p")
    missing=""
    if [ "$(wc -w <<<"$page")" != 1 ]; then
        missing="a synopsis on one page: $page"
    elif ! grep -qE "^\.Nm $function( ,)?\$" "$page"; then
        missing="its name in the NAME section of $page"
    elif ! section DESCRIPTION "$page" | grep -qE ":\.Fn $function\$"; then
        missing="its description in $page"
    fi
    if [ -z "$missing" ]; then ok "$function"; else not_ok "$function" "missing: $missing"; fi
done

errors=$(sed -nE 's/^ *X\((SHMKV_E[A-Z]+),.*/\1/p' "$header")
flags=$(sed -nE 's/^ *(SHMKV_[A-Z_]+) = 1u << .*/\1/p' "$header")
statistics=$(sed -n '/^struct shmkv_stats/,/^}/s/^ *uint64_t \([a-z_]*\);.*/\1/p
    /^#define SHMKV_STATS/,/^$/s/^ *X(\([a-z_]*\),.*/\1/p' "$header")
missing=""
for word in $errors; do
    grep -qE "^\.It Dv $word\$" "$top/man/shmkv.3" || missing+=" $word"
done
for word in $flags; do
    grep -qE "^\.It Dv $word\$" "$top"/man/*.3 || missing+=" $word"
done
for word in $statistics; do
    grep -qE "^\.It Fa $word\$" "$top/man/shmkv_stats.3" || missing+=" $word"
done
holds "errors, flags and statistics are explained ($(wc -w <<<"$errors $flags $statistics"))" \
    test -z "$missing"

"$SHMKV" --help >"$work/help"
commands=$(sed -nE 's/^  ([a-z]+) .*/\1/p' "$work/help")
missing=""
for command in $commands; do
    grep -qE "^\.It Ic $command\b" "$top/man/shmkv.1" || missing+=" $command"
done
holds "shmkv.1 knows every command ($(wc -w <<<"$commands"))" \
    test -n "$commands" -a -z "$missing"

# Pages refer to pages: those that are ours must be there.
missing=$(sed -nE 's/^\.Xr (shmkv[a-z_-]*) ([1-8]).*/\1.\2/p' "${pages[@]}" | sort -u |
    while read -r page; do [ -e "$top/man/$page" ] || echo "$page"; done)
holds "references lead somewhere" test -z "$missing"
missing=$(sed -nE 's/^\.Pa ((tests|libshmkv)[^ ]*).*/\1/p' "${pages[@]}" |
    while read -r file; do [ -e "$top/$file" ] || echo "$file"; done)
holds "files of the source tree that are named are there" test -z "$missing"
missing=$(grep -oE '\]\([^)]+\)' "$top/README.md" | tr -d '])(' |
    while read -r file; do [ -e "$top/$file" ] || echo "$file"; done)
holds "links of the README lead somewhere" test -z "$missing"
if command -v mandoc >/dev/null; then
    for page in "${pages[@]}"; do
        holds "$(basename "$page") is clean" test -z "$(mandoc -T lint -W warning "$page")"
    done
else
    skip "the pages are clean: no mandoc"
fi

# ---- examples ------------------------------------------------------------------------------------

# literals FILE: writes each literal block of a page's EXAMPLES to $work/literal.N.c
literals() {
    rm -f "$work"/literal.*
    awk -v to="$work/literal." '
        /^\.Sh / { examples = $2 == "EXAMPLES" }
        /^\.Ed/ { inside = 0 }
        inside { gsub(/\\e/, "\\"); gsub(/\\&/, ""); print > (to n ".c") }
        examples && /^\.Bd -literal/ { inside = 1; n++ }' "$1"
}

# build NAME SOURCE PROGRAM: compile and link a whole program.
build() {
    holds "$1 compiles" "${CC:-cc}" -std=c17 -Wall -Wextra -Werror -I"$top/libshmkv" \
        "${sanitize[@]}" -o "$3" "$2" -L"$out_dir" -Wl,-rpath,"$out_dir" -lshmkv
}

# A fragment becomes a function that follows what it takes for granted; one that begins with a
# function of its own has that before.
fragment() {
    cat <<'PRELUDE'
#include <err.h>
#include <shmkv.h>
#include <stdio.h>
extern struct shmkv *db;
extern struct shmkv_bytes keys[100];
extern const void *key;
extern size_t klen;
extern int rc;
struct frame { char pixels[1024]; };
uint64_t checksum(const void *bytes, size_t size);
size_t edit(char *text, size_t size);
void configure(const char *text, size_t size);
void render(void *frame);
void example(void);
PRELUDE
    if grep -q '^static ' "$1"; then
        sed '/^}$/q' "$1"
        echo 'void example(void) {'
        sed '1,/^}$/d' "$1"
    else
        echo 'void example(void) {'
        cat "$1"
    fi
    echo '}'
}

literals "$top/man/shmkv.3"
cp "$work/literal.1.c" "$work/example.c"
build "the example of shmkv.3" "$work/example.c" "$work/example"
if [ -x "$work/example" ]; then
    "$work/example" "$SHMKV_STORE" eve >/dev/null
    wanted=$'last: bob\nrun 2, by bob\nruns: 2'
    got=$("$work/example" "$SHMKV_STORE" bob | sort)
    holds "and runs" test "$got" = "$wanted"
    "$SHMKV" destroy --force
fi
for page in "$top"/man/shmkv_*.3; do
    literals "$page"
    for file in "$work"/literal.*; do
        [ -e "$file" ] || continue
        fragment "$file" >"$work/fragment.c"
        holds "example $(basename "$file" .c | tr -dc 0-9) of $(basename "$page") compiles" \
            "${CC:-cc}" -std=c17 -Wall -Wextra -Werror -Wno-unused-but-set-variable \
            -I"$top/libshmkv" -c -o "$work/fragment.o" "$work/fragment.c"
    done
done

# session <CONSOLE: run what stands behind the prompts, in one shell; a terminal would begin a new
# line for each prompt.
session() (
    PATH=$(dirname "$(realpath "$SHMKV")"):$PATH
    while IFS= read -r line; do
        [ "${line:0:2}" = '$ ' ] || continue
        eval "${line:2}" >"$work/one" 2>&1 </dev/null
        cat "$work/one"
        [ -z "$(tail -c 1 "$work/one")" ] || echo
    done
)

# The README: each block of C is a program, each console block a session whose output is shown.
# They name a store of their own, which becomes the test's.
awk -v to="$work/readme." '
    /^```/ { kind = inside ? "" : substr($0, 4); inside = !inside; if (inside) n++; next }
    inside && (kind == "c" || kind == "console") { print > (to n "." kind) }' "$top/README.md"
for file in "$work"/readme.*.c; do
    sed -i "s/shm:[a-z]*/$SHMKV_STORE/" "$file"
    build "the C of the README" "$file" "$work/readme"
    [ -x "$work/readme" ] && holds "and runs" "$work/readme"
done
for file in "$work"/readme.*.console; do
    sed -i "s/shm:[a-z]*/$SHMKV_STORE/" "$file"
    "$SHMKV" destroy --force 2>/dev/null
    sed '/^\$ /d' "$file" >"$work/wanted"
    session <"$file" >"$work/got" 2>&1
    same "the session of the README is what happens" "$work/got" "$work/wanted"
done
finish
