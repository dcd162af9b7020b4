from typing import Any

import pytest

from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest.check import expect, told
from quiesce.guest.mounts import FreezePlan, Mount
from quiesce.guest.settings import GuestSettings, Plugin, ScriptSpec
from quiesce.model.report import ReportedMount
from quiesce.values import replace

PLUGIN = Plugin(
    "/etc/azure/VMSnapshotPluginConfig.json",
    ScriptSpec("pre", "/etc/azure/pre", ("secret",), 2, 30.0),
    ScriptSpec("post", "/etc/azure/post", (), 0, 30.0),
)
NOTHING = GuestSettings(
    source=None,
    plugins=(),
    continue_on_failure=True,
    freeze_enabled=True,
    skip=(),
    freeze_timeout_s=10.0,
    deadline_s=60.0,
    max_timeout_s=1800.0,
    refused=(),
    warnings=(),
    notes=(),
    configured=False,
)
CONFIGURED = replace(NOTHING, source=PLUGIN.source, plugins=(PLUGIN,), configured=True)
REFUSED = replace(
    CONFIGURED,
    plugins=(),
    refused=(QuiesceError("IncorrectJSONConfigFile", "it is wrong", action="mend it"),),
)
ROOT = Mount(1, 0, "8:1", "/", "/", "ext4", "/dev/sda1", writable=True)
PLAN = FreezePlan((ROOT,), (), (), ())
BLOCKED = replace(
    PLAN, blockers=(ReportedMount("/", "vfat", "8:1", frozen=False, reason="it is vfat"),)
)
EMPTY = FreezePlan((), (), (), ())
TWO = {"count": 2, "source": "guest"}
ONE = {"count": 1, "source": "host"}


@pytest.mark.parametrize(
    ("settings", "plan", "disks", "expected", "way", "status"),
    [
        (NOTHING, PLAN, TWO, "filesystem", "frozen", 0),
        (CONFIGURED, PLAN, TWO, "application", "frozen", 0),
        (replace(CONFIGURED, freeze_enabled=False), PLAN, TWO, "application", "unfrozen", 0),
        (replace(CONFIGURED, freeze_enabled=False), EMPTY, TWO, "application", "unfrozen", 0),
        (NOTHING, EMPTY, TWO, "crash", "unfrozen", 3),
        (NOTHING, BLOCKED, TWO, "crash", "unfrozen", 3),
        (REFUSED, PLAN, TWO, "filesystem", "frozen", 3),
        (replace(REFUSED, freeze_enabled=False), PLAN, TWO, "crash", "unfrozen", 3),
        (replace(REFUSED, continue_on_failure=False), PLAN, TWO, "none", "no-snapshot", 4),
        (replace(REFUSED, continue_on_failure=False), PLAN, ONE, "crash", "unfrozen", 3),
        (replace(CONFIGURED, continue_on_failure=False), BLOCKED, TWO, "none", "no-snapshot", 4),
    ],
)
def test_the_expectation_is_what_the_table_says(
    *,
    settings: GuestSettings,
    plan: FreezePlan,
    disks: dict[str, Any],
    expected: str,
    way: str,
    status: int,
) -> None:
    expectation = expect(settings, plan, disks=disks)
    document = expectation.to_json()

    assert (document["expected"], document["way"]) == (expected, way)
    assert expectation.exit_status == status
    assert [mount["frozen"] for mount in document["mounts"]] == [way == "frozen"] * len(plan.mounts)


def test_where_nothing_will_be_frozen_nothing_is_said_of_what_cannot_be() -> None:
    settings = replace(CONFIGURED, freeze_enabled=False)

    assert expect(settings, BLOCKED, disks=TWO).exit_status is ExitStatus.DONE


def test_of_script_parameters_only_the_number_is_told() -> None:
    expectation = expect(CONFIGURED, PLAN, disks=TWO)

    assert expectation.to_json()["settings"]["plugins"][0]["preScriptParams"] == 1
    assert "secret" not in str(expectation.to_json())
    assert "secret" not in "\n".join(told(expectation))


def test_a_person_reads_scripts_mounts_errors_and_the_verdict() -> None:
    plan = replace(
        PLAN,
        left_out=(ReportedMount("/boot", "vfat", "8:2", frozen=False, reason="vfat"),),
        warnings=("watch out",),
    )

    good = "\n".join(told(expect(CONFIGURED, plan, disks=TWO)))
    assert "/etc/azure/pre (within 30 s)" in good
    assert "freezes        / ext4" in good
    assert "leaves         /boot vfat (vfat)" in good
    assert "warning: watch out" in good
    assert good.endswith("a backup would be consistent to the level application")

    degraded = "\n".join(told(expect(REFUSED, plan, disks=TWO)))
    assert "IncorrectJSONConfigFile: it is wrong\n  next: mend it" in degraded
    assert degraded.endswith("to the level filesystem, not application")

    aborted = told(expect(replace(REFUSED, continue_on_failure=False), plan, disks=TWO))
    assert aborted[-1] == "a backup would abort: continueBackupOnFailure is false"
