"""A reader written from docs/design/vault-format.md alone: nothing of ours is imported."""

import json
import struct
from pathlib import Path

import zstandard
from blake3 import blake3

CHUNK = 262_144


def read_vault(root: Path, domain: str) -> dict[str, dict[str, bytes]]:
    """Return the disks of every point of *domain*."""
    head = json.loads((root / "vault.json").read_bytes())
    assert head["format"] == 1
    assert head["features"]["read"] == ["unencrypted"]
    folder = root / "domains" / domain
    points = fold(folder, bytes.fromhex(head["vault_id"]) + domain.encode())
    return {
        sid: {disk["name"]: read_disk(folder, disk) for disk in manifest_of(folder, ref)["disks"]}
        for sid, ref in points.items()
    }


def fold(folder: Path, genesis: bytes) -> dict[str, dict]:
    state: dict[str, str] = {}
    points, prev = {}, blake3(genesis).hexdigest()
    for number in range(1, 10**12):
        path = folder / "log" / f"{number:012d}"
        if not path.exists():
            return points
        raw = path.read_bytes()
        entry = json.loads(raw)
        assert (entry["format"], entry["n"], entry["prev"]) == (1, number, prev)
        prev = blake3(raw).hexdigest()
        sid = entry["sid"]
        if entry["type"] == "open" and sid not in state:
            state[sid] = "open"
            state[entry["adopts"]] = "aborted"
        elif entry["type"] == "abort" and state.get(sid) == "open":
            state[sid] = "aborted"
        elif entry["type"] == "snapshot" and state.get(sid) == "open":
            state[sid] = "committed"
            points[sid] = entry["manifest"]
    raise AssertionError


def manifest_of(folder: Path, ref: dict) -> dict:
    return json.loads(read_ref(folder, ref))


def read_ref(folder: Path, ref: dict) -> bytes:
    return read_chunk(folder / "packs" / ref["pack"], ref["offset"], ref["stored"], ref["id"])


def read_chunk(path: Path, offset: int, stored: int, chunk_id: str) -> bytes:
    raw = path.read_bytes()
    assert path.name[2:] == blake3(raw).hexdigest()
    assert raw[:8] == b"quiPACK\n"
    magic, _, frame_stored, plain_and_flags = struct.unpack_from("<4sIII", raw, offset)
    assert (magic, frame_stored) == (b"qCHK", stored)
    data = raw[offset + 16 : offset + 16 + stored]
    if plain_and_flags >> 24 == 1:
        data = zstandard.ZstdDecompressor().decompress(data)
    assert len(data) == plain_and_flags & 0xFFFFFF
    assert blake3(data).hexdigest() == chunk_id
    return data


def read_disk(folder: Path, disk: dict) -> bytes:
    data = bytearray(disk["size_bytes"])
    chunks = -(-disk["size_bytes"] // CHUNK)
    level, nodes = 1, -(-chunks // 256)
    while nodes > 32_768:
        level, nodes = level + 1, -(-nodes // 32_768)
    if disk["root"] is not None:
        for at, chunk in read_node(folder, read_ref(folder, disk["root"]), level, 0):
            data[at * CHUNK : at * CHUNK + len(chunk)] = chunk
    return bytes(data)


def read_node(folder: Path, raw: bytes, level: int, first: int) -> list[tuple[int, bytes]]:
    magic, version, found, rows, positions, entries = struct.unpack_from("<4sBBHII", raw)
    assert (magic, version, found) == (b"qMAP", 1, level)
    bitmap = raw[16 : 16 + -(-positions // 8)]
    at = 16 + len(bitmap)
    packs = [struct.unpack_from("<26sc32s32s", raw, at + 91 * row) for row in range(rows)]
    at += 91 * rows
    present = [bit for bit in range(positions) if bitmap[bit // 8] & 1 << bit % 8]
    assert len(present) == entries
    found_chunks = []
    for position in present:
        chunk_id, row, offset, stored_and_flags = struct.unpack_from("<32sHII", raw, at)
        at += 42
        sid, kind, digest, _twin = packs[row]
        path = folder / "packs" / sid.decode() / f"{kind.decode()}-{digest.hex()}"
        stored = stored_and_flags & 0xFFFFFF
        chunk = read_chunk(path, offset, stored, chunk_id.hex())
        if level == 0:
            found_chunks.append((first + position, chunk))
        else:
            below = (first + position) * (256 if level == 1 else 32_768)
            found_chunks += read_node(folder, chunk, level - 1, below)
    assert at == len(raw)
    return found_chunks
