import pytest

from quiesce.guest.logs.printable import printable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain, größer, 日本", "plain, größer, 日本"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("one\r\ntwo\tthree", "one\\r\\ntwo\\tthree"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\udcff", "\\udcff"),
        ("\u2028", "\\u2028"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_would_move_a_terminal_is_shown_instead(text: str, said: str) -> None:
    assert printable(text) == said
