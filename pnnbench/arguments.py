"""What the command line accepts: kinds of values, the spelling of flags, one readable error.

Commands are declared as data (`Command`, `Argument`). Parser, spelling and shell completion are
made from the same declarations. Nothing here imports more than the standard library and YAML.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from pnnbench.errors import NO_VALUE, UserError, did_you_mean, fold, unknown_name

Read = Callable[[str, str], Any]
"""Reads a text: (name of the argument, text) -> value, or raises `UserError`."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What an argument accepts.

    Attributes:
        read: Reads the text.
        allowed: What is accepted, in a line.
        metavar: How usage lines write the value.
        words: Gives the values for shell completion; None where they are files or numbers.
        keys: Whether one key may be given alone, as ``--flag.key value``.
    """

    read: Read
    allowed: str
    metavar: str
    words: Callable[[], Sequence[str]] | None = None
    keys: bool = False


def text(allowed: str, metavar: str, words: Callable[[], Sequence[str]] | None = None) -> Kind:
    """Any text that is not empty."""

    def read(name: str, value: str) -> str:
        if not value.strip():
            raise UserError(f"{name} is empty", allowed=allowed)
        return value

    return Kind(read, allowed, metavar, words)


def choice(*names: str) -> Kind:
    """One of some names, in any case, with ``-`` or ``_``."""

    def read(name: str, value: str) -> str:
        for known in names:
            if fold(known) == fold(value):
                return known
        raise UserError(
            f"{name} is {value!r}{did_you_mean(value, names)}", allowed=", ".join(names)
        )

    return Kind(read, ", ".join(names), "{" + ",".join(names) + "}", lambda: names)


def integer(low: int, high: int) -> Kind:
    """An integer in a range."""
    allowed = f"an integer from {low} to {high}"

    def read(name: str, value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise UserError(f"{name} is {value!r}", allowed=allowed) from None
        if not low <= number <= high:
            raise UserError(f"{name} is {value}", allowed=allowed)
        return number

    return Kind(read, allowed, "N")


def factor(high: float) -> Kind:
    """A number above 0."""
    allowed = f"a number above 0, up to {high:g}"

    def read(name: str, value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0.0 < number <= high:
            raise UserError(f"{name} is {value!r}", allowed=allowed)
        return number

    return Kind(read, allowed, "X")


def integers(low: int, high: int) -> Kind:
    """Integers of a range: ``0,1,2``, ``0-4`` or both."""
    allowed = f"integers from {low} to {high}, such as 0,1,2 or 0-4"

    def read(name: str, value: str) -> list[int]:
        wrong = UserError(f"{name} is {value!r}", allowed=allowed)
        found: list[int] = []
        for part in value.split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise wrong
            ends = int(first), int(last if dash else first)
            if not low <= ends[0] <= ends[1] <= high or ends[1] - ends[0] > 10_000:
                raise wrong
            found.extend(range(ends[0], ends[1] + 1))
        if len(set(found)) < len(found):
            raise UserError(f"{name} is {value!r}: a number is there twice", allowed=allowed)
        return found

    return Kind(read, allowed, "N[,N]")


def yes_or_no() -> Kind:
    """``true`` or ``false``."""
    allowed = "true, false"

    def read(name: str, value: str) -> bool:
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if value.casefold() not in known:
            raise UserError(f"{name} is {value!r}", allowed=allowed)
        return known[value.casefold()]

    return Kind(read, allowed, "{true,false}", lambda: ("true", "false"))


def mapping() -> Kind:
    """A YAML or JSON mapping with names as keys."""
    allowed = "names and values, such as '{lr: 0.1, rho: 0.3}'"

    def read(name: str, value: str) -> dict[str, Any]:
        import yaml

        try:
            found = yaml.safe_load(value)
        except (yaml.YAMLError, *NO_VALUE) as error:
            problem = getattr(error, "problem", None) or "it is not YAML, or not of plain values"
            raise UserError(f"{name} is {value!r:.200}: {problem}", allowed=allowed) from None
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise UserError(f"{name} is {value!r}", allowed=allowed)
        return found

    return Kind(read, allowed, "{NAME: VALUE}", keys=True)


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of a command.

    Attributes:
        name: ``--flag``, or the name of a positional argument.
        help: What it is for.
        kind: What it accepts; None for a flag without a value.
        default: Value where it is not given.
        many: Whether it may be given several times; the value is then a list.
        optional: Whether a positional argument may be left out.
        alone: Value of a flag that is given without one; None where it needs one.
    """

    name: str
    help: str
    kind: Kind | None = None
    default: Any = None
    many: bool = False
    optional: bool = False
    alone: str | None = None

    @property
    def is_flag(self) -> bool:
        """Whether it is named on the command line."""
        return self.name.startswith("--")

    @property
    def shown(self) -> str:
        """How usage lines and messages write it."""
        return self.name if self.is_flag else self.name.upper()

    def add_to(self, parser: ArgumentParser) -> None:
        """Declares the argument to a parser."""
        if self.kind is None:
            parser.add_argument(self.name, action="store_true", help=self.help)
            return
        kind = self.kind

        def read(value: Any) -> Any:
            # The parser checks values a second time, when they have been read already.
            return kind.read(self.shown, value) if isinstance(value, str) else value

        options: dict[str, Any] = {"type": read, "help": self.help}
        if self.is_flag:
            options |= {"default": self.default, "metavar": kind.metavar}
            options |= {"action": "append"} if self.many else {}
        else:
            options |= {"metavar": self.shown}
            if self.many or self.optional:
                options |= {"nargs": "*" if self.many else "?", "default": self.default}
        parser.add_argument(self.name, **options)


