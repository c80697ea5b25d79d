#!/bin/bash
# SPDX-License-Identifier: MIT
#
# broken.sh - are the tests able to fail?  Break a rule of the design on purpose, in a copy of the
# sources, and see that a test that is there for it fails.
#
#   tests/broken.sh [RULE...]      from the top directory; default: all; `make broken`
#
# Each line of the table below: rule | file | a sed command that breaks it | the test.  A command
# that changes nothing is an error: the code has moved on, and the table must follow.
# A test that runs into its time limit has not failed: it has said nothing.  BROKEN_SECONDS=300 is
# that limit; nor does it prove anything where it fails with nothing broken, which is tried first.
# Prints a line for each, and at last 'N passed, N failed'.

set -u
tree=build/broken
seconds=${BROKEN_SECONDS:-300}

table() {
    cat <<'END'
barrier-1|image_commit.c|s/int rc = im->grown .* ? barrier(im) : 0;/int rc = 0;/|crash_powerloss
barrier-2|image_commit.c|/POINT("image.recorded");/,/image_doubt/s/rc = file_barrier(&im->file);/rc = 0;/|crash_powerloss
R9|index.c|/rc = publish(w, l, c, r, body);/,/decided(p);/s/if (rc == 0) {/if (1) {/|crash_powerloss
R10|index.c|/POINT("put.inflight");/,/POINT("put.marked");/s/if (at.old != NULL)/if (0)/|crash_index
R10-cut|index.c|/POINT("put.inflight");/,/POINT("put.marked");/s/if (at.old != NULL)/if (0)/|crash_cut
INV-F4-anew|image_carry.c|/^static void keep_patch/,/^}/s/if (patch->from == 0)/if (0)/|test_image
INV-F4-gone|image_carry.c|/r->carried == 0) {/,/}/s/forget(im, e->segment);//|test_image
R17-commit|recover.c|s/return v->im->file.readonly ? 0 : commit(/return 1 ? 0 : commit(/|crash_recover
read-only|recover.c|s@im->file.readonly ? 0 : image_begin(im)@image_begin(im)@|crash_readonly
R18-horizon|resize_move.c|s/epoch < load_seq_cst(&a->sb->horizon)/1/|test_tombstone
R18-first|index.c|s/at->old == NULL ? RECORD_FIRST/index_is_absent(a, at->old) ? RECORD_FIRST/|test_tombstone
R18-origin|index.c|s/(load_relaxed(&at->old->state) & RECORD_FIRST) != 0) {/1) {/|test_tombstone
R18-copy|record.c|s/RECORD_COPY/RECORD_COPY + (load_relaxed(\&from->state) \& RECORD_FIRST)/|test_tombstone
R17-drop|recover_load.c|s/if (record_epoch_of(r->version) > v->epoch) {/if (0) {/|crash_powerloss
sync|durable.c|s/uint64_t wanted = load_seq_cst(&d->arena->sb->epoch);/uint64_t wanted = load_seq_cst(\&d->arena->sb->epoch) - 1;/|torture_image
R15-chain|image_journal.c|s/r->head.sequence > im->head.sequence \&\&/r->head.sequence > im->head.sequence + 1 \&\&/|test_image_journal
INV-H1-section|collapse.c|s/uint64_t outer = epoch_enter(p);/uint64_t outer = 0;/|crash_collapse
INV-H1-states|collapse.c|s,kind == SEGMENT_SEALED;,kind == SEGMENT_CLEANING;,|crash_collapse
INV-S2-run|segment.c|/^static enum unit_claim claim_holes/,/^}/s/forget_run(a, first + claimed);/;/|crash_seldom
INV-S2-stayed|arena_memory.c|s/removal() == REMOVAL_SEEN \&\& has_stayed/0 \&\& has_stayed/|test_arena_memory
evict|evict.c|/^uint64_t evict_choose/,/^}/s/    evict_drain(&w->self);//|test_evict
R17-run|recover.c|s/^        drop_rest(v, id);/        (void)drop_rest;/|crash_powerloss
END
}

# run COMMAND...: with a /dev/shm of its own where that may be had.
run() {
    if [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then
        # shellcheck disable=SC2016 # expanded by the inner shell
        unshare --mount --propagation private bash -c \
            'mount -t tmpfs -o mode=1777 shmkv-tests /dev/shm && exec "$0" "$@"' "$@"
    else
        "$@"
    fi
}

# build_and_run TEST LOG: its exit status, 125 if it does not build.
build_and_run() {
    make -s -C "$tree" -j2 "build/tests/$1" >"$2" 2>&1 || return 125
    (cd "$tree" && run timeout --kill-after=5 "$seconds" "build/tests/$1") >"$2" 2>&1 </dev/null
}

# try RULE FILE COMMAND TEST: 0 if the test fails with the rule broken; says what came of it.
try() {
    local file=$tree/libshmkv/$2 log=$tree/$1.log status=0
    cp "$file" "$tree/whole.c"
    sed -i "$3" "$file"
    if cmp -s "$tree/whole.c" "$file"; then
        echo "the command changes nothing: $3"
        return 1
    fi
    build_and_run "$4" "$log" || status=$?
    cp "$tree/whole.c" "$file"
    case $status in
    0) echo "$4 does not fail" ;;
    124 | 137) echo "$4 does not end in $seconds s" ;;
    125) echo "does not build, see $log" ;;
    *)
        echo "$4 fails"
        return 0
        ;;
    esac
    return 1
}

# passes TEST: with nothing broken it does; else it proves nothing that it fails.
declare -A whole
passes() {
    if [ -z "${whole[$1]:-}" ]; then
        whole[$1]=0
        build_and_run "$1" "$tree/$1.log" || whole[$1]=$?
    fi
    [ "${whole[$1]}" = 0 ]
}

passed=0 failed=0
mkdir -p "$tree"
# Its own times, for objects that an interrupted run has left were made of broken sources.
git ls-files -z | tar --null -T - -cf - | tar -xmf - -C "$tree"
while IFS='|' read -r rule file command name; do
    if [ $# != 0 ] && [[ " $* " != *" $rule "* ]]; then
        continue
    fi
    if ! passes "$name"; then
        echo "not ok - without $rule: $name fails with nothing broken, see $tree/$name.log"
        failed=$((failed + 1))
    elif verdict=$(try "$rule" "$file" "$command" "$name"); then
        echo "ok - without $rule $verdict"
        passed=$((passed + 1))
    else
        echo "not ok - without $rule: $verdict"
        failed=$((failed + 1))
    fi
done < <(table)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
