import contextlib
import random
import struct
from zlib import crc32

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from quiesce.errors import QuiesceError
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.disk import Disk
from quiesce.model.point import Evidence, PointSummary
from quiesce.vault.format import chunk, document, entry, header, manifest, names, pack
from quiesce.vault.format import map as maps
from quiesce.vault.format.sealing import PackSeal, PlainKeys, PlainPack

PLAIN = PlainPack()
SID = "01JD0000000000000000000000"
VAULT_ID = bytes(range(16))
COMPRESS = zstandard.ZstdCompressor(level=1).compress

hashes = st.binary(min_size=32, max_size=32)
sids = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=25, max_size=25).map(lambda t: "0" + t)
pack_names = st.builds(names.PackName, sids, st.sampled_from("dm"), hashes)
twins = st.one_of(st.none(), hashes.filter(lambda digest: digest != bytes(32)))
places = st.builds(maps.Place, pack_names, twins)
refs = st.builds(
    maps.Ref, hashes, places, st.integers(64, 2**32 - 1), st.integers(1, 2**18), st.integers(0, 1)
)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "domain"),
    [
        ("web1", "web1"),
        ("Web1", "%57eb1"),
        (".hidden", "%2Ehidden"),
        ("..", "%2E."),
        ("a/b", "a%2Fb"),
        ("a%b", "a%25b"),
        ("ä b", "%C3%A4%20b"),
    ],
)
def test_a_domain_is_the_machine_percent_encoded(machine: str, domain: str) -> None:
    assert names.domain_of(machine) == domain
    assert names.is_domain(domain)


@pytest.mark.parametrize("machine", ["", "x" * 65, "ä" * 11])
def test_a_machine_name_that_gives_no_domain_is_refused(machine: str) -> None:
    with pytest.raises(QuiesceError) as caught:
        names.domain_of(machine)
    assert caught.value.name == "IncorrectSettings"


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_two_machines_never_share_a_domain(one: str, other: str) -> None:
    with contextlib.suppress(QuiesceError, UnicodeEncodeError):
        assert (names.domain_of(one) == names.domain_of(other)) == (one == other)


@given(pack_names)
def test_a_packs_name_is_read_back(name: names.PackName) -> None:
    assert names.parse_pack(name.text) == name


@pytest.mark.parametrize("text", [None, 1, "", "x", f"{SID}/x-{'0' * 64}", f"{SID}/d-{'A' * 64}"])
def test_what_is_no_packs_name_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a pack's name"):
        names.parse_pack(text)


# --- packs and chunks --------------------------------------------------------------------------


def sealed_pack(plains: list[bytes], kind: str = "d", seal: PackSeal = PLAIN) -> bytes:
    builder = pack.PackBuilder(VAULT_ID, kind, 1 << 20, seal)
    for plain in plains:
        stored, flags = chunk.packed(plain, COMPRESS)
        builder.add(names.digest(plain), stored, len(plain), flags)
    return bytes(builder.seal())


def unpacked(raw: bytes, chunk_id: bytes) -> bytes:
    return chunk.unpacked(raw, chunk_id, PLAIN, PlainKeys())


def table(raw: bytes, seal: PackSeal = PLAIN) -> list[pack.Stored]:
    trailer = raw[-pack.TRAILER_BYTES :]
    offset, length = pack.footer_range(trailer, len(raw), seal)
    return list(pack.parse_footer(raw[offset : offset + length], trailer, seal))


plain_chunks = st.one_of(
    st.binary(min_size=1, max_size=300), st.integers(1, 3000).map(lambda size: b"x" * size)
)


@given(st.lists(plain_chunks, max_size=20))
def test_a_packs_chunks_are_found_by_its_table(plains: list[bytes]) -> None:
    raw = sealed_pack(plains)

    pack.parse_header(raw[:64], VAULT_ID, "d")
    rows = table(raw)
    assert [row.chunk_id for row in rows] == [names.digest(plain) for plain in plains]
    found = [
        unpacked(raw[row.offset : row.offset + 16 + row.stored_bytes], row.chunk_id) for row in rows
    ]
    assert found == plains


