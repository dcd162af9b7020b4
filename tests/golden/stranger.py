"""A reader written from docs/design/vault-format.md alone: nothing of ours is imported."""

import base64
import json
import struct
from pathlib import Path

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

CHUNK = 262_144
TAKING = {"forget", "purge", "repack"}


def read_vault(root: Path, domain: str, recovery: str = "") -> dict[str, dict[str, bytes]]:
    """Return the disks of every point of *domain*."""
    head = json.loads((root / "vault.json").read_bytes())
    assert head["format"] == 1
    assert head["features"]["read"] == ["encrypted" if recovery else "unencrypted"]
    folder = root / "domains" / domain
    vault_id = bytes.fromhex(head["vault_id"])
    keys = Keys(root, domain, vault_id, recovery) if recovery else None
    log = Log(folder, vault_id + domain.encode(), keys)
    return {
        sid: {disk["name"]: read_disk(log, disk) for disk in manifest_of(log, ref)["disks"]}
        for sid, ref in log.points.items()
    }


def derived(purpose: str, secret: bytes) -> bytes:
    return blake3(secret, derive_key_context=f"quiesce vault 1 {purpose}").digest()


def keyed(key: bytes, data: bytes) -> bytes:
    return blake3(data, key=key).digest()


def canonical(value: dict) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class Keys:
    """Section 10: from the recovery key to the keys of a domain's generations."""

    def __init__(self, vault: Path, domain: str, vault_id: bytes, recovery: str) -> None:
        self.vault_id, self.domain = vault_id, domain
        root = self.root(vault, base64.b32decode(recovery.replace("-", ""))[:32])
        private = X25519PrivateKey.from_private_bytes(derived("root", root))
        head = json.loads((vault / "vault.json").read_bytes())
        keeper = bytes.fromhex(head["public_keys"]["keeper"])
        self.keeper = Ed25519PublicKey.from_public_bytes(keeper)
        suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        self.secrets = {}
        for path in (vault / "domains" / domain / "keys").iterdir():
            record = json.loads(path.read_bytes())
            generation = record["generation"]
            sealed = bytes.fromhex(record["recipients"]["root"])
            info = f"quiesce domain key {domain} {generation} root ".encode() + vault_id
            plain = suite.decrypt(sealed, private, info)
            assert derived("commitment", plain).hex() == record["commitment"]
            self.secrets[generation] = (plain[:32], plain[32:])

    def root(self, vault: Path, secret: bytes) -> bytes:
        vault_hash = blake3((vault / "vault.json").read_bytes()).digest()
        for path in (vault / "keys").glob("recovery-*"):
            slot = json.loads(path.read_bytes())
            key = keyed(derived("recovery slot", secret), bytes.fromhex(slot["salt"]))
            bound = b"quiesce slot recovery " + vault_hash
            return AESGCM(key).decrypt(bytes(12), bytes.fromhex(slot["wrapped"]), bound)
        raise AssertionError("no slot")

    def check(self, entry: dict) -> None:
        """An entry is by a holder of the key, or signed by the keeper."""
        entry = dict(entry)
        mac = entry.pop("mac")
        log_key = derived("log", self.secrets[entry["key"]][0])
        assert keyed(log_key, canonical(entry)).hex() == mac
        signature = entry.pop("signature", None)
        assert (signature is not None) == (entry["type"] in TAKING)
        if signature is not None:
            data = b"quiesce log entry\0" + self.vault_id + self.domain.encode() + b"\0"
            self.keeper.verify(bytes.fromhex(signature), data + canonical(entry))

    def summary(self, sid: str, summary: dict) -> dict:
        key = keyed(derived("summaries", self.secrets[summary["key"]][0]), sid.encode())
        sealed = base64.b64decode(summary["sealed"])
        return json.loads(AESGCM(key).decrypt(sealed[:12], sealed[12:], self.vault_id))

    def open(self, pack: bytes, frame: bytes, sealed: bytes) -> bytes:
        salt, generation = pack[32:48], struct.unpack_from("<I", pack, 48)[0]
        key = keyed(derived(f"packs {chr(pack[10])}", self.secrets[generation][0]), salt)
        nonce = bytes(8) + frame[4:8]
        return AESGCM(key).decrypt(nonce, sealed, self.vault_id + salt + frame)

    def ids(self, plain: bytes) -> set[str]:
        return {keyed(derived("ids", ids), plain).hex() for _, ids in self.secrets.values()}


