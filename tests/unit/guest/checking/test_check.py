import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import quiesce
from quiesce.errors import ExitStatus, QuiesceError
from quiesce.guest.checking.check import expect, told
from quiesce.guest.checking.interpreter import Interpreter
from quiesce.guest.checking.surroundings import AgentHook, ScriptFile, Surroundings
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.configuration.settings import GuestSettings, Plugin
from quiesce.guest.filesystems.mounts import FreezePlan, Mount
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
CONFIGURED = replace(
    NOTHING, source=PLUGIN.source, plugins=(PLUGIN,), declared=(PLUGIN,), configured=True
)
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
AROUND = Surroundings(
    is_root=True,
    can_freeze=True,
    at_rest=None,
    has_died=False,
    run=None,
    log=None,
    unopenable={},
    suspended=(),
    scripts={
        "/etc/azure/pre": ScriptFile(noexec=False, interpreter=Interpreter("/bin/sh")),
        "/etc/azure/post": ScriptFile(noexec=False, interpreter=Interpreter("/bin/sh")),
    },
    hook=None,
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
    expectation = expect(settings, plan, AROUND, disks=disks)
    document = expectation.to_json()

    assert (document["expected"], document["way"]) == (expected, way)
    assert expectation.exit_status == status
    assert [mount["frozen"] for mount in document["mounts"]] == [way == "frozen"] * len(plan.mounts)


def test_where_nothing_will_be_frozen_nothing_is_said_of_what_cannot_be() -> None:
    settings = replace(CONFIGURED, freeze_enabled=False)

    assert expect(settings, BLOCKED, AROUND, disks=TWO).exit_status is ExitStatus.DONE


def test_of_script_parameters_only_the_number_is_told() -> None:
    expectation = expect(CONFIGURED, PLAN, AROUND, disks=TWO)

    assert expectation.to_json()["settings"]["plugins"][0]["preScriptParams"] == 1
    assert "secret" not in str(expectation.to_json())
    assert "secret" not in "\n".join(told(expectation))


def test_a_person_reads_scripts_mounts_errors_and_the_verdict() -> None:
    plan = replace(
        PLAN,
        left_out=(ReportedMount("/boot", "vfat", "8:2", frozen=False, reason="vfat"),),
        warnings=("watch out",),
    )

    good = "\n".join(told(expect(CONFIGURED, plan, AROUND, disks=TWO)))
    assert "/etc/azure/pre (within 30 s)" in good
    assert "freezes        / ext4" in good
    assert "leaves         /boot vfat (vfat)" in good
    assert "warning: watch out" in good
    assert good.endswith("a backup would be consistent to the level application")

    degraded = "\n".join(told(expect(REFUSED, plan, AROUND, disks=TWO)))
    assert "IncorrectJSONConfigFile: it is wrong\n  next: mend it" in degraded
    assert degraded.endswith("to the level filesystem, not application")

    aborted = told(expect(replace(REFUSED, continue_on_failure=False), plan, AROUND, disks=TWO))
    assert aborted[-1] == "a backup would abort: continueBackupOnFailure is false"


def schema() -> dict[str, Any]:
    path = Path(quiesce.__file__).parent / "schemas" / "check.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def findings(
    around: Surroundings, *, settings: GuestSettings = CONFIGURED, plan: FreezePlan = PLAN
) -> tuple[int, str, list[tuple[str, str, str, bool]]]:
    """Return exit status, level, and severity, text, action of each finding."""
    expectation = expect(settings, plan, around, disks=TWO)
    document = expectation.to_json()
    jsonschema.validate(json.loads(json.dumps(document)), schema())
    return (
        int(expectation.exit_status),
        document["expected"],
        [
            (each["severity"], each["what"], each["action"] or "", each["lowers"])
            for each in document["findings"]
        ],
    )


def script(path: str = "/etc/azure/pre", **values: Any) -> Surroundings:
    """Return surroundings with one script as told."""
    values = {"noexec": False, "interpreter": Interpreter("/bin/sh"), **values}
    return replace(AROUND, scripts={**AROUND.scripts, path: ScriptFile(**values)})


def test_where_all_is_well_nothing_is_found() -> None:
    assert findings(AROUND) == (0, "application", [])


LOST = Interpreter("/bin/zsh", "its interpreter /bin/zsh is not there")
RETURNS = Interpreter("/bin/sh", "its lines end with a carriage return", has_return=True)


@pytest.mark.parametrize(
    ("around", "level", "what", "action"),
    [
        (replace(AROUND, run="/run: Read-only file system"), "crash", "cannot use /run", "/run"),
        (replace(AROUND, can_freeze=False), "crash", "no CAP_SYS_ADMIN", "run it as root"),
        (replace(AROUND, unopenable={"/": "Permission denied"}), "crash", "cannot open /", "check"),
        (script(noexec=True), "filesystem", "mounted noexec", "remount,exec"),
        (script(interpreter=LOST), "filesystem", "interpreter /bin/zsh", "head -1"),
        (script(interpreter=RETURNS), "filesystem", "carriage return", "sed -i"),
        (script("/etc/azure/post", noexec=True), "filesystem", "post cannot be", "remount,exec"),
    ],
)
def test_what_would_fail_lowers_the_level_and_says_what_mends_it(
    around: Surroundings, level: str, what: str, action: str
) -> None:
    status, expected, found = findings(around)

    assert (status, expected, len(found)) == (3, level, 1)
    severity, said, mends, lowers = found[0]
    assert (severity, lowers) == ("error", True)
    assert what in said
    assert action in mends


