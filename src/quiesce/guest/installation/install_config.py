"""Put the template of a plugin configuration in place, with two scripts to be filled in."""

from __future__ import annotations

from pathlib import Path

from quiesce.guest.configuration.settings import PLUGIN_CONFIGS, PLUGIN_HOST
from quiesce.guest.installation.install_files import Change, create
from quiesce.guest.shipped import text_of

_CONFIG = PLUGIN_CONFIGS[0]
_SCRIPTS = "/etc/quiesce/scripts"


def install_config(*, root: Path = Path("/")) -> list[Change]:
    """Write the template and the sample scripts, each where there is no such file yet.

    What is there is left as it is. So is a configuration by another known name, which the template
    would take the place of: then there is no template. Raises QuiesceError InstallRefused where a
    file cannot be written.
    """
    others = [_lies(root, path) for path in (PLUGIN_HOST, *PLUGIN_CONFIGS[1:])]
    changes = [Change(path, "left", None) for path in others if path is not None]
    if not changes:
        name = Path(_CONFIG).name
        changes = [create(root, _CONFIG.lstrip("/"), text_of(name), mode=0o600)]
    for phase in ("pre", "post"):
        name = f"{_SCRIPTS}/{phase}".lstrip("/")
        text = text_of(f"{phase}.sh")
        changes.append(create(root, name, text, mode=0o700, directory_mode=0o700))
    return changes


def _lies(root: Path, path: str) -> str | None:
    place = root / path.lstrip("/")
    return path if place.exists() or place.is_symlink() else None
