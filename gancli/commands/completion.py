"""gan completion: the script that teaches a shell what the Tab key means behind `gan`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gancli.commands.complete import SHELLS, Found, Subcommand, complete
from gancli.config.hints import find_nearest
from gancli.errors import UserError, did_you_mean

USAGE = "gan completion bash, zsh or fish"
ANSWER = "answer"  # what the scripts type; not for people
SPECIAL = re.compile(r"[^\w@%+=:,./~-]")  # what bash and zsh take as it stands only behind a \
OPEN = ("=", ".", "/")  # how words end behind which the next letter follows at once

BASH = r"""# Completion of gan for bash: eval "$(gan completion bash)" in ~/.bashrc
_gan() {
    # bash begins a word anew behind each = and :, and gives in $2 what stands behind the last.
    local IFS=$'\n'
    COMPREPLY=($(command gan completion answer bash "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null))
}
complete -o nospace -F _gan gan
"""
ZSH = r"""#compdef gan
# Completion of gan for zsh: eval "$(gan completion zsh)" in ~/.zshrc
_gan() {
    local line="${(j: :)words[1,CURRENT-1]} ${PREFIX}"
    local -a found open closed
    found=("${(@f)$(command gan completion answer zsh "$line" 2>/dev/null)}")
    open=("${(@M)found:#*[=./]}")
    closed=("${(@)found:#*[=./]}")
    (( ${#${(j::)open}} )) && compadd -Q -S '' -a open
    (( ${#${(j::)closed}} )) && compadd -Q -a closed
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _gan gan
"""
FISH = r"""# Completion of gan for fish: gan completion fish | source in ~/.config/fish/config.fish
function __gan_complete
    command gan completion answer fish (commandline -cp | string collect) 2>/dev/null
end
complete -c gan -f -a '(__gan_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def main(argv: list[str]) -> int:
    """Prints the script of a shell. Raises UserError where no such shell is named."""
    if len(argv) != 1 or argv[0] not in SCRIPTS:
        close = find_nearest(argv[0], SHELLS) if argv else []
        wrong = f"no completion for '{argv[0]}'" if argv else "for which shell?"
        raise UserError(wrong, did_you_mean(close) or USAGE)
    print(SCRIPTS[argv[0]], end="")
    return 0


def answer(words: Sequence[str], commands: Mapping[str, Subcommand]) -> int:
    """Prints what a shell asks for, a word a line; a mistake offers nothing.

    Args:
        words: The shell, the line up to the cursor and, of bash, the piece that it replaces.
        commands: The subcommands by name.
    """
    shell, line, *more = [*words, "", ""]
    raw = split_raw(line)
    typed = [unquote(word) for word in raw]
    found = complete(typed[1:-1], typed[-1], commands) if len(typed) > 1 else []
    piece = more[0] if shell == "bash" else raw[-1]
    print("\n".join(format_found(found, shell, raw[-1], piece)))
    return 0


def split_raw(line: str) -> list[str]:
    """Cuts a line at spaces that are neither quoted nor escaped; the last word may be empty."""
    words = [""]
    quote = ""
    escaped = False
    for letter in line:
        if escaped or (quote and letter != quote):
            escaped = False if escaped else letter == "\\" and quote == '"'
        elif letter == "\\":
            escaped = True
        elif letter in "'\"":
            quote = "" if quote else letter
        elif letter == " ":
            if words[-1]:
                words.append("")
            continue
        words[-1] += letter
    return words


def unquote(word: str) -> str:
    """Takes quotes and backslashes away, of a word that may not be finished."""
    found = ""
    quote = ""
    escaped = False
    for letter in word:
        if escaped:
            found += letter
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif letter == quote:
            quote = ""
        elif letter in "'\"" and not quote:
            quote = letter
        else:
            found += letter
    return found


def format_found(found: Sequence[Found], shell: str, raw: str, piece: str) -> list[str]:
    """Writes words as a shell takes them.

    Args:
        found: The whole words.
        shell: bash takes the part behind the last = or :, escaped, and with a space where nothing
            more can follow; zsh the whole word, escaped; fish as it is, with what it means.
        raw: The word as it is typed.
        piece: The end of it that bash replaces.
    """
    if shell == "fish":
        return [f"{word}\t{about}" if about else word for word, about in found]
    if shell == "zsh":
        return [escape(word) for word, _ in found]
    before = unquote(raw.removesuffix(piece)) if raw.endswith(piece) else ""
    quoted = piece[:1] in ("'", '"')
    lines = []
    for word, _ in found:
        rest = word.removeprefix(before)
        space = "" if word.endswith(OPEN) or quoted else " "
        lines.append((rest if quoted else escape(rest)) + space)
    return lines


def escape(word: str) -> str:
    """Puts a backslash before each letter that means something to a shell."""
    return SPECIAL.sub(r"\\\g<0>", word)
