"""The definition of a bare QEMU: the command line of its process, without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.model.disk import MachineDefinition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PROGRAMS = ("qemu-system-", "qemu-kvm", "kvm")
_OBJECT = ("-object", "--object")
_FIRMWARE_BYTES = 64 * 1024 * 1024


def read_definition(
    pid: int, flash: Sequence[Path], definition_file: Path | None
) -> MachineDefinition:
    """Return the definition of the QEMU that is process *pid*; else what *definition_file* says.

    *flash* are the files of its firmware's state. Raises QuiesceError DefinitionUnavailable where
    the process is no QEMU (or not to be seen) and there is no file, or something cannot be read.
    """
    try:
        argv = _argv(pid)
        if argv is not None:
            text = json.dumps(without_secrets(argv))
            return MachineDefinition("qemu-argv", text, _firmware(flash))
        if definition_file is not None:
            text = definition_file.read_text(encoding="utf-8")
            return MachineDefinition("file", text, _firmware(flash))
    except (OSError, ValueError) as exc:
        raise QuiesceError("DefinitionUnavailable", f"cannot read the definition: {exc}") from exc
    raise QuiesceError("DefinitionUnavailable", "no QEMU process is to be seen behind the socket")


def without_secrets(argv: Sequence[str]) -> list[str]:
    """Return *argv* without the data of its secret objects."""
    return list(_cleaned(argv))


def _cleaned(argv: Sequence[str]) -> Iterator[str]:
    before = ""
    for word in argv:
        yield _without_data(word) if before in _OBJECT else word
        before = word


def _without_data(word: str) -> str:
    if word.lstrip().startswith("{"):
        document = json.loads(word)
        if str(document.get("qom-type", "")).startswith("secret"):
            document.pop("data", None)
        return json.dumps(document)
    # A comma inside a value is written twice; NUL cannot occur in an argument.
    items = word.replace(",,", "\0").split(",")
    kinds = [items[0], *(item.removeprefix("qom-type=") for item in items if "qom-type=" in item)]
    if any(kind.startswith("secret") for kind in kinds):
        items = [item for item in items if not item.startswith("data=")]
    return ",".join(items).replace("\0", ",,")


def _argv(pid: int) -> list[str] | None:
    process = Path(f"/proc/{pid}")
    try:
        program = (process / "exe").readlink().name
    except OSError:
        return None
    if not program.startswith(_PROGRAMS):
        return None
    return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]


def _firmware(flash: Sequence[Path]) -> bytes | None:
    for path in flash:
        with path.open("rb") as file:
            return file.read(_FIRMWARE_BYTES)
    return None
