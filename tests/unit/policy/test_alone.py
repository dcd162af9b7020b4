"""Row H9 of framework.md, section 7, and the report that is handed over with disks."""

import pytest

from quiesce.errors import QuiesceError
from quiesce.model.alone import Alone
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.report import ReportedError, SnapshotFate, Window
from quiesce.policy.claim import Seen, claim, may_take
from quiesce.testing.fakes import guest_report

CRASH = ConsistencyLevel.CRASH
FILESYSTEM = ConsistencyLevel.FILESYSTEM
APPLICATION = ConsistencyLevel.APPLICATION


def alone(report=None, unclean=()):
    return Seen(disks=2, running=False, alone=Alone(report, unclean))


def handed(**changes):
    values = {"consistency": APPLICATION, "snapshot": SnapshotFate(taken=True), **changes}
    return guest_report("s", **values)


def test_clean_file_systems_are_file_system_consistent():
    claimed = claim(alone())
    assert (claimed.level, claimed.outcome, claimed.keep) == (FILESYSTEM, Outcome.COMPLETE, True)
    assert may_take(alone())


def test_one_that_is_not_known_to_be_clean_makes_it_crash_consistent():
    claimed = claim(alone(unclean=("disk a: why",)))
    assert (claimed.level, claimed.outcome) == (CRASH, Outcome.DEGRADED)
    assert claimed.warnings == ("disk a: why",)


@pytest.mark.parametrize("level", [CRASH, FILESYSTEM, APPLICATION])
def test_the_level_of_a_report_is_what_it_says_of_its_snapshot(level):
    # What it could have reached is another matter.
    claimed = claim(alone(handed(consistency=level, reached=APPLICATION)))
    assert (claimed.level, claimed.outcome, claimed.keep) == (level, Outcome.COMPLETE, True)


def test_a_snapshot_that_was_taken_is_never_less_than_crash_consistent():
    assert claim(alone(handed(consistency=ConsistencyLevel.NONE))).level is CRASH
    assert claim(alone(handed(consistency=None))).level is CRASH


def test_a_window_that_expired_is_worth_no_more_than_a_crash():
    expired = Window(70.0, 70.0, 60.0, expired=True)
    assert claim(alone(handed(window=expired))).level is CRASH


def test_what_the_report_tells_is_told():
    error = ReportedError.of(QuiesceError("Pre-ScriptTimeout", "slow"))
    report = handed(errors=(error,), warnings=("a warning",), outcome=Outcome.DEGRADED)
    claimed = claim(alone(report))
    assert claimed.errors == (error,)
    assert claimed.warnings == ("a warning",)
    assert claimed.outcome is Outcome.DEGRADED


def test_what_was_aborted_in_the_guest_becomes_no_point():
    assert not claim(alone(handed(outcome=Outcome.ABORTED))).keep
