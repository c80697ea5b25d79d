# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion of shmkv(1) for bash.

# Options of command $1.
_shmkv_options() {
    case $1 in
    set) echo "--ttl --keep-ttl --nx --xx --verbose" ;;
    get) echo "--verbose --json" ;;
    del) echo "--prefix --verbose" ;;
    append | compact) echo "--verbose" ;;
    cas) echo "--ttl --verbose" ;;
    ttl | info | config | ls | readers) echo "--json" ;;
    mget) echo "--format --json" ;;
    mset) echo "--ttl" ;;
    load) echo "--format --skip-bad --verbose" ;;
    dump) echo "--format --json --prefix --match" ;;
    scan) echo "--prefix --match --limit --keys --format --json" ;;
    count) echo "--prefix --match" ;;
    create) echo "--size --cache --reserve --mode" ;;
    destroy) echo "--force" ;;
    top) echo "--once --json" ;;
    stat) echo "--json --prometheus" ;;
    watch) echo "--count --since --timeout --json" ;;
    sync) echo "--timeout" ;;
    bench) echo "--seconds --keys --value-size --size --json" ;;
    esac
}

# The words given so far that name a store or a directory, as options for a run of shmkv.
_shmkv_where() {
    local i
    where=()
    for ((i = 1; i + 1 < ${#words[@]}; i++)); do
        case ${words[i]} in
        -f | --store | --shm-dir) where+=("${words[i]}" "${words[i + 1]}") ;;
        esac
    done
}

_shmkv_command() {
    local i
    command=""
    for ((i = 1; i < cword; i++)); do
        case ${words[i]} in
        -f | --store | --shm-dir) i=$((i + 1)) ;;
        -*) ;;
        *)
            command=${words[i]}
            return
            ;;
        esac
    done
}

# Stores and keys are listed only in reasonable number.
_shmkv_names() {
    local where
    _shmkv_where
    case $1 in
    stores) shmkv "${where[@]}" ls 2>/dev/null | cut -f 1 ;;
    keys) shmkv "${where[@]}" scan --keys --limit 200 --prefix "$cur" 2>/dev/null ;;
    esac
}

_shmkv() {
    local cur prev words cword command
    local IFS=$' \t\n'
    if declare -F _init_completion >/dev/null; then
        _init_completion -n : || return
    else
        words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
        cur=${words[cword]} prev=${words[cword - 1]}
    fi
    local common="--store --shm-dir --help"
    local all="set get del exists incr append cas touch ttl mget mset load dump scan count create
        info config clear destroy ls gc stat readers top watch sync checkpoint backup check
        repair compact bench help"
    _shmkv_command
    COMPREPLY=()
    case $prev in
    -f | --store)
        mapfile -t COMPREPLY < <(compgen -W "$(_shmkv_names stores)" -- "$cur")
        if declare -F __ltrim_colon_completions >/dev/null; then
            __ltrim_colon_completions "$cur"
        fi
        return
        ;;
    --shm-dir)
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --format)
        mapfile -t COMPREPLY < <(compgen -W "tsv space jsonl null" -- "$cur")
        return
        ;;
    esac
    if [[ $cur == -* ]]; then
        local known="$common"
        [[ $command ]] && known+=" $(_shmkv_options "$command")" || known+=" --version"
        mapfile -t COMPREPLY < <(compgen -W "$known" -- "$cur")
        return
    fi
    case $command in
    "") mapfile -t COMPREPLY < <(compgen -W "$all" -- "$cur") ;;
    config) mapfile -t COMPREPLY < <(compgen -W "size=" -- "$cur") ;;
    help) mapfile -t COMPREPLY < <(compgen -W "$all" -- "$cur") ;;
    load | dump | backup | repair) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    set | get | del | exists | incr | append | cas | touch | ttl | mget | watch)
        IFS=$'\n'
        mapfile -t COMPREPLY < <(compgen -W "$(_shmkv_names keys)" -- "$cur")
        ;;
    esac
}

complete -F _shmkv shmkv
