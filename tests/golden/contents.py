"""What the golden vault of format 1 holds; run as a program it makes one: contents.py DIRECTORY."""

import sys
from pathlib import Path

from quiesce.vault.repository import Vault
from quiesce.vault.stores.directory import DirectoryStore
from vault_box import CHUNK, back_up, copied, pattern

MACHINE, DOMAIN = "Gold", "%47old"
FIRST, LEFT, SECOND = (f"01JD{n}{'0' * 21}" for n in "ABC")
_LINES = b"".join(b"line %d of a text that compresses\n" % n for n in range(12_000))

POINTS = {
    FIRST: {
        "vda": _LINES[:CHUNK] + bytes(300 * CHUNK) + pattern(1, 5000) + b"end".rjust(CHUNK, b"."),
        "vdb": bytes(3 * CHUNK + 5),
    },
    SECOND: {
        "vda": _LINES[:CHUNK] + bytes(299 * CHUNK) + _LINES[-CHUNK:] + pattern(1, 5000),
        "vdc": pattern(2, 100),
    },
}


def make(directory: Path) -> None:
    """Write the vault: a point, an interrupted session, and a point that adopts it."""
    vault = Vault.create(DirectoryStore(directory))
    back_up(vault, POINTS[FIRST], machine=MACHINE, sid=FIRST, uuid="gold-1")
    with vault.session(machine=MACHINE, uuid="gold-1", sid=LEFT) as session:
        copied(session, {"vda": POINTS[SECOND]["vda"]})
        session._packs.flush()
    back_up(vault, POINTS[SECOND], machine=MACHINE, sid=SECOND, uuid="gold-1")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
