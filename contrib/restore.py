"""Restore disks from a quiesce vault in a directory, without quiesce.

    python3 restore.py VAULT                       list the points
    python3 restore.py VAULT POINT DIRECTORY       write the disks of POINT as DIRECTORY/DISK.raw

A key is asked for, or in QUIESCE_PASSPHRASE. Damage is told and left as zeros: exit status 1.
"""

import base64
import getpass
import json
import os
import re
import struct
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

CHUNK = 262_144
DAMAGE = (OSError, ValueError, LookupError, InvalidTag, zstandard.ZstdError, struct.error)
TYPES = "open snapshot abort forget recall purge hold unhold repack proof".split()


def derived(purpose, secret):
    return blake3(secret, derive_key_context=f"quiesce vault 1 {purpose}").digest()


def root_key(vault, head, secret):
    """Return the root key that *secret*, a recovery key or passphrase, opens."""
    letters = re.sub(r"[\s-]", "", secret).upper()
    kind = "recovery" if re.fullmatch("[A-Z2-7]{56}", letters) else "passphrase"
    for path in (vault / "keys").glob(f"{kind}-*"):
        slot = json.loads(path.read_bytes())
        salt, wrapped = bytes.fromhex(slot["salt"]), bytes.fromhex(slot["wrapped"])
        if kind == "recovery":
            typed = derived("recovery slot", base64.b32decode(letters)[:32])
            key = blake3(salt, key=typed).digest()
        else:
            argon = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=1 << 19)
            key = argon.derive(unicodedata.normalize("NFC", secret).encode())
        with suppress(InvalidTag):
            bound = f"quiesce slot {kind} ".encode() + blake3(head).digest()
            return AESGCM(key).decrypt(bytes(12), wrapped, bound)
    sys.exit("what was given opens no slot of the vault")


class Keys:
    """The keys of a domain by generation."""

    def __init__(self, folder, vault_id, root):
        self.secrets, self.vault_id = {}, vault_id
        private = X25519PrivateKey.from_private_bytes(derived("root", root))
        suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        for path in (folder / "keys").glob("[0-9]*"):
            record = json.loads(path.read_bytes())
            if "root" in record["recipients"]:
                info = f"quiesce domain key {folder.name} {record['generation']} root ".encode()
                sealed = bytes.fromhex(record["recipients"]["root"])
                plain = suite.decrypt(sealed, private, info + vault_id)
                self.secrets[record["generation"]] = plain[:32], derived("ids", plain[32:])

    def opened(self, header, frame, sealed):
        salt, generation = header[32:48], int.from_bytes(header[48:52], "little")
        secret = derived(f"packs {chr(header[10])}", self.secrets[generation][0])
        cipher = AESGCM(blake3(salt, key=secret).digest())
        return cipher.decrypt(bytes(8) + frame[4:8], sealed, self.vault_id + salt + frame)


