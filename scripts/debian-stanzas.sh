#!/bin/bash
# SPDX-License-Identifier: MIT
#
# debian-stanzas.sh - a real data set of 60,000 pairs and more: the package lists of this machine.
#
#   scripts/debian-stanzas.sh [LIST...] > pairs.null      # for: shmkv load --format null
#   scripts/debian-stanzas.sh --last [LIST...]            # one pair for each key
#
# Writes key NUL value NUL for each stanza: the key is the package's name, the value the whole
# stanza with its line feeds.  A name that occurs again replaces the earlier one when loaded; with
# --last only the last of each name is written, sorted by key, as a store holds them.
# Without LISTs: those of apt, or where there are none, dpkg's list of installed packages.

set -eu
export LC_ALL=C

last=0
if [ "${1:-}" = --last ]; then
    last=1
    shift
fi

lists=("$@")
if [ ${#lists[@]} = 0 ]; then
    shopt -s nullglob
    lists=(/var/lib/apt/lists/*_Packages /var/lib/apt/lists/*_Packages.*)
    shopt -u nullglob
fi
if [ ${#lists[@]} = 0 ]; then
    lists=(/var/lib/dpkg/status)
fi

read_list() {
    case $1 in
    *.lz4 | *.gz | *.xz | *.bz2 | *.zst) /usr/lib/apt/apt-helper cat-file "$1" ;;
    *) cat "$1" ;;
    esac
    echo # a stanza does not run on into the next list
}

# mawk cannot write NUL and awk's sort order is none; perl-base is on every Debian.
for list in "${lists[@]}"; do
    read_list "$list"
done | perl -e '
    $/ = "";                      # paragraphs
    my ($only_last, %value) = ($ARGV[0]);
    while (my $stanza = <STDIN>) {
        $stanza =~ s/\n+\z//;
        my ($name) = $stanza =~ /^Package: (\S+)/m or next;
        if ($only_last) { $value{$name} = $stanza } else { print "$name\0$stanza\0" }
    }
    print "$_\0$value{$_}\0" for sort keys %value;
' "$last"