@dataclasses.dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes:
        name: Its name.
        help: What it does, in a sentence.
        arguments: What it accepts, positional arguments in order.
    """

    name: str
    help: str
    arguments: tuple[Argument, ...]

    @property
    def flags(self) -> dict[str, Argument]:
        """Flags by name."""
        return {a.name: a for a in self.arguments if a.is_flag}

    @property
    def positionals(self) -> list[Argument]:
        """Positional arguments in order."""
        return [a for a in self.arguments if not a.is_flag]


class _Help(DefaultHelpFormatter):
    """Help without names of Python types."""

    def _get_help_string(self, action: argparse.Action) -> str:
        words = action.help or ""
        if action.option_strings and action.default not in (None, False, [], argparse.SUPPRESS):
            value = str(action.default).lower() if action.default is True else action.default
            value = "this folder" if value == "." else value
            words += f" Default: {value}."
        return words.replace("%", "%%")


class _Parser(ArgumentParser):
    """Raises `UserError` where the parser of the standard library prints and exits."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(message, next_step="pnnbench --help") from ex


def build(prog: str, text: str, version: str, commands: Sequence[Command]) -> ArgumentParser:
    """Builds the parser of some commands.

    Args:
        prog: Name of the program.
        text: What it does.
        version: Its version.
        commands: The subcommands.

    Returns:
        A parser that raises `UserError` on a mistake.
    """
    parser = _Parser(prog=prog, description=text, version=version, formatter_class=_Help)
    subcommands = parser.add_subcommands(dest="command", required=True, metavar="COMMAND")
    for command in commands:
        sub = _Parser(description=command.help, formatter_class=_Help)
        for argument in command.arguments:
            argument.add_to(sub)
        subcommands.add_subcommand(command.name, sub, help=command.help)
        sub.prog = f"{prog} {command.name}"
    return parser


def parse(parser: ArgumentParser, commands: Sequence[Command], words: Sequence[str]) -> Namespace:
    """Parses a command line.

    Args:
        parser: What `build` made.
        commands: The same commands.
        words: The command line.

    Returns:
        ``command`` and, under its name, the values.

    Raises:
        UserError: On a mistake: what, the value, what is allowed, the next command.
    """
    return parser.parse_args(spelled(commands, words))


