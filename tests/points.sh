#!/bin/bash
# SPDX-License-Identifier: MIT
#
# points.sh - is there a test that acts at each named point of the library?
#
# A test build notes in $SHMKV_POINT_LOG what is done at which point: kill, stop, or a call, which
# is how others go on in the thread that stands there.  run.sh adds a line for each crash test that
# it begins.  Of the rooms below each point wants a death and a standstill, of the others either.
#
# Called by `make check` as its last test; by itself: tests/points.sh, after the crash tests.

set -u
log=${SHMKV_POINT_LOG:-${OUT:-build}/log/points}
both=' append clean collapse collect evict expire handover move punch put relocate run segment table trim '

if [ -n "${SANITIZE:-}" ]; then
    echo "skip - points: counted without a sanitizer, which some tests do less under"
    exit 0
fi
for test in tests/crash_*.c; do
    if ! grep -qsx "program $(basename "$test" .c)" "$log"; then
        echo "skip - points: $(basename "$test" .c) was not run"
        exit 0
    fi
done

points=0 missing=0
while read -r point; do
    points=$((points + 1))
    killed=$(grep -cx "$point kill" "$log")
    stood=$(grep -cxE "$point (stop|call)" "$log")
    if [ $((killed + stood)) = 0 ]; then
        echo "# no test acts at $point"
    elif [[ $both = *" ${point%%.*} "* && $((killed * stood)) = 0 ]]; then
        echo "# $point: $killed deaths, $stood standstills"
    else
        continue
    fi
    missing=$((missing + 1))
done < <(grep -ho 'POINT("[^"]*")' libshmkv/*.c | sed 's/POINT("//; s/")//' | sort -u)
echo "# $points points, $(grep -c ' kill$' "$log") deaths, $(grep -cE ' (stop|call)$' "$log") standstills"
if [ $missing = 0 ] && [ $points -gt 0 ]; then
    echo "ok - points: each is one at which a test acts"
else
    echo "not ok - points: at $missing of $points no test acts, or too few"
    exit 1
fi
