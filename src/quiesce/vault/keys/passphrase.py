"""Where a passphrase comes from: a file, the environment, a command, a person; never arguments."""

from __future__ import annotations

import os
import select
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from quiesce.errors import QuiesceError
from quiesce.system import process
from quiesce.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MAX_BYTES: Final = 4096
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class PassphraseSources:
    """The first that is given counts; *ask* asks a person, and returns None where nobody is."""

    file: Path | None = None
    text: str | None = field(default=None, repr=False)
    command: tuple[str, ...] = ()
    ask: Callable[[str], str | None] = field(default=lambda _: None)

    def read(self, prompt: str) -> str | None:
        """Return the passphrase or recovery key, None where there is no source.

        Raises QuiesceError PassphraseUnavailable where the source has none, ProgramFailed or
        ProgramMissing where the command does not give it. Neither says what it read.
        """
        if self.file is not None:
            return _cleaned(_content(self.file), str(self.file))
        if self.text is not None:
            return _cleaned(self.text, "QUIESCE_PASSPHRASE")
        if self.command:
            done = process.run(self.command, deadline=Deadline.after(_PATIENCE_S), check=False)
            if done.exit_status != 0:
                raise QuiesceError(
                    "PassphraseUnavailable", f"passphrase_command ended with {done.exit_status}"
                )
            return _cleaned(_decoded(done.stdout, "passphrase_command"), "passphrase_command")
        typed = self.ask(prompt)
        return None if typed is None else _cleaned(typed, "what was typed")


def normal(passphrase: str) -> bytes:
    """Return the bytes of *passphrase*, the same however it was typed."""
    return unicodedata.normalize("NFC", passphrase).encode("utf-8")


def _content(path: Path) -> str:
    try:
        # Else a pipe into which nobody writes would hold us here.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _decoded(_whole(descriptor, str(path)), str(path))
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise QuiesceError("PassphraseUnavailable", f"cannot read {path}: {exc.strerror}") from exc


def _whole(descriptor: int, source: str) -> bytes:
    """Return what comes from *descriptor*, cut where it is too much."""
    deadline, found = Deadline.after(_PATIENCE_S), b""
    while select.select([descriptor], [], [], deadline.left_s())[0]:
        piece = os.read(descriptor, _MAX_BYTES)
        found += piece
        if not piece or len(found) > _MAX_BYTES:
            return found
    raise QuiesceError("PassphraseUnavailable", f"{source} has not ended in {_PATIENCE_S:g} s")


def _decoded(raw: bytes, source: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise QuiesceError("PassphraseUnavailable", f"{source} is not UTF-8") from None


def _cleaned(text: str, source: str) -> str:
    text = text.rstrip("\r\n")
    if not text or len(text) > _MAX_BYTES:
        raise QuiesceError("PassphraseUnavailable", f"{source} has no passphrase, or a huge one")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # The error itself would show it.
        raise QuiesceError("PassphraseUnavailable", f"{source} is not UTF-8") from None
    return text