class Log:
    """The fold of section 7.1; *moved* names the REF of a table for each pack that was moved."""

    def __init__(self, folder: Path, genesis: bytes, keys: Keys | None) -> None:
        self.folder = folder
        self.keys = keys
        self.sessions: dict[str, str] = {}
        self.points: dict[str, dict] = {}
        self.lists: dict[str, set[str]] = {}
        self.made: dict[str, int] = {}
        self.put: dict[str, int] = {}
        self.moved: dict[str, dict] = {}
        prev, number = blake3(genesis).hexdigest(), 1
        while (path := folder / "log" / f"{number:012d}").exists():
            raw = path.read_bytes()
            entry = json.loads(raw)
            assert (entry["format"], entry["n"], entry["prev"]) == (1, number, prev)
            if keys is not None:
                keys.check(entry)
            getattr(self, entry["type"])(entry, number)
            prev, number = blake3(raw).hexdigest(), number + 1

    def open(self, entry: dict, _: int) -> None:
        if entry["sid"] not in self.sessions:
            self.sessions[entry["sid"]] = "open"
            self.sessions[entry["adopts"]] = "aborted"

    def abort(self, entry: dict, _: int) -> None:
        if self.sessions.get(entry["sid"]) == "open":
            self.sessions[entry["sid"]] = "aborted"

    def snapshot(self, entry: dict, number: int) -> None:
        sid, packs = entry["sid"], entry["packs"]
        if self.sessions.get(sid) == "open":
            self.sessions[sid] = "committed"
            if self.keys is not None:
                entry = {**entry, "summary": self.keys.summary(sid, entry["summary"])}
            assert entry["summary"]["disks"]
            self.points[sid] = entry["manifest"]
            before = self.lists[packs["base"]] if packs["base"] else set()
            self.lists[sid] = before - set(packs["drop"]) | set(packs["add"])
            self.made[sid] = number

    def forget(self, entry: dict, _: int) -> None:
        """A forgotten point is as whole as a live one."""

    recall = hold = unhold = forget

    def purge(self, entry: dict, _: int) -> None:
        for table in (self.points, self.lists, self.made):
            table.pop(entry["sid"], None)

    def repack(self, entry: dict, number: int) -> None:
        if self.sessions.get(entry["sid"]) != "open":
            return
        self.sessions[entry["sid"]] = "committed"
        table = {entry["table"]["pack"], twin_of(entry["table"]["pack"], entry["table"]["twin"])}
        for pack, numbers in entry["from"].items():
            holders = [sid for sid, packs in self.lists.items() if pack in packs]
            ref = max([self.put.get(pack, 0), *(self.made[sid] for sid in holders)])
            if not holders or ref > entry["upto"]:
                continue
            targets = {entry["to"][at] for at in numbers} | (table if numbers else set())
            for sid in holders:
                self.lists[sid] = self.lists[sid] - {pack} | targets
            self.put |= dict.fromkeys(targets, number)
            self.moved[pack] = entry["table"]

    def read(self, pack: str, offset: int, stored: int, chunk_id: str) -> bytes:
        """Return a chunk, wherever it was moved to."""
        while pack in self.moved:
            pack, offset = self.moves(self.moved[pack])[pack, offset]
        return read_chunk(self, self.folder / "packs" / pack, offset, stored, chunk_id)

    def moves(self, ref: dict) -> dict[tuple[str, int], tuple[str, int]]:
        raw = self.read(ref["pack"], ref["offset"], ref["stored"], ref["id"])
        magic, version, rows, many = struct.unpack_from("<4sB3xII", raw)
        assert (magic, version) == (b"qMOV", 1)
        packs = [pack_row(raw, 16 + 91 * row) for row in range(rows)]
        found = struct.iter_unpack("<HIHI", raw[16 + 91 * rows :])
        moves = {
            (packs[source], source_offset): (packs[target], target_offset)
            for source, source_offset, target, target_offset in found
        }
        assert len(moves) == many
        return moves


def twin_of(pack: str, digest: str | None) -> str:
    return pack if digest is None else f"{pack.partition('-')[0]}-{digest}"


def pack_row(raw: bytes, at: int) -> str:
    sid, kind, digest, _twin = struct.unpack_from("<26sc32s32s", raw, at)
    return f"{sid.decode()}/{kind.decode()}-{digest.hex()}"


def manifest_of(log: Log, ref: dict) -> dict:
    return json.loads(read_ref(log, ref))


def read_ref(log: Log, ref: dict) -> bytes:
    return log.read(ref["pack"], ref["offset"], ref["stored"], ref["id"])


def read_chunk(log: Log, path: Path, offset: int, stored: int, chunk_id: str) -> bytes:
    raw = path.read_bytes()
    assert path.name[2:] == blake3(raw).hexdigest()
    assert raw[:8] == b"quiPACK\n"
    magic, _, frame_stored, plain_and_flags = struct.unpack_from("<4sIII", raw, offset)
    assert (magic, frame_stored) == (b"qCHK", stored)
    data = raw[offset + 16 : offset + 16 + stored]
    if log.keys is not None:
        data = log.keys.open(raw, raw[offset : offset + 16], data)
    if plain_and_flags >> 24 == 1:
        data = zstandard.ZstdDecompressor().decompress(data)
    assert len(data) == plain_and_flags & 0xFFFFFF
    ids = {blake3(data).hexdigest()} if log.keys is None else log.keys.ids(data)
    assert chunk_id in ids
    return data


def read_disk(log: Log, disk: dict) -> bytes:
    data = bytearray(disk["size_bytes"])
    chunks = -(-disk["size_bytes"] // CHUNK)
    level, nodes = 1, -(-chunks // 256)
    while nodes > 32_768:
        level, nodes = level + 1, -(-nodes // 32_768)
    if disk["root"] is not None:
        for at, chunk in read_node(log, read_ref(log, disk["root"]), level, 0):
            data[at * CHUNK : at * CHUNK + len(chunk)] = chunk
    return bytes(data)


def read_node(log: Log, raw: bytes, level: int, first: int) -> list[tuple[int, bytes]]:
    magic, version, found, rows, positions, entries = struct.unpack_from("<4sBBHII", raw)
    assert (magic, version, found) == (b"qMAP", 1, level)
    bitmap = raw[16 : 16 + -(-positions // 8)]
    at = 16 + len(bitmap)
    packs = [pack_row(raw, at + 91 * row) for row in range(rows)]
    at += 91 * rows
    present = [bit for bit in range(positions) if bitmap[bit // 8] & 1 << bit % 8]
    assert len(present) == entries
    found_chunks = []
    for position in present:
        chunk_id, row, offset, stored_and_flags = struct.unpack_from("<32sHII", raw, at)
        at += 42
        stored = stored_and_flags & 0xFFFFFF
        chunk = log.read(packs[row], offset, stored, chunk_id.hex())
        if level == 0:
            found_chunks.append((first + position, chunk))
        else:
            below = (first + position) * (256 if level == 1 else 32_768)
            found_chunks += read_node(log, chunk, level - 1, below)
    assert at == len(raw)
    return found_chunks
