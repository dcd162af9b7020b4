"""The guest through its QEMU guest agent; implements `ports.Guest`.

Our hook inside the guest holds and releases the applications, the agent freezes and thaws
(`docs/design/overview.md`, section 6).
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Any

from quiesce.channel import renewal
from quiesce.channel.agent import Agent, AgentError, Executed, NoAnswerError
from quiesce.errors import QuiesceError
from quiesce.model import report
from quiesce.ports import FreezeAnswer, GuestOutlook, Renewal, ThawAnswer

if TYPE_CHECKING:
    from pathlib import Path

    from quiesce.model.report import Report
    from quiesce.system.deadline import Deadline

PROGRAMS = ("/usr/local/bin/quiesce-guest", "/usr/bin/quiesce-guest", "quiesce-guest")
_ANNOUNCEMENT = "/run/quiesce/announced.json"
_REPORTS = ("/var/log/quiesce/reports", "/run/quiesce/reports")
_REPORT_S = 5.0
_HOOK_FAILED = re.compile(r"fsfreeze hook has failed with status (\d{1,3})")
_SYNC_S = 5.0
_RETRY_S = 0.2
_CHECKED = (0, 3, 4)


class Qga:
    """The guest behind the agent's socket at *path*; connects when it is first needed.

    *shipped* is the `quiesce-guest.pyz` that a damaged one is renewed with, None where it is not.
    """

    def __init__(self, path: Path, *, shipped: Path | None = None) -> None:
        self._path = path
        self._shipped = shipped
        self._agent: Agent | None = None
        self._enabled: frozenset[str] = frozenset()
        self._program: str | None = None

    def close(self) -> None:
        """Disconnect, so that others can use the socket."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def look(self, *, session: str, disks: int, deadline: Deadline) -> GuestOutlook:
        """Announce *session* and return what is known of the guest.

        Raises QuiesceError SocketBusy, MachineUnreachable.
        """
        try:
            agent = self._synchronized(deadline.sooner(_SYNC_S))
            self._enabled = _enabled_commands(agent, deadline.sooner(_SYNC_S))
            if self._can("guest-exec", "guest-exec-status"):
                return self._announce(agent, session, disks, deadline)
            if self._can("guest-file-open", "guest-file-write", "guest-file-close"):
                return _announce_by_file(agent, session, disks, deadline)
        except NoAnswerError:
            self.close()
            return GuestOutlook(agent=False)
        return GuestOutlook(agent=True, warnings=("the agent allows neither exec nor files",))

    def freeze(self, outlook: GuestOutlook, *, deadline: Deadline) -> FreezeAnswer:
        """Hold the applications and freeze, the empty list where F is off; never raises."""
        name = "guest-fsfreeze-freeze"
        arguments: dict[str, object] = {}
        if outlook.freeze_enabled is False:
            name, arguments = "guest-fsfreeze-freeze-list", {"mountpoints": []}
        try:
            agent = self._synchronized(deadline)
            frozen = agent.execute(name, arguments, deadline=deadline)
        except AgentError as exc:
            return FreezeAnswer(None, hook_status=_hook_status(exc), message=str(exc))
        except (NoAnswerError, QuiesceError) as exc:
            self.close()
            return FreezeAnswer(None, timed_out=deadline.passed(), message=str(exc))
        if not _is_count(frozen):
            return FreezeAnswer(None, message="no count was given")
        return FreezeAnswer(frozen)

    def thaw(self, *, deadline: Deadline) -> ThawAnswer:
        """Thaw and release; asked again until there is an answer or *deadline* has passed.

        A machine whose socket is gone has nothing at rest: that is an answer too.
        """
        while (answer := self._thawed(deadline)) is None and not deadline.passed():
            time.sleep(min(_RETRY_S, deadline.left_s()))
        return answer or ThawAnswer(None)

    def _thawed(self, deadline: Deadline) -> ThawAnswer | None:
        try:
            agent = self._synchronized(deadline.sooner(_SYNC_S))
            thawed = agent.execute("guest-fsfreeze-thaw", deadline=deadline)
        except AgentError as exc:
            return ThawAnswer(None, hook_status=_hook_status(exc), message=str(exc))
        except NoAnswerError:
            self.close()
            return None
        except QuiesceError as exc:
            return None if exc.name == "SocketBusy" else ThawAnswer(None, message=exc.message)
        if not _is_count(thawed):
            return ThawAnswer(None, message="no count was given")
        return ThawAnswer(thawed)

    def report(self, *, session: str, deadline: Deadline) -> Report | None:
        """Return the report of *session*, None where it cannot be had or is not valid.

        It is written a moment after the thaw's answer, and waited for.
        """
        written = deadline.sooner(_REPORT_S)
        try:
            while (text := self._report_text(session, deadline)) is None:
                if written.passed():
                    return None
                time.sleep(_RETRY_S)
            found = report.from_json(json.loads(text))
        except NoAnswerError:
            self.close()
            return None
        except (AgentError, QuiesceError, ValueError, RecursionError):
            return None
        return found if found.session == session else None

    def renew(self, *, deadline: Deadline) -> Renewal:
        """Renew quiesce's own files in the guest, where that may be done; never raises."""
        try:
            agent = self._synchronized(deadline.sooner(_SYNC_S))
        except (NoAnswerError, QuiesceError):
            return Renewal(renewed=False, why="the agent does not answer")
        return renewal.renew(agent, self._shipped, enabled=self._enabled, deadline=deadline)

    def _synchronized(self, deadline: Deadline) -> Agent:
        """Return a connection that is in step with the agent."""
        if self._agent is not None and not self._agent.is_in_step:
            self.close()
        if self._agent is None:
            agent = Agent.connect(self._path, deadline=deadline)
            try:
                agent.synchronize(deadline=deadline)
            except BaseException:
                agent.close()
                raise
            self._agent = agent
        return self._agent

    def _can(self, *commands: str) -> bool:
        return self._enabled.issuperset(commands)

    def _announce(self, agent: Agent, session: str, disks: int, deadline: Deadline) -> GuestOutlook:
        arguments = ["hook", "qga", "announce", "--session", session, "--disks", str(disks)]
        for program in PROGRAMS:
            try:
                announced = agent.run([program, *arguments, "--json"], deadline=deadline)
            except AgentError:
                # There is no such program.
                continue
            self._program = program
            outlook = _outlook(announced)
            if outlook.hook is None and renewal.is_damaged(agent, deadline=deadline):
                return GuestOutlook(agent=True, damaged=True)
            return outlook
        # What cannot even be started may be there all the same.
        damaged = renewal.is_damaged(agent, deadline=deadline)
        return GuestOutlook(agent=True, hook=None if damaged else False, damaged=damaged)

    def _report_text(self, session: str, deadline: Deadline) -> bytes | None:
        """Return the report as it is kept in the guest, None where there is none yet."""
        agent = self._synchronized(deadline)
        if self._program is not None:
            argv = [self._program, "report", "--session", session, "--json"]
            told = agent.run(argv, deadline=deadline)
            return told.stdout if told.exit_status == 0 else None
        if not self._can("guest-file-open", "guest-file-read", "guest-file-close"):
            raise AgentError("the agent lets nobody read files")
        for directory in _REPORTS:
            with contextlib.suppress(AgentError):
                return agent.read_file(f"{directory}/{session}.json", deadline=deadline)
        return None


