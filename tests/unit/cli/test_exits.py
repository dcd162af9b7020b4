from dataclasses import dataclass

import pytest

from quiesce.cli.exits import of_runs
from quiesce.errors import ExitStatus


@dataclass(frozen=True)
class Run:
    exit_status: ExitStatus


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 3], 3),
        ([3, 9], 9),
        ([9, 10], 10),
        ([10, 4], 4),
        ([4, 5], 5),
        ([5, 6], 6),
        ([6, 1], 1),
        ([1, 130], 130),
        ([0, 3, 9, 10, 4, 5, 6, 1, 130], 130),
    ],
)
def test_several_machines_end_with_the_first_present_in_the_contract_s_order(statuses, expected):
    runs = [Run(ExitStatus(status)) for status in statuses]

    assert of_runs(runs) == expected
    assert of_runs(reversed(runs)) == expected
