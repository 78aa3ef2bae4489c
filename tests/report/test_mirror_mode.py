from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.report import mirror_mode
from pnnbench.report.mirror_mode import decide, resolve_mode

KEY = "0" * 40


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder and a home of nobody: no key and no setting of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_the_mode_is_offline_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (resolve_mode().name, resolve_mode().source) == ("offline", "")
    assert str(resolve_mode("auto")) == "Weights & Biases: offline, since nothing else is set"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert resolve_mode().name == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert str(resolve_mode()) == "Weights & Biases: disabled, as WANDB_MODE says"
    assert str(resolve_mode("offline")) == "Weights & Biases: offline, as --wandb says"
    assert resolve_mode("online").name == "online"
    monkeypatch.setenv("WANDB_MODE", "DRYRUN")
    assert resolve_mode().name == "offline"


def test_the_legacy_switch_counts_after_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert resolve_mode().name == "disabled"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert resolve_mode().name == "offline"


def test_settings_files_count_the_nearest_first(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = nobody / "home" / ".config" / "wandb" / "settings"
    far.parent.mkdir(parents=True)
    far.write_text("[default]\nmode = disabled\nbase_url = https://w%b.example\n")
    assert (resolve_mode().name, resolve_mode().source) == ("disabled", str(far))
    near = Path("wandb/settings")
    near.parent.mkdir()
    near.write_text("[default]\nmode = offline\n")
    assert (resolve_mode().name, resolve_mode().source) == ("offline", "wandb/settings")
    near.write_text("no settings at all")
    assert resolve_mode().source == str(far)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert resolve_mode().source == "WANDB_MODE"


def test_what_wandb_writes_itself_is_read(nobody: Path) -> None:
    from wandb.sdk.lib.settings_file import SettingsFiles

    (nobody / "here" / "wandb").mkdir()
    files = SettingsFiles(
        global_settings=nobody / "global", local_settings=nobody / "here" / "wandb" / "settings"
    )
    files.set("mode", "disabled")
    files.save()
    assert resolve_mode().name == "disabled"


def test_online_without_a_key_is_refused(nobody: Path) -> None:
    with pytest.raises(UserError, match="no key") as error:
        resolve_mode("online")
    assert "--wandb offline" in error.value.next_step
    (nobody / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}")
    assert resolve_mode("online").name == "online"


def test_an_unknown_mode_suggests_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'offline'"):
        resolve_mode("ofline")
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(UserError, match="WANDB_MODE: unknown mode 'shared'"):
        resolve_mode()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_online_needs_an_answer_and_never_waits_for_ever(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(mirror_mode, "PATIENCE_S", 0.2)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as gone:
        closed = f"http://127.0.0.1:{gone.getsockname()[1]}"
    for url in (silent_server, closed):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with pytest.raises(UserError, match=f"nothing answers at {url}"):
            decide("online")
        assert decide("offline").name == "offline"
