from types import SimpleNamespace

import pytest

from quiesce.cli import summary
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.report import Window


def stood(*, sent_s, measured_s, told_s):
    """The line of a run that says how long the machine stood still."""
    run = SimpleNamespace(
        machine="web1",
        outcome=Outcome.DEGRADED,
        point=SimpleNamespace(consistency=ConsistencyLevel.CRASH, id="01JD"),
        report=SimpleNamespace(steps=(), mounts=(), window=Window(0.5, told_s, 60.0, expired=True)),
        disks=(),
        times={"frozen_s": measured_s, "copy_s": 1.0, "total_s": 2.0},
        moments={"freeze_sent": sent_s, "thaw_answered": None},
        errors=(),
        error=None,
        warnings=(),
    )
    return next(line for line in summary.of_run(run) if "stood" in line)


@pytest.mark.parametrize(
    ("sent_s", "measured_s", "told_s", "frozen"),
    [
        (7.0, 0.02, None, "frozen 20 ms"),
        (None, 0.0, 0.03, "frozen 30 ms"),
        (None, 0.0, None, "frozen for an unknown time"),
    ],
)
def test_how_long_it_was_frozen_is_said_by_whoever_knows_it(sent_s, measured_s, told_s, frozen):
    assert frozen in stood(sent_s=sent_s, measured_s=measured_s, told_s=told_s)
