"""Settings files that nobody would write, and some that somebody did: for fuzzing.

The same seed makes the same files. A third are mutations of good files, a third are put together
from the words of the format, the rest is noise.
"""

from __future__ import annotations

import json
import random
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JSON, HOST, CONF = "json", "host", "conf"

KEYS = (
    *("pluginName", "preScriptLocation", "postScriptLocation", "preScriptParams"),
    *("postScriptParams", "preScriptNoOfRetries", "postScriptNoOfRetries", "timeoutInSeconds"),
    *("continueBackupOnFailure", "fsFreezeEnabled", "ScriptsExecutionPollTimeSeconds", "appName"),
)
_GOOD_JSON = {
    "pluginName": "ScriptRunner",
    "preScriptLocation": "/etc/azure/pre.sh",
    "postScriptLocation": "/etc/azure/post.sh",
    "preScriptParams": ["", ""],
    "postScriptParams": ["größer", "two"],
    "preScriptNoOfRetries": 0,
    "postScriptNoOfRetries": 3,
    "timeoutInSeconds": 30,
    "continueBackupOnFailure": False,
    "fsFreezeEnabled": True,
}
_GOOD = {
    JSON: json.dumps(_GOOD_JSON, indent=1, ensure_ascii=False).encode(),
    HOST: b"""[pre_post]
timeoutInSeconds = 1800
numberOfPlugins = 2
pluginName0 = ScriptRunner
pluginPath0 = ScriptRunner.py
pluginConfigPath0 = /etc/azure/VMSnapshotPluginConfig.json
pluginName1 : ScriptRunner
pluginConfigPath1 : /etc/azure/two.json
""",
    CONF: b"""# ours
[freeze]
skip = /mnt/a, /mnt/b
timeout_s = 10
deadline_s = 60
[scripts]
max_timeout_s = 1800
""",
}
_INI_WORDS = (
    *("[freeze]", "[scripts]", "[pre_post]", "[app db]", "[app]", "[", "]", "[]", "[[x]]"),
    *("skip", "timeout_s", "deadline_s", "max_timeout_s", "type", "timeoutInSeconds"),
    *("numberOfPlugins", "pluginName0", "pluginName00", "pluginPath1", "pluginConfigPath0"),
    *("pluginConfigPath999", "ScriptRunner", "/etc/azure/one.json", "relative", "0", "1", "2"),
    *("-1", "1e3", "nan", "inf", "1_0", "٣", "9" * 400, "=", ":", "==", "#", ";", ",", "\0"),
    *(" ", "\t", "\r", "\n", "\n", "\n", "\v", "\x1c", "\x85", "\u2028", " " * 500, "x" * 500),
)
_TOKENS = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"=", b"\n", b"\r", b"\0", b"\xff", b"\xc3"),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\", b"\\u0000", b"\\ud800"),
    *(b"\\u12", b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"00", b"1.", b".5", b"+1"),
    *(b"null", b"true", b"True", b"[" * 50, b'{"a":' * 50, b" " * 300, b"9" * 100, b"//", b"/**/"),
    *(
        b"'",
        b"%s{0}{source!r}",
        b"\x1b[2J",
        "\u202e".encode(),
        "\u017f".encode(),
        "\u0130".encode(),
    ),
)


def bad_files(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield *count* files, each with the kind of file that it is to be read as."""
    for number in range(count):
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - the same ones every time
        kind = chance.choice((JSON, JSON, HOST, CONF))
        make = chance.choice((_mutated, _mutated, _put_together, _put_together, _noise))
        yield kind, make(chance, kind)


def _mutated(chance: random.Random, kind: str) -> bytes:
    data = bytearray(_GOOD[kind])
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((0, 1, 1, 3, 20)))
        piece = bytes(data[at:to])
        data[at:to] = chance.choice(
            (
                *(b"", piece * 2, piece[::-1], piece.swapcase(), chance.choice(_TOKENS)),
                *(
                    chance.choice(_TOKENS),
                    chance.randbytes(2),
                    piece + data[: chance.randrange(60)],
                ),
            )
        )
    return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data)


def _put_together(chance: random.Random, kind: str) -> bytes:
    if kind != JSON:
        words = [chance.choice(_INI_WORDS) for _ in range(chance.randrange(60))]
        return chance.choice(("", " ", "\n")).join(words).encode()
    members = {_key(chance): _value(chance, 3) for _ in range(chance.randrange(14))}
    if chance.random() < 0.7:
        members = {**_GOOD_JSON, **members}
    return json.dumps(members, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")


def _noise(chance: random.Random, kind: str) -> bytes:
    del kind
    if chance.random() < 0.5:
        return chance.randbytes(chance.randrange(200))
    return b"".join(chance.choice(_TOKENS) for _ in range(chance.randrange(30)))


def _key(chance: random.Random) -> str:
    key = chance.choice(KEYS)
    return chance.choice((key, key, key.upper(), key[:-1], key + "s", "", "x" * 200, "\udc80"))


def _value(chance: random.Random, depth: int) -> Any:
    plain = (
        *(None, True, False, 0, 1, -1, 1.5, 1e308, 10**50, "", "/", "/a\0b", "relative", "30"),
        *("ScriptRunner", "/etc/azure/pre.sh", "\ud800", "{source}", "x" * 300, [], {}, ["", ""]),
    )
    if depth and chance.random() < 0.3:
        values = [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
        return values if chance.random() < 0.5 else {_key(chance): value for value in values}
    return chance.choice(plain)


def steps_of(work: Callable[[], object]) -> int:
    """Return how many functions *work* calls: how long it takes, on any machine."""
    steps = 0

    def count(_frame: object, _event: str, _argument: object) -> None:
        nonlocal steps
        steps += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return steps
