"""The rows of a suite file: fixed choices, what is searched, the settings that a search chose."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pnnbench.errors import UserError, did_you_mean, kind_word, unknown_name
from pnnbench.methods.laws import laws_of
from pnnbench.registry import method_class, method_parameters, registered_name
from pnnbench.running.labels import check_owner

_KEYS = {"method", "label", "params", "epochs_factor", "tune", "tuned", "like"}


@dataclasses.dataclass(frozen=True)
class MethodEntry:
    """One row of a suite.

    Attributes:
        name: Registered name or class path.
        label: Name of the row.
        params: Every hyper-parameter, defaults filled in.
        epochs_factor: Multiple of the tier's epochs, for rows at equal gradient evaluations.
        tune: Names of the hyper-parameters that ``pnnbench tune`` searches; none where the row is
            not tuned.
        fixed: The choices of the row: what its ``params`` say.
        tuned: The settings that a search chose, part of `params`.
        like: Label of the row whose tuned settings this one takes.
    """

    name: str
    label: str
    params: Mapping[str, Any]
    epochs_factor: float
    tune: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tuned: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    like: str | None = None

    def with_settings(self, settings: Mapping[str, Any]) -> MethodEntry:
        """The same row at other values of what is searched."""
        given = {**self.fixed, **settings}
        full = method_parameters(method_class(self.name), given, where=self.label)
        return dataclasses.replace(self, params=full, tuned=dict(settings))


def typed(where: str, value: Any, kind: type | tuple[type, ...], allowed: str) -> Any:
    """Returns a value of a suite file; raises UserError if it has another type."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{where} is {value!r}, {kind_word(value)}", allowed=allowed)
    return value


