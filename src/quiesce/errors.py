"""Every error that a user can see: name, number, what to do next, exit status.

The names and numbers below 1000 are those of Azure Backup's page and of Microsoft's extension
(`docs/design/framework.md`, section 6), so that people who search for them find the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitStatus(IntEnum):
    """What both programs exit with (`docs/design/overview.md`, section 3)."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    DEGRADED = 3
    ABORTED = 4
    SNAPSHOT = 5
    VAULT = 6
    RESTORE = 7
    VERIFICATION = 8
    BUSY = 9
    NOT_FOUND = 10
    INTERRUPTED = 130


@dataclass(frozen=True)
class ErrorKind:
    """One row of the error table; *action* is the next step where the raiser names none."""

    name: str
    number: int
    exit_status: ExitStatus
    action: str


_ROOT_ALONE = "make root the owner and mode 700: chown root: FILE; chmod 700 FILE"
_LOOK_AT_SCRIPT = "look at the script's log; the report shows its last output"
_RAISE_TIMEOUT = "check the script, and raise timeoutInSeconds in the plugin configuration"
_SEE_MOUNT = "see the named mount and error: quiesce-guest check"

KINDS: dict[str, ErrorKind] = {
    kind.name: kind
    for kind in (
        # The page's errors.
        ErrorKind("Pre-ScriptExecutionFailed", 300, ExitStatus.DEGRADED, _LOOK_AT_SCRIPT),
        ErrorKind(
            "Post-ScriptExecutionFailed",
            301,
            ExitStatus.DEGRADED,
            _LOOK_AT_SCRIPT + ", and check the state of the application",
        ),
        ErrorKind(
            "Pre-ScriptNotFound",
            302,
            ExitStatus.DEGRADED,
            "put the pre-script where preScriptLocation says",
        ),
        ErrorKind(
            "Post-ScriptNotFound",
            303,
            ExitStatus.DEGRADED,
            "put the post-script where postScriptLocation says",
        ),
        ErrorKind(
            "IncorrectPluginhostFile",
            304,
            ExitStatus.DEGRADED,
            "mend the plugin host file, or reinstall quiesce-guest",
        ),
        ErrorKind(
            "IncorrectJSONConfigFile",
            305,
            ExitStatus.DEGRADED,
            "take a fresh copy of VMSnapshotPluginConfig.json and configure it again",
        ),
        ErrorKind("InsufficientPermissionforPre-Script", 306, ExitStatus.DEGRADED, _ROOT_ALONE),
        ErrorKind("InsufficientPermissionforPost-Script", 307, ExitStatus.DEGRADED, _ROOT_ALONE),
        ErrorKind("Pre-ScriptTimeout", 308, ExitStatus.DEGRADED, _RAISE_TIMEOUT),
        ErrorKind("Post-ScriptTimeout", 309, ExitStatus.DEGRADED, _RAISE_TIMEOUT),
        ErrorKind("FsFreezeFailed", 121, ExitStatus.DEGRADED, _SEE_MOUNT),
        ErrorKind("FsFreezeTimeout", 122, ExitStatus.DEGRADED, _SEE_MOUNT),
        ErrorKind("UnableToOpenMount", 123, ExitStatus.DEGRADED, _SEE_MOUNT),
        # Ours: inside the machine.
        ErrorKind(
            "FreezeWindowExpired",
            1000,
            ExitStatus.DEGRADED,
            "make the snapshot faster, or raise deadline_s in guest.conf",
        ),
        ErrorKind(
            "SnapshotFailed", 1001, ExitStatus.SNAPSHOT, "see what the snapshot command printed"
        ),
        ErrorKind(
            "AlreadyHeld",
            1002,
            ExitStatus.BUSY,
            "wait for it, or end it: quiesce-guest status; quiesce-guest thaw",
        ),
        ErrorKind("ThawFailed", 1003, ExitStatus.DEGRADED, "quiesce-guest thaw"),
        ErrorKind(
            "GuardUnavailable",
            1004,
            ExitStatus.DEGRADED,
            "free memory and see that /run is a writable tmpfs",
        ),
        ErrorKind("IncorrectGuestConf", 1005, ExitStatus.DEGRADED, "mend /etc/quiesce/guest.conf"),
        ErrorKind("Interrupted", 1006, ExitStatus.INTERRUPTED, "run it again"),
        ErrorKind("NothingHeld", 1007, ExitStatus.NOT_FOUND, "hold first: quiesce-guest hold"),
        ErrorKind("ReportNotFound", 1008, ExitStatus.NOT_FOUND, "list them: ls /var/log/quiesce"),
        ErrorKind("InstallRefused", 1009, ExitStatus.ABORTED, "see the named file"),
        # Ours: between host and machine.
        ErrorKind(
            "AgentUnavailable",
            1020,
            ExitStatus.DEGRADED,
            "install and start qemu-guest-agent in the guest, or set agent = false",
        ),
        ErrorKind(
            "HookMissing",
            1021,
            ExitStatus.DEGRADED,
            "in the guest: quiesce-guest install qga --restart",
        ),
        ErrorKind(
            "GuestReportUnavailable",
            1022,
            ExitStatus.DEGRADED,
            "allow guest-exec in the guest agent's configuration",
        ),
        ErrorKind("HookVeto", 1023, ExitStatus.ABORTED, "in the guest: quiesce-guest report"),
        ErrorKind("PostUnknown", 1024, ExitStatus.DEGRADED, "in the guest: quiesce-guest report"),
        ErrorKind(
            "MachinePaused", 1025, ExitStatus.DEGRADED, "let the machine run before the backup"
        ),
        ErrorKind(
            "MachineNotFound",
            1030,
            ExitStatus.NOT_FOUND,
            "add [machine.NAME] with qmp and qga to quiesce.toml, or give --qmp and --qga",
        ),
        ErrorKind(
            "MachineUnreachable",
            1031,
            ExitStatus.NOT_FOUND,
            "see that the machine runs and that its sockets are where the settings say",
        ),
        ErrorKind(
            "SocketBusy",
            1032,
            ExitStatus.BUSY,
            "disconnect the other client; a QMP or agent socket takes one at a time",
        ),
        ErrorKind("MachineBusy", 1033, ExitStatus.BUSY, "wait until its block jobs are done"),
        ErrorKind(
            "ScratchTooSmall",
            1034,
            ExitStatus.SNAPSHOT,
            "free space, or put scratch on a larger file system: --scratch DIR",
        ),
        ErrorKind(
            "SnapshotBroken",
            1035,
            ExitStatus.SNAPSHOT,
            "see the scratch file system's free space and health, and run it again",
        ),
        ErrorKind(
            "SnapshotUnsupported", 1036, ExitStatus.SNAPSHOT, "see the reason in the message"
        ),
        ErrorKind(
            "DefinitionUnavailable",
            1037,
            ExitStatus.NOT_FOUND,
            "give the machine's definition in the settings: definition = FILE",
        ),
        ErrorKind("CommandRefused", 1038, ExitStatus.SNAPSHOT, "see what QEMU says in the message"),
        # Ours: the vault and what comes out of it.
        ErrorKind("VaultNotFound", 1040, ExitStatus.VAULT, "make one: quiesce vault init"),
        ErrorKind("VaultExists", 1041, ExitStatus.VAULT, "use it, or choose another place"),
        ErrorKind(
            "VaultUnsupported",
            1042,
            ExitStatus.VAULT,
            "use a quiesce that knows the named features",
        ),
        ErrorKind("VaultDamaged", 1043, ExitStatus.VAULT, "restore the named object from a copy"),
        ErrorKind("VaultFull", 1044, ExitStatus.VAULT, "free space in the vault, and run again"),
        ErrorKind("VaultUnavailable", 1045, ExitStatus.VAULT, "see the named error"),
        ErrorKind("SessionLost", 1046, ExitStatus.VAULT, "run it again"),
        ErrorKind(
            "MachineIdentityChanged",
            1047,
            ExitStatus.VAULT,
            "if it is meant to be the same machine: --same-machine",
        ),
        ErrorKind(
            "EncryptionUnavailable",
            1048,
            ExitStatus.USAGE,
            "say that you accept it: quiesce vault init --no-encryption",
        ),
        ErrorKind("PointNotFound", 1050, ExitStatus.NOT_FOUND, "list them: quiesce points"),
        ErrorKind(
            "PointAmbiguous", 1051, ExitStatus.NOT_FOUND, "give more of the id: quiesce points"
        ),
        ErrorKind(
            "TargetExists", 1052, ExitStatus.RESTORE, "choose another place, or move it away"
        ),
        ErrorKind("RestoreFailed", 1053, ExitStatus.RESTORE, "see the named error"),
        ErrorKind("RestoreNoSpace", 1054, ExitStatus.RESTORE, "free space at the target"),
        ErrorKind("IncorrectSettings", 1060, ExitStatus.USAGE, "mend quiesce.toml"),
        ErrorKind("AlreadyRunning", 1061, ExitStatus.BUSY, "wait for the run that is under way"),
        ErrorKind(
            "SupervisorUnavailable",
            1062,
            ExitStatus.UNEXPECTED,
            "see that the state directory is writable",
        ),
        ErrorKind("UndoIncomplete", 1063, ExitStatus.SNAPSHOT, "run any quiesce command again"),
        ErrorKind("DemoFailed", 1070, ExitStatus.VERIFICATION, "see the named check"),
        ErrorKind("ProgramFailed", 1080, ExitStatus.UNEXPECTED, "see what the program printed"),
        ErrorKind("ProgramMissing", 1081, ExitStatus.UNEXPECTED, "install the package that has it"),
    )
}


class QuiesceError(Exception):
    """An error with a stable name for the reader.

    *message* is lowercase and without a full stop; *action* is the next step. Both have a default
    from the table for the name; an unknown *name* is a programming error (KeyError).
    """

    def __init__(self, name: str, message: str, *, action: str | None = None) -> None:
        super().__init__(message)
        self.kind = KINDS[name]
        self.message = message
        self.action = action if action is not None else self.kind.action

    @property
    def name(self) -> str:
        """The stable name, as in the table."""
        return self.kind.name

    @property
    def number(self) -> int:
        """The number, as in the table."""
        return self.kind.number

    @property
    def exit_status(self) -> ExitStatus:
        """What a program that ends with this error exits with."""
        return self.kind.exit_status
