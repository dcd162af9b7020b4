"""Race an ordinary user against the check before a script: `race_for_root.py KIND TIMES WAY`.

The user is a process with a uid of its own, who swaps what he can as fast as he can, while root
checks and runs the script at least TIMES times, and until he has had his part in it. WAY is `ours`,
or `naive`: a look at the file alone, which loses, and so proves that the race is one. The last line
is JSON: how often what was there was *his* and *roots* as the check began, how often it *changed*
while root checked and ran it, how often the script *ran*, and whether what is his ran as root:
*won*.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import stat
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, "/opt/guest-set")

from quiesce.errors import QuiesceError
from quiesce.guest.configuration import settings, trust
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.scripts.script import run_script

USER = 65534
LATEST_S = time.monotonic() + 1800.0
HOME = Path("/srv/race")
HIS = HOME / "his"
WON = HOME / "won"
GOOD = f"#!/bin/sh\n: >>{HOME}/good\n"
EVIL = f"#!/bin/sh\n: >>{WON}\n"
_AT_FDCWD = -100
_EXCHANGE = 2
_LIBRARY = ctypes.CDLL(None, use_errno=True)


def write(path: Path, text: str, owner: int = 0, mode: int = 0o700) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, owner)
    return path


def give(*paths: Path) -> None:
    for path in paths:
        os.chown(path, USER, USER, follow_symlinks=False)


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one instant."""
    _LIBRARY.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)


class Files:
    """He owns the directory, and swaps root's script for his."""

    path = HIS / "script"

    def prepare(self) -> None:
        write(self.path, GOOD)
        write(HIS / "other", EVIL, USER)
        give(HIS)

    def swap(self) -> None:
        exchange(self.path, HIS / "other")


class Shared(Files):
    """The directory is root's, but everybody may write it."""

    path = HOME / "shared" / "script"

    def prepare(self) -> None:
        write(self.path, GOOD)
        self.path.parent.chmod(0o777)
        write(HOME / "shared" / "other", EVIL, USER)

    def swap(self) -> None:
        exchange(self.path, self.path.parent / "other")


class HardLinks(Files):
    """The same with another name of a script that is root's alone."""

    def prepare(self) -> None:
        super().prepare()
        self.path.unlink()
        os.link(write(HOME / "roots" / "script", GOOD), self.path)


class Directories:
    """He owns a directory further up, and swaps root's directory below it for his."""

    path = HIS / "scripts" / "script"

    def prepare(self) -> None:
        write(self.path, GOOD)
        write(HIS / "other" / "script", EVIL, USER)
        give(HIS, HIS / "other")

    def swap(self) -> None:
        exchange(self.path.parent, HIS / "other")


class Links:
    """In a directory like /tmp a link of his leads to root's directory and to his in turn."""

    path = HOME / "tmp" / "link" / "script"

    def prepare(self) -> None:
        write(HOME / "roots" / "script", GOOD)
        write(HIS / "script", EVIL, USER)
        tmp = HOME / "tmp"
        tmp.mkdir()
        tmp.chmod(0o1777)
        (tmp / "link").symlink_to(HOME / "roots")
        (tmp / "other").symlink_to(HIS)
        give(HIS, tmp / "link", tmp / "other")

    def swap(self) -> None:
        exchange(HOME / "tmp" / "link", HOME / "tmp" / "other")


class LinksOfRoot(Directories):
    """A link of root's, in a directory that is root's alone, leads through a directory of his."""

    path = HOME / "link" / "script"

    def prepare(self) -> None:
        self.path.parent.symlink_to(HIS / "scripts")
        write(HIS / "scripts" / "script", GOOD)
        write(HIS / "other" / "script", EVIL, USER)
        give(HIS, HIS / "other")

    def swap(self) -> None:
        exchange(HIS / "scripts", HIS / "other")


class Sticky:
    """In a directory like /tmp he puts his own where root's is not at the moment."""

    path = HOME / "tmp" / "scripts" / "script"

    def prepare(self) -> None:
        tmp = HOME / "tmp"
        tmp.mkdir()
        tmp.chmod(0o1777)
        write(HOME / "roots" / "script", GOOD)
        write(tmp / "his" / "script", EVIL, USER)
        (tmp / "good").symlink_to(HOME / "roots")
        give(tmp / "his", tmp / "good")
        self.swap()

    def swap(self) -> None:
        tmp = HOME / "tmp"
        for source, aside in (("good", "his"), ("his", "good")):
            with contextlib.suppress(OSError):
                (tmp / "scripts").rename(tmp / aside)
            with contextlib.suppress(OSError):
                (tmp / source).rename(tmp / "scripts")