def known_keys(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Raises UserError if a mapping of a suite file has an unknown key."""
    for key in given:
        if key not in known:
            raise unknown_name("key", str(key), known, where=where, next_step="edit the suite file")


def method_entries(where: str, given: Any) -> list[MethodEntry]:
    """Reads the rows of a suite file.

    Args:
        where: The file, for messages.
        given: What stands under ``methods``.

    Returns:
        The rows, those that are like another one with its tuned settings.

    Raises:
        UserError: On the first thing wrong with them.
    """
    typed(f"{where}: methods", given, list, "a list of mappings with a key 'method'")
    entries: list[MethodEntry] = []
    for i, item in enumerate(given):
        here = f"{where}: methods[{i}]"
        item = {"method": item} if isinstance(item, str) else item
        typed(here, item, dict, "a mapping such as {method: sat, params: {rho: 2.0}}")
        known_keys(here, item, _KEYS)
        entry = _entry(here, item)
        if any(e.label == entry.label for e in entries):
            raise UserError(
                f"{here}: two rows have the label {entry.label!r}", next_step="give one a 'label'"
            )
        entries.append(entry)
    rows = {entry.label: entry for entry in entries}
    return [_like_another(f"{where}: {entry.label}", entry, rows) for entry in entries]


def _entry(here: str, item: Mapping[str, Any]) -> MethodEntry:
    if "method" not in item:
        raise UserError(f"{here}: the key 'method' is missing", next_step="pnnbench list methods")
    method = typed(f"{here}.method", item["method"], str, "a name or a class path")
    method = registered_name("methods", method)  # one spelling, one hash
    label = typed(f"{here}.label", item.get("label", method), str, "a text")
    if not label.strip() or not label.isprintable() or len(label) > 100:
        raise UserError(
            f"{here}.label is {label[:100]!r}",
            allowed="1 to 100 signs that can be seen, on one line",
        )
    check_owner(label, method, f"{here}.label")
    fixed = typed(f"{here}.params", item.get("params", {}), dict, "a mapping")
    tuned = typed(f"{here}.tuned", item.get("tuned", {}), dict, "a mapping")
    factor = typed(
        f"{here}.epochs_factor", item.get("epochs_factor", 1), (int, float), "a number > 0"
    )
    if not 0 < factor <= 1000:
        raise UserError(f"{here}.epochs_factor is {factor}", allowed="a number in (0, 1000]")
    cls = method_class(method, where=here)
    like = item.get("like")
    if like is not None:
        typed(f"{here}.like", like, str, "the label of a row")
        for key in ("tune", "tuned"):
            if key in item:
                raise UserError(
                    f"{here} has 'like' and {key!r}: settings of another row, and its own",
                    allowed="one of them",
                )
    full = method_parameters(cls, {**fixed, **tuned}, where=here)
    names = _searched(here, item.get("tune", False), laws_of(cls, full), fixed)
    for name in tuned:
        if name not in names:
            raise UserError(
                f"{here}.tuned has {name!r}, which is not searched{did_you_mean(name, names)}",
                allowed=", ".join(names) or "nothing: the row has no 'tune'",
                next_step="what a row fixes stands under 'params'",
            )
    return MethodEntry(method, label, full, float(factor), names, fixed, tuned, like)


def _searched(
    here: str, given: Any, laws: Mapping[str, Any], fixed: Mapping[str, Any]
) -> tuple[str, ...]:
    """Names of what is searched: those that are asked for, or all that have a law and are free."""
    free = [name for name in laws if name not in fixed]
    if given is False:
        return ()
    if given is True:
        names = [name for name in free if not laws[name].on_request]
        if not names:
            raise UserError(
                f"{here}.tune is true, and there is nothing to search",
                allowed="a method with laws for hyper-parameters that 'params' leaves free",
                next_step="pnnbench list methods shows the laws",
            )
        return tuple(names)
    typed(f"{here}.tune", given, list, "true, or a list of names of hyper-parameters")
    for name in given:
        if name not in laws:
            known = "no law" if isinstance(name, str) else "not a name"
            raise UserError(
                f"{here}.tune has {name!r}, {known}{did_you_mean(str(name), list(laws))}",
                allowed=", ".join(free) or "nothing",
                next_step="declare a law for it on the class, see docs/tuning.md",
            )
        if name in fixed:
            raise UserError(
                f"{here}: {name!r} is fixed by 'params' and searched by 'tune'",
                allowed="one of them",
            )
    if not given or len(set(given)) < len(given):
        raise UserError(f"{here}.tune is {given}", allowed="true, or different names")
    return tuple(name for name in laws if name in given)  # one order, one set of points


def _like_another(where: str, entry: MethodEntry, rows: Mapping[str, MethodEntry]) -> MethodEntry:
    """The row with the tuned settings, of those it has, of the row that it is like.

    Its own choices stand.
    """
    seen, other = [entry.label], entry
    while other.like is not None:
        if other.like not in rows:
            others = [label for label in rows if label != entry.label]
            raise UserError(
                f"{where}: like: there is no row {other.like!r}{did_you_mean(other.like, others)}",
                allowed="; ".join(others),
            )
        other = rows[other.like]
        if other.label in seen:
            raise UserError(f"{where}: like goes in a circle: {' -> '.join([*seen, other.label])}")
        seen.append(other.label)
    if other is entry:
        return entry
    if not other.tune:
        raise UserError(
            f"{where}: like: the row {other.label!r} is not tuned",
            allowed="; ".join(e.label for e in rows.values() if e.tune) or "a row with 'tune'",
        )
    cls = method_class(entry.name)
    shared = [name for name in other.tune if name in entry.params]
    if not shared:
        raise UserError(
            f"{where}: like: {cls.__name__} has nothing of what {other.label!r} is tuned in, "
            + ", ".join(other.tune),
            allowed="a row whose searched hyper-parameters this method has",
        )
    taken = {k: v for k, v in other.tuned.items() if k in shared and k not in entry.fixed}
    full = method_parameters(cls, {**entry.fixed, **taken}, where=where)
    return dataclasses.replace(entry, params=full, tuned=taken)
