"""What the golden vaults of format 1 hold; run as a program it makes both in a DIRECTORY."""

import sys
from pathlib import Path

from quiesce.vault.format.header import VaultHeader
from quiesce.vault.keys import creation
from quiesce.vault.keys.slots import Kind
from quiesce.vault.repository import Vault
from quiesce.vault.stores.directory import DirectoryStore
from vault_box import CHUNK, HOST, KEYS, ROOT, VAULT_ID, back_up, copied, pattern

PASSPHRASE = "correct horse battery staple"  # noqa: S105 - of test data
RECOVERY = bytes(range(100, 132))
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


def make_encrypted(directory: Path) -> Vault:
    """Write the encrypted vault; return it as its first host has it."""
    store = DirectoryStore(directory)
    head = VaultHeader(VAULT_ID, public_keys=ROOT.public_keys)
    for kind, secret in ((Kind.PASSPHRASE, PASSPHRASE.encode()), (Kind.RECOVERY, RECOVERY)):
        creation.add_slot(store, ROOT, secret, kind=kind, label="golden", vault_hash=head.hash)
    creation.admit(store, VAULT_ID, ROOT, HOST, label="golden")
    vault = Vault.create(store, head, KEYS)
    _fill(vault)
    return vault


def make_plain(directory: Path) -> None:
    """Write the vault without encryption."""
    _fill(Vault.create(DirectoryStore(directory), creation.plain_vault()))


def _fill(vault: Vault) -> None:
    """Make a point, an interrupted session, and a point that adopts it."""
    back_up(vault, POINTS[FIRST], machine=MACHINE, sid=FIRST, uuid="gold-1")
    with vault.session(machine=MACHINE, uuid="gold-1", sid=LEFT) as session:
        copied(session, {"vda": POINTS[SECOND]["vda"]})
        session._packs.flush()
    back_up(vault, POINTS[SECOND], machine=MACHINE, sid=SECOND, uuid="gold-1")


if __name__ == "__main__":
    make_plain(Path(sys.argv[1]) / "vault-1")
    make_encrypted(Path(sys.argv[1]) / "vault-1-encrypted")
