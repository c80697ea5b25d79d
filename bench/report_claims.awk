# SPDX-License-Identifier: MIT
#
# report_claims.awk - what shmkv is meant to reach, and whether this run shows it.
#
# Reads all lines of JSON of a run; prints a table.  A claim about which the run says nothing is
# left out.

{
    engine = member("engine")
    key = member("bench") " " member("op") " " member("procs") " " member("keys") " " \
        member("key_size") "/" member("value_size") " " member("dist")
    rate[key, engine] = member("ops_per_s")
    if (member("scaling_from") == 1 && member("scaling_of_limit") != "")
        scaling[key, engine] = member("scaling_of_limit")
    of_limit = member("ratio_to_limit")
    # Of cells that measure the same: that of the most runs, or the lowest.
    more = member("runs") - runs[key, engine]
    if (!((key, engine) in limit) || more > 0 || (more == 0 && of_limit + 0 < limit[key, engine] + 0)) {
        limit[key, engine] = of_limit
        runs[key, engine] = member("runs") + 0
    }
    p99[key, engine] = member("p99_ns")
    published[key] = member("published")
    shmkv_times[key, engine] = member("shmkv_times")
    if (!(engine in engine_seen)) {
        engine_seen[engine] = 1
        engines[++n_engines] = engine
    }
    if (!(key in key_seen)) {
        key_seen[key] = 1
        keys[++n_keys] = key
    }
}

function say(claim, wanted, value, reached) {
    if (!n_claims++) {
        print "| what | wanted | measured | |"
        print "|---|---|---|---|"
    }
    reached_all += reached
    printf "| %s | %s | %s | %s |\n", cell(claim), wanted, value, reached ? "yes" : "**no**"
}

function at_least(claim, wanted, value) {
    if (value != "")
        say(claim, "at least " wanted, sprintf("%.2f", value + 0), value + 0 >= wanted)
}

function at_most(claim, wanted, value) {
    if (value != "")
        say(claim, "at most " wanted, sprintf("%.2f", value + 0), value + 0 <= wanted)
}

# How many times shmkv has the rate of the best of the engines whose names match; "" without any.
function times(key, pattern, i, least) {
    for (i = 1; i <= n_engines; i++)
        if (engines[i] ~ pattern && shmkv_times[key, engines[i]] > 0)
            if (least == "" || shmkv_times[key, engines[i]] + 0 < least)
                least = shmkv_times[key, engines[i]] + 0
    return least
}

function one_process(key) {
    key = "procs get 1 1000000 36/35 uniform"
    at_least("GET, one process, of the limit", 0.85, limit[key, "shmkv"])
    at_least("GET beside LMDB", 5, times(key, "^lmdb-1$"))
    at_least("GET beside TDB", 3, times(key, "^tdb"))
    at_least("GET beside cds_lfht", 1.5, times(key, "^lfht"))
    at_least("GET beside the best Redis", 5, times(key, "^redis"))
    at_least("batch GET, of the prefetching limit", 0.95, limit["procs mget 1 1000000 36/35 uniform", "shmkv"])
}

function writing(key, what) {
    at_least(what " beside LMDB, one operation per transaction", 4.5, times(key, "^lmdb-1$"))
    at_least(what " beside the best other", 1.1, times(key, "^(tdb|lmdb-1000|lfht|tkrzw|rocksdb|redis|memcached)"))
}

function many_processes(n, i, key, what) {
    for (i = 1; i <= n_keys; i++) {
        key = keys[i]
        if (key ~ ("^procs .* " n " "))
            at_least(key ": first of all", 1, times(key, "^(tdb|lmdb|lfht|tkrzw|rocksdb|redis|memcached)"))
    }
    for (i = 1; i <= split("get,overwrite,mix 95/5", what, ","); i++)
        scaled(what[i], n, 1000000, "1M")
    scaled("get", n, 4000000, "4M")
    scaled("mix 95/5", n, 4000000, "4M")
}

function scaled(op, n, keys, called) {
    at_least(op " of " called " keys, rate at " n " processes over rate at one, of the limit's", 0.9,
        scaling["procs " op " " n " " keys " 36/35 uniform", "shmkv"])
}

