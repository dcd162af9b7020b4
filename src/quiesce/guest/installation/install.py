"""Put a door's hook in place, and take it back: every file that is written is shown."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.guest.installation.install_files import Change, put, read, remove
from quiesce.guest.processes.locking import RUN_DIR
from quiesce.guest.shipped import text_of
from quiesce.guest.shipped.hookfile import HOOK
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOOK = HOOK.lstrip("/")
_MEMORY = "etc/quiesce/qga-installed.json"
_DEBIAN = "etc/qemu/qemu-ga.conf"
_RED_HAT = "etc/sysconfig/qemu-ga"
_GROUP = "[general]"


@dataclass(frozen=True)
class _Agent:
    """Where one family of distributions keeps the agent's configuration and hook scripts."""

    config: str
    key: str
    group: str | None
    scripts: str


def install_qga(program: str, *, root: Path = Path("/")) -> list[Change]:
    """Make our hook the agent's, calling *program*; what else is configured stays.

    Doing it again changes nothing. *root* is the directory of an image. Raises QuiesceError
    InstallRefused where a file cannot be written; no half-written file is left.
    """
    agent = _agent(root)
    text = read(root / agent.config)
    wanted = _with_value(text or "", agent, f"/{_HOOK}")
    changes = [put(root, _HOOK, _hook(program, agent), mode=0o755)]
    if text is None or wanted != text:
        memory = {"config": agent.config, "before": text, "after": wanted}
        changes.append(put(root, _MEMORY, json.dumps(memory, indent=1) + "\n", mode=0o600))
    changes.append(put(root, agent.config, wanted, mode=0o644))
    return changes


def uninstall_qga(*, root: Path = Path("/")) -> list[Change]:
    """Take back what `install_qga` did; what was changed by others since then stays.

    Raises QuiesceError InstallRefused where a file cannot be written.
    """
    changes = []
    agent = _agent(root)
    text = read(root / agent.config)
    if text is not None:
        before = _before(root, agent, text)
        if before is None:
            changes.append(remove(root, agent.config))
        else:
            changes.append(put(root, agent.config, before, mode=0o644))
    return [*changes, remove(root, _HOOK), remove(root, _MEMORY)]


def is_qga_installed(*, root: Path = Path("/")) -> bool:
    """Return whether the agent's configuration names our hook; a running agent may be older."""
    return agent_of(root=root).named == HOOK


@dataclass(frozen=True)
class AgentSettings:
    """What the agent's configuration at *config* names as its hook, None where it names none.

    *scripts* is the directory whose scripts our hook runs too.
    """

    config: str
    named: str | None
    scripts: str


def agent_of(*, root: Path = Path("/")) -> AgentSettings:
    """Return what the agent's configuration says; raises QuiesceError InstallRefused."""
    agent = _agent(root)
    named = _value(read(root / agent.config) or "", agent)
    return AgentSettings(f"/{agent.config}", named, agent.scripts)


def _agent(root: Path) -> _Agent:
    if (root / _RED_HAT).exists():
        scripts = "/etc/qemu-ga/fsfreeze-hook.d"
        return _Agent(_RED_HAT, "FSFREEZE_HOOK_PATHNAME", None, scripts)
    return _Agent(_DEBIAN, "fsfreeze-hook", _GROUP, "/etc/qemu/fsfreeze-hook.d")


def _hook(program: str, agent: _Agent) -> str:
    text = text_of("qga-hook.sh")
    for name, value in (("PROGRAM", program), ("SCRIPTS", agent.scripts), ("RUN", str(RUN_DIR))):
        text = text.replace(f"@{name}@", shlex.quote(value))
    return text


def _before(root: Path, agent: _Agent, text: str) -> str | None:
    """Return what the agent's configuration is to be without us; None: it was not there."""
    before, after = _memory(root)
    if after == text:
        return before
    if _value(text, agent) != f"/{_HOOK}":
        return text
    return _with_value(text, agent, _value(before or "", agent))


def _memory(root: Path) -> tuple[str | None, str | None]:
    """Return what was before us, and what we made of it; nothing where that is lost."""
    try:
        memory = json.loads(read(root / _MEMORY) or "{}")
        before, after = memory["before"], memory["after"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None, None
    is_whole = isinstance(before, (str, type(None))) and isinstance(after, str)
    return (before, after) if is_whole else (None, None)


def _value(text: str, agent: _Agent) -> str | None:
    found = _lines_of(text.splitlines(keepends=True), agent)
    return found[-1][1] if found else None


def _with_value(text: str, agent: _Agent, value: str | None) -> str:
    """Return *text* with the agent's hook set to *value*, or without one; all else as it is."""
    lines = text.splitlines(keepends=True)
    found = _lines_of(lines, agent)
    setting = "" if value is None else f"{agent.key}={value}\n"
    if found:
        for index, _value in found[:-1]:
            lines[index] = ""
        lines[found[-1][0]] = setting
        return "".join(lines)
    if not setting:
        return text
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if agent.group is None:
        return "".join([*lines, setting])
    for index, line in enumerate(lines):
        if line.strip() == agent.group:
            return "".join([*lines[: index + 1], setting, *lines[index + 1 :]])
    return "".join([*lines, f"{agent.group}\n", setting])


def _lines_of(lines: Sequence[str], agent: _Agent) -> list[tuple[int, str]]:
    """Return the positions and values of the lines that set the agent's hook."""
    pattern = re.compile(rf"\s*{re.escape(agent.key)}\s*=\s*(.*?)\s*$")
    group: str | None = None
    found = []
    for index, line in enumerate(lines):
        if agent.group is not None and line.strip().startswith("["):
            group = line.strip()
        match = pattern.match(line)
        if match and group == agent.group:
            found.append((index, match.group(1).strip("\"'")))
    return found
