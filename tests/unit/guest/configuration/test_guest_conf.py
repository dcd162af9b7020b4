from __future__ import annotations

import pytest

from quiesce.guest.configuration import guest_conf
from quiesce.guest.configuration.guest_conf import GuestConf

SOURCE = "/etc/quiesce/guest.conf"
DEFAULTS = GuestConf()


def read(text: str) -> GuestConf:
    return guest_conf.parse(text.encode(), source=SOURCE)


def test_an_empty_file_says_nothing() -> None:
    assert read("# nothing\n\n; here\n") == DEFAULTS


def test_every_value_is_read() -> None:
    conf = read(
        "[freeze]\nskip = /mnt/a, /mnt/b ,\ntimeout_s = 5\ndeadline_s = 120\n"
        "[scripts]\nmax_timeout_s = 7200\n"
    )

    assert conf == GuestConf(("/mnt/a", "/mnt/b"), 5.0, 120.0, 7200.0)


@pytest.mark.parametrize(
    ("text", "timeout_s", "deadline_s", "warned"),
    [
        (
            "[freeze]\ntimeout_s = 40\n",
            30.0,
            60.0,
            "line 2, column 13: timeout_s is 40, 30 is used",
        ),
        ("[freeze]\ndeadline_s = 9999\n", 10.0, 3600.0, "deadline_s is 9999, 3600 is used"),
        ("[freeze]\ndeadline_s = 4\n", 2.0, 4.0, None),
    ],
)
def test_a_value_above_its_limit_is_limited(
    text: str, timeout_s: float, deadline_s: float, warned: str | None
) -> None:
    conf = read(text)

    assert (conf.freeze_timeout_s, conf.deadline_s) == (timeout_s, deadline_s)
    assert conf.errors == ()
    assert [warned is not None and warned in warning for warning in conf.warnings] == [
        True for _ in ([warned] if warned else [])
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[freeze]\ntimeout_s = soon\n",
            "line 2, column 13: timeout_s is 'soon'; allowed is a number",
        ),
        ("[freeze]\ndeadline_s = 0\n", "line 2, column 14: deadline_s is '0'"),
        ("[freeze]\ndeadline_s = -1\n", "line 2, column 14: deadline_s is '-1'"),
        ("[freeze]\ndeadline_s = 1_0\n", "line 2, column 14: deadline_s is '1_0'"),
        ("[freeze]\n  : 3\n", "line 2, column 3: there must be [section] or key = value"),
        ("[freeze]\ndeadline_s = nan\n", "line 2, column 14: deadline_s is 'nan'"),
        ("[freeze]\ndeadline_s = inf\n", "line 2, column 14: deadline_s is 'inf'"),
        ("[scripts]\nmax_timeout_s =\n", "line 2, column 16: max_timeout_s is ''"),
        ("[freeze]\nskip = mnt\n", "line 2, column 8: skip has 'mnt', which is no absolute path"),
        ("skip = /mnt\n", "line 1, column 1: skip stands before the first section"),
        ("[freeze]\nskip /mnt\n", "line 2, column 1: there must be [section] or key = value"),
        ("[freeze]\nskip = /a\nskip = /b\n", "line 3, column 1: skip stands twice"),
        ("[freeze]\n[freeze]\n", "line 2, column 1: the section [freeze] stands twice"),
        (
            "[app db]\ntype = postgresql\n",
            "line 2, column 8: [app db] has a type that is unknown here",
        ),
        ("[app db]\n", "[app db] has no type"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, says: str) -> None:
    conf = read(text)

    assert [error.name for error in conf.errors] == ["IncorrectGuestConf"]
    assert conf.errors[0].message.startswith(f"{SOURCE}: {says}")
    assert conf.has_app is text.startswith("[app")


def test_of_a_refused_file_every_value_is_its_default() -> None:
    conf = read("[scripts]\nmax_timeout_s = 5\n[freeze]\nskip = /a\ntimeout_s=1\ndeadline_s = 0\n")

    assert len(conf.errors) == 1
    assert conf == GuestConf(errors=conf.errors)


def test_a_file_that_is_not_utf_8_is_refused_with_its_line() -> None:
    conf = guest_conf.parse(b"[freeze]\nskip = /\xff\n", source=SOURCE)

    assert conf.errors[0].message == f"{SOURCE}: line 2, column 9: byte 0xff is not UTF-8"


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("[freeze]\ndeadline = 5\n", "line 2, column 1: deadline is unknown and ignored; did you"),
        ("[freezer]\n", "section [freezer] is unknown and ignored; did you mean freeze?"),
        ("[colour]\nred = 1\n", "section [colour] is unknown and ignored"),
    ],
)
def test_what_is_unknown_is_a_warning(text: str, warned: str) -> None:
    conf = read(text)

    assert conf.errors == ()
    assert len(conf.warnings) == 1
    assert warned in conf.warnings[0]