class Domain:
    """The points of a domain by its log, and the reading of what they name."""

    def __init__(self, folder, vault_id, root):
        self.folder, self.keys = folder, root and Keys(folder, vault_id, root)
        before, number, self.points = vault_id + folder.name.encode(), 1, {}
        self.tables, self.moves = [], {}  # Where chunks are now that were moved.
        while (path := folder / "log" / f"{number:012d}").exists():
            raw, before = path.read_bytes(), blake3(before).hexdigest()
            try:
                entry = json.loads(raw)
                if entry["format"] != 1 or entry["type"] not in TYPES or entry["prev"] != before:
                    raise ValueError("no entry that belongs here, or it needs a newer reader")
                if entry["type"] == "snapshot":
                    self.points[entry["sid"]] = place(entry["manifest"])
                elif entry["type"] == "repack":
                    self.tables.append(place(entry["table"]))
                elif entry["type"] == "purge":
                    self.points.pop(entry["sid"], None)
            except DAMAGE as exc:
                print(f"{path} is damaged: {exc!r}", file=sys.stderr)
            before, number = raw, number + 1

    def read(self, ref):
        """Return the chunk at *ref*, wherever it lies now."""
        pack, twin, offset, stored, chunk_id = ref
        for name in filter(None, (twin, pack)):
            try:
                return self.chunk(name, offset, stored, chunk_id)
            except DAMAGE as exc:
                why = f"{name} at byte {offset}: {exc!r}"
        while self.tables:  # Only what was moved needs them.
            table = self.read(self.tables.pop())
            rows, end = pack_rows(table, 16, int.from_bytes(table[8:12], "little"))
            for source, at, target, to in struct.iter_unpack("<HIHI", table[end:]):
                self.moves[rows[source][0], at] = *rows[target], to
        if (pack, offset) not in self.moves:
            raise ValueError(why)
        return self.read((*self.moves[pack, offset], stored, chunk_id))

    def chunk(self, name, offset, stored, chunk_id):
        with (self.folder / "packs" / name).open("rb") as file:
            header, _, frame = file.read(64), file.seek(offset), file.read(16)
            data = file.read(stored)
        rest = int.from_bytes(frame[12:], "little")
        data = self.keys.opened(header, frame, data) if self.keys else data
        if rest >> 24:
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=rest & 0xFFFFFF)
        ids = [key for _, key in self.keys.secrets.values()] if self.keys else [None]
        if chunk_id not in {blake3(data, key=key).hexdigest() for key in ids}:
            raise ValueError("not what its id says")
        return data

    def chunks(self, ref, level, index):
        """Yield position and number of chunks under a node of a map, and their bytes or error."""
        span = 256 * 32_768**level if level >= 0 else 1
        try:
            raw = self.read(ref)
        except DAMAGE as exc:
            raw, level = exc, -1
        if level < 0:
            yield index * span, span, raw
            return
        many, positions = struct.unpack_from("<HI", raw, 6)
        rows, end = pack_rows(raw, 16 + -(-positions // 8), many)
        entries = struct.iter_unpack("<32sHII", raw[end:])
        for bit in (bit for bit in range(positions) if raw[16 + bit // 8] >> bit % 8 & 1):
            chunk_id, row, offset, stored = next(entries)
            below = *rows[row], offset, stored & 0xFFFFFF, chunk_id.hex()
            yield from self.chunks(below, level - 1, index * (32_768 if level else 256) + bit)

    def write(self, disk, target):
        """Write *disk* to the new file *target*; return how many ranges of it are lost."""
        size, root, lost = disk["size_bytes"], disk["root"], 0
        level = next(level for level in range(1, 5) if size <= CHUNK * 256 * 32_768**level)
        with target.open("xb") as file:
            file.truncate(size)
            for first, many, data in self.chunks(place(root), level, 0) if root else ():
                start, end = first * CHUNK, min((first + many) * CHUNK, size)
                if isinstance(data, bytes):
                    file.seek(start)
                    file.write(data)
                else:
                    lost += 1
                    print(f"LOST {target}, bytes {start} to {end}: {data}", file=sys.stderr)
        return lost


def place(ref):
    twin = None if ref["twin"] is None else ref["pack"][:29] + ref["twin"]
    return ref["pack"], twin, ref["offset"], ref["stored"], ref["id"]


def pack_rows(raw, at, many):
    end, rows = at + 91 * many, []
    for sid, kind, digest, twin in struct.iter_unpack("<26sc32s32s", raw[at:end]):
        start = f"{sid.decode()}/{kind.decode()}-"
        rows.append((start + digest.hex(), start + twin.hex() if any(twin) else None))
    return rows, end


def main(vault, point=None, directory=None):
    vault, lost, root = Path(vault), 0, None
    head = (vault / "vault.json").read_bytes()
    vault_id, features = bytes.fromhex(json.loads(head)["vault_id"]), json.loads(head)["features"]
    if unknown := {*features["read"]} - {"encrypted", "unencrypted"}:
        sys.exit(f"reading this vault needs {unknown}")
    if "encrypted" in features["read"]:
        root = root_key(vault, head, os.environ.get("QUIESCE_PASSPHRASE") or getpass.getpass())
    domains = [Domain(each, vault_id, root) for each in sorted((vault / "domains").iterdir())]
    found = [(each, sid) for each in domains for sid in each.points if point in {None, sid}]
    for domain, sid in found:
        _, _, raw = next(domain.chunks(domain.points[sid], -1, 0))
        manifest = json.loads(raw) if isinstance(raw, bytes) else {"disks": (), "machine": ""}
        print(sid, manifest.get("created_at") or f"LOST {raw}", manifest["machine"], flush=True)
        lost += not isinstance(raw, bytes)
        for disk in manifest["disks"] if directory else ():
            lost += domain.write(disk, Path(directory) / f"{Path(disk['name']).name}.raw")
    return int(lost > 0 or not found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if 2 <= len(sys.argv) <= 4 else __doc__)
