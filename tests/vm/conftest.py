"""Real guests: one image for the whole run, throw-away overlays for every VM."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from quiesce.demo.accelerator import choose_accelerator
from quiesce.demo.image import Image, cache_directory, guest_program, prepare_image
from quiesce.demo.vm import Vm, VmDisk, create_overlay, running
from quiesce.system.deadline import Deadline
from vm.scene import Scene, idle_vm, protected_vm

_IMAGE_S = 280
_BOOT_S = 240
_CONSOLES = Path(__file__).parents[2] / "build" / "consoles"


class Machines:
    """Starts VMs that end with the test; their consoles are kept under build/consoles."""

    def __init__(self, image: Image, accelerator: str, test: str) -> None:
        self.consoles: list[Path] = []
        self._image = image
        self._accelerator = accelerator
        self._test = re.sub(r"\W+", "-", test)[-100:]
        self._stack = contextlib.ExitStack()

    def boot(self, *, extra: Sequence[str] = ()) -> Vm:
        """A new VM from the image; PostgreSQL and the guest agent answer."""
        directory = self.directory()
        disks = [
            overlaid(directory, "system", self._image.system),
            overlaid(directory, "data", self._image.data),
        ]
        vm = self.start(directory, disks, extra=extra)
        wait_until_up(vm)
        return vm

    def boot_idle(self, *, extra: Sequence[str] = ()) -> Vm:
        """A new VM in which no PostgreSQL runs; the guest agent answers.

        Its data disk is read-only: to a backup it has a single disk.
        """
        directory = self.directory()
        data = f"if=none,id=data0,file={self._image.data},format=raw,readonly=on"
        read_only = ["-drive", data, "-device", "virtio-blk-pci,drive=data0,id=data,serial=data"]
        disks = [overlaid(directory, "system", self._image.system)]
        vm = self.start(directory, disks, extra=[*read_only, *extra])
        vm.wait_for_agent(deadline=Deadline.after(_BOOT_S))
        return vm

    def start(self, directory: Path, disks: Sequence[VmDisk], *, extra: Sequence[str] = ()) -> Vm:
        """A VM with these disks, which it writes to; nothing is waited for."""
        return self._stack.enter_context(self._running(directory, disks, extra))

    def directory(self) -> Path:
        """A new directory, short enough for sockets, that goes with the test."""
        path = Path(tempfile.mkdtemp(prefix="qvm-", dir="/tmp"))
        self._stack.callback(shutil.rmtree, path)
        return path

    def end(self) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _running(
        self, directory: Path, disks: Sequence[VmDisk], extra: Sequence[str]
    ) -> Iterator[Vm]:
        _CONSOLES.mkdir(parents=True, exist_ok=True)
        console = _CONSOLES / f"{self._test}-{len(self.consoles)}.log"
        console.write_bytes(b"")
        self.consoles.append(console)
        (directory / "console.log").symlink_to(console)
        with running(directory, disks, accelerator=self._accelerator, extra=extra) as vm:
            yield vm


def overlaid(directory: Path, name: str, backing: Path) -> VmDisk:
    """A disk that begins as *backing*, which stays as it is."""
    overlay = directory / f"{name}.qcow2"
    create_overlay(backing, overlay, deadline=Deadline.after(30))
    return VmDisk(name, overlay)


def wait_until_up(vm: Vm) -> None:
    deadline = Deadline.after(_BOOT_S)
    vm.wait_for_postgresql(deadline=deadline)
    vm.wait_for_agent(deadline=deadline)


@pytest.fixture(scope="session")
def image() -> Image:
    return prepare_image(
        guest_program(), cache=cache_directory(), deadline=Deadline.after(_IMAGE_S), tell=print
    )


@pytest.fixture(scope="session")
def accelerator(image: Image) -> str:
    return choose_accelerator(image, cache=cache_directory())


@pytest.fixture
def machines(image: Image, accelerator: str, request: pytest.FixtureRequest) -> Iterator[Machines]:
    made = Machines(image, accelerator, request.node.name)
    yield made
    made.end()


@pytest.fixture(scope="session")
def session_machines(image: Image, accelerator: str, worker_id: str) -> Iterator[Machines]:
    """As `machines`, for VMs that modules share."""
    made = Machines(image, accelerator, f"shared-{worker_id}")
    yield made
    made.end()


@pytest.fixture(scope="session")
def idle_scene(session_machines: Machines) -> Iterator[Scene]:
    """The guest without PostgreSQL that modules share; each leaves it as it found it."""
    with idle_vm(session_machines) as scene:
        yield scene
        scene.inside.close()  # where the machine was reset, another than it began with


@pytest.fixture(scope="session")
def postgresql_scene(session_machines: Machines) -> Iterator[Scene]:
    """The guest with PostgreSQL that modules share; each leaves it as it found it."""
    with protected_vm(session_machines) as scene:
        yield scene


@pytest.fixture(scope="module")
def module_machines(
    image: Image, accelerator: str, request: pytest.FixtureRequest
) -> Iterator[Machines]:
    """As `machines`, for VMs that several tests of a module share."""
    made = Machines(image, accelerator, Path(request.node.name).stem)
    yield made
    made.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> object:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Machines) and value.consoles:
                said = "\n".join(str(console) for console in value.consoles)
                report.sections.append(("guests' consoles", said))
    return report
