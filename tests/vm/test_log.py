"""What a backup leaves in the log and in the journal of a real guest, whose disk was frozen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from vm.inside import wait_until
from vm.scene import Scene, as_found

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

LOG = "/var/log/quiesce/quiesce-guest.log"


@pytest.fixture
def scene(idle_scene: Scene) -> Iterator[Scene]:
    with as_found(idle_scene):
        idle_scene.configure()
        yield idle_scene


def entries(scene: Scene) -> list[dict[str, str]]:
    told = scene.inside.run(
        "/usr/bin/journalctl", "-q", "-o", "json", "SYSLOG_IDENTIFIER=quiesce-guest"
    )
    return [json.loads(line) for line in told.splitlines()]


def test_log_and_journal_tell_a_backup_step_by_step(scene: Scene) -> None:
    before = len(entries(scene))
    done = scene.protected.backup()
    session = done.run["point"]["id"]

    def ended() -> bool:
        return any(entry["QUIESCE_STEP"] == "end" for entry in entries(scene)[before:])

    wait_until(ended, "the journal to have the end of the session")
    told = entries(scene)[before:]
    assert [entry["QUIESCE_STEP"] for entry in told] == [
        *("begin", "pre-script", "freeze", "snapshot", "post-script", "end")
    ]
    assert {entry["QUIESCE_SESSION"] for entry in told} == {session}
    log = scene.inside.read(LOG)
    assert log is not None
    ours = [line.split()[2] for line in log.splitlines() if f"Z {session} " in line]
    assert ours == [entry["QUIESCE_STEP"] for entry in told]
