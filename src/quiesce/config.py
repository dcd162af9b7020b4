"""The host's settings: `quiesce.toml`, checked, and where things lie by default."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quiesce.errors import QuiesceError

_Many = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VaultSettings(_Strict):
    """`[vault]`: where the recovery points are kept, and what opens them.

    *keys*: the directory of this host's key files. *passphrase_command* is run where the passphrase
    is needed, and prints it.
    """

    url: str | None = None
    keys: Path | None = None
    passphrase_command: tuple[str, ...] = ()


class MachineSettings(_Strict):
    """`[machine.NAME]`: a QEMU VM by its sockets, or *disks* alone (`PATH`, `qcow2:PATH`, …).

    *definition*: a file that describes the machine, where its command line cannot be read.
    *agent* is false for a machine that has no guest agent on purpose. *renew*: quiesce's own files
    in the guest may be renewed where they are damaged; a package manager's never are.
    """

    qmp: Path | None = None
    qga: Path | None = None
    disks: tuple[str, ...] = ()
    agent: bool = True
    definition: Path | None = None
    renew: bool = True

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.qmp is None) == (not self.disks):
            raise ValueError("a machine has either qmp or disks")
        if self.disks and self.qga is not None:
            raise ValueError("has disks alone, so that qga means nothing")
        return self


class ScratchSettings(_Strict):
    """`[scratch]`: where old blocks are kept while a snapshot is read."""

    directory: Path | None = None


class RetentionSettings(_Strict):
    """`[retention]`: which recovery points `quiesce prune` keeps of each machine.

    Without any `keep_…` it forgets none. A forgotten point can be recalled for *undelete_days*. A
    run that would forget more than *limit_percent* of a machine's points is refused.
    """

    keep_last: _Many = 0
    keep_hourly: _Many = 0
    keep_daily: _Many = 0
    keep_weekly: _Many = 0
    keep_monthly: _Many = 0
    keep_yearly: _Many = 0
    undelete_days: Annotated[float, Field(ge=0, le=36500)] = 7
    limit_percent: Annotated[int, Field(ge=0, le=100)] = 50


class Settings(_Strict):
    """Everything in `quiesce.toml`."""

    vault: VaultSettings = VaultSettings()
    retention: RetentionSettings = RetentionSettings()
    scratch: ScratchSettings = ScratchSettings()
    machine: Annotated[dict[str, MachineSettings], Field(default_factory=dict)]


def load(path: Path | None) -> Settings:
    """Return the settings in *path*, or in the default place, where having none is fine.

    Raises QuiesceError IncorrectSettings with file, key and what is allowed.
    """
    chosen = path if path is not None else default_path()
    try:
        document = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path is not None:
            raise QuiesceError("IncorrectSettings", f"no settings file {path}") from None
        document = {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise QuiesceError("IncorrectSettings", f"cannot read {chosen}: {exc}") from exc
    try:
        return Settings.model_validate({"machine": {}, **document})
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = f"{chosen}: {key}: {first['msg'].lower()}"
        raise QuiesceError("IncorrectSettings", message) from exc


def default_path() -> Path:
    """Return where `quiesce.toml` is looked for: /etc as root, the XDG directory otherwise."""
    if os.geteuid() == 0:
        return Path("/etc/quiesce/quiesce.toml")
    return _xdg("XDG_CONFIG_HOME", ".config") / "quiesce.toml"


def guest_program() -> Path | None:
    """Return the `quiesce-guest.pyz` that came with this program, None where none did."""
    places = (
        Path(__file__).parents[2] / "build" / "quiesce-guest.pyz",
        Path("/usr/share/quiesce/quiesce-guest.pyz"),
    )
    return next((place for place in places if place.is_file()), None)


def state_directory() -> Path:
    """Return where quiesce keeps its state, its scratch and, unless configured, the vault."""
    if os.geteuid() == 0:
        return Path("/var/lib/quiesce")
    return _xdg("XDG_STATE_HOME", ".local/state")


def _xdg(variable: str, fallback: str) -> Path:
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / fallback) / "quiesce"
