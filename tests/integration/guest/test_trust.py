"""Who may write what root runs: real files, real owners, as root."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.guest.configuration import trust
from quiesce.guest.configuration.script_spec import ScriptSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guest_box import Box

pytestmark = pytest.mark.integration

NOBODY = 65534


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that root alone can reach and write, all the way from `/`."""
    directory = Path(tempfile.mkdtemp(prefix="quiesce-trust-", dir="/root"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def script(home: Path) -> Path:
    (home / "scripts").mkdir(mode=0o755)
    path = home / "scripts" / "pre"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    return path


def check(path: Path | str, phase: str = "pre") -> QuiesceError | None:
    try:
        trust.check_script(ScriptSpec(phase, str(path), (), 0, 30.0))
    except QuiesceError as exc:
        return exc
    return None


@pytest.mark.parametrize("mode", [0o700, 0o500])
def test_a_script_that_only_root_can_touch_is_accepted(script: Path, mode: int) -> None:
    script.chmod(mode)

    assert check(script) is None


@pytest.mark.parametrize("phase", ["pre", "post"])
@pytest.mark.parametrize(
    "mode", [0o600, 0o400, 0o701, 0o710, 0o720, 0o755, 0o777, 0o4700, 0o2700, 0o1700, 0o6500, 0o000]
)
def test_any_other_mode_is_refused_and_the_action_mends_it(
    script: Path, mode: int, phase: str
) -> None:
    script.chmod(mode)
    error = check(script, phase)

    assert error is not None
    assert error.name == f"InsufficientPermissionfor{phase.capitalize()}-Script"
    assert f"it has mode {mode:04o}, not 0700" in error.message
    assert error.action == f"chmod 700 {script}"
    subprocess.run(error.action, shell=True, check=True)  # noqa: S602 - the action is for a shell
    assert check(script) is None


@pytest.mark.parametrize("uid", [1, 1000, NOBODY])
def test_a_script_of_another_owner_is_refused_and_the_action_mends_it(
    script: Path, uid: int
) -> None:
    os.chown(script, uid, -1)
    error = check(script)

    assert error is not None
    assert f"it belongs to uid {uid}" in error.message
    subprocess.run(shlex.split(error.action), check=True)
    assert check(script) is None


@pytest.mark.parametrize("spoil", [(None, 0o775), (None, 0o757), (None, 0o1777), (NOBODY, None)])
@pytest.mark.parametrize("above", [0, 1])
def test_a_directory_above_that_others_can_write_is_refused_and_named(
    script: Path, spoil: tuple[int | None, int | None], above: int
) -> None:
    owner, mode = spoil
    directory = script.parents[above]
    if mode is not None:
        directory.chmod(mode)
    if owner is not None:
        os.chown(directory, owner, -1)
    error = check(script)

    assert error is not None
    assert error.name == "InsufficientPermissionforPre-Script"
    assert f"the directory {directory} " in error.message
    subprocess.run(error.action, shell=True, check=True)  # noqa: S602 - the action is for a shell
    assert check(script) is None


def test_the_sticky_bit_of_tmp_does_not_help() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory) / "pre"
        path.write_text("#!/bin/sh\n")
        path.chmod(0o700)
        error = check(path)

    assert error is not None
    assert "the directory /tmp has mode 1777, others can write it" in error.message


def test_an_access_list_is_refused_and_the_action_takes_it_away(script: Path) -> None:
    acl = b"\x02\x00\x00\x00" + b"".join(
        tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, permissions, who in (
            (0x01, 7, 0xFFFFFFFF),
            (0x02, 7, NOBODY),
            (0x04, 0, 0xFFFFFFFF),
            (0x10, 7, 0xFFFFFFFF),
            (0x20, 0, 0xFFFFFFFF),
        )
    )
    os.setxattr(script, "system.posix_acl_access", acl)
    error = check(script)

    assert error is not None
    assert error.action == f"setfacl -b {script} && chmod 700 {script}"


def test_the_last_component_may_not_be_a_link(script: Path) -> None:
    link = script.parent / "link"
    link.symlink_to(script)
    error = check(link)

    assert error is not None
    assert "it is a symbolic link" in error.message


def test_a_link_of_root_on_the_way_is_followed(script: Path, home: Path) -> None:
    (home / "absolute").symlink_to(script.parent)
    (home / "relative").symlink_to("scripts/../scripts/.")
    (home / "twice").symlink_to("relative")

    for link in ("absolute", "relative", "twice"):
        assert check(home / link / "pre") is None


def test_a_link_of_somebody_else_on_the_way_is_refused(script: Path, home: Path) -> None:
    link = home / "link"
    link.symlink_to("scripts")
    os.chown(link, NOBODY, -1, follow_symlinks=False)
    error = check(link / "pre")

    assert error is not None
    assert f"the link {link} belongs to uid {NOBODY}" in error.message
    subprocess.run(shlex.split(error.action), check=True)
    assert check(link / "pre") is None


def test_what_a_link_leads_to_is_looked_at_too(script: Path, home: Path) -> None:
    link = home / "link"
    link.symlink_to(script.parent)
    script.parent.chmod(0o777)
    error = check(link / "pre")

    assert error is not None
    assert f"the directory {script.parent} has mode 0777" in error.message


def test_links_that_lead_in_a_circle_are_refused(home: Path) -> None:
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    error = check(home / "a" / "pre")

    assert error is not None
    assert "too many links" in error.message


MAKE: dict[str, Callable[[Path], object]] = {
    "directory": lambda path: path.mkdir(mode=0o700),
    "fifo": lambda path: os.mkfifo(path, 0o700),
    "device": lambda path: os.mknod(path, 0o020700, os.makedev(1, 3)),
}


@pytest.mark.parametrize("kind", sorted(MAKE))
def test_what_is_no_regular_file_is_refused(home: Path, kind: str) -> None:
    MAKE[kind](home / "pre")
    error = check(home / "pre")

    assert error is not None
    assert "it is no regular file" in error.message


@pytest.mark.parametrize("phase", ["pre", "post"])
@pytest.mark.parametrize("path", ["", "relative/pre", "HOME/none", "HOME/none/pre", "PRE/below"])
def test_a_script_that_is_not_there_is_not_found(
    script: Path, home: Path, path: str, phase: str
) -> None:
    error = check(path.replace("HOME", str(home)).replace("PRE", str(script)), phase)

    assert error is not None
    assert error.name == f"{phase.capitalize()}-ScriptNotFound"


def test_all_objections_are_told_at_once_and_all_actions_mend_them(script: Path) -> None:
    script.chmod(0o666)
    script.parent.chmod(0o777)
    os.chown(script, NOBODY, -1)
    error = check(script)

    assert error is not None
    assert error.message.count(";") == 2
    subprocess.run(error.action, shell=True, check=True)  # noqa: S602 - the action is for a shell
    assert check(script) is None


def test_the_content_is_read_up_to_one_byte_more_than_asked_for(script: Path) -> None:
    script.chmod(0o600)
    script.write_bytes(b"12345678")

    assert trust.look(str(script), modes=trust.CONFIG_MODES, most_bytes=3).data == b"1234"


FUSE = """
import ctypes, os, sys
sys.path.insert(0, "/opt/guest-set")
from quiesce.errors import QuiesceError
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.configuration.trust import check_script
mode, user, path = sys.argv[1:]
served = os.open("/dev/fuse", os.O_RDWR)  # and never answered
options = f"fd={served},rootmode={mode},user_id={user},group_id={user},allow_other"
place = "/srv/his/scripts" if mode == "40000" else path
os.makedirs("/srv/his/scripts")
open("/srv/his/scripts/pre", "w").close()
library = ctypes.CDLL(None)
assert library.mount(b"evil", place.encode(), b"fuse.evil", 0, options.encode()) == 0
try:
    check_script(ScriptSpec("pre", path, (), 0, 30.0))
except QuiesceError as exc:
    print(exc.name, exc.message)
library.umount2(place.encode(), 2)
"""


@pytest.mark.parametrize("mode", ["40000", "100000"])
def test_what_a_user_has_mounted_is_refused_without_asking_him(box: Box, mode: str) -> None:
    box.write("/opt/fuse.py", FUSE)

    done = box.shell(f"timeout 30 python3 /opt/fuse.py {mode} 1000 /srv/his/scripts/pre")

    assert done.stdout.startswith("InsufficientPermissionforPre-Script"), done.stderr
    place = "/srv/his/scripts" + ("" if mode == "40000" else "/pre")
    assert f"uid 1000 has mounted what is at {place}" in done.stdout


def test_looking_leaves_no_descriptor_open(script: Path, home: Path) -> None:
    (home / "link").symlink_to("scripts")
    before = len(os.listdir("/proc/self/fd"))
    for path in (script, home / "link" / "pre", home / "none" / "pre", Path("/")):
        trust.look(str(path), modes=trust.SCRIPT_MODES, most_bytes=10)

    assert len(os.listdir("/proc/self/fd")) == before
