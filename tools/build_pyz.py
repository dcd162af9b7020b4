"""Build build/quiesce-guest.pyz: the guest set as one executable file, the same bytes every time.

Beside each source lies its bytecode for the Python that builds: a guest with that Python starts
sooner, any other compiles the source. Bytecode is not compressed, for the same reason; sources are,
because every session hashes all of this file. The last 64 bytes are the SHA-256 of all others, in
hexadecimal: an archive may end with a comment.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import zipfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE = _ROOT / "src"
_TARGET = _ROOT / "build" / "quiesce-guest.pyz"
_INTERPRETER = b"#!/usr/bin/python3 -IS\n"  # all that is imported is in here or in Python itself
_GUEST_SET = (
    "__init__.py",
    "catalogue.py",
    "error_table.py",
    "errors.py",
    "locale/",
    "values.py",
    "system/",
    "model/",
    "guest/",
)
_SUFFIXES = frozenset({".conf", ".json", ".mo", ".py", ".service", ".sh"})
_MAIN = """\
try:
    from quiesce.guest.cli.main import run
except Exception as exc:
    raise SystemExit(f"quiesce-guest: IncorrectPluginhostFile: this program is damaged: {exc!r}")
run()
"""
_CHECKSUM_BYTES = 64
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNCHECKED_HASH = (1).to_bytes(4, "little")


def main() -> None:
    """Write the archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "__main__.py", _MAIN.encode())
        for path in _guest_set():
            name = path.relative_to(_SOURCE).as_posix()
            data = path.read_bytes()
            if path.suffix == ".py":
                _add(archive, name, data, zipfile.ZIP_DEFLATED)
                _add(archive, f"{name}c", _bytecode(data, name))
            else:
                _add(archive, name, data)
        archive.comment = b"0" * _CHECKSUM_BYTES
    body = (_INTERPRETER + buffer.getvalue())[:-_CHECKSUM_BYTES]
    _TARGET.parent.mkdir(exist_ok=True)
    _TARGET.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    _TARGET.chmod(0o755)
    print(f"{_TARGET.relative_to(_ROOT)}: {_TARGET.stat().st_size} bytes")


def _guest_set() -> list[Path]:
    package = _SOURCE / "quiesce"
    files = [path for path in package.rglob("*") if path.suffix in _SUFFIXES]
    return sorted(
        path for path in files if path.relative_to(package).as_posix().startswith(_GUEST_SET)
    )


def _bytecode(source: bytes, name: str) -> bytes:
    code = compile(source, name, "exec", dont_inherit=True, optimize=2)  # without docstrings
    checked = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + checked + marshal.dumps(code)


def _add(
    archive: zipfile.ZipFile, name: str, data: bytes, compression: int = zipfile.ZIP_STORED
) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data, compress_type=compression)


if __name__ == "__main__":
    main()
