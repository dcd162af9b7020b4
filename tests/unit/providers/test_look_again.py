"""Between the look and the stop a pre-script may run for minutes, and others use the machine."""

from pathlib import Path

import pytest

from quiesce.errors import QuiesceError
from quiesce.model.disk import Disk
from quiesce.providers.machine import FoundDisk, look_again

FOUND = FoundDisk(Disk("vda", 1), "/machine/peripheral/vda", "n0", Path("/a.raw"), iothread=False)
INSERTED = {"node-name": "n0", "ro": False, "file": "/a.raw", "image": {"virtual-size": 1}}


class Answering:
    """A connection whose QEMU says this."""

    def __init__(self, *, running=True, node="n0", jobs=(), block_jobs=()):
        inserted = {**INSERTED, "node-name": node}
        drive = {"device": "", "qdev": "vda", "removable": False, "inserted": inserted}
        self._answers = {
            "query-status": {"running": running},
            "query-block": [drive],
            "query-jobs": list(jobs),
            "query-block-jobs": list(block_jobs),
        }

    def execute_all(self, commands):
        return [self._answers[command.name] for command in commands]


@pytest.mark.parametrize("running", [True, False])
def test_a_machine_as_it_was_found_says_whether_it_runs(running):
    assert look_again(Answering(running=running), [FOUND]) is running


@pytest.mark.parametrize(
    "changed",
    [
        {"node": "overlay"},
        {"jobs": [{"id": "mirror"}]},
        {"block_jobs": [{"device": "mirror"}]},
    ],
    ids=["overlay", "job", "block job"],
)
def test_what_began_since_the_look_is_refused(changed):
    with pytest.raises(QuiesceError) as caught:
        look_again(Answering(**changed), [FOUND])

    assert caught.value.name == "MachineBusy"


def test_a_disk_that_was_taken_out_since_the_look_is_refused():
    other = FoundDisk(Disk("vdb", 1), "/machine/peripheral/vdb", "n1", None, iothread=False)

    with pytest.raises(QuiesceError) as caught:
        look_again(Answering(), [FOUND, other])

    assert caught.value.name == "MachineBusy"