def spelled(commands: Sequence[Command], words: Sequence[str]) -> list[str]:
    """Puts a command line into the spelling that the parser knows.

    Args:
        commands: The subcommands.
        words: The command line.

    Returns:
        The same with registered spellings: ``--epochs_factor 2`` becomes ``--epochs-factor=2``,
        ``--params.lr 1`` becomes ``--params={lr: 1}``.

    Raises:
        UserError: If a command or a flag does not exist, a value is missing or is one too many.
    """
    names = {command.name: command for command in commands}
    if not words:
        raise UserError("no command given", allowed=", ".join(names), next_step="pnnbench --help")
    first, rest = words[0], list(words[1:])
    if first in ("-h", "--help", "--version"):
        return [first]
    if fold(first) not in names:
        raise unknown_name("command", first, names, next_step="pnnbench --help")
    command = names[fold(first)]
    flags: list[str] = []
    values: list[str] = []
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            return [command.name, "--help"]
        if word == "--":
            values += rest
            break
        if word.startswith("-") and word != "-" and not _is_number(word):
            flags.append(_flag(command, word, rest))
        else:
            values.append(word)
    _check_values(command, values)
    return [command.name, *flags, *(["--", *values] if values else [])]


def _check_values(command: Command, values: Sequence[str]) -> None:
    next_step = f"pnnbench {command.name} --help"
    positionals = command.positionals
    for argument in positionals[len(values) :]:
        if not argument.optional and not argument.many:
            raise UserError(
                f"{argument.shown} is missing",
                allowed=argument.kind.allowed if argument.kind else "",
                next_step=next_step,
            )
    if len(values) > len(positionals) and not any(argument.many for argument in positionals):
        raise UserError(
            f"nothing takes the argument {values[len(positionals)]!r}", next_step=next_step
        )


def _flag(command: Command, word: str, rest: list[str]) -> str:
    """One flag with its value, which is taken from the words behind it."""
    given, equals, value = word.partition("=")
    head, dot, key = given.partition(".")
    next_step = f"pnnbench {command.name} --help"
    known = {fold(name): argument for name, argument in command.flags.items()}
    argument = known.get(fold(head))
    if argument is None or (dot and not (argument.kind and argument.kind.keys)):
        error = unknown_name("flag", given, command.flags, next_step=next_step)
        keyed = [a.name for a in command.flags.values() if a.kind is not None and a.kind.keys]
        if keyed and not dot and argument is None:
            key = given.removeprefix("--")
            next_step += f"; what a method takes is {keyed[0]}.{key} VALUE"
            error = unknown_name("flag", given, command.flags, next_step=next_step)
        raise error
    if argument.kind is None:
        if equals:
            raise UserError(f"{argument.name} takes no value", next_step=next_step)
        return argument.name
    if not equals:
        if argument.alone is not None and not _is_value(argument.kind, rest):
            return f"{argument.name}={argument.alone}"
        if not rest or rest[0].startswith("--"):
            raise UserError(
                f"{given} needs a value", allowed=argument.kind.allowed, next_step=next_step
            )
        value = rest.pop(0)
    return f"{argument.name}={{{key}: {_in_mapping(value)}}}" if dot else f"{argument.name}={value}"


def _in_mapping(value: str) -> str:
    """A value as it has to stand in a mapping: what is a text by itself is one there too."""
    try:
        whole = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):  # told where it is read
        return value
    return json.dumps(whole, ensure_ascii=False) if isinstance(whole, str) else value


def _is_value(kind: Kind, rest: Sequence[str]) -> bool:
    """Whether the next word is one of the words of a kind, misspelt or not."""
    words = kind.words() if kind.words else ()
    if not rest or rest[0].startswith("-"):
        return False
    return fold(rest[0]) in map(fold, words) or bool(did_you_mean(rest[0], words))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
