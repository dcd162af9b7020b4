from __future__ import annotations

import pytest

from quiesce.guest.checking.interpreter import Interpreter, interpreter_of

KNOWN = {"/bin/sh", "/usr/bin/env", "/usr/bin/python3"}


def of(beginning: bytes) -> Interpreter:
    return interpreter_of(
        beginning,
        is_runnable=KNOWN.__contains__,
        which=lambda name: f"/usr/bin/{name}" if f"/usr/bin/{name}" in KNOWN else None,
    )


@pytest.mark.parametrize(
    ("beginning", "program"),
    [
        (b"#!/bin/sh\necho\n", "/bin/sh"),
        (b"#! /bin/sh -eu\n", "/bin/sh"),
        (b"#!\t/bin/sh", "/bin/sh"),
        (b"#!/usr/bin/env python3\n", "/usr/bin/env"),
        (b"#!/usr/bin/env -S python3 -u\n", "/usr/bin/env"),
        (b"#!/usr/bin/env A=1 gone\n", "/usr/bin/env"),
        (b"\x7fELF\x02", "itself"),
        (b"echo hello\r\n", None),
        (b"", None),
    ],
)
def test_what_can_be_started_is_named(beginning: bytes, program: str | None) -> None:
    assert of(beginning) == Interpreter(program)


@pytest.mark.parametrize(
    ("beginning", "trouble"),
    [
        (b"#!/bin/zsh\n", "its interpreter /bin/zsh is not there or cannot be run"),
        (b"#!/usr/bin/env ruby\n", "its interpreter ruby is nowhere in /usr/local/sbin:"),
        (b"#!\n", "its line #! names no program"),
        (b"#!/bin/sh\r\necho\r\n", "its lines end with a carriage return, as on Windows"),
        (b"#!/bin/sh -e\r\n", "its lines end with a carriage return, as on Windows"),
        (b"#!\xff\xfe\n", "its interpreter"),
    ],
)
def test_what_cannot_be_started_says_why(beginning: bytes, trouble: str) -> None:
    found = of(beginning)

    assert found.trouble is not None
    assert found.trouble.startswith(trouble)
    assert found.has_return == (b"\r" in beginning)
