#!/bin/bash
# SPDX-License-Identifier: MIT
# syscalls.sh - what a million operations of each kind ask of the kernel, counted by strace.
. "$(dirname "$0")/common.bash"
top=$(cd "$(dirname "$0")/../.." && pwd)
out_dir=$(cd "${OUT:-build}" && pwd)
most_per_segment=5

if ! command -v strace >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
    skip "system calls per operation: no strace, or not allowed"
    finish
elif [ -n "${SANITIZE:-}" ]; then
    skip "system calls per operation: the sanitizer makes some of its own"
    finish
fi

# Each phase ends with getppid(), which the library never calls.
cat >"$work/million.c" <<'PROGRAM'
#include <shmkv.h>
#include <stdio.h>
#include <unistd.h>

#define N 1000000

static struct shmkv *db;

static size_t key_of(char *key, unsigned i)
{
    return (size_t)sprintf(key, "%08x-0000-4000-8000-%012u", i * 2654435761u, i);
}

static int get(const char *key, size_t klen)
{
    struct shmkv_section section;
    struct shmkv_item item;
        int rc = shmkv_begin(db, &section);
    if (rc == 0) {
        rc = shmkv_get(&section, key, klen, &item);
        shmkv_end(&section);
    }
    return rc;
}

static int put(const char *key, size_t klen)
{
    return shmkv_put(db, key, klen, "a value of thirty-five bytes or so.", 35, NULL);
}

static int delete(const char *key, size_t klen)
{
    return shmkv_delete(db, key, klen);
}

static int phase(int (*operation)(const char *, size_t))
{
    struct shmkv_stats stats;
    char key[64];
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < N; i++)
        rc = operation(key, key_of(key, i));
    getppid();
    if (rc != 0 || shmkv_get_stats(db, &stats) != 0) {
        fprintf(stderr, "%s\n", shmkv_last_error());
        return 1;
    }
    printf("%llu\n", (unsigned long long)(stats.segments + stats.segments_cleaned));
    fflush(stdout);
    getppid();
    return 0;
}

int main(int argc, char **argv)
{
    struct shmkv_options options = {
        .flags = SHMKV_CREATE | SHMKV_NO_KEEPER, .size = 1u << 30, .reserve = N};
    if (argc != 2 || shmkv_open(argv[1], &options, &db) != 0)
        return 1;
    getppid();
    return phase(put) != 0 || phase(get) != 0 || phase(put) != 0 || phase(delete) != 0;
}
PROGRAM
holds "the program compiles" "${CC:-cc}" -std=gnu17 -O2 -Wall -Wextra -Werror \
    -I"$top/libshmkv" -o "$work/million" "$work/million.c" -L"$out_dir" -Wl,-rpath,"$out_dir" \
    -lshmkv
holds "it runs" strace -f -o "$work/trace" "$work/million" "$SHMKV_STORE"
cp "$work/held" "$work/segments" # what it has printed

# Calls in each phase: those between the 1st and 2nd getppid(), the 3rd and 4th, and so on.
mapfile -t calls < <(awk '/ getppid\(/ { n++; if (n % 2 == 0) print count; count = 0; next }
    { count++ }' "$work/trace")
mapfile -t segments <"$work/segments"
holds "four phases" test "${#calls[@]}" = 4 -a "${#segments[@]}" = 4

# few NAME PHASE: at most most_per_segment calls for each segment that the phase has opened.
few() {
    local opened=$((segments[$2] - ($2 > 0 ? segments[$2 - 1] : 0)))
    holds "1,000,000 $1: ${calls[$2]} system calls, $opened segments" \
        test "${calls[$2]}" -le $((opened * most_per_segment))
}

holds "1,000,000 reads: ${calls[1]} system calls" test "${calls[1]}" = 0
few "new keys" 0
few "overwrites" 2
few "deletes" 3

# Who comes does not ask for the lock of each who is there.
watchers=()
# shellcheck disable=SC2317 # what is called at the end, by a trap
more_cleanup() {
    kill "${watchers[@]}" 2>/dev/null
    wait "${watchers[@]}" 2>/dev/null
}
for _ in $(seq 100); do
    "$SHMKV" watch --timeout 600s >/dev/null 2>>"$work/watched" &
    watchers+=($!)
done
for _ in $(seq 600); do
    "$SHMKV" ls | grep -q "^$SHMKV_STORE"$'\t.*\t100\tusable' && break
    sleep 0.1
done
strace -f -e trace=fcntl -o "$work/locks" "$SHMKV" get none 2>"$work/err"
holds "beside a hundred" grep -q "^$SHMKV_STORE"$'\t.*\t100\tusable' <("$SHMKV" ls)
asked=$(grep -c F_OFD_SETLK "$work/locks")
holds "one more takes a lock in $asked tries" test "$asked" -gt 0 -a "$asked" -le 25
finish
