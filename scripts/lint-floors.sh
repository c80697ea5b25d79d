#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lint-floors.sh - check what keeps the rooms of the library apart and the comments honest:
#
#   floors     a file of libshmkv/ includes only what stands before it in the table below
#   tags       an ordering tag in a comment, as in "pairs with epoch_poll() [E2]", has a partner
#   public     cli/, bench/, daemon/ and examples/ include nothing of libshmkv/ but shmkv.h
#   unfinished no marker of unfinished work anywhere
#   names      what a libshmkv/ file shows to others is called after the file
#   plain      licence line, at most 100 columns, no tabs, no trailing blanks
#
# Prints `ok - NAME` or the findings and `not ok - NAME`; fails if there was any finding.

set -u
export LC_ALL=C.UTF-8

# From the ground up.  A room may include itself and every room before it; ROOM_PART.c and
# ROOM_PART.h are parts of ROOM.
floors=(
    "shmkv base atomics atomic_text point error hash crc32c clock futex fork descriptor" # 0 tools
    "layout claim lockpage arena"                                 # 1 memory
    "process epoch stats"                                         # 2 people
    "record segment append run"                                   # 3 log
    "slot bucket table resize index"                              # 4 index
    "notify scan collect expire evict victim reap held cleaner trim collapse" # 5 upkeep
    "file image recover checkpoint verify"                        # 6 durability
    "durable warn keeper store ops"                                    # 7 store
)

shopt -s nullglob
library=(libshmkv/*.[ch])
others=(cli/*.[ch] bench/*.[ch] bench/peers/*.[ch] daemon/*.[ch] examples/*.[ch])
tests=(tests/*.[ch] tests/support/*.[ch])
scripts=(scripts/*.sh bench/*.sh tests/*.sh tests/cli/*.sh tests/daemon/*.sh tests/systemd/*.sh tests/model/* .ci/run Makefile)

findings=0
# Print the findings on standard input, if any, and the verdict on check $1.
verdict() {
    local text
    text=$(cat)
    if [ -z "$text" ]; then
        echo "ok - $1"
    else
        echo "$text"
        echo "not ok - $1"
        findings=1
    fi
}

# Place of the room of file name $1 (no suffix) in the table; 0 if it has none.
place_of() {
    local name=$1 place=0 room
    # shellcheck disable=SC2048 # each floor is a list of rooms
    for room in ${floors[*]}; do
        place=$((place + 1))
        if [ "$name" = "$room" ]; then
            echo $place
            return
        fi
    done
    case $name in
    *_*) place_of "${name%_*}" ;;
    *) echo 0 ;;
    esac
}

check_floors() {
    local file name place line header other
    for file in "${library[@]}"; do
        name=$(basename "${file%.*}")
        place=$(place_of "$name")
        if [ "$place" = 0 ]; then
            echo "$file: is in no room; add it to the table in scripts/lint-floors.sh"
            continue
        fi
        while IFS=: read -r line header; do
            other=$(place_of "${header%.h}")
            if [ "$other" = 0 ]; then
                echo "$file:$line: $header is in no room"
            elif [ "$other" -gt "$place" ]; then
                echo "$file:$line: $header stands above $name"
            fi
        done < <(sed -n 's/^ *# *include "\([^"]*\)".*/\1/;T;=;p' "$file" | paste -d: - -)
    done
}

# The comments of the files, one line "FILE:LINE:text" each.
comments() {
    awk '
        FNR == 1 { inside = 0 }
        {
            rest = $0
            text = ""
            while (rest != "") {
                if (inside) {
                    n = index(rest, "*/")
                    text = text " " (n ? substr(rest, 1, n - 1) : rest)
                    rest = n ? substr(rest, n + 2) : ""
                    inside = !n
                } else {
                    n = index(rest, "/*")
                    rest = n ? substr(rest, n + 2) : ""
                    inside = n > 0
                }
            }
            if (text != "") print FILENAME ":" FNR ":" text
        }' "$@"
}

check_tags() {
    comments "${library[@]}" | awk '
        {
            split($0, place, ":")
            rest = $0
            while (match(rest, /\[[A-Z][A-Z]*[0-9]+\]/)) {
                tag = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                count[tag]++
                where[tag] = place[1] ":" place[2]
            }
        }
        END {
            for (tag in count)
                if (count[tag] < 2) print where[tag] ": the tag " tag " has no partner"
        }' | sort
}

check_public() {
    local file line header
    for file in "${others[@]}"; do
        while IFS=: read -r line header; do
            if [ "$header" != shmkv.h ] && [ -e "libshmkv/$header" ] &&
                [ ! -e "$(dirname "$file")/$header" ]; then
                echo "$file:$line: $header is not public"
            fi
        done < <(sed -n 's/^ *# *include ["<]\([^">]*\)[">].*/\1/;T;=;p' "$file" | paste -d: - -)
        grep -Hn '# *include ".*libshmkv/' "$file" | grep -v 'libshmkv/shmkv\.h"'
    done
}

check_unfinished() {
    grep -nHwE 'TO''DO|FIX''ME|XX''X' "${library[@]}" "${others[@]}" "${tests[@]}" \
        "${scripts[@]}" man/* README* 2>/dev/null
}

# Names of the functions that file $1 shows to others: definitions and declarations begin in the
# first column; those of a .c file that are static are its own affair.
shown_functions() {
    grep -nE '^[a-z][a-zA-Z0-9_ ]*[ *]+[a-zA-Z0-9_]+\(' "$1" | grep -vE '^[0-9]+:typedef ' |
        case $1 in
        *.c) grep -vE '^[0-9]+:(extern )?static ' ;;
        *) cat ;;
        esac | sed -E 's/^([0-9]+):[a-z][a-zA-Z0-9_ ]*[ *]+([a-zA-Z0-9_]+)\(.*/\1:\2/'
}

check_names() {
    local file name line function
    for file in "${library[@]}"; do
        name=$(basename "${file%.*}")
        case $name in
        base | atomics | shmkv) continue ;; # named for their use, not for their place
        esac
        while [ "${name%_*}" != "$name" ] && [ "$(place_of "${name%_*}")" != 0 ]; do
            name=${name%_*}
        done
        while IFS=: read -r line function; do
            case $function in
            "$name" | "${name}"_* | "${name%s}"_* | shmkv_*) ;;
            *) echo "$file:$line: $function() should be called ${name}_..." ;;
            esac
        done < <(shown_functions "$file")
    done
}

check_plain() {
    local file
    for file in "${library[@]}" "${others[@]}" "${tests[@]}"; do
        [ "$(head -n 1 "$file")" = '/* SPDX-License-Identifier: MIT */' ] ||
            echo "$file:1: the licence line is missing"
        grep -HnE '^.{101,}' "$file" | sed 's/^\([^:]*:[0-9]*\):.*/\1: over 100 columns/'
        grep -HnP '\t|[ \t]$' "$file" | sed 's/^\([^:]*:[0-9]*\):.*/\1: tab or trailing blank/'
    done
    for file in "${scripts[@]}"; do
        if [ -f "$file" ] && ! head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT'; then
            echo "$file:1: the licence line is missing"
        fi
    done
}

verdict floors < <(check_floors)
verdict tags < <(check_tags)
verdict public < <(check_public)
verdict unfinished < <(check_unfinished)
verdict names < <(check_names)
verdict plain < <(check_plain)
exit $findings