@given(st.lists(plain_chunks, min_size=1, max_size=5), st.data())
def test_no_flipped_bit_of_a_chunk_is_handed_out(plains: list[bytes], data: st.DataObject) -> None:
    raw = sealed_pack(plains)
    row = data.draw(st.sampled_from(table(raw)))
    framed = bytearray(raw[row.offset : row.offset + 16 + row.stored_bytes])
    framed[data.draw(st.integers(0, len(framed) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    try:
        plain = unpacked(bytes(framed), row.chunk_id)
    except ValueError:
        return
    assert names.digest(plain) == row.chunk_id  # the slot is not part of the content


@given(st.lists(plain_chunks, min_size=1, max_size=5), st.data())
def test_no_flipped_bit_of_a_table_goes_unseen(plains: list[bytes], data: st.DataObject) -> None:
    raw = bytearray(sealed_pack(plains))
    start, _ = pack.footer_range(bytes(raw[-32:]), len(raw), PLAIN)
    raw[data.draw(st.integers(start, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(ValueError, match=r"pack|chunk"):
        table(bytes(raw))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**40))
def test_any_trailer_is_read_or_refused(trailer: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="pack"):
        pack.footer_range(trailer, size, PLAIN)


@given(st.binary(max_size=400), hashes)
def test_any_bytes_are_no_chunk(raw: bytes, chunk_id: bytes) -> None:
    with pytest.raises(ValueError, match="chunk"):
        unpacked(raw, chunk_id)


def test_a_chunk_that_claims_gigabytes_allocates_nothing() -> None:
    bomb = COMPRESS(bytes(1 << 24))[:200]
    framed = pack.frame(0, len(bomb), 1000, pack.ZSTD) + bomb

    with pytest.raises(ValueError, match="contradict"):
        unpacked(framed, bytes(32))


@pytest.mark.parametrize(
    ("at", "what"),
    [(0, "not a pack"), (8, "version"), (10, "kind"), (16, "vault"), (60, "not a pack")],
)
def test_a_header_that_is_not_ours_is_refused(at: int, what: str) -> None:
    raw = bytearray(sealed_pack([b"x"])[:64])
    raw[at] ^= 1
    if at not in {0, 60}:
        raw[60:64] = struct.pack("<I", crc32(raw[:60]))

    with pytest.raises(ValueError, match=what):
        pack.parse_header(bytes(raw), VAULT_ID, "d")


def test_the_twin_of_a_pack_differs_only_in_its_header() -> None:
    builder = pack.PackBuilder(VAULT_ID, "m", 1 << 20, PLAIN)
    builder.add(names.digest(b"x"), b"x", 1, 0)
    sealed = builder.seal()
    twin = builder.twin_of(sealed)

    assert twin != sealed
    assert twin[64:] == sealed[64:]
    pack.parse_header(bytes(twin[:64]), VAULT_ID, "m")


@pytest.mark.parametrize("before", [0, 10, 400, 5000])
def test_a_pack_takes_the_place_of_another_whole(before: int) -> None:
    def sealed(into: bytearray | None) -> bytearray:
        builder = pack.PackBuilder(VAULT_ID, "d", 1 << 20, PLAIN)
        for plain in (b"one", b"two" * 50):
            builder.add(names.digest(plain), plain, len(plain), 0)
        return builder.seal(into)

    used = bytearray(b"\xaa" * before)

    assert sealed(used) is used
    assert used == sealed(None)


def test_a_pack_that_is_still_being_read_is_left_alone() -> None:
    builder = pack.PackBuilder(VAULT_ID, "d", 1 << 20, PLAIN)
    builder.add(names.digest(b"x"), b"x", 1, 0)
    used = bytearray(b"\xaa" * 5000)
    with memoryview(used):
        sealed = builder.seal(used)

    assert sealed is not used
    assert used == b"\xaa" * 5000


def test_a_pack_stays_below_the_hard_limit() -> None:
    builder = pack.PackBuilder(VAULT_ID, "m", 64 << 20, PLAIN)
    large = bytes(pack.MAX_PLAIN_BYTES)
    while builder.has_room(len(large)):
        builder.add(bytes(32), large, len(large), 0)

    assert builder.chunks == 3
    assert len(builder.seal()) <= header.MAX_PACK_BYTES


# --- maps --------------------------------------------------------------------------------------


@given(st.integers(1, 256), st.data())
def test_a_node_is_read_back(positions: int, data: st.DataObject) -> None:
    few = data.draw(st.lists(places, min_size=1, max_size=3))
    entries = data.draw(
        st.dictionaries(
            st.integers(0, positions - 1),
            st.builds(
                maps.Ref,
                hashes,
                st.sampled_from(few),
                st.integers(64, 2**32 - 1),
                st.integers(1, 2**18),
                st.integers(0, 1),
            ),
            max_size=20,
        )
    )
    raw = maps.encode(0, positions, sorted(entries.items()))

    node = maps.parse(raw, level=0, positions=positions)
    assert node.refs == entries
    assert list(node.refs) == sorted(entries)
    assert maps.encode(0, positions, list(node.refs.items())) == raw


@given(st.binary(max_size=600), st.integers(0, 2), st.integers(0, 300))
def test_any_bytes_are_no_node(raw: bytes, level: int, positions: int) -> None:
    with pytest.raises(ValueError, match="node"):
        maps.parse(raw, level=level, positions=positions)


@given(refs, st.data())
def test_a_damaged_node_is_read_or_refused(ref: maps.Ref, data: st.DataObject) -> None:
    raw = bytearray(maps.encode(0, 256, [(3, ref), (7, ref)]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))

    try:
        node = maps.parse(bytes(raw), level=0, positions=256)
    except ValueError:
        return
    assert len(node.refs) == 2


@pytest.mark.parametrize(("level", "positions"), [(1, 256), (0, 255), (0, 257)])
def test_a_node_that_belongs_elsewhere_is_refused(level: int, positions: int) -> None:
    raw = maps.encode(0, 256, [])

    with pytest.raises(ValueError, match="not the one that belongs here"):
        maps.parse(raw, level=level, positions=positions)


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        (0, (0, 0)),
        (1, (1, 1)),
        (256 * 1024 * 256 + 1, (257, 2)),
        (2 << 40, (8 << 20, 32768)),
        ((2 << 40) + 1, ((8 << 20) + 1, 32769, 2)),
    ],
)
def test_a_disk_of_any_size_has_one_root(size: int, counts: tuple[int, ...]) -> None:
    assert maps.counts(size) == counts


# --- manifest, entries, vault.json -------------------------------------------------------------


def a_manifest(root: maps.Ref | None = None) -> manifest.Manifest:
    return manifest.Manifest(
        sid=SID,
        machine="Wéb",
        uuid="u",
        created_at="2026-11-23T10:00:00.000Z",
        base=None,
        tool="quiesce",
        disks=(manifest.StoredDisk(Disk("vda", 5, "serial"), root),),
        evidence=Evidence(
            ConsistencyLevel.APPLICATION,
            Outcome.COMPLETE,
            {"a": [1, None]},
            None,
            {"frozen_s": 0.1},
            ({"name": "X"},),
            ("w",),
            ({"name": "cd", "reason": "r"},),
        ),
    )


@given(st.one_of(st.none(), refs))
def test_a_manifest_is_read_back(root: maps.Ref | None) -> None:
    assert manifest.parse(manifest.encode(a_manifest(root))) == a_manifest(root)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300)
@given(st.data())
def test_a_hostile_manifest_is_read_or_refused(data: st.DataObject) -> None:
    value = document.decode(manifest.encode(a_manifest(None)))
    part = value
    while True:
        key = data.draw(st.sampled_from(sorted(part)))
        if isinstance(part[key], dict) and part[key] and data.draw(st.booleans()):
            part = part[key]
            continue
        part[key] = data.draw(json_values)
        break

    with contextlib.suppress(ValueError):
        manifest.parse(document.encode(value))


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a/b", ".x", "a\n", "x" * 300])
def test_a_disk_whose_name_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        manifest.disk_from_json({"name": name, "size_bytes": 1, "serial": None})


def test_two_disks_with_one_name_are_refused() -> None:
    value = document.decode(manifest.encode(a_manifest()))
    value["disks"] *= 2

    with pytest.raises(ValueError, match="one name"):
        manifest.parse(document.encode(value))


POINT = PointSummary(
    SID,
    "web1",
    "2026-11-23T10:00:00.000Z",
    ConsistencyLevel.FILESYSTEM,
    Outcome.DEGRADED,
    10,
    5,
    (Disk("vda", 10, None),),
)

bodies = st.one_of(
    st.builds(
        entry.Open,
        sids,
        st.text(max_size=9),
        st.text(max_size=9),
        st.none() | sids,
        st.none() | sids,
    ),
    st.builds(entry.Abort, sids),
    st.builds(
        entry.Snapshot,
        sids,
        st.builds(
            entry.PackChange,
            st.none() | sids,
            st.frozensets(pack_names, max_size=3),
            st.frozensets(pack_names, max_size=3),
        ),
        refs,
        st.just(entry.summary_of(POINT)),
    ),
)


@given(st.builds(entry.Entry, st.integers(1, 10**12), hashes, st.text(max_size=9), bodies))
def test_an_entry_is_read_back(value: entry.Entry) -> None:
    assert entry.parse(entry.encode(value)) == value


def test_a_summary_is_read_back() -> None:
    snapshot = entry.Snapshot(
        SID,
        entry.PackChange(None, frozenset()),
        maps.Ref(bytes(32), maps.Place(names.PackName(SID, "m", bytes(32))), 64, 1, 0),
        entry.summary_of(POINT),
    )

    assert entry.point_of(snapshot, "live", PlainKeys()) == POINT


@given(st.binary(max_size=200))
def test_any_bytes_are_no_entry(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - a parser's one error
        entry.parse(raw)


def test_another_spelling_of_an_entry_is_none() -> None:
    raw = entry.encode(entry.Entry(1, bytes(32), "x", entry.Abort(SID)))

    with pytest.raises(ValueError, match="canonical"):
        entry.parse(raw.replace(b",", b", "))


@pytest.mark.parametrize(("key", "value"), [("type", "checkpoint"), ("format", 2)])
def test_an_entry_of_the_future_is_refused_by_name(key: str, value: object) -> None:
    future = document.decode(entry.encode(entry.Entry(1, bytes(32), "x", entry.Abort(SID))))
    future[key] = value

    with pytest.raises(QuiesceError, match=str(value)) as caught:
        entry.parse(document.encode(future))
    assert caught.value.name == "VaultUnsupported"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":NaN}',
        '{"a":' + "9" * 5000 + "}",
        "[]",
        "\udc80",
        '{"a":1,"a":2}',
        '{"a":1.5}',
        '{"a":1e3}',
        '{"a":-0}',
        '{"b":1,"a":2}',
        '{"a":"\\u0041"}',
    ],
)
def test_what_is_no_canonical_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - a parser's one error
        document.decode_canonical(text.encode("utf-8", "surrogateescape"))


