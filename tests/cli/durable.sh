#!/bin/bash
# SPDX-License-Identifier: MIT
# durable.sh - the commands that concern images.
. "$(dirname "$0")/common.bash"

# A volatile store has none, and says so.
"$SHMKV" create --size 16M
"$SHMKV" set a b
for command in sync checkpoint "backup $work/backup" "repair $work/repaired"; do
    # shellcheck disable=SC2086 # a command and its argument
    refuse "$command of a volatile store" 3 "$SHMKV_STORE: a volatile store has no image" $command
done
holds "which make no file" test -z "$(find "$work" -name backup -o -name repaired)"
refuse "backup needs a file" 2 'too few arguments' backup
refuse "repair needs an output" 2 'too few arguments' repair
refuse "sync takes a time" 2 "'soon' is not a time" sync --timeout soon
refuse "sync of a store that is not there" 3 'there is no store' -f shm:none-$$ sync
finish
