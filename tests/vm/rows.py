"""The rows that a host can tell apart: how a guest is made to be in each, and what is then said.

What is expected stands here as `docs/design/framework.md` has it, section 5 and section 7.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PLUGIN_CONFIG = "/etc/azure/VMSnapshotPluginConfig.json"
PLUGIN_HOST = "/etc/azure/VMSnapshotPluginHost.conf"
SECOND = "/srv"

NOTHING_RAN = ()
RAN = ("pre ", "post ok")
PRE_FAILED = ("pre ", "post failed")
PRE_LATE = ("pre ", "post timeout")
ONLY_PRE = ("pre ",)

# What an agent lets the host do; the commands that it refuses.
EVERYTHING = ""
FILES = "guest-exec,guest-exec-status"
NOTHING = f"{FILES},guest-file-open,guest-file-read,guest-file-write"
NO_FREEZE = "guest-fsfreeze-freeze"


@dataclass(frozen=True)
class Said:
    """What a backup says in the end: *level* is None where there is no recovery point."""

    status: int
    level: str | None
    outcome: str
    errors: tuple[str, ...]


def complete(level: str) -> Said:
    return Said(0, level, "complete", ())


def degraded(level: str, *errors: str) -> Said:
    return Said(3, level, "degraded", errors)


def aborted(*errors: str) -> Said:
    return Said(4, None, "aborted", errors)


@dataclass(frozen=True)
class Row:
    """One way of being in a row.

    *settings*, *pre*, *post* and *deadline_s* as for `Scene.configure`. *before* and *after* are
    scripts in the guest. *window* is what happens in the window (`test_rows`). *soak*: others
    stand for it where time counts.
    """

    row: str
    said: Said
    ran: tuple[str, ...]
    pre: str = ""
    post: str = ""
    settings: dict[str, object] = field(default_factory=dict)
    disks: int = 2
    deadline_s: int = 12
    before: str = ""
    after: str = ""
    window: str = ""
    soak: bool = False


C_OFF: dict[str, object] = {"continueBackupOnFailure": False}
F_OFF: dict[str, object] = {"fsFreezeEnabled": False}
BOTH_OFF = {**C_OFF, **F_OFF}
SHORT: dict[str, object] = {"timeoutInSeconds": 1}

NO_CONFIG = f"rm {PLUGIN_CONFIG}"
OTHERS_READ = f"chmod 644 {PLUGIN_CONFIG}"
OTHERS_WRITE = f"chmod 666 {PLUGIN_CONFIG}"
BAD_HOST = f"printf '[pre_post]\\nnumberOfPlugins = 0\\n' >{PLUGIN_HOST}"
GOOD_HOST = f"rm -f {PLUGIN_HOST}"
BAD_GUEST_CONF = "echo '[freeze' >/etc/quiesce/guest.conf"
FROZEN_BY_ANOTHER = f"fsfreeze -f {SECOND}"
# The agent's thaw thaws it too.
AFTER_ANOTHER = f"fsfreeze -u {SECOND} 2>/dev/null || :"
NO_PLACE_FOR_REPORTS = """
mkdir -p /run/quiesce /var/log/quiesce
rm -rf /run/quiesce/reports /var/log/quiesce/reports
touch /run/quiesce/reports /var/log/quiesce/reports
"""
A_PLACE_FOR_REPORTS = "rm /run/quiesce/reports /var/log/quiesce/reports"
# A post-script that was refused cannot have said that it ran.
FORGET = "rm -f /run/scripts.log"
HOOKS = "/etc/qemu/fsfreeze-hook.d"
VETO = f"""
mkdir -p {HOOKS}
printf '#!/bin/sh\\n[ "$1" = thaw ]\\n' >{HOOKS}/veto
chmod 755 {HOOKS}/veto
"""
NO_VETO = f"rm {HOOKS}/veto"
GUEST = "/usr/local/bin/quiesce-guest"
NO_HOOK = f"{GUEST} uninstall qga --restart"
A_HOOK = f"{GUEST} install qga --restart"
HELD_BY_ANOTHER = f"{GUEST} hold --no-freeze"
AFTER_HOLD = f"{GUEST} release"

CONFIG, PRE, POST = (
    "IncorrectJSONConfigFile",
    "Pre-ScriptExecutionFailed",
    "Post-ScriptExecutionFailed",
)
EXPIRED, FREEZE = "FreezeWindowExpired", "FsFreezeFailed"
NO_REPORT, VETOED, POST_UNKNOWN = "GuestReportUnavailable", "HookVeto", "PostUnknown"

ALLOWED = (
    Row("1", complete("filesystem"), NOTHING_RAN, before=NO_CONFIG),
    Row("2", complete("application"), RAN),
    Row("3", complete("application"), RAN, settings=F_OFF),
    Row("4 mode", degraded("filesystem", CONFIG), NOTHING_RAN, before=OTHERS_READ),
    Row(
        "4 others write, C does not count",
        degraded("filesystem", CONFIG),
        NOTHING_RAN,
        settings=C_OFF,
        before=OTHERS_WRITE,
        soak=True,
    ),
    Row(
        "4 plugin host file",
        degraded("filesystem", "IncorrectPluginhostFile"),
        NOTHING_RAN,
        before=BAD_HOST,
        after=GOOD_HOST,
        soak=True,
    ),
    Row(
        "4 guest.conf",
        degraded("filesystem", "IncorrectGuestConf"),
        NOTHING_RAN,
        before=BAD_GUEST_CONF,
        soak=True,
    ),
    Row(
        "4 script not found",
        degraded("filesystem", "Post-ScriptNotFound"),
        NOTHING_RAN,
        before="rm /etc/quiesce/scripts/post",
        soak=True,
    ),
    Row(
        "4 script not root's alone",
        degraded("filesystem", "InsufficientPermissionforPre-Script"),
        NOTHING_RAN,
        before="chmod 755 /etc/quiesce/scripts/pre",
        soak=True,
    ),
    Row("5", degraded("crash", CONFIG), NOTHING_RAN, settings=F_OFF, before=OTHERS_READ),
    Row("6", aborted(CONFIG), NOTHING_RAN, settings=C_OFF, before=OTHERS_READ),
    Row("7", degraded("crash", CONFIG), NOTHING_RAN, settings=C_OFF, before=OTHERS_READ, disks=1),
    Row("8 fails", degraded("filesystem", PRE), PRE_FAILED, pre="exit 7"),
    Row(
        "8 late",
        degraded("filesystem", "Pre-ScriptTimeout"),
        PRE_LATE,
        pre="sleep 60",
        settings=SHORT,
    ),
    Row(
        "8 refused before its second attempt",
        degraded("filesystem", PRE),
        PRE_FAILED,
        pre='chmod 755 "$0"; exit 7',
        settings={"preScriptNoOfRetries": 1},
        soak=True,
    ),
    Row("8 F off", degraded("crash", PRE), PRE_FAILED, pre="exit 7", settings=F_OFF, soak=True),
    Row("9", aborted(PRE), PRE_FAILED, pre="exit 7", settings=C_OFF),
    Row("10", degraded("crash", PRE), PRE_FAILED, pre="exit 7", settings=C_OFF, disks=1),
    Row("11", degraded("crash", FREEZE), RAN, before=FROZEN_BY_ANOTHER, after=AFTER_ANOTHER),
    Row("12", aborted(FREEZE), RAN, settings=C_OFF, before=FROZEN_BY_ANOTHER, after=AFTER_ANOTHER),
    Row(
        "13",
        degraded("crash", FREEZE),
        RAN,
        settings=C_OFF,
        disks=1,
        before=FROZEN_BY_ANOTHER,
        after=AFTER_ANOTHER,
    ),
    Row("15", degraded("crash", EXPIRED), RAN, window="too long", deadline_s=3),
    Row("16", aborted(EXPIRED), RAN, settings=C_OFF, window="too long", deadline_s=3),
    Row(
        "15 one disk",
        degraded("crash", EXPIRED),
        RAN,
        settings=C_OFF,
        disks=1,
        window="too long",
        deadline_s=3,
        soak=True,
    ),
    Row("17 fails", degraded("filesystem", POST), RAN, post="exit 7"),
    Row(
        "17 late",
        degraded("filesystem", "Post-ScriptTimeout"),
        RAN,
        post="sleep 60",
        settings=SHORT,
        soak=True,
    ),
    Row(
        "17 refused",
        degraded("filesystem", "InsufficientPermissionforPost-Script"),
        ONLY_PRE,
        pre="chmod 755 /etc/quiesce/scripts/post",
        after=FORGET,
        soak=True,
    ),
    Row(
        "17 gone",
        degraded("filesystem", "Post-ScriptNotFound"),
        ONLY_PRE,
        pre="rm /etc/quiesce/scripts/post",
        after=FORGET,
        soak=True,
    ),
    Row("17 F off", degraded("crash", POST), RAN, post="exit 7", settings=F_OFF, soak=True),
    Row("18", aborted(POST), RAN, post="exit 7", settings=C_OFF),
    Row("19", degraded("crash", POST), RAN, post="exit 7", settings=C_OFF, disks=1),
    Row("21 thawed by another", degraded("crash", EXPIRED), RAN, window="thawed"),
    Row("21 guards dead", degraded("crash", EXPIRED), RAN, window="guards dead", soak=True),
    Row(
        "21 guards dead, C off",
        aborted(EXPIRED),
        RAN,
        settings=C_OFF,
        window="guards dead",
        soak=True,
    ),
    Row(
        "8 and 17",
        degraded("filesystem", PRE, POST),
        PRE_FAILED,
        pre="exit 7",
        post="exit 7",
        soak=True,
    ),
    Row("23", aborted("Interrupted"), PRE_FAILED, pre="kill -TERM $PPID; sleep 60"),
    Row("H2", complete("filesystem"), NOTHING_RAN, before=NO_HOOK, after=A_HOOK),
    Row(
        "H3",
        degraded("filesystem", NO_REPORT),
        RAN,
        before=NO_PLACE_FOR_REPORTS,
        after=A_PLACE_FOR_REPORTS,
    ),
    Row("H5 another hook", aborted(VETOED), NOTHING_RAN, before=VETO, after=NO_VETO),
    Row(
        "H5 anything else: held already",
        degraded("crash", FREEZE),
        ONLY_PRE,
        deadline_s=60,
        before=HELD_BY_ANOTHER,
        after=AFTER_HOLD,
    ),
)

# The host hears nothing of C and F, and reads the report.
WITHOUT_EXEC = (
    Row("1", complete("filesystem"), NOTHING_RAN, before=NO_CONFIG, soak=True),
    Row("2", complete("application"), RAN),
    Row("3", degraded("crash", EXPIRED), RAN, settings=F_OFF),
    Row("4", degraded("filesystem", CONFIG), NOTHING_RAN, before=OTHERS_READ, soak=True),
    Row("5", degraded("crash", CONFIG), NOTHING_RAN, settings=F_OFF, before=OTHERS_READ, soak=True),
    Row("8", degraded("filesystem", PRE), PRE_FAILED, pre="exit 7"),
    Row("9", aborted(PRE), PRE_FAILED, pre="exit 7", settings=C_OFF),
    Row(
        "11, as C is not known",
        degraded("crash", FREEZE),
        RAN,
        settings=C_OFF,
        before=FROZEN_BY_ANOTHER,
        after=AFTER_ANOTHER,
        soak=True,
    ),
    Row(
        "16",
        aborted(EXPIRED),
        RAN,
        settings=C_OFF,
        window="too long",
        deadline_s=3,
        soak=True,
    ),
    Row("18", aborted(POST), RAN, post="exit 7", settings=C_OFF, soak=True),
    Row("21", degraded("crash", EXPIRED), RAN, window="guards dead", soak=True),
)

# The host has only the agent's counts and the hook's statuses.
WITHOUT_FILES = (
    Row("1, H3", degraded("filesystem", NO_REPORT), NOTHING_RAN, before=NO_CONFIG, soak=True),
    Row("2, H3", degraded("filesystem", NO_REPORT), RAN),
    Row("H2, H3", degraded("filesystem", NO_REPORT), NOTHING_RAN, before=NO_HOOK, after=A_HOOK),
    Row("3, freeze says 3", degraded("crash", VETOED), RAN, settings=F_OFF),
    Row("6, freeze says 4", aborted(VETOED), NOTHING_RAN, settings=C_OFF, before=OTHERS_READ),
    Row("9, freeze says 4", aborted(VETOED), PRE_FAILED, pre="exit 7", settings=C_OFF, soak=True),
    Row("4, H6", degraded("crash", POST_UNKNOWN), NOTHING_RAN, before=OTHERS_READ, soak=True),
    Row("17, H6", degraded("crash", POST_UNKNOWN), RAN, post="exit 7"),
    Row("18, H7", aborted(VETOED), RAN, post="exit 7", settings=C_OFF),
    Row("15, H6", degraded("crash", POST_UNKNOWN), RAN, window="too long", deadline_s=3, soak=True),
    Row("16, H7", aborted(VETOED), RAN, settings=C_OFF, window="too long", deadline_s=3, soak=True),
    Row("21, H10", degraded("crash", EXPIRED), RAN, window="guards dead"),
    Row(
        "21, H10 by counts", degraded("crash", EXPIRED, NO_REPORT), RAN, window="thawed", soak=True
    ),
)

# The agent may not freeze.
WITHOUT_FREEZE = (
    Row("11, H4", degraded("crash", FREEZE), NOTHING_RAN),
    Row("12, H4", aborted(FREEZE), NOTHING_RAN, settings=C_OFF, soak=True),
    Row("13, H4", degraded("crash", FREEZE), NOTHING_RAN, settings=C_OFF, disks=1, soak=True),
    Row("3, H4", complete("application"), RAN, settings=F_OFF, soak=True),
)

ROWS = {
    EVERYTHING: ALLOWED,
    FILES: WITHOUT_EXEC,
    NOTHING: WITHOUT_FILES,
    NO_FREEZE: WITHOUT_FREEZE,
}
