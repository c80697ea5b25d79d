#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - check the Spin models of shmkv's protocols, exhaustively.
#
#   tests/model/run.sh [model...]      default: all; a model is named without .pml
#
# Each model must hold as it stands.  The switches that it tests with #ifdef say by their names
# what is expected when one of them is defined:
#
#   BREAK_Rn_...    breaks a rule on purpose: Spin must find an assertion violated
#   WITNESS_...     denies that an interesting state is reached: the same
#   HOLDS_...       a variation of the protocol that must hold as well
#
# A line ' * pan options: ...' in a model's head is passed on to its verifier.
# A model that holds was searched completely: a search that was cut off by depth or memory fails.
# Prints a line for each check and, at last, 'N passed, N failed'.
# JOBS (default 2) checks run at once, each within MEMORY_MB (default 1900).

set -u -o pipefail

here=$(cd "$(dirname "$0")" && pwd)
jobs=${JOBS:-2}
export MEMORY_MB=${MEMORY_MB:-1900}

# check MODEL SWITCH: one line of output; SWITCH is - for the model as it stands.
check()
{
    local model=$1 switch=$2 define=() expect=holds name dir verdict
    name=$(basename "$model" .pml)
    if [ "$switch" = - ]; then
        name="$name holds"
    else
        define=("-D$switch")
        name="$name $switch"
        case $switch in HOLDS_*) ;; *) expect=fails ;; esac
    fi
    dir=$(mktemp -d) || return
    if verdict=$(cd "$dir" && verify "$model" "$expect" "${define[@]}"); then
        echo "ok - $name ($verdict)"
    else
        echo "not ok - $name: $verdict"
    fi
    rm -rf "$dir"
}

# verify MODEL EXPECT [DEFINE]: in the current directory; says what came of it.
verify()
{
    local model=$1 expect=$2 states options
    shift 2
    if ! spin -a "$@" "$model" >spin.log 2>&1; then
        echo "spin refuses the model: $(grep -i error spin.log | head -n 1)"
        return 1
    fi
    if ! gcc -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM="$MEMORY_MB" -o pan pan.c 2>gcc.log; then
        echo "the verifier does not compile: $(head -n 1 gcc.log)"
        return 1
    fi
    read -r -a options < <(sed -n 's/^ \* pan options: //p' "$model")
    ./pan "${options[@]}" -m500000 -w24 >pan.log 2>&1
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.log)
    if grep -q -e 'max search depth too small' -e 'reached -DMEMLIM' -e 'out of memory' \
        -e 'hashtable is too small' pan.log || [ -z "$states" ]; then
        echo "the search was cut off: $(grep -e 'pan:' -e error pan.log | head -n 1)"
        return 1
    fi
    if [ "$expect" = fails ]; then
        grep -q 'assertion violated' pan.log && { echo "found after $states states"; return 0; }
        echo "nothing was found in $states states"
        return 1
    fi
    grep -q 'errors: 0$' pan.log && { echo "$states states"; return 0; }
    grep -m 1 'pan:1:' pan.log | cut -c 1-160
    return 1
}
export -f check verify

# The checks of one model, the long one first.
list()
{
    echo "$1 -"
    grep -oE '(ifdef|ifndef|defined\() *(HOLDS|BREAK|WITNESS)_[A-Z0-9_]+' "$1" |
        grep -oE '(HOLDS|BREAK|WITNESS)_.*' | sort -u -r | sed "s|^|$1 |"
}

if ! command -v spin >/dev/null; then
    echo "not ok - spin is not installed (apt-get install spin)"
    echo "0 passed, 1 failed"
    exit 1
fi

models=()
for name in "${@:-}"; do
    [ -n "$name" ] && models+=("$here/$name.pml")
done
[ ${#models[@]} -gt 0 ] || models=("$here"/*.pml)

out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
# shellcheck disable=SC2016 # the words are for the shell that xargs starts
for model in "${models[@]}"; do
    list "$model"
done | xargs -P "$jobs" -L 1 bash -c 'check "$1" "$2"' check | tee "$out"

passed=$(grep -c '^ok - ' "$out")
failed=$(grep -c '^not ok - ' "$out")
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
