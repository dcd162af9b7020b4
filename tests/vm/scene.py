"""A VM that is protected, seen from everywhere: QEMU, the guest, the host, the vault."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from quiesce.channel import agent
from quiesce.jobs.notes import note_files
from quiesce.system.deadline import Deadline
from tools.bare_qemu import Monitor
from vm.inside import Inside, booted, booted_idle, wait_until
from vm.protected import Ended, Protected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.demo.vm import Vm
    from vm.conftest import Machines

CONFIG = "/etc/azure/VMSnapshotPluginConfig.json"
GUEST_CONF = "/etc/quiesce/guest.conf"
AGENT_CONF = "/etc/qemu/qemu-ga.conf"
GUEST = "/usr/local/bin/quiesce-guest"
DEADLINE_S = 12
# What a guest without KVM may be late by when it thaws.
LATE_S = 6
_SCRIPTS_LOG = "/run/scripts.log"
_SPARE_BYTES = 1 << 20
_FILES = (CONFIG, GUEST_CONF, AGENT_CONF)


class Scene:
    """A VM, its inside, and its backups."""

    def __init__(self, vm: Vm, inside: Inside, protected: Protected, monitor: Monitor) -> None:
        self.vm = vm
        self.inside = inside
        self.protected = protected
        self.monitor = monitor
        self.files = {path: inside.read(path) for path in _FILES}
        self.before = qemu_state(monitor)

    # The guest.

    def configure(
        self,
        *,
        pre: str = "",
        post: str = "",
        deadline_s: int = DEADLINE_S,
        **settings: object,
    ) -> None:
        """Have scripts that log that they ran, and then do *pre* and *post*."""
        for phase, body in (("pre", pre), ("post", post)):
            log = f'echo "{phase} $QUIESCE_PRE_STATUS" >>{_SCRIPTS_LOG}\n'
            self.inside.write(f"/etc/quiesce/scripts/{phase}", f"#!/bin/sh\n{log}{body}\n", 0o700)
        document = {
            "pluginName": "ScriptRunner",
            "preScriptLocation": "/etc/quiesce/scripts/pre",
            "postScriptLocation": "/etc/quiesce/scripts/post",
            **settings,
        }
        self.inside.write(CONFIG, json.dumps(document))
        timeout_s = min(5, deadline_s / 2)
        conf = f"[freeze]\ndeadline_s = {deadline_s}\ntimeout_s = {timeout_s:g}\n"
        self.inside.write(GUEST_CONF, conf)
        self.inside.remove(_SCRIPTS_LOG)

    def scripts_ran(self) -> list[str]:
        """What the scripts logged since `configure`."""
        return (self.inside.read(_SCRIPTS_LOG) or "").splitlines()

    def at_rest(self) -> dict[str, Any] | None:
        """What the guest has written down that is at rest."""
        record = self.inside.read("/run/quiesce/session.json")
        return None if record is None else json.loads(record)

    def guards(self) -> list[int]:
        """The process ids of session and watchdog, where a session is at rest."""
        record = self.at_rest()
        return [] if record is None else [guard["pid"] for guard in record["guards"]]

    def agent_pid(self) -> int:
        """The guest agent's process id, 0 where none runs."""
        show = ("/usr/bin/systemctl", "show", "-P", "MainPID", "qemu-guest-agent")
        return int(self.inside.run(*show))

    def set_agent(self, settings: str) -> None:
        """Give the guest agent other settings than it had."""
        self.inside.write(AGENT_CONF, settings, 0o644)
        self.restart_agent()

    def restart_agent(self) -> None:
        self.inside.run("/usr/bin/systemctl", "restart", "qemu-guest-agent")
        wait_until(self._agent_answers, "the guest agent")

    def _agent_answers(self) -> bool:
        deadline = Deadline.after(5)
        with contextlib.suppress(agent.NoAnswerError):
            with contextlib.closing(agent.Agent.connect(self.vm.qga, deadline=deadline)) as there:
                there.synchronize(deadline=deadline)
            return True
        return False

    def set_disks(self, count: int) -> None:
        """Let a machine that has one disk to back up have *count*: 1 or 2."""
        asked = self.monitor("query-block")
        if count == len([one for one in asked if not one["inserted"]["ro"]]):
            return
        if count == 2:
            image = self.vm.directory / "spare.raw"
            image.write_bytes(bytes(_SPARE_BYTES))
            file = {"driver": "file", "filename": str(image)}
            self.monitor("blockdev-add", driver="raw", node_name="spare", file=file)
            self.monitor("device_add", driver="virtio-blk-pci", id="spare", drive="spare")
        else:
            self.monitor("device_del", id="spare")
            wait_until(self._spare_is_gone, "the disk to be gone")
        self.before = qemu_state(self.monitor)

    def _spare_is_gone(self) -> bool:
        """Whether QEMU lets the node go, which it does some time after the device."""
        with contextlib.suppress(AssertionError):
            self.monitor("blockdev-del", node_name="spare")
            return True
        return False

    # Afterwards.

    def left(self) -> dict[str, Any]:
        """What is not as before a backup."""
        found: dict[str, Any] = {}
        state = qemu_state(self.monitor)
        if state != self.before:
            found["qemu"] = state
        if state["query-status"]["status"] != "running":
            return found
        ran = self.scripts_ran()
        begun, released = (len([one for one in ran if one[:3] == word]) for word in ("pre", "pos"))
        found |= {
            "guest at rest": self.at_rest(),
            "not released": ran if begun != released else None,
            "scratch": sorted(path.name for path in self.protected.scratch.glob("*")),
            "notes": [file.session for file in note_files(self.protected.state_dir)],
            "agent's socket": agent.is_held(self.vm.qga),
        }
        return {what: state for what, state in found.items() if state}

    def expect_as_before(self) -> None:
        """Wait until everything is as before a backup, and every file system takes writes."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.left(), "nothing to be left")
        left = self.left()
        assert left == {}, left
        self.inside.expect_beats()

    def expect_no_longer_freeze(self) -> None:
        """No file system was frozen past the deadline, in time that the guest ran."""
        for mount, pulse in self.inside.pulse().items():
            assert pulse["longest_s"] <= DEADLINE_S + LATE_S, mount

    def expect_good_backup(self) -> Ended:
        """The next backup is as if nothing had been."""
        self.configure()
        done = self.protected.backup()
        assert (done.status, done.level, done.errors) == (0, "application", []), done
        assert self.scripts_ran() == ["pre ", "post ok"]
        return done

    def restore_files(self) -> None:
        """Give the guest back the configuration that it had."""
        changed = self.inside.read(AGENT_CONF) != self.files[AGENT_CONF]
        for path, text in self.files.items():
            if text is None:
                self.inside.remove(path)
            else:
                self.inside.write(path, text, 0o644 if path == AGENT_CONF else 0o600)
        if changed:
            self.restart_agent()


def qemu_state(monitor: Monitor) -> dict[str, Any]:
    """What a backup must leave in QEMU as it was."""
    disks = [(one["qdev"], one["inserted"]["node-name"]) for one in monitor("query-block")]
    nodes = sorted(node["node-name"] for node in monitor("query-named-block-nodes"))
    asked = ("query-jobs", "query-block-exports", "query-fdsets", "query-status")
    return {"disks": disks, "nodes": nodes, **{name: monitor(name) for name in asked}}


@contextlib.contextmanager
def protected_vm(machines: Machines) -> Iterator[Scene]:
    """A VM that is up and protected."""
    with (
        booted(machines) as (vm, inside),
        contextlib.closing(Monitor(vm.directory / "monitor")) as monitor,
    ):
        yield Scene(vm, inside, Protected(machines.directory(), vm), monitor)


@contextlib.contextmanager
def idle_vm(machines: Machines, *, extra: Sequence[str] = ()) -> Iterator[Scene]:
    """A VM without PostgreSQL that is up and protected; it has a single disk to back up."""
    with (
        booted_idle(machines, extra=extra) as (vm, inside),
        contextlib.closing(Monitor(vm.directory / "monitor")) as monitor,
    ):
        yield Scene(vm, inside, Protected(machines.directory(), vm), monitor)


@contextlib.contextmanager
def as_found(scene: Scene) -> Iterator[Scene]:
    """The scene for one test, which leaves everything as it found it."""
    scene.inside.forget_pulse()
    try:
        yield scene
        scene.expect_as_before()
    finally:
        scene.restore_files()
