"""What a session would trip over in its surroundings, before it does: pure, from what was seen."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from quiesce.catalogue import phrase
from quiesce.errors import QuiesceError
from quiesce.guest.filesystems.mounts import freeze_errors
from quiesce.guest.record.decision import Cause, Failure
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quiesce.guest.checking.surroundings import AgentHook, ScriptFile, Surroundings
    from quiesce.guest.configuration.script_spec import ScriptSpec
    from quiesce.guest.configuration.settings import GuestSettings
    from quiesce.guest.filesystems.mounts import FreezePlan

_LONG_S = 60.0


@dataclass(frozen=True)
class Finding:
    """One thing to know: *severity* is error, warning or info, *action* the command that mends it.

    *lowers*: a backup would come to less than is configured, or not begin. *name* is that of the
    error it would end with, None where there is none.
    """

    severity: str
    name: str | None
    what: str
    action: str | None
    lowers: bool


def warning(what: str, action: str | None = None, *, lowers: bool = False) -> Finding:
    """Return something that is worth mending."""
    return Finding("warning", None, what, action, lowers)


def info(what: str, action: str | None = None) -> Finding:
    """Return something that changes nothing."""
    return Finding("info", None, what, action, lowers=False)


def failures(settings: GuestSettings, plan: FreezePlan, around: Surroundings) -> list[Failure]:
    """Return what would fail in a session with *settings*, one thing after the other.

    What has to do with freezing counts only where something would be frozen at all by then.
    """
    return [
        *_guard_failures(settings, around),
        *_script_failures(settings, around),
        *_freeze_failures(plan, around),
    ]


def _guard_failures(settings: GuestSettings, around: Surroundings) -> Iterator[Failure]:
    if around.run is not None and (settings.plugins or settings.freeze_enabled):
        message = "cannot use /run: {reason}"
        action = None if around.is_root else "run it as root: sudo quiesce-guest check"
        error = QuiesceError("GuardUnavailable", message, action=action, reason=around.run)
        yield Failure(Cause.GUARD, error)


def _script_failures(settings: GuestSettings, around: Surroundings) -> Iterator[Failure]:
    causes = {"pre": Cause.HOLD, "post": Cause.RELEASE}
    for plugin in settings.plugins:
        for spec in (plugin.pre, plugin.post):
            error = _script_error(spec, around.scripts.get(spec.path))
            if error is not None:
                yield Failure(causes[spec.phase], error, f"{spec.phase}-script")


def _script_error(spec: ScriptSpec, file: ScriptFile | None) -> QuiesceError | None:
    name = f"{spec.phase.capitalize()}-ScriptExecutionFailed"
    quoted = shlex.quote(spec.path)
    if file is None:
        return None
    if file.noexec:
        message = "{path} cannot be started: its file system is mounted noexec"
        action = "put it elsewhere, or: mount -o remount,exec $(findmnt -n -o TARGET -T {quoted})"
        return QuiesceError(name, message, action=action, path=spec.path, quoted=quoted)
    if file.interpreter.trouble is None:
        return None
    action = "put an interpreter that is there into its first line: head -1 {quoted}"
    if file.interpreter.has_return:
        action = "sed -i 's/\\r$//' {quoted}"
    message = "{path} cannot be started: {trouble}"
    trouble = file.interpreter.trouble
    return QuiesceError(
        name, message, action=action, path=spec.path, trouble=trouble, quoted=quoted
    )


def _freeze_failures(plan: FreezePlan, around: Surroundings) -> Iterator[Failure]:
    for error in freeze_errors(plan):
        yield Failure(Cause.FREEZE, error, "freeze")
    if plan.mounts and not around.can_freeze:
        error = QuiesceError(
            "FsFreezeFailed",
            "this process may not freeze: it has no CAP_SYS_ADMIN",
            action="run it as root, in a container with that capability",
        )
        yield Failure(Cause.FREEZE, error, "freeze")
    blocked = {blocker.path for blocker in plan.blockers}
    for path, reason in around.unopenable.items():
        if path in blocked:
            continue
        error = QuiesceError(
            "UnableToOpenMount", "cannot open {path}: {reason}", path=path, reason=reason
        )
        yield Failure(Cause.FREEZE, error, "freeze")


def findings(settings: GuestSettings, around: Surroundings) -> list[Finding]:
    """Return what is to be known besides what would fail."""
    found = [*_machine_findings(around), *_script_findings(settings, around)]
    if around.hook is not None:
        found += _hook_findings(settings, around.hook)
    return found


def _machine_findings(around: Surroundings) -> Iterator[Finding]:
    if not around.is_root:
        said = phrase("this is not run as root: what root alone can read or do counts as wrong")
        yield warning(said, "sudo quiesce-guest check")
    if around.at_rest is not None and not around.has_died:
        error = QuiesceError("AlreadyHeld", "session {id} is at rest now", id=around.at_rest)
        yield Finding("error", error.name, error.message, error.action, lowers=True)
    elif around.at_rest is not None:
        said = phrase("session {id} has died; the next one ends it first", id=around.at_rest)
        yield warning(said, "quiesce-guest thaw")
    if around.log is not None:
        template = "log and reports cannot be kept: {reason}; the report would lie in /run/quiesce"
        mend = phrase("make room, or mend it: df -h /var/log; ls -ld /var/log/quiesce")
        yield warning(phrase(template, reason=around.log), mend)
    for path in around.suspended:
        said = phrase("the device below {path} is suspended: writes to it wait", path=path)
        yield warning(said, "dmsetup info")


def _script_findings(settings: GuestSettings, around: Surroundings) -> Iterator[Finding]:
    for plugin in settings.declared:
        if plugin.pre.path and plugin.pre.path == plugin.post.path:
            template = "{path} is pre- and post-script; $QUIESCE_PHASE tells it which"
            yield info(phrase(template, path=plugin.pre.path))
        for path in dict.fromkeys((plugin.pre.path, plugin.post.path)):
            file = around.scripts.get(path)
            if file is not None and file.interpreter.program is None:
                yield info(phrase("{path} has no line #!, and is run by /bin/sh", path=path))


def _hook_findings(settings: GuestSettings, hook: AgentHook) -> Iterator[Finding]:
    install = "quiesce-guest install qga --restart"
    if hook.is_ours and not hook.is_there:
        template = "{config} names our hook, which is not there: the agent will not freeze"
        yield warning(phrase(template, config=hook.config), install, lowers=True)
    elif hook.is_ours and hook.lost_program is not None:
        template = "the agent's hook calls {program}, which cannot be run"
        yield warning(phrase(template, program=hook.lost_program), install, lowers=True)
    elif hook.is_there and not hook.is_ours:
        named = hook.named or phrase("no hook")
        template = "our hook is there, but {config} names {named}"
        yield warning(phrase(template, config=hook.config, named=named), install)
    elif hook.is_agent_there and not hook.is_ours:
        said = phrase(
            "the QEMU guest agent has no hook of ours: a backup through it holds no application"
        )
        yield warning(said, install) if settings.configured else info(said, install)
    for path in hook.idle:
        said = phrase("{path} is not executable, and so no hook of the agent", path=path)
        yield info(said, f"chmod +x {shlex.quote(path)}")
    waited_s = sum(plugin.pre.timeout_s for plugin in settings.plugins)
    if hook.is_ours and waited_s > _LONG_S:
        template = "pre-scripts may take {seconds:g} s: whoever asks the agent must wait that long"
        yield info(phrase(template, seconds=waited_s))
