"""How Weights & Biases runs: decided once, before work, and said.

What is named on the command line comes first, then WANDB_MODE, then wandb's own settings files
(`wandb offline` writes one), else offline. Nothing is ever asked on the terminal.
"""

from __future__ import annotations

import configparser
import http.client
import netrc
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from pnnbench.errors import UserError, unknown_name

MODES = ("offline", "online", "disabled")
#: What follows the environment: WANDB_MODE, else wandb's settings files, else offline.
AUTO = "auto"
#: How long a server may take to answer at all, in s.
PATIENCE_S = 5.0
_CLOUD = "https://api.wandb.ai"
_SAME = {"dryrun": "offline", "run": "online"}
_INSTEAD = "--wandb offline now, and `wandb sync` where there is a network"


@dataclass(frozen=True)
class Mode:
    """How Weights & Biases runs, and why.

    Attributes:
        name: ``offline``, ``online`` or ``disabled``.
        source: What says so, such as ``"--wandb"``, ``"WANDB_MODE"`` or a settings file; empty
            where nothing does.
    """

    name: str
    source: str

    def __str__(self) -> str:
        why = f"as {self.source} says" if self.source else "since nothing else is set"
        return f"Weights & Biases: {self.name}, {why}"


def resolve_mode(mode: str | None = None) -> Mode:
    """Decides how wandb runs, without asking any server.

    Args:
        mode: One of `MODES`; None or `AUTO` follows WANDB_MODE, else wandb's settings files, else
            it is offline.

    Returns:
        The mode and what says so.

    Raises:
        UserError: If the mode is unknown, or it is online and no key is at hand.
    """
    chosen, source = _wanted(mode)
    chosen = _SAME.get(chosen, chosen)
    if chosen not in MODES:
        raise unknown_name("mode", chosen, MODES, where=source)
    if chosen == "online" and not _has_key():
        raise UserError(
            f"{source} is 'online', but there is no key for Weights & Biases",
            allowed="a key in WANDB_API_KEY or in the netrc file",
            next_step=f"run `wandb login`, or {_INSTEAD}",
        )
    return Mode(chosen, source)


def decide(mode: str | None = None) -> Mode:
    """As `resolve_mode`; online, the server has to answer as well.

    Args:
        mode: As for `resolve_mode`.

    Returns:
        The mode and what says so.

    Raises:
        UserError: As `resolve_mode`, or if nothing answers at the server within twice
            `PATIENCE_S`.
    """
    found = resolve_mode(mode)
    if found.name == "online" and not _answers(_server()):
        raise UserError(
            f"{found.source} is 'online', but nothing answers at {_server()}", next_step=_INSTEAD
        )
    return found


def _wanted(mode: str | None) -> tuple[str, str]:
    if mode is not None and mode != AUTO:
        return mode, "--wandb"
    if named := os.environ.get("WANDB_MODE", "").strip():
        return named.lower(), "WANDB_MODE"
    if os.environ.get("WANDB_DISABLED", "").strip().lower() in ("true", "1"):
        return "disabled", "WANDB_DISABLED"
    file, found = _setting("mode")
    return (found, file) if found else ("offline", "")


def _setting(key: str) -> tuple[str, str]:
    """A value of wandb's settings files, the nearest first, and the file; empty if none has it."""
    for file in _settings_files():
        # A key alone is no mistake to wandb, and a '%' is a sign like others.
        parser = configparser.ConfigParser(allow_no_value=True, interpolation=None, strict=False)
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        if value := (parser.get("default", key, fallback="") or "").strip():
            return str(file), value
    return "", ""


def _settings_files() -> Iterator[Path]:
    here = Path(os.environ.get("WANDB_DIR") or ".")
    yield from (here / name / "settings" for name in ("wandb", ".wandb"))
    home = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    yield Path(home).expanduser() / "settings"


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "").strip() or _setting("base_url")[1] or _CLOUD


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(_server()).hostname or ""
    for file in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if not file:
            continue
        try:
            if netrc.netrc(str(Path(file).expanduser())).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _answers(url: str) -> bool:
    """Whether a server says anything at all, be it that the page is not there."""
    if urlparse(url).scheme not in ("http", "https"):
        return False
    heard = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE_S).close()  # noqa: S310, the scheme is known
        except (urllib.error.HTTPError, http.client.HTTPException):
            heard.set()
        except (OSError, ValueError) as error:
            # wandb may be told to trust a certificate that is not known here.
            if isinstance(getattr(error, "reason", None), ssl.SSLError):
                heard.set()
        else:
            heard.set()

    # Looking a name up has no time limit of its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(2 * PATIENCE_S)
    return heard.is_set()
