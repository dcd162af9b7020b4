from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.guest.shipped import selfcheck


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).hexdigest().encode()


@given(st.binary(max_size=200))
def test_what_ends_with_its_checksum_is_whole(body: bytes) -> None:
    assert selfcheck.is_whole(sealed(body))


@given(st.binary(min_size=1, max_size=200), st.data())
def test_one_bit_anywhere_is_damage(body: bytes, data: st.DataObject) -> None:
    whole = bytearray(sealed(body))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))

    assert not selfcheck.is_whole(bytes(whole))


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_file_that_was_cut_is_damaged(body: bytes, data: st.DataObject) -> None:
    whole = sealed(body)

    assert not selfcheck.is_whole(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_a_checkout_has_no_checksums_and_is_not_damaged() -> None:
    assert selfcheck.archive_we_run_from() is None
    assert selfcheck.damages(root="/nonexistent") == ()


@pytest.mark.parametrize("data", [b"", b"0" * 64])
def test_an_empty_file_is_damaged(data: bytes) -> None:
    assert not selfcheck.is_whole(data)
