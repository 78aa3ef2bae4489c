"""Suite files as YAML: read whole, each key once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pnnbench.errors import NO_VALUE, UserError


class _Loader(yaml.SafeLoader):
    """YAML of plain values, in which no key may stand twice: the first would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for place, _ in node.value:
            if place.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(place, deep=True)
            if key in keys:
                words = f"the key {key!r} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, words, place.start_mark)
            keys.append(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Reads a YAML file of plain values.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        UserError: If it cannot be read, is not YAML, nests too deeply, or has a key twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506, a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        known = isinstance(error, yaml.constructor.ConstructorError)
        words = "" if known else "is not YAML: "
        raise UserError(f"{path}{place}: {words}{getattr(error, 'problem', error)}") from None
    except RecursionError:
        raise UserError(f"{path}: brackets or mappings stand too deep in one another") from None
    except NO_VALUE as error:
        raise UserError(
            f"{path}: holds what is no plain value: {type(error).__name__}: {str(error)[:200]}",
            allowed="texts, numbers, dates, truth values, lists and mappings",
            next_step="put a text into quotation marks, such as '2024-13-45'",
        ) from None