class Contents:
    """The script is root's, but he may write it, and lets it say one thing and then the other."""

    path = HOME / "roots" / "script"

    def prepare(self) -> None:
        write(self.path, GOOD)
        self.path.chmod(0o770)
        os.chown(self.path, 0, USER)
        self._is_evil = False

    def swap(self) -> None:
        self._is_evil = not self._is_evil
        with contextlib.suppress(OSError):
            self.path.write_text(EVIL if self._is_evil else GOOD)


class Configs:
    """He swaps the configuration for one with a parameter of his for root's own script."""

    path = HIS / "config.json"

    def prepare(self) -> None:
        script = write(HOME / "roots" / "script", f'#!/bin/sh\n[ "$1" = evil ] && : >>{WON}\n')
        for path, params, owner in ((self.path, [], 0), (HIS / "other", ["evil"], USER)):
            document = {
                "preScriptLocation": str(script),
                "postScriptLocation": str(script),
                "preScriptParams": params,
            }
            write(path, json.dumps(document), owner, mode=0o600)
        give(HIS)

    def swap(self) -> None:
        exchange(self.path, HIS / "other")


class Nothing:
    """All on the way is root's alone, and he tries all that the others do."""

    path = HOME / "roots" / "script"

    def prepare(self) -> None:
        write(self.path, GOOD)
        write(HIS / "script", EVIL, USER)
        write(HIS / "scripts" / "script", EVIL, USER)
        give(HIS, HIS / "scripts")

    def swap(self) -> None:
        exchange(self.path, HIS / "script")
        exchange(self.path.parent, HIS / "scripts")
        for trick in (
            lambda: self.path.chmod(0o777),
            lambda: self.path.write_text(EVIL),
            self.path.unlink,
            lambda: os.chown(self.path, USER, USER),
            lambda: os.link(self.path, HIS / "link"),
            lambda: self.path.parent.rename(HIS / "stolen"),
        ):
            with contextlib.suppress(OSError):
                trick()


KINDS = {
    kind.__name__: kind
    for kind in (
        *(Files, HardLinks, Directories, Links, LinksOfRoot, Sticky, Contents),
        *(Configs, Shared, Nothing),
    )
}


def attack(kind: Files) -> int:
    """Start the user's process; its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            while True:
                kind.swap()
        finally:
            os._exit(1)
    return pid


def is_roots(path: Path) -> bool:
    """Look at the file alone, by its name."""
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_uid == 0 and stat.S_IMODE(status.st_mode) in {0o600, 0o700, 0o770}


def naively_accepted(path: Path) -> list[ScriptSpec]:
    """Return what is to be run, after a look at the file alone."""
    if not is_roots(path):
        return []
    if path.suffix != ".json":
        return [ScriptSpec("pre", str(path), (), 0, 30.0)]
    try:
        document = json.loads(path.read_text())
    except OSError:
        return []
    location, params = document["preScriptLocation"], document["preScriptParams"]
    return [ScriptSpec("pre", location, tuple(params), 0, 30.0)]


def accepted(path: Path) -> list[ScriptSpec]:
    """Return what is to be run, after the product's checks."""
    if path.suffix == ".json":
        return [plugin.pre for plugin in settings.load(plugin_config=str(path)).plugins]
    spec = ScriptSpec("pre", str(path), (), 0, 30.0)
    try:
        trust.check_script(spec)
    except QuiesceError:
        return []
    return [spec]


def look(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


def is_his(path: Path) -> bool:
    try:
        return not is_roots(path) or path.read_text() == EVIL
    except OSError:
        return False


def runs(path: Path, accept: Callable[[Path], list[ScriptSpec]]) -> bool:
    """Check and run, as the product does, but with more time in between for him."""
    specs = accept(path)
    for spec in specs:
        run_script(spec, env={}, check=lambda _spec: None)
    return bool(specs)


def is_enough(seen: Counter[str], times: int) -> bool:
    if seen["his"] + seen["roots"] < times:
        return False
    had_his_part = min(seen["his"], seen["roots"], seen["changed"]) >= times / 20
    return had_his_part or seen["ran"] == times or time.monotonic() > LATEST_S


def main() -> None:
    kind_name, times, way = sys.argv[1:]
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(mode=0o755)
    kind = KINDS[kind_name]()
    HIS.mkdir()
    kind.prepare()
    seen: Counter[str] = Counter()
    accept = accepted if way == "ours" else naively_accepted
    user = attack(kind)
    try:
        while not (is_enough(seen, int(times)) or WON.exists()):
            seen["his" if is_his(kind.path) else "roots"] += 1
            before = look(kind.path)
            seen["ran"] += runs(kind.path, accept)
            seen["changed"] += before != look(kind.path)
    finally:
        os.kill(user, signal.SIGKILL)
        os.waitpid(user, 0)
    sys.stdout.write(json.dumps({**seen, "won": WON.exists()}) + "\n")


if __name__ == "__main__":
    main()