def test_vault_json_is_read_back() -> None:
    head = header.VaultHeader(VAULT_ID, 1 << 20)

    assert header.parse(head.encode()) == head


@pytest.mark.parametrize("use", ["read", "write"])
def test_an_unknown_feature_is_refused_by_name(use: str) -> None:
    value = document.decode(header.VaultHeader(VAULT_ID).encode())
    value["features"][use] = ["unencrypted", "write-only-hosts"]

    with pytest.raises(QuiesceError, match="write-only-hosts") as caught:
        header.parse(document.encode(value)).require_writable()
    assert caught.value.name == "VaultUnsupported"


def test_a_vault_that_needs_more_to_write_can_be_read() -> None:
    value = document.decode(header.VaultHeader(VAULT_ID).encode())
    value["features"]["write"] = ["write-only-hosts"]
    value["features"]["maintain"] = ["signatures"]

    assert header.parse(document.encode(value)).vault_id == VAULT_ID


@pytest.mark.parametrize(("key", "value"), [("format", 2), ("format", None), ("chunk_bytes", 4096)])
def test_another_format_of_a_vault_is_refused(key: str, value: object) -> None:
    document_ = document.decode(header.VaultHeader(VAULT_ID).encode())
    document_[key] = value

    with pytest.raises(QuiesceError) as caught:
        header.parse(document.encode(document_))
    assert caught.value.name == "VaultUnsupported"


@pytest.mark.parametrize("key", ["format", "features", "vault_id", "pack_bytes"])
def test_a_vault_json_without_something_is_damaged(key: str) -> None:
    value = document.decode(header.VaultHeader(VAULT_ID).encode())
    del value[key]

    with pytest.raises(ValueError):  # noqa: PT011 - a parser's one error
        header.parse(document.encode(value))


def test_random_bytes_in_an_inner_node_are_bounded_by_the_disk() -> None:
    raw = random.Random(7).randbytes(50_000)  # noqa: S311 - reproducible

    with pytest.raises(ValueError, match="node"):
        maps.parse(raw, level=1, positions=32768)
