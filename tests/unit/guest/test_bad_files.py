"""No settings file makes its reader fail, hang, or say something that leads nowhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bad_files import CONF, HOST, JSON, KEYS, bad_files, steps_of
from quiesce.guest.configuration import guest_conf, plugin_config, plugin_host
from quiesce.guest.configuration.excerpt import MOST_TOLD
from quiesce.guest.configuration.guest_conf import GuestConf

if TYPE_CHECKING:
    from quiesce.errors import QuiesceError

SOURCE = "/etc/the file"
NAMES = {
    JSON: "IncorrectJSONConfigFile",
    HOST: "IncorrectPluginhostFile",
    CONF: "IncorrectGuestConf",
}
PARSERS: dict[str, Any] = {
    JSON: plugin_config.parse,
    HOST: plugin_host.parse,
    CONF: guest_conf.parse,
}
# The constant is what guessing the nearest of the known words costs for the first findings.
MOST_STEPS, MOST_STEPS_PER_BYTE = 1_000_000, 40
MOST_SAID = 1000


def read(kind: str, data: bytes) -> Any:
    """Read *data*, and see that what is said of it is of use to somebody."""
    found = PARSERS[kind](data, source=SOURCE)
    assert len(found.errors) <= MOST_TOLD + 1
    assert len(found.warnings) <= MOST_TOLD + 1
    for error in found.errors:
        see(error, NAMES[kind])
    for warning in found.warnings:
        assert warning.startswith(f"{SOURCE}: ")
        assert len(warning) < MOST_SAID
    if kind == JSON:
        see_values(found)
    if kind == CONF and found.errors:
        assert found == GuestConf(
            has_app=found.has_app, errors=found.errors, warnings=found.warnings
        )
    return found


def see(error: QuiesceError, name: str) -> None:
    assert error.name == name
    assert error.message.startswith(f"{SOURCE}: ")
    assert len(error.message) < MOST_SAID
    assert error.action


def see_values(config: plugin_config.PluginConfig) -> None:
    """See that a value which counts is of its type, as the page has it."""
    for key, value in config.values.items():
        if key in {"continueBackupOnFailure", "fsFreezeEnabled"}:
            assert isinstance(value, bool)
        elif key.endswith("NoOfRetries"):
            assert isinstance(value, int)
            assert not isinstance(value, bool)
        elif key.endswith("Params"):
            assert isinstance(value, tuple)
            assert all(isinstance(one, str) and "\0" not in one for one in value)
        elif key == "timeoutInSeconds":
            assert 0 < value < float("inf")
        else:
            assert isinstance(value, str)
            assert "\0" not in value


def read_all(seed: int, count: int) -> int:
    """Read *count* bad files; return how many of them were refused."""
    refused = 0
    for number, (kind, data) in enumerate(bad_files(seed, count)):
        try:
            steps = steps_of(lambda kind=kind, data=data: PARSERS[kind](data, source=SOURCE))
            refused += bool(read(kind, data).errors)
        except Exception as exc:
            raise AssertionError(f"file {number} of seed {seed}, {kind}: {data!r}") from exc
        assert steps <= MOST_STEPS + MOST_STEPS_PER_BYTE * len(data), (seed, number)
    return refused


def test_no_bad_file_makes_a_reader_fail_or_hang() -> None:
    refused = read_all(seed=1, count=2000)

    assert 1000 < refused < 2000  # both happen, or the files are of no use


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(2, 12))
def test_no_bad_file_of_a_million_makes_a_reader_fail_or_hang(seed: int) -> None:
    read_all(seed=seed, count=100_000)


LARGE = 128 * 1024


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (JSON, b"[" * LARGE),
        (JSON, b'{"a":' * (LARGE // 5)),
        (JSON, b"{" + b",".join(b'"%d":1' % number for number in range(11_000)) + b"}"),
        (JSON, b'{"pluginName":"' + b"x" * (LARGE - 20) + b'"}'),
        (JSON, b'{"' + b"x" * (LARGE - 20) + b'":1}'),
        (JSON, b" " * LARGE),
        (JSON, b"9" * LARGE),
        (HOST, b"a" + b" " * LARGE + b"b"),
        (CONF, b"[freeze]\na =" + b" " * LARGE + b"b"),
        (CONF, b"[freeze]\nskip = " + b"," * LARGE),
        (CONF, b"[freeze]\nskip = " + b"a," * (LARGE // 2)),
        (CONF, b"\n" * LARGE),
        (CONF, b"".join(b"[app %d]\n" % number for number in range(12_000))),
        (CONF, b"".join(b"[%d]\n" % number for number in range(12_000))),
        (HOST, b"[pre_post]\n" + b"".join(b"k%d=\n" % number for number in range(12_000))),
        (HOST, b"[pre_post]\n" + b"".join(b"pluginName%d=\n" % n for n in range(1000))),
    ],
    ids=range(16),
)
def test_a_large_file_is_read_in_steps_that_grow_with_its_size(kind: str, data: bytes) -> None:
    steps = steps_of(lambda: PARSERS[kind](data, source=SOURCE))

    assert steps <= MOST_STEPS + MOST_STEPS_PER_BYTE * len(data)
    read(kind, data)


@given(st.binary(max_size=300), st.sampled_from(sorted(PARSERS)))
@example(b"", JSON)
@example(b"", HOST)
def test_any_bytes_are_read_without_a_failure(data: bytes, kind: str) -> None:
    read(kind, data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=9), VALUES, max_size=8))
def test_what_counts_of_any_object_is_what_it_says_and_all_else_is_refused(
    document: dict[str, Any],
) -> None:
    text = json.dumps(document)
    if any(word in text for word in ("NaN", "Infinity")):
        assert read(JSON, text.encode()).errors
        return
    config = read(JSON, text.encode())

    for key, value in config.values.items():
        said = tuple(document[key]) if isinstance(value, tuple) else document[key]
        assert value == said or (value == () and not any(said))
    wrong = [key for key in document if key in KEYS[:10] and key not in config.values]
    assert bool(config.errors) >= bool(wrong)
    for key in wrong[: MOST_TOLD if len(config.errors) <= MOST_TOLD else 0]:
        assert any(key in error.message for error in config.errors)


@given(
    st.sampled_from(("timeout_s", "deadline_s")),
    st.floats(min_value=0.001, max_value=99_999).map(lambda number: f"{number:.3f}"),
)
def test_any_number_of_seconds_is_read_or_limited(key: str, number: str) -> None:
    conf = read(CONF, f"[freeze]\n{key} = {number}\n".encode())

    assert conf.errors == ()
    got = conf.freeze_timeout_s if key == "timeout_s" else conf.deadline_s
    limit = conf.deadline_s / 2 if key == "timeout_s" else 3600.0
    assert got == min(float(number), limit)
    assert bool(conf.warnings) == (float(number) > limit)
