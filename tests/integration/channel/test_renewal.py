"""The host renews a damaged quiesce-guest through the agent, in a guest that is a box."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from guest_box import PROGRAM, Box
from quiesce.channel.qga import Qga
from quiesce.system import ulid
from quiesce.system.deadline import Deadline
from tools.boxed_agent import BoxedAgent, boxed_agent
from tools.guest_program import build, put, with_a_flipped_bit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from quiesce.ports import GuestOutlook, Renewal

pytestmark = pytest.mark.integration

LIMIT_S = 60.0
HOOK = "/etc/quiesce/qga-hook"
MARK = "/etc/quiesce/installed"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("program") / "one")


@pytest.fixture
def guest(tmp_path: Path, shipped: Path) -> Iterator[Box]:
    """A machine in which the program is a single file, with its hook and an application."""
    box = Box(tmp_path / "box")
    try:
        put(box, shipped.read_bytes())
        assert box.run("install", "qga").returncode == 0
        box.configure()
        yield box
    finally:
        put(box, shipped.read_bytes())
        box.close()


@pytest.fixture
def agent(guest: Box) -> Iterator[BoxedAgent]:
    with boxed_agent(guest) as running:
        yield running


def renewed(agent: BoxedAgent, shipped: Path | None) -> tuple[GuestOutlook, Renewal | None]:
    """What a backup does: look, and at its end renew what was seen to be damaged."""
    with contextlib.closing(Qga(agent.path, shipped=shipped)) as channel:
        deadline = Deadline.after(LIMIT_S)
        outlook = channel.look(session=ulid.new(), disks=2, deadline=deadline)
        return outlook, channel.renew(deadline=deadline) if outlook.damaged else None


def program(box: Box) -> bytes:
    return (box.root / PROGRAM.lstrip("/")).read_bytes()


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def nothing(_content: bytes) -> bytes:
    return b""


DAMAGES: list[Callable[[bytes], bytes]] = [with_a_flipped_bit, half, nothing]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_program_is_renewed(
    guest: Box, agent: BoxedAgent, shipped: Path, damage: Callable[[bytes], bytes]
) -> None:
    whole = shipped.read_bytes()
    put(guest, damage(whole))
    outlook, renewal = renewed(agent, shipped)
    again, _ = renewed(agent, shipped)

    assert outlook.damaged
    assert renewal is not None
    assert renewal.renewed, renewal
    assert program(guest) == whole
    status = (guest.root / PROGRAM.lstrip("/")).stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o755, 0)
    assert (again.damaged, again.hook) == (False, True)
    assert json.loads(guest.run("check", "--json", "--disks", "2").stdout)["damaged"] is False
    assert [path.name for path in (guest.root / "run/quiesce").glob("*.pyz*")] == []
    assert [path.name for path in (guest.root / "usr/local/bin").glob("*.new")] == []


def test_a_whole_program_is_left_alone(guest: Box, agent: BoxedAgent, shipped: Path) -> None:
    outlook, renewal = renewed(agent, shipped)

    assert not outlook.damaged
    assert renewal is None
    assert outlook.hook is True


def test_where_only_the_hook_is_damaged_the_program_stays(
    guest: Box, agent: BoxedAgent, shipped: Path, tmp_path: Path
) -> None:
    guest.write(HOOK, guest.read(HOOK).replace("thaw_scripts", "thaw_all"), 0o755)
    other = tmp_path / "other.pyz"
    other.write_bytes(b"another version")
    outlook, renewal = renewed(agent, other)

    assert outlook.damaged
    assert renewal is not None
    assert renewal.renewed, renewal
    assert program(guest) == shipped.read_bytes()
    assert "thaw_all" not in guest.read(HOOK)


def test_where_it_is_not_to_be_done_the_command_is_told(guest: Box, agent: BoxedAgent) -> None:
    put(guest, with_a_flipped_bit(program(guest)))
    before = program(guest)
    _, renewal = renewed(agent, None)

    assert renewal is not None
    assert not renewal.renewed
    assert "install -m 755 quiesce-guest.pyz" in renewal.command
    assert program(guest) == before


def test_what_a_package_owns_is_the_package_manager_s(
    guest: Box, agent: BoxedAgent, shipped: Path
) -> None:
    put(guest, with_a_flipped_bit(program(guest)))
    packaged = guest.shell(
        "set -e; cd /tmp; mkdir -p p/DEBIAN p/usr/local/bin; cp /usr/local/bin/quiesce-guest"
        " p/usr/local/bin; printf 'Package: quiesce-guest\\nVersion: 1\\nArchitecture: all\\n"
        "Maintainer: nobody\\nDescription: test\\n' >p/DEBIAN/control;"
        " dpkg-deb -b p p.deb; dpkg -i p.deb"
    )
    assert packaged.returncode == 0, packaged.stderr
    before = program(guest)
    _, renewal = renewed(agent, shipped)

    assert renewal is not None
    assert not renewal.renewed
    assert renewal.command == "apt-get install --reinstall quiesce-guest"
    assert program(guest) == before


@pytest.mark.parametrize("command", ["guest-file-open", "guest-file-write"])
def test_where_the_agent_lets_nobody_write_files_the_command_is_told(
    guest: Box, agent: BoxedAgent, shipped: Path, command: str
) -> None:
    put(guest, with_a_flipped_bit(program(guest)))
    agent.behaviour.forbidden = {command}
    _, renewal = renewed(agent, shipped)

    assert renewal is not None
    assert not renewal.renewed
    assert "does not allow" in renewal.why


def test_what_does_not_arrive_whole_takes_nobody_s_place(
    guest: Box, agent: BoxedAgent, shipped: Path
) -> None:
    put(guest, with_a_flipped_bit(program(guest)))
    before = program(guest)
    agent.changed = with_a_flipped_bit
    _, renewal = renewed(agent, shipped)

    assert renewal is not None
    assert not renewal.renewed
    assert renewal.why == "it did not arrive whole"
    assert program(guest) == before
    assert [path.name for path in (guest.root / "usr/local/bin").glob("*.new")] == []


@pytest.mark.parametrize("mark", ["/etc/passwd\n", "/usr/local/bin/quiesce-guest", "x" * 100_000])
def test_a_guest_that_names_another_place_is_not_written_to(
    guest: Box, agent: BoxedAgent, shipped: Path, mark: str
) -> None:
    put(guest, with_a_flipped_bit(program(guest)))
    guest.write(MARK, mark)
    _, renewal = renewed(agent, shipped)

    assert renewal is not None
    assert not renewal.renewed
    assert not [words for words in agent.ran if any("install -m 755" in word for word in words)]


def test_a_machine_without_us_is_not_damaged(guest: Box, agent: BoxedAgent, shipped: Path) -> None:
    guest.shell(f"rm {PROGRAM} {MARK}")
    outlook, _ = renewed(agent, shipped)

    assert (outlook.damaged, outlook.hook) == (False, False)


def test_a_program_that_is_gone_is_renewed_too(
    guest: Box, agent: BoxedAgent, shipped: Path
) -> None:
    guest.shell(f"rm {PROGRAM}")
    outlook, renewal = renewed(agent, shipped)

    assert outlook.damaged
    assert renewal is not None
    assert renewal.renewed
    assert program(guest) == shipped.read_bytes()
