"""The table of errors: names, numbers, what happened, what to do next, exit statuses.

The names and numbers below 1000 are those of Azure Backup's page and of Microsoft's extension
(`docs/design/framework.md`, section 6), so that people who search for them find the same thing.
`docs/errors.md` is generated from this table, and `quiesce-guest explain` prints its rows.
"""

from __future__ import annotations

from enum import IntEnum

from quiesce.catalogue import mark
from quiesce.values import dataclass


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

    @property
    def meaning(self) -> str:
        """What it says, in one line."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitStatus.DONE: mark("done as configured"),
    ExitStatus.UNEXPECTED: mark("unexpected error"),
    ExitStatus.USAGE: mark("wrong usage or settings"),
    ExitStatus.DEGRADED: mark("done, but degraded: at a lower level than configured"),
    ExitStatus.ABORTED: mark("aborted or refused"),
    ExitStatus.SNAPSHOT: mark("the snapshot failed"),
    ExitStatus.VAULT: mark("the vault failed"),
    ExitStatus.RESTORE: mark("the restore failed"),
    ExitStatus.VERIFICATION: mark("the verification failed"),
    ExitStatus.BUSY: mark("busy"),
    ExitStatus.NOT_FOUND: mark("nothing there, or not reachable"),
    ExitStatus.INTERRUPTED: mark("interrupted"),
}


@dataclass(frozen=True)
class ErrorKind:
    """One row: *when* is what happened, *action* the next step where the raiser names none.

    *also* are other numbers that Microsoft's extension has for it. With *may_abort* a backup
    ends with ABORTED instead where continueBackupOnFailure is false and there are several disks.
    """

    name: str
    number: int
    exit_status: ExitStatus
    when: str
    action: str
    also: tuple[int, ...] = ()
    may_abort: bool = False


_UNEXPECTED = ExitStatus.UNEXPECTED
_USAGE = ExitStatus.USAGE
_DEGRADED = ExitStatus.DEGRADED
_ABORTED = ExitStatus.ABORTED
_SNAPSHOT = ExitStatus.SNAPSHOT
_VAULT = ExitStatus.VAULT
_RESTORE = ExitStatus.RESTORE
_VERIFICATION = ExitStatus.VERIFICATION
_BUSY = ExitStatus.BUSY
_NOT_FOUND = ExitStatus.NOT_FOUND
_INTERRUPTED = ExitStatus.INTERRUPTED

_ROOT_ALONE = "make root the owner and mode 700: chown root: FILE; chmod 700 FILE"
_RAISE_TIMEOUT = "check the script, and raise timeoutInSeconds in the plugin configuration"
_SEE_MOUNT = (
    "see the named mount and error: quiesce-guest check; to leave it out: skip in guest.conf"
)
_SEE_ERROR = "see the named error"
_RUN_AGAIN = "run it again"
_SEE_REPORT = "in the guest: quiesce-guest report"

# A row is read across: the formatter would give each of its cells a line.
# fmt: off
_ROWS = (
    # The page's errors.
    ErrorKind("Pre-ScriptExecutionFailed", 300, _DEGRADED,
        "the pre-script ended with an error: the applications in this backup may not be consistent",
        "look at the script's log; the report shows its last output", may_abort=True),
    ErrorKind("Post-ScriptExecutionFailed", 301, _DEGRADED,
        "the post-script ended with an error: the application may not be running as it should",
        "look at the script's log; the report shows its last output, and check the state of the"
        " application", may_abort=True),
    ErrorKind("Pre-ScriptNotFound", 302, _DEGRADED,
        "there is no pre-script at the place that the plugin configuration names",
        "put the pre-script where preScriptLocation says", may_abort=True),
    ErrorKind("Post-ScriptNotFound", 303, _DEGRADED,
        "there is no post-script at the place that the plugin configuration names",
        "put the post-script where postScriptLocation says", may_abort=True),
    ErrorKind("IncorrectPluginhostFile", 304, _DEGRADED,
        "the plugin host file or quiesce-guest itself is damaged: no script can run, and the"
        " applications in this backup are not consistent",
        "mend the plugin host file (owner and mode: chown root: FILE; chmod 644 FILE), or reinstall"
        " quiesce-guest", also=(313, 314), may_abort=True),
    ErrorKind("IncorrectJSONConfigFile", 305, _DEGRADED,
        "the plugin configuration is wrong, or not root's alone: no script can run, and the"
        " applications in this backup are not consistent",
        "mend what the message names, or configure it again in a fresh copy (move the file away,"
        " then: quiesce-guest install config); owner and mode: chown root: FILE; chmod 600 FILE",
        also=(316, 317), may_abort=True),
    ErrorKind("InsufficientPermissionforPre-Script", 306, _DEGRADED,
        "somebody else than root could change the pre-script: root must own it and every"
        " directory above it, and only root may read, write and execute it (mode 700)",
        _ROOT_ALONE, may_abort=True),
    ErrorKind("InsufficientPermissionforPost-Script", 307, _DEGRADED,
        "somebody else than root could change the post-script: root must own it and every"
        " directory above it, and only root may read, write and execute it (mode 700)",
        _ROOT_ALONE, may_abort=True),
    ErrorKind("Pre-ScriptTimeout", 308, _DEGRADED,
        "the pre-script did not end in time, and was killed with all that it had started",
        _RAISE_TIMEOUT, may_abort=True),
    ErrorKind("Post-ScriptTimeout", 309, _DEGRADED,
        "the post-script did not end in time, and was killed with all that it had started",
        _RAISE_TIMEOUT, may_abort=True),
    ErrorKind("FsFreezeFailed", 121, _DEGRADED,
        "a file system could not be frozen; whatever had been frozen was thawed at once",
        _SEE_MOUNT, may_abort=True),
    ErrorKind("FsFreezeTimeout", 122, _DEGRADED,
        "the file systems could not be frozen in time (timeout_s in guest.conf)",
        _SEE_MOUNT, may_abort=True),
    ErrorKind("UnableToOpenMount", 123, _DEGRADED,
        "a mount point could not be opened, or another file system lies on it now",
        _SEE_MOUNT, may_abort=True),

    # Ours: inside the machine.
    ErrorKind("FreezeWindowExpired", 1000, _DEGRADED,
        "the window was over before the snapshot was complete: everything was thawed and released,"
        " and the snapshot is not of a machine at rest",
        "make the snapshot faster, or raise deadline_s in guest.conf", may_abort=True),
    ErrorKind("SnapshotFailed", 1001, _SNAPSHOT,
        "the snapshot command failed, or was killed at the end of the window",
        "see what the snapshot command printed"),
    ErrorKind("AlreadyHeld", 1002, _BUSY,
        "another session is at rest in this machine, and there is one at a time",
        "wait for it, or end it: quiesce-guest status; quiesce-guest thaw"),
    ErrorKind("ThawFailed", 1003, _DEGRADED,
        "a file system could not be thawed; the watchdog tries it again every second",
        "quiesce-guest thaw"),
    ErrorKind("GuardUnavailable", 1004, _DEGRADED,
        "nothing could guard the window (no watchdog, no session process, or /run is unusable), so"
        " nothing was held or frozen",
        "free memory and see that /run is a writable tmpfs", may_abort=True),
    ErrorKind("IncorrectGuestConf", 1005, _DEGRADED,
        "/etc/quiesce/guest.conf is wrong, or not root's alone: its defaults apply, and no script"
        " can run",
        "mend /etc/quiesce/guest.conf; owner and mode: chown root: FILE; chmod 600 FILE",
        may_abort=True),
    ErrorKind("Interrupted", 1006, _INTERRUPTED,
        "a signal ended it, or its process died; whatever was at rest was thawed and released",
        _RUN_AGAIN),
    ErrorKind("NothingHeld", 1007, _NOT_FOUND,
        "no session is held that could be released",
        "hold first: quiesce-guest hold"),
    ErrorKind("ReportNotFound", 1008, _NOT_FOUND,
        "there is no such report in this machine",
        "list them: ls /var/log/quiesce/reports"),
    ErrorKind("InstallRefused", 1009, _ABORTED,
        "a file could not be installed or removed; no half-written file is left",
        "see the named file"),

    # Ours: between host and machine.
    ErrorKind("AgentUnavailable", 1020, _DEGRADED,
        "the QEMU guest agent does not answer: the snapshot is of a running machine",
        "install and start qemu-guest-agent in the guest, or set agent = false"),
    ErrorKind("HookMissing", 1021, _DEGRADED,
        "the guest agent freezes the file systems, but no script runs: our hook is not installed",
        "in the guest: quiesce-guest install qga --restart"),
    ErrorKind("GuestReportUnavailable", 1022, _DEGRADED,
        "the guest's report could not be read, and without it no more than file system consistency"
        " may be claimed",
        "allow guest-exec in the guest agent's configuration"),
    ErrorKind("HookVeto", 1023, _ABORTED,
        "the hook in the guest refused the backup",
        _SEE_REPORT),
    ErrorKind("PostUnknown", 1024, _DEGRADED,
        "the guest says that its release was degraded, and its report is not there",
        _SEE_REPORT),
    ErrorKind("MachinePaused", 1025, _DEGRADED,
        "the machine is paused: nobody in it can be asked to come to rest",
        "let the machine run before the backup"),
    ErrorKind("ReportRefused", 1026, _ABORTED,
        "the report that was handed over is no evidence for these disks",
        "give the report of the session in which they were taken, or none: the disks are then"
        " looked at"),
    ErrorKind("DiskInUse", 1027, _BUSY,
        "somebody may write to a disk that is to be backed up",
        "stop who writes to it; where nobody does: --at-rest"),
    ErrorKind("DiskNotFound", 1028, _NOT_FOUND,
        "a disk that is to be backed up is not there, or cannot be opened",
        "see the path, and who may read it"),
    ErrorKind("IncorrectChangeList", 1029, _USAGE,
        "the change list is none, or leaves out what has changed",
        "mend it, or run it again without --changed"),
    ErrorKind("MachineNotFound", 1030, _NOT_FOUND,
        "there is no machine of that name",
        "add [machine.NAME] to quiesce.toml, or give --qmp and --qga, or --disk"),
    ErrorKind("MachineUnreachable", 1031, _NOT_FOUND,
        "the machine's QEMU does not answer",
        "see that the machine runs and that its sockets are where the settings say"),
    ErrorKind("SocketBusy", 1032, _BUSY,
        "another program is connected to the machine's socket",
        "disconnect the other client; a QMP or agent socket takes one at a time"),
    ErrorKind("MachineBusy", 1033, _BUSY,
        "block jobs run on the machine's disks",
        "wait until its block jobs are done"),
    ErrorKind("ScratchTooSmall", 1034, _SNAPSHOT,
        "there is not enough scratch space for what the machine writes during the backup",
        "free space, or put scratch on a larger file system: --scratch DIR"),
    ErrorKind("SnapshotBroken", 1035, _SNAPSHOT,
        "the snapshot was lost during the backup: its scratch space failed or was full, or a disk"
        " changed while it was read",
        "see the scratch file system's free space and health, and run it again"),
    ErrorKind("SnapshotUnsupported", 1036, _SNAPSHOT,
        "this machine or one of its disks cannot be snapshot",
        "see the reason in the message"),
    ErrorKind("DefinitionUnavailable", 1037, _NOT_FOUND,
        "the machine's definition, which a restore needs, could not be found out",
        "give the machine's definition in the settings: definition = FILE"),
    ErrorKind("CommandRefused", 1038, _SNAPSHOT,
        "QEMU refused a command",
        "see what QEMU says in the message"),
    ErrorKind("VaultOnDisk", 1039, _ABORTED,
        "the vault or scratch lies on a disk that is to be backed up: what is lost with it is lost"
        " with its backup, and the backup would grow into itself",
        "put the vault and scratch elsewhere; where it is meant to be so: --vault-on-disk"),

    # Ours: the vault and what comes out of it.
    ErrorKind("VaultNotFound", 1040, _VAULT,
        "there is no vault at that place",
        "make one: quiesce vault init"),
    ErrorKind("VaultExists", 1041, _VAULT,
        "there is a vault at that place already, or something else",
        "use it, or choose another place"),
    ErrorKind("VaultUnsupported", 1042, _VAULT,
        "the vault has features that this program does not know",
        "use a quiesce that knows the named features"),
    ErrorKind("VaultDamaged", 1043, _VAULT,
        "an object in the vault is missing or not what was stored",
        "restore the named object from a copy"),
    ErrorKind("VaultFull", 1044, _VAULT,
        "there is no space left in the vault",
        "free space in the vault, and run again"),
    ErrorKind("VaultUnavailable", 1045, _VAULT,
        "the vault cannot be read or written",
        _SEE_ERROR),
    ErrorKind("SessionLost", 1046, _VAULT,
        "the session in the vault was ended by somebody else",
        _RUN_AGAIN),
    ErrorKind("MachineIdentityChanged", 1047, _VAULT,
        "the vault knows another machine by that name",
        "if it is meant to be the same machine: --same-machine"),
    ErrorKind("VaultLocked", 1048, _VAULT,
        "nothing that opens the vault, or this part of it, is on this host",
        "give the passphrase or the recovery key: --passphrase-file FILE, QUIESCE_PASSPHRASE or"
        " passphrase_command"),
    ErrorKind("WrongKey", 1049, _VAULT,
        "the passphrase or recovery key is not one of this vault; nothing is damaged",
        "see which there are: quiesce vault key list"),
    ErrorKind("PointNotFound", 1050, _NOT_FOUND,
        "there is no such recovery point",
        "list them: quiesce points"),
    ErrorKind("PointAmbiguous", 1051, _NOT_FOUND,
        "several recovery points begin with these letters",
        "give more of the id: quiesce points"),
    ErrorKind("TargetExists", 1052, _RESTORE,
        "something lies where the restore is to go, and is not overwritten",
        "choose another place, or move it away"),
    ErrorKind("RestoreFailed", 1053, _RESTORE,
        "the recovery point could not be written back",
        _SEE_ERROR),
    ErrorKind("RestoreNoSpace", 1054, _RESTORE,
        "there is no space left where the restore goes",
        "free space at the target"),
    ErrorKind("PointHeld", 1055, _ABORTED,
        "the recovery point is held, and cannot be forgotten as long as it is",
        "end the hold: quiesce unhold POINT"),
    ErrorKind("PruneRefused", 1056, _ABORTED,
        "the retention rules would forget more recovery points in one run than the limit allows",
        "see what would go: quiesce prune --dry-run; if that is meant: --limit 100"),
    ErrorKind("VaultReplaced", 1057, _VAULT,
        "the vault at that place is another one than this host has the key of: somebody may have"
        " put it there to read what is backed up",
        "find out who; where it is meant to be another one, move the named key file away"),
    ErrorKind("KeeperKeyMissing", 1058, _ABORTED,
        "what takes something away from an encrypted vault needs the keeper's key, and that is not"
        " on this host",
        "do it on the host that has the file VAULT-ID.keeper, or give the passphrase"),
    ErrorKind("KeyNotFound", 1059, _NOT_FOUND,
        "there is no such key",
        "see which there are: quiesce vault key list"),
    ErrorKind("IncorrectSettings", 1060, _USAGE,
        "the host's settings are wrong",
        "mend quiesce.toml"),
    ErrorKind("AlreadyRunning", 1061, _BUSY,
        "another backup of the same machine, or a restore to the same place, is under way",
        "wait for the run that is under way"),
    ErrorKind("SupervisorUnavailable", 1062, _UNEXPECTED,
        "the process that undoes what a dying backup leaves behind could not be started, or died",
        "see that the state directory is writable"),
    ErrorKind("UndoIncomplete", 1063, _SNAPSHOT,
        "something that a backup did to the machine could not be undone",
        "run any quiesce command again"),
    ErrorKind("KeyNeeded", 1064, _ABORTED,
        "without that key nothing would open the vault any more",
        "add another one first: quiesce vault key add"),
    ErrorKind("KeyExists", 1065, _ABORTED,
        "there is a key file at that place already",
        "use it, or move it away"),
    ErrorKind("KeyFileUnusable", 1066, _VAULT,
        "a key file cannot be used",
        "let it be of the user that runs quiesce, with mode 0600"),
    ErrorKind("PassphraseUnavailable", 1067, _USAGE,
        "no passphrase comes from where it is said to come from",
        "see the named source"),
    ErrorKind("VaultNotEncrypted", 1068, _USAGE,
        "the vault has no encryption, and so no keys",
        "make an encrypted one at another place: quiesce vault init"),
    ErrorKind("MirrorDiverged", 1069, _VAULT,
        "the place of the mirror has what is not the vault's: another vault, or a mirror that was"
        " backed up to or pruned",
        "mirror to another place"),
    ErrorKind("DemoFailed", 1070, _VERIFICATION,
        "a check of the demo failed",
        "see the named check"),
    ErrorKind("ProgramFailed", 1080, _UNEXPECTED,
        "a program that is needed failed, or did not end in time",
        "see what the program printed"),
    ErrorKind("ProgramMissing", 1081, _UNEXPECTED,
        "a program that is needed is not installed",
        "install the package that has it"),
)
# fmt: on

KINDS: dict[str, ErrorKind] = {kind.name: kind for kind in _ROWS}
