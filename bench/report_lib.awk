# SPDX-License-Identifier: MIT
#
# report_lib.awk - members of a line of JSON as the benchmarks write it, and numbers for people.

# Some programs write no blank behind a colon.
{
    gsub(/": */, "\": ")
}

# The member's text; "" if there is none.
function member(name, at, text) {
    at = index($0, "\"" name "\": ")
    if (!at)
        return ""
    text = substr($0, at + length(name) + 4)
    if (substr(text, 1, 1) == "\"") {
        text = substr(text, 2)
        sub(/".*/, "", text)
    } else {
        sub(/[,}].*/, "", text)
    }
    return text == "null" ? "" : text
}

function count(n) {
    n += 0
    if (n >= 1e6)
        return sprintf("%.2f M", n / 1e6)
    if (n >= 1e4)
        return sprintf("%.1f k", n / 1e3)
    return sprintf("%.0f", n)
}

function duration(ns) {
    if (ns == "" || ns == 0)
        return ""
    ns += 0
    if (ns >= 1e9)
        return sprintf("%.2f s", ns / 1e9)
    if (ns >= 1e6)
        return sprintf("%.2f ms", ns / 1e6)
    if (ns >= 1e4)
        return sprintf("%.1f µs", ns / 1e3)
    return sprintf("%.0f ns", ns)
}

function ratio(n) {
    return n == "" ? "" : sprintf("%.2f", n + 0)
}

# "10 %" and the like stay in one line of a table.
function cell(text) {
    gsub(/\|/, "\\|", text)
    return text
}
