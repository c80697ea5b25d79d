#!/bin/bash
# SPDX-License-Identifier: MIT
#
# report.sh - make RESULTS.md, with pictures in results/, of what run.sh has kept.
#
#   bench/report.sh build/bench/LEVEL [WHERE]      WHERE: [bench]

set -u
cd "$(dirname "$0")/.." || exit 1
dir=${1:-build/bench/usual}
out=${2:-bench}/RESULTS.md
pictures=${2:-bench}/results
if ! ls "$dir"/*.json >/dev/null 2>&1; then
    echo "bench: nothing in $dir; run bench/run.sh first" >&2
    exit 1
fi
mkdir -p "$pictures"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tables() {
    awk -v kind="$1" -f bench/report_lib.awk -f bench/report_tables.awk "${@:2}" || touch "$work/failed"
}

# A section: title $1, kind of table $2, text $3, then names of cells; nothing if none was run.
section() {
    local title=$1 kind=$2 text=$3 name files=()
    shift 3
    for name in "$@"; do
        [ -s "$dir/$name.json" ] && files+=("$dir/$name.json")
    done
    [ ${#files[@]} = 0 ] && return
    printf '\n## %s\n\n' "$title"
    [ -n "$text" ] && printf '%s\n\n' "$text"
    # shellcheck disable=SC2016 # the quotes are Markdown's
    for name in "$@"; do
        [ -s "$dir/$name.json" ] && [ -s "$dir/$name.command" ] &&
            printf '    %s\n' "$(cat "$dir/$name.command")"
    done
    echo
    tables "$kind" "${files[@]}"
}

# What a cell printed, as it is: @1 its title, @2 the cell.
printed() {
    [ -s "$dir/$2.seconds" ] || return 0
    printf '\n## %s\n\n    %s\n\n```\n' "$1" "$(cat "$dir/$2.command")"
    cat "$dir/$2.txt"
    printf '```\n'
}

picture() {
    [ -e "$pictures/$1.svg" ] && printf '\n![%s](results/%s.svg)\n' "$2" "$1"
}

# ---- pictures ----------------------------------------------------------------------------------

# Both kinds of file of picture $1 from the gnuplot commands that set it up ($2) and draw it ($3).
draw() {
    command -v gnuplot >/dev/null || return 0
    {
        echo 'set grid; set key outside'
        echo "$2"
        echo "set terminal svg size 900,520 background 'white'; set output '$pictures/$1.svg'"
        echo "$3"
        echo "set terminal pngcairo size 900,520; set output '$pictures/$1.png'"
        echo "$3"
    } | gnuplot 2>"$work/gnuplot" || { cat "$work/gnuplot" >&2; rm -f "$pictures/$1".*; }
}

# Lines of "engine x y" of operation $1 in the files that follow, x the processes, y millions/s.
rates_of() {
    local op=$1
    shift
    cat "$@" 2>/dev/null | awk -v op="$op" -f bench/report_lib.awk -f <(cat <<'END'
member("op") == op { print member("engine"), member("procs"), member("ops_per_s") / 1e6 }
END
    )
}

# A line per engine of the file "engine x y".
lines_of() {
    local engine separator=plot
    while read -r engine; do
        printf "%s '< grep \"^%s \" %s' using 2:3 with linespoints lw 2 title '%s'" \
            "$separator" "$engine" "$1" "$engine"
        separator=,
    done < <(cut -d ' ' -f 1 "$1" | sort -u)
    echo
}

draw_scaling() {
    local op
    for op in get overwrite; do
        rates_of $op "$dir/scaling.json" >"$work/$op"
        [ -s "$work/$op" ] && draw "scaling-$op" "set title '$op'; set xlabel 'processes'
            set ylabel 'million operations per second'; set yrange [0:*]; set logscale x 2" \
            "$(lines_of "$work/$op")"
    done
    rates_of 'mix 95/5' "$dir/scaling-peers.json" >"$work/peers"
    [ -s "$work/peers" ] && draw scaling-peers "set title '95 % GET, 5 % SET'
        set xlabel 'processes (connections, threads)'; set logscale x 2
        set ylabel 'million operations per second'; set yrange [0:*]" "$(lines_of "$work/peers")"
}

draw_peers() {
    local name op
    for name in get set; do
        op=$name
        [ $name = set ] && op=overwrite
        rates_of $op "$dir/peers-$name.json" | sort -k 3 -g >"$work/bars"
        [ -s "$work/bars" ] && draw "peers-$name" "set title '$op, one process'; unset key
            set style fill solid; set ytics scale 0; set xrange [0:*]
            set xlabel 'million operations per second'; set yrange [-1:$(wc -l <"$work/bars")]" \
            "plot '$work/bars' using (\$3*0.5):0:(\$3*0.5):(0.35):ytic(1) with boxxyerror title '$op'"
    done
}

# "engine nines nanoseconds" of each curve of operation $1.
draw_curves() {
    awk -f bench/report_lib.awk -f <(cat <<'END'
member("op") == "get at 50 %" {
    text = $0
    sub(/.*"curve": \[\[/, "", text)
    sub(/\]\].*/, "", text)
    n = split(text, pairs, /\], \[/)
    for (i = 1; i <= n; i++) {
        split(pairs[i], pair, ", ")
        if (pair[1] < 1 && pair[2] > 0)
            print member("engine"), 1 / (1 - pair[1]), pair[2] / 1000
    }
}
END
    ) "$dir/arrivals.json" 2>/dev/null >"$work/curves"
    [ -s "$work/curves" ] && draw arrivals "set title 'GET at half of the highest rate'
        set logscale xy; set xlabel 'one operation in so many takes longer'
        set ylabel 'latency, µs'" "$(lines_of "$work/curves")"
}

