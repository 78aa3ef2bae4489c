"""Completion in the shell: the script asks the program, which knows all names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pnnbench.arguments import Argument, Command
from pnnbench.commands.output import out
from pnnbench.errors import UserError, fold

#: Words to complete stand behind the command; files where nothing is answered.
_BASH = """\
_pnnbench() {
  local IFS=$'\\n' word="${COMP_WORDS[COMP_CWORD]}" answer
  COMPREPLY=()
  while read -r answer; do
    [[ -n "$answer" ]] && COMPREPLY+=("$(printf '%q' "$answer")")
  done < <(_PNNBENCH_COMPLETE=1 pnnbench "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$word" 2>/dev/null)
}
complete -o default -F _pnnbench pnnbench
"""
_ZSH = """\
#compdef pnnbench
_pnnbench() {
  local -a answers
  answers=("${(@f)$(_PNNBENCH_COMPLETE=1 pnnbench "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  answers=(${answers:#})
  if (( $#answers )); then compadd -- $answers; else _files; fi
}
compdef _pnnbench pnnbench
"""
#: Shell -> its script.
SCRIPTS = {"bash": _BASH, "zsh": _ZSH}


def completion(options: Any) -> int:
    """``pnnbench completion``."""
    out(SCRIPTS[options.shell])
    return 0


def complete(commands: Sequence[Command], words: Sequence[str]) -> list[str]:
    """Completes a command line.

    Args:
        commands: The subcommands.
        words: The words behind the program's name; the last one, possibly empty, is completed.

    Returns:
        What the last word may become; empty where it is a file, a number or free text.
    """
    # The shell hands over words as they were typed, and bash splits at the sign of equality.
    typed = [word.lstrip("\"'").replace("\\", "") for word in words]
    if typed[-1:] == ["="]:
        typed.append("")
    *before, begun = [word for word in typed if word != "="] or [""]
    names = {command.name: command for command in commands}
    if not before:
        return _starting(begun, names)
    command = names.get(fold(before[0]))
    if command is None:
        return []
    flags = {fold(name): argument for name, argument in command.flags.items()}
    waiting: Argument | None = None
    positionals = command.positionals
    for word in before[1:]:
        if waiting is not None:
            waiting = None
        elif word.startswith("--"):
            flag = flags.get(fold(word))
            waiting = flag if flag is not None and flag.kind is not None else None
        elif positionals and not positionals[0].many:
            positionals = positionals[1:]
    if waiting is not None:
        return _starting(begun, _values(waiting))
    head, equals, value = begun.partition("=")
    if begun.startswith("--") and equals:
        flag = flags.get(fold(head))
        found = _starting(value, _values(flag)) if flag is not None else []
        return [f"{head}={answer}" for answer in found]
    if begun.startswith("-"):
        return _starting(begun, [*command.flags, "--help"])
    return _starting(begun, _values(positionals[0])) if positionals else []


def _values(argument: Argument) -> Sequence[str]:
    if argument.kind is None or argument.kind.words is None:
        return []
    try:
        return argument.kind.words()
    except UserError:
        return []


def _starting(begun: str, answers: Sequence[str] | dict[str, Any]) -> list[str]:
    return [answer for answer in answers if fold(answer).startswith(fold(begun))]
