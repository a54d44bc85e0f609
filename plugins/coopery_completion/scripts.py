"""What each shell sources. All that needs thought is asked of `coopery completion --answer`.

Its answer's first line says what to do: `words` (those that follow, each perhaps with a tab and a
description), `open` (the same, and the word goes on), `files` or `folders` (the shell knows these).
"""

from __future__ import annotations

BASH = r"""# Completion of coopery in bash: source <(coopery completion bash)
_coopery() {
    local kind line
    COMPREPLY=()
    {
        IFS= read -r kind || return 0
        while IFS= read -r line; do COMPREPLY+=("$line"); done
    } < <(printf '%s\0' "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" |
        "$1" completion bash --answer 2>/dev/null)
    case $kind in
        open) compopt -o nospace ;;
        files) compopt -o default ;;
        folders) compopt -o dirnames ;;
    esac
}
complete -F _coopery coopery
"""

ZSH = r"""#compdef coopery
# Completion of coopery in zsh: source <(coopery completion zsh), after compinit;
# or as a file named _coopery in a folder of $fpath.
_coopery() {
    local kind value told
    local -a values shown glue
    {
        IFS= read -r kind || return 1
        while IFS=$'\t' read -r value told; do
            values+=("$value")
            shown+=("$value${told:+  -- $told}")
        done
    } < <(printf '%s\0' "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" |
        "${(Q)words[1]}" completion zsh --answer 2>/dev/null)
    case $kind in
        files) compset -P '--*='; _files ;;
        folders) compset -P '--*='; _files -/ ;;
        *)
            [[ $kind == open ]] && glue=(-S '')
            compadd "${glue[@]}" -l -d shown -a values ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _coopery "$@"
else
    compdef _coopery coopery
fi
"""

FISH = r"""# Completion of coopery in fish: coopery completion fish | source
function __coopery_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    # A quote that is still open is no part of the word.
    set -l current (commandline -ct | string replace -r -- '^[\'"]' '')
    set -l answer (printf '%s\0' $words "$current" | \
        $program completion fish --answer 2>/dev/null)
    or return
    set -l kind $answer[1]
    set -e answer[1]
    set -l flag (string match -r -- '^--[^=]*=' "$current")
    set -l value (string replace -r -- '^--[^=]*=' '' "$current")
    switch "$kind"
        case files
            printf '%s\n' "$flag"(__fish_complete_path "$value")
        case folders
            printf '%s\n' "$flag"(__fish_complete_directories "$value")
        case '*'
            printf '%s\n' $answer
    end
end
complete -c coopery -f -a '(__coopery_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
