from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.guest.configuration import config_json
from quiesce.guest.configuration.config_json import NotJsonError, Object, Place, Value

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def plain(value: Value) -> Any:
    content = value.content
    if isinstance(content, Object):
        return {member.key: plain(member.value) for member in content.members}
    return [plain(item) for item in content] if isinstance(content, list) else content


def parsed(text: str) -> Any:
    value, complaints = config_json.parse(text.encode())
    assert complaints == ()
    return plain(value)


@given(JSON_VALUES, st.sampled_from([None, 1, 4]), st.booleans())
def test_what_the_standard_library_writes_is_read_as_it_was(
    value: Any, indent: int | None, escape: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escape)

    assert parsed(text) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0123e.-\\utrfalsn \n').map(str.encode))
def test_whatever_is_read_is_what_the_standard_library_reads_and_the_rest_is_refused(
    data: bytes,
) -> None:
    try:
        value, _complaints = config_json.parse(data)
    except NotJsonError:
        return
    assert plain(value) == json.loads(data.decode("utf-8-sig"))


@pytest.mark.parametrize(
    ("data", "place", "says"),
    [
        (b"", Place(1, 1), "the file ends"),
        (b"{", Place(1, 2), "the file ends"),
        (b'{"a": 1,}', Place(1, 9), "key in double quotes"),
        (b'{"a" 1}', Place(1, 6), "there must be :"),
        (b'{\n  "a": 1\n  "b": 2}', Place(3, 3), "there must be , or }"),
        (b"[1 2]", Place(1, 4), "there must be , or ]"),
        (b"[1]]", Place(1, 4), "more after the end"),
        (b"{a: 1}", Place(1, 2), "key in double quotes"),
        (b"// no\n{}", Place(1, 1), "there must be a value"),
        (b"[NaN]", Place(1, 2), "there must be a value"),
        (b"[Infinity]", Place(1, 2), "there must be a value"),
        (b"[01]", Place(1, 3), "there must be , or ]"),
        (b"[+1]", Place(1, 2), "there must be a value"),
        (b'["\\x"]', Place(1, 3), "escape"),
        (b'["a\nb"]', Place(1, 4), "control character"),
        (b'["abc', Place(1, 2), "unterminated"),
        (b'["\\ud800"]', Place(1, 10), "surrogate"),
        (b'\n ["\xff"]', Place(2, 4), "0xff is not UTF-8"),
        (b"[" * 100, Place(1, 34), "nested too deeply"),
        (b"[" + b"9" * 50 + b"]", Place(1, 52), "too long"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, place: Place, says: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        config_json.parse(data)

    assert caught.value.place == place
    assert says in caught.value.message


def test_a_byte_order_mark_is_complained_of_and_the_rest_is_still_read() -> None:
    value, complaints = config_json.parse(b'\xef\xbb\xbf{"a": false}')

    assert plain(value) == {"a": False}
    assert "byte order mark" in complaints[0].message


def test_a_key_that_stands_twice_is_seen_twice() -> None:
    value, _complaints = config_json.parse(b'{"a": 1,\n "a": 2}')

    assert [(member.key, member.place) for member in value.content.members] == [
        ("a", Place(1, 2)),
        ("a", Place(2, 2)),
    ]


def test_a_large_file_is_read_in_reasonable_steps() -> None:
    letters = ",\n".join(f'"{letter}"' for letter in string.ascii_letters * 1000)
    value, _complaints = config_json.parse(f"[{letters}]".encode())

    assert value.content[-1].place == Place(52000, 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", "an object"),
        ("[]", "a list"),
        ('"x"', 'the string "x"'),
        ("true", "true"),
        ("false", "false"),
        ("null", "null"),
        ("1", "the number 1"),
        ("0", "the number 0"),
        ("1.5", "the number 1.5"),
    ],
)
def test_what_was_found_is_said_in_words(text: str, found: str) -> None:
    assert config_json.parse(text.encode())[0].found == found
