# SPDX-License-Identifier: MIT
#
# report_tables.awk - lines of JSON as a table in Markdown; -v kind=rates|classic|arrivals|killed|
# memory|cost|load|checkpoint says which columns; kind=any: all that the lines have, numbers as they are.

function head(text, n, parts, i) {
    print "| " text " |"
    n = split(text, parts, "|")
    printf "|"
    for (i = 1; i <= n; i++)
        printf "---|"
    print ""
}

BEGIN {
    if (kind == "rates")
        head("engine | processes | operation | operations/s | lowest–highest | p50 | p99 | p99.9 | max | bytes/key | of limit | shmkv is")
    if (kind == "classic")
        head("test | workers | engine | operations/s | published | times | p50 | p95 | p99 | max | published p50/p95/p99")
    if (kind == "arrivals")
        head("engine | operation | offered/s | p50 | p99 | p99.9 | max | p99.9 of limit's")
    if (kind == "killed")
        head("engine | processes | | operations/s | lowest–highest | survivors go on after: p50 | p99 | max | kills | new process works after: p50 | max")
    if (kind == "cost")
        head("engine | operation | instructions | D1 misses | last-level misses | system calls per million")
    if (kind == "checkpoint")
        head("engine | operation | operations/s | lowest–highest | p50 | p99 | p99.9 | max | of without | checkpoints/s | longest | written per byte put")
    if (kind == "load")
        head("keys | seconds | keys/s | memory | payload | bytes/key")
}

kind == "rates" {
    rate = member("ops_per_s")
    times = member("shmkv_times") == "" ? "" : sprintf("%.2f times", member("shmkv_times") + 0)
    op = member("op")
    if (member("does") != op && op !~ /mix|ycsb|writing/ && member("does") != "")
        op = op ": " member("does")
    printf "| %s | %s | %s | %s | %s–%s | %s | %s | %s | %s | %s | %s | %s |\n", member("engine"),
        member("procs"), cell(op), count(rate), count(member("ops_per_s_min")),
        count(member("ops_per_s_max")), duration(member("p50_ns")), duration(member("p99_ns")),
        duration(member("p999_ns")), duration(member("max_ns")),
        (member("bytes_per_key") > 0 ? member("bytes_per_key") : ""), ratio(member("ratio_to_limit")),
        times
}

kind == "classic" {
    published = member("published")
    printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", cell(member("op")),
        member("procs"), member("engine"), count(member("ops_per_s")),
        (published == "" ? "" : count(published)),
        (published == "" ? "" : sprintf("%.1f", member("ops_per_s") / published)),
        duration(member("p50_ns")), duration(member("p95_ns")), duration(member("p99_ns")),
        duration(member("max_ns")), cell(member("published_latency"))
}

kind == "arrivals" {
    printf "| %s | %s | %s | %s | %s | %s | %s | %s |\n", member("engine"), member("op"),
        count(member("offered")), duration(member("p50_ns")), duration(member("p99_ns")),
        duration(member("p999_ns")), duration(member("max_ns")), ratio(member("ratio_to_limit"))
}

kind == "killed" {
    printf "| %s | %s | %s | %s | %s–%s | %s | %s | %s | %s | %s | %s |\n", member("engine"),
        member("procs"), member("op"), count(member("ops_per_s")), count(member("ops_per_s_min")),
        count(member("ops_per_s_max")), duration(member("p50_ns")), duration(member("p99_ns")),
        duration(member("max_ns")), member("kills"), duration(member("arrival_p50_ns")),
        duration(member("arrival_max_ns"))
}

kind == "cost" {
    printf "| %s | %s | %.0f | %s | %s | %s |\n", member("engine"), member("op"),
        member("instructions"), member("d1_misses"), member("ll_misses"),
        member("calls_per_million")
}

kind == "checkpoint" {
    printf "| %s | %s | %s | %s–%s | %s | %s | %s | %s | %s | %s | %s | %s |\n", member("engine"),
        member("op"), count(member("ops_per_s")), count(member("ops_per_s_min")),
        count(member("ops_per_s_max")), duration(member("p50_ns")), duration(member("p99_ns")),
        duration(member("p999_ns")), duration(member("max_ns")), ratio(member("ratio_to_limit")),
        member("checkpoints_per_s"), duration(member("longest_checkpoint_ms") * 1e6),
        member("image_bytes_per_byte_put")
}

kind == "load" {
    printf "| %s | %s | %s | %.1f MB | %.1f MB | %s |\n", member("keys"), member("seconds"),
        count(member("ops_per_s")), member("memory_bytes") / 1e6, member("payload_bytes") / 1e6,
        member("bytes_per_key")
}

# The columns are those of the first line; a line with others begins a new table.
kind == "any" {
    rest = $0
    names = values = ""
    while (match(rest, /"[a-z0-9_]+": ("[^"]*"|[^,}]*)/)) {
        text = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        at = index(text, ": ")
        value = substr(text, at + 2)
        gsub(/"/, "", value)
        names = names (names == "" ? "" : " | ") substr(text, 2, at - 3)
        values = values " " cell(value) " |"
    }
    if (names != names_before) {
        if (names_before != "")
            print ""
        head(names)
        names_before = names
    }
    print "|" values
}

# One line per engine, one column per pair of sizes.
kind == "memory" {
    size = member("key_size") "/" member("value_size")
    engine = member("engine")
    if (!(size in size_seen)) {
        size_seen[size] = 1
        sizes[++n_sizes] = size
    }
    if (!(engine in engine_seen)) {
        engine_seen[engine] = 1
        engines[++n_engines] = engine
    }
    bytes[engine, size] = member("bytes_per_key")
}

END {
    if (kind != "memory")
        exit
    line = "engine"
    for (i = 1; i <= n_sizes; i++)
        line = line " | " sizes[i]
    head(line)
    for (j = 1; j <= n_engines; j++) {
        printf "| %s |", engines[j]
        for (i = 1; i <= n_sizes; i++)
            printf " %s |", bytes[engines[j], sizes[i]]
        print ""
    }
}