# ---- the page ----------------------------------------------------------------------------------

machine() {
    local name
    for name in "$dir"/*.txt; do
        if grep -m 1 '^machine' "$name"; then return; fi
    done | sed 's/^machine *//; s/, load .*//'
}

page() {
    cat <<END
# Results

Made by \`make bench-report\`; bench/README.md says how to read it and how to run it again.

- machine: $(machine)
- begun: $(cat "$dir/began"), commit $(cat "$dir/commit")
- each figure: the median of the runs, with the lowest and the highest; *of limit*: the median of
  the ratios of neighbouring slices to the yardstick's, each of a turn forth and one back

END
    awk -f bench/report_lib.awk -f bench/report_claims.awk "$dir"/*.json || touch "$work/failed"
    section 'Reading, beside others' rates '' get peers-get
    picture peers-get 'operations per second of each engine'
    section 'Writing, beside others' rates '' peers-set peers-fresh
    picture peers-set 'operations per second of each engine'
    section 'Other operations' rates '' procs peers-mix writers zipf hotcold
    section 'More processes' rates '' scaling scaling-4m scaling-fresh scaling-peers
    picture scaling-get 'GET over processes'
    picture scaling-overwrite 'SET over processes'
    picture scaling-peers 'a mix over processes'
    section 'One and ten million keys of 16 bytes, values of 100' rates '' sizes large
    section 'YCSB' rates '' ycsb
    section 'Tests that others publish' classic '' classic
    section 'Latency at a fixed rate' arrivals '' arrivals arrivals-2
    picture arrivals 'distribution of latencies'
    section 'Latency beside a load, while the index is resized' rates '' latency
    section 'While processes are killed' killed '' killed killed-8 killed-peers
    section 'Memory per key, bytes' memory '' memory-8-8 memory-16-100 memory-36-35 memory-20-1000
    section 'Loading a data file' load '' load
    section 'Cost of one operation' cost '' cost
    section 'Cleaning' any '' compaction
    section 'Cache mode' any '' missratio
    printed 'Sync beside a bare write' sync
    printed 'Durability' durability
    section 'A checkpoint every second, beside none' checkpoint '' checkpoint
    section 'Recovery' any '' recover
    printf '\nSkipped, or failed:\n\n'
    grep -h '^bench: ' "$dir"/*.txt | sort -u | sed 's/^/- /'
    for name in "$dir"/*.command; do
        [ -e "${name%.command}.seconds" ] || echo "- $(basename "${name%.command}") has not ended"
    done
    printf '\n'
}

draw_scaling
draw_peers
draw_curves
page >"$out"
if [ -e "$work/failed" ]; then
    echo "bench: $out is not whole" >&2
    exit 1
fi
echo "bench: wrote $out and $pictures/"