# Beside a million keys of the usual sizes, and beside a million of the same sizes.
function large(op, small, same, big) {
    small = limit["procs " op " 1 1000000 36/35 uniform", "shmkv"]
    same = limit["procs " op " 1 1000000 16/100 uniform", "shmkv"]
    big = limit["procs " op " 1 10000000 16/100 uniform", "shmkv"]
    if (small > 0 && big > 0)
        at_least(op " of 10M keys 16/100, of the limit, beside that of 1M keys 36/35", 0.9, big / small)
    if (same > 0 && big > 0)
        at_least(op " of 10M keys 16/100, of the limit, beside that of 1M keys 16/100", 0.9, big / same)
}

# What is left of the ratio to the yardstick beside 10M keys: our drop beside its own, by turns.
function drop(few, many) {
    few = limit["classic set, 10K there 1 10000 16/100 uniform", "shmkv"]
    many = limit["classic set, 10M there 1 10000000 16/100 uniform", "shmkv"]
    if (few > 0 && many > 0)
        at_least("SET beside 10M keys over beside 10K, of the yardstick's own drop", 0.9, many / few)
}

# The rate of sets beside n keys over that beside a tenth of them.
function step(few, many, n, engine, one, ten) {
    one = rate["classic set, " few " there 1 " (n / 10) " 16/100 uniform", engine]
    ten = rate["classic set, " many " there 1 " n " 16/100 uniform", engine]
    return one > 0 && ten > 0 ? sprintf("%.2f", ten / one) : ""
}

# The published test makes 85,714 writes per second: what a cache miss takes does not show in it.
function tenfold(few, many, n, theirs) {
    theirs = step(few, many, n, "limit")
    at_least("SET beside " many " keys over beside " few (theirs == "" ? "" : " (the yardstick: " theirs ")"), 0.95,
        step(few, many, n, "shmkv"))
}

function pool(one, ten) {
    one = rate["classic 1 worker, 10K 1 10000 16/100 uniform", "shmkv"]
    ten = rate["classic 10 workers x 1K 10 10000 16/100 uniform", "shmkv"]
    if (one > 0 && ten > 0)
        at_least("ten workers beside one", 0.8, ten / one)
}

function classic(i, key) {
    tenfold("100", "1K", 1000)
    tenfold("1K", "10K", 10000)
    tenfold("10K", "100K", 100000)
    tenfold("100K", "1M", 1000000)
    tenfold("1M", "10M", 10000000)
    pool()
    for (i = 1; i <= n_keys; i++) {
        key = keys[i]
        if (key !~ /^classic /)
            continue
        if (published[key] > 0)
            at_least(key ", beside the published", 1, rate[key, "shmkv"] / published[key])
        at_least(key ", beside the best Redis", 1, times(key, "^redis"))
    }
}

# A loop that calls nothing has a p99 of its own on that schedule.
function arrivals(key, how, floor) {
    floor = p99[key, "nothing"] > 0 ? sprintf(" (of a loop that calls nothing: %.1f)", p99[key, "nothing"] / 1000) : ""
    at_most("GET at half of the highest rate" how ": p99, µs" floor, 2, p99[key, "shmkv"] / 1000)
    at_most("the same: p99.9, of the limit's", 1.5, limit[key, "shmkv"])
}

function checkpoints(key) {
    key = " 1 1000000 36/35 uniform"
    at_least("GET beside a checkpoint every second, of without", 0.95, limit["checkpoint get" key, "shmkv"])
    at_least("SET beside a checkpoint every second, of without", 0.8, limit["checkpoint overwrite" key, "shmkv"])
}

END {
    one_process()
    writing("procs fresh 1 200000 36/35 uniform", "SET of new keys")
    writing("procs fresh 1 1000000 36/35 uniform", "SET of new keys")
    writing("procs overwrite 1 1000000 36/35 uniform", "SET of present keys")
    large("get")
    large("overwrite")
    for (i = 1; i <= split("2 8 16", procs, " "); i++)
        many_processes(procs[i])
    drop()
    for (i = 1; i <= n_keys; i++)
        if (keys[i] ~ /^arrivals get at 50 %/)
            arrivals(keys[i], keys[i] ~ /running/ ? ", the machine's stops left out" : "")
    classic()
    checkpoints()
    printf "\n%d of %d.\n", reached_all, n_claims
}