def test_what_would_fail_is_an_abort_where_the_owner_wants_that() -> None:
    settings = replace(CONFIGURED, continue_on_failure=False)

    assert findings(script(noexec=True), settings=settings)[:2] == (4, "none")


def test_where_nothing_is_frozen_nothing_that_concerns_freezing_is_found() -> None:
    settings = replace(CONFIGURED, freeze_enabled=False)
    around = replace(AROUND, can_freeze=False, unopenable={"/": "Permission denied"})

    assert findings(around, settings=settings) == (0, "application", [])


HOOK = AgentHook(
    is_agent_there=True,
    config="/etc/qemu/qemu-ga.conf",
    named="/etc/quiesce/qga-hook",
    is_ours=True,
    is_there=True,
    lost_program=None,
    idle=(),
)


@pytest.mark.parametrize(
    ("around", "severity", "what", "action", "lowers"),
    [
        (replace(AROUND, at_rest="01J"), "error", "session 01J is at rest", "status", True),
        (
            replace(AROUND, at_rest="01J", has_died=True),
            *("warning", "session 01J has died", "quiesce-guest thaw", False),
        ),
        (replace(AROUND, is_root=False), "warning", "not run as root", "sudo", False),
        (
            replace(AROUND, log="/var/log: No space left on device"),
            *("warning", "No space left", "df", False),
        ),
        (replace(AROUND, suspended=("/data",)), "warning", "/data is suspended", "dmsetup", False),
        (script(interpreter=Interpreter(None)), "info", "no line #!", "", False),
        (
            replace(AROUND, hook=replace(HOOK, is_there=False)),
            *("warning", "not there: the agent will not freeze", "install qga", True),
        ),
        (
            replace(AROUND, hook=replace(HOOK, lost_program="/usr/bin/gone")),
            *("warning", "calls /usr/bin/gone", "install qga", True),
        ),
        (
            replace(AROUND, hook=replace(HOOK, is_ours=False, named="/etc/other")),
            *("warning", "names /etc/other", "install qga", False),
        ),
        (
            replace(AROUND, hook=replace(HOOK, is_ours=False, named=None, is_there=False)),
            *("warning", "holds no application", "install qga", False),
        ),
        (
            replace(AROUND, hook=replace(HOOK, idle=("/etc/qemu/fsfreeze-hook.d/a b",))),
            *("info", "a b is not executable", "chmod +x '/etc/qemu/fsfreeze-hook.d/a b'", False),
        ),
    ],
)
def test_what_is_worth_knowing_is_found(
    *, around: Surroundings, severity: str, what: str, action: str, lowers: bool
) -> None:
    status, expected, found = findings(around)

    [finding] = found
    assert (finding[0], finding[3]) == (severity, lowers)
    assert what in finding[1]
    assert action in finding[2]
    assert (status, expected) == (3 if lowers else 0, "application")


def test_a_machine_without_the_agent_is_told_nothing_of_it() -> None:
    hook = replace(HOOK, is_agent_there=False, is_ours=False, named=None, is_there=False)

    assert findings(replace(AROUND, hook=hook))[2] == []


def test_a_script_for_both_phases_and_long_pre_scripts_are_mentioned() -> None:
    both = Plugin(
        PLUGIN.source,
        replace(PLUGIN.pre, timeout_s=61.0),
        replace(PLUGIN.post, path=PLUGIN.pre.path),
    )
    settings = replace(CONFIGURED, plugins=(both,), declared=(both,))

    found = findings(replace(AROUND, hook=HOOK), settings=settings)[2]

    assert [severity for severity, *_ in found] == ["info", "info"]
    assert "is pre- and post-script" in found[0][1]
    assert "may take 61 s" in found[1][1]


def test_a_person_reads_each_finding_with_what_mends_it() -> None:
    lines = told(expect(CONFIGURED, PLAN, script(noexec=True), disks=TWO))

    place = next(i for i, line in enumerate(lines) if line.startswith("Pre-ScriptExecutionFailed"))
    assert lines[place + 1].startswith("  next: put it elsewhere")


def test_a_mount_that_cannot_be_frozen_anyway_is_told_once() -> None:
    covered = ReportedMount("/", "ext4", "8:1", frozen=False, reason="another mount covers it")
    around = replace(AROUND, unopenable={"/": "another file system"}, can_freeze=True)

    assert len(findings(around, plan=replace(PLAN, blockers=(covered,)))[2]) == 1
    assert len(findings(replace(AROUND, can_freeze=False), plan=EMPTY)[2]) == 1
