import pytest

from quiesce.channel.agent import _is_connection, _parsed

PATHS = ("/run/vm/qga",)


@pytest.mark.parametrize(
    ("line", "connected"),
    [
        ("ffff: 00000003 00000000 00000000 0001 03 51234 /run/vm/qga", True),
        ("ffff: 00000002 00000000 00010000 0001 01 51233 /run/vm/qga", False),
        ("ffff: 00000003 00000000 00000000 0001 03     0 /run/vm/qga", False),
        ("ffff: 00000003 00000000 00000000 0001 03 51234 /run/vm/qga2", False),
        ("ffff: 00000003 00000000 00000000 0001 03 51234", False),
        ("Num       RefCount Protocol Flags    Type St Inode Path", False),
        ("", False),
    ],
)
def test_only_an_accepted_connection_of_the_path_counts(line: str, *, connected: bool) -> None:
    assert _is_connection(line, PATHS) is connected


def test_a_path_with_spaces_is_one_path() -> None:
    line = "ffff: 00000003 00000000 00000000 0001 03 51234 /run/my vm/qga\n"

    assert _is_connection(line, ("/run/my vm/qga",))


def test_an_answer_may_begin_with_the_sentinel() -> None:
    assert _parsed(b'\xff{"return": 1}\r') == {"return": 1}
