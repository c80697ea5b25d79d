# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion of shmkvd(8) for bash.

_shmkvd() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local IFS=$' \t\n'
    COMPREPLY=()
    case $prev in
    -c | --config) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    --shm-dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    --interval | --size | --mode) ;;
    *)
        if [[ $cur == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "--config --test --interval --create --size --mode
                --shm-dir --help --version" -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        fi
        ;;
    esac
}

complete -o filenames -F _shmkvd shmkvd
