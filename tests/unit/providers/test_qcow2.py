"""Heads of qcow2 files, hostile ones too."""

import struct

import pytest

from quiesce.errors import QuiesceError
from quiesce.providers import qcow2

NAME_AT = 600


def head(*, size=1 << 30, backing=b"", kind=b"raw", encryption=0, features=0, version=3):
    raw = bytearray(4096)
    at = NAME_AT if backing else 0
    struct.pack_into(
        ">4sIQIIQIIQ", raw, 0, b"QFI\xfb", version, at, len(backing), 16, size, encryption, 2, 65536
    )
    start = 72
    if version == 3:
        start = 104
        struct.pack_into(">QQQII", raw, 72, features, 0, 0, 4, 104)
    if kind:
        struct.pack_into(">II", raw, start, 0xE2792ACA, len(kind))
        raw[start + 8 : start + 8 + len(kind)] = kind
    raw[NAME_AT : NAME_AT + len(backing)] = backing
    return bytes(raw)


@pytest.mark.parametrize("version", [2, 3])
def test_a_head_says_size_and_what_it_lies_on(version):
    assert qcow2.parse(head(version=version)) == qcow2.Head(1 << 30, 65552, None, None)
    on_file = qcow2.parse(head(version=version, backing=b"../base.raw"))
    assert on_file == qcow2.Head(1 << 30, 65552, "../base.raw", "raw")
    assert qcow2.parse(head(backing=b"./a:b", kind=b"qcow2")).backing == "./a:b"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (head(encryption=2), "encrypted"),
        (head(features=2), "corrupt"),
        (head(features=4), "another file"),
        (head(features=32), "unknown features"),
        (head(backing=b"nbd:host:10809"), "no file"),
        (head(backing=b'json:{"driver":"null-co"}'), "no file"),
        (head(backing=b"http://host/x"), "no file"),
        (head(backing=b"a\0b"), "no file"),
        (head(backing=b"base", kind=b""), "does not say"),
        (head(backing=b"base", kind=b"vmdk"), "vmdk"),
        (head(backing=b"\xff\xfe"), "damaged"),
        (head(size=1 << 63), "damaged"),
        (head(version=9), "damaged"),
        (b"QFI\xfb", "damaged"),
        (b"", "damaged"),
    ],
)
def test_what_is_not_read_here_is_refused_with_the_reason(raw, told):
    with pytest.raises(QuiesceError, match=told) as caught:
        qcow2.parse(raw)
    assert caught.value.name == "SnapshotUnsupported"


def test_impossible_clusters_are_refused():
    raw = bytearray(head())
    struct.pack_into(">I", raw, 20, 40)
    with pytest.raises(QuiesceError, match="damaged"):
        qcow2.parse(bytes(raw))


def test_a_name_out_of_bounds_is_refused():
    raw = bytearray(head(backing=b"base"))
    struct.pack_into(">QI", raw, 8, 4090, 100)
    with pytest.raises(QuiesceError, match="damaged"):
        qcow2.parse(bytes(raw))