def _enabled_commands(agent: Agent, deadline: Deadline) -> frozenset[str]:
    try:
        info = agent.execute("guest-info", deadline=deadline)
    except AgentError:
        return frozenset()
    commands = info.get("supported_commands") if isinstance(info, dict) else None
    if not isinstance(commands, list):
        return frozenset()
    return frozenset(
        str(command.get("name"))
        for command in commands
        if isinstance(command, dict) and command.get("enabled") is True
    )


def _announce_by_file(agent: Agent, session: str, disks: int, deadline: Deadline) -> GuestOutlook:
    """Announce without learning anything; where there is no hook nobody reads the file."""
    document = json.dumps({"session": session, "disks": disks})
    try:
        agent.write_file(_ANNOUNCEMENT, document.encode(), deadline=deadline)
    except AgentError as exc:
        return GuestOutlook(agent=True, warnings=(f"cannot announce the backup: {exc}",))
    return GuestOutlook(agent=True)


def _outlook(announced: Executed) -> GuestOutlook:
    """Return what `hook qga announce` told."""
    check = _checked(announced)
    if check is None:
        warning = "quiesce-guest in the guest could not announce the backup"
        return GuestOutlook(agent=True, warnings=(warning,))
    if _error_name(check) == "HookMissing":
        return GuestOutlook(agent=True, hook=False)
    settings = check.get("settings")
    return GuestOutlook(
        agent=True,
        hook=True,
        continue_on_failure=_flag(settings, "continueBackupOnFailure"),
        freeze_enabled=_flag(settings, "fsFreezeEnabled"),
        check=check,
        damaged=check.get("damaged") is True,
    )


def _checked(announced: Executed) -> dict[str, Any] | None:
    if announced.exit_status not in _CHECKED:
        return None
    try:
        check = json.loads(announced.stdout)
    except (ValueError, RecursionError):
        return None
    return check if isinstance(check, dict) else None


def _error_name(document: dict[str, Any]) -> object:
    error = document.get("error")
    return error.get("name") if isinstance(error, dict) else None


def _flag(settings: object, name: str) -> bool | None:
    value = settings.get(name) if isinstance(settings, dict) else None
    return value if isinstance(value, bool) else None


def _hook_status(error: AgentError) -> int | None:
    found = _HOOK_FAILED.search(str(error))
    return None if found is None else int(found.group(1))


def _is_count(answer: object) -> bool:
    return isinstance(answer, int) and not isinstance(answer, bool) and answer >= 0
