import json
from typing import Any

import pytest

from quiesce.guest.configuration import plugin_config
from quiesce.guest.configuration.plugin_config import PluginConfig

SOURCE = "/etc/azure/VMSnapshotPluginConfig.json"
GOOD: dict[str, Any] = {
    "pluginName": "ScriptRunner",
    "preScriptLocation": "/etc/azure/pre.sh",
    "postScriptLocation": "/etc/azure/post.sh",
    "preScriptParams": ["one", "two"],
    "postScriptParams": ["", ""],
    "preScriptNoOfRetries": 2,
    "postScriptNoOfRetries": 0,
    "timeoutInSeconds": 30,
    "continueBackupOnFailure": False,
    "fsFreezeEnabled": False,
}


def read(document: Any) -> PluginConfig:
    """Read bytes as they are, and an object with one member in each line from the second on."""
    if not isinstance(document, bytes):
        members = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in document.items()]
        document = ("{\n" + ",\n".join(members) + "\n}").encode()
    return plugin_config.parse(document, source=SOURCE)


def messages(config: PluginConfig) -> list[str]:
    assert {error.name for error in config.errors} <= {"IncorrectJSONConfigFile"}
    return [error.message for error in config.errors]


def test_a_good_file_is_read_without_a_word() -> None:
    config = read(GOOD)

    assert (config.errors, config.warnings, config.notes) == ((), (), ())
    assert config.values == {**GOOD, "preScriptParams": ("one", "two"), "postScriptParams": ()}


@pytest.mark.parametrize("key", ["preScriptLocation", "postScriptLocation"])
def test_a_location_that_is_missing_is_an_error(key: str) -> None:
    config = read({name: value for name, value in GOOD.items() if name != key})

    assert messages(config) == [
        f"{SOURCE}: line 1, column 1: {key} is missing; an absolute path is allowed"
    ]


@pytest.mark.parametrize("key", sorted(set(GOOD) - {"preScriptLocation", "postScriptLocation"}))
def test_every_other_key_may_be_missing(key: str) -> None:
    config = read({name: value for name, value in GOOD.items() if name != key})

    assert config.errors == ()
    assert config.get(key, "its default") == "its default"


WRONG = {
    "pluginName": ["Other", "scriptrunner", None, 1],
    "preScriptLocation": [None, 1, ["/x"], "/a\0b"],
    "postScriptLocation": [None, True, {}],
    "preScriptParams": ["one", [1], [None], ["a\0"], {}],
    "postScriptParams": ["", [["x"]], False],
    "preScriptNoOfRetries": [-1, 1.5, "3", True, None],
    "postScriptNoOfRetries": [-1, 0.0, "0", False],
    "timeoutInSeconds": [0, -1, "30", True, None, []],
    "continueBackupOnFailure": ["false", "true", 0, 1, None],
    "fsFreezeEnabled": ["false", 0, None],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_named_with_its_place_what_was_found_and_what_is_allowed(
    key: str, value: Any
) -> None:
    config = read({**GOOD, key: value})

    [message] = messages(config)

    line, column = list(GOOD).index(key) + 2, len(key) + 5
    assert message.startswith(f"{SOURCE}: line {line}, column {column}: {key} is ")
    assert "; allowed is " in message
    assert key not in config.values


@pytest.mark.parametrize("key", sorted(GOOD))
@pytest.mark.parametrize("misspelt", [str.upper, str.lower, str.title])
def test_a_key_in_the_wrong_case_is_an_error_that_names_the_right_one(
    key: str, misspelt: Any
) -> None:
    document = {(misspelt(name) if name == key else name): value for name, value in GOOD.items()}
    found = [message for message in messages(read(document)) if "misspelt" in message]

    assert len(found) == 1
    assert f"{misspelt(key)} is misspelt; allowed is {key}" in found[0]


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_key_that_stands_twice_is_an_error_and_neither_value_counts(key: str) -> None:
    text = json.dumps(GOOD)[:-1] + f", {json.dumps(key)}: {json.dumps(GOOD[key])}}}"
    config = read(text.encode())

    [message] = messages(config)

    assert f"{key} stands twice, first in line 1, column " in message
    assert key not in config.values


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("timeoutInSecond", "timeoutInSeconds"),
        ("preScriptLocatoin", "preScriptLocation"),
        ("fsFreezeEnable", "fsFreezeEnabled"),
        ("appname2", "appName"),
    ],
)
def test_an_unknown_key_is_a_warning_that_suggests_the_nearest(unknown: str, meant: str) -> None:
    config = read({**GOOD, unknown: 1})

    assert config.errors == ()
    assert config.warnings[0].endswith(f"{unknown} is unknown and ignored; did you mean {meant}?")


def test_an_unknown_key_that_is_like_no_other_gets_no_suggestion() -> None:
    assert read({**GOOD, "colour": "red"}).warnings[0].endswith("colour is unknown and ignored")


@pytest.mark.parametrize("key", ["ScriptsExecutionPollTimeSeconds", "appName"])
def test_a_key_of_the_old_template_is_accepted_without_effect(key: str) -> None:
    config = read({**GOOD, key: 3})

    assert (config.errors, config.warnings) == ((), ())
    assert config.notes == (f"{SOURCE}: {key} is accepted and has no effect",)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b"[]", "it must be an object, found a list"),
        (b'"x"', "it must be an object, found the string"),
        (b'{"pluginName": "\xe9"}', "not UTF-8"),
        (b" " * (1024 * 1024 + 1), "larger than 1 MiB"),
    ],
)
def test_what_is_no_json_object_is_an_error(data: bytes, says: str) -> None:
    config = read(data)

    assert says in messages(config)[0]
    assert config.values == {}


def test_a_byte_order_mark_is_an_error_and_the_values_are_still_known() -> None:
    config = read(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())

    assert "byte order mark" in messages(config)[0]
    assert config.get("continueBackupOnFailure", True) is False


def test_all_errors_are_told_at_once_in_the_order_of_the_file() -> None:
    config = read({**GOOD, "pluginName": 1, "timeoutInSeconds": "30", "fsFreezeEnabled": "no"})

    assert [message.split(": ")[2].split(" ")[0] for message in messages(config)] == [
        "pluginName",
        "timeoutInSeconds",
        "fsFreezeEnabled",
    ]


def test_of_very_many_findings_the_first_and_the_number_of_the_others_are_told() -> None:
    unknown = {f"{'x' * 90}{number}": 1 for number in range(5000)}
    wrong = b"{" + b",".join(b'"pluginName": 1' for _ in range(5000)) + b"}"

    warnings = read({**GOOD, **unknown}).warnings
    errors = messages(read(wrong))

    assert len(warnings) == len(errors) == 21
    assert warnings[-1] == f"{SOURCE}: 4980 more are like that"
    assert f"{'x' * 60}… is unknown" in warnings[0]
    assert errors[-1] == f"{SOURCE}: 4982 more are wrong"
