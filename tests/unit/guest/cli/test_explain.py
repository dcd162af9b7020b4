from __future__ import annotations

import argparse
import json

import pytest

from quiesce.errors import KINDS
from quiesce.guest.cli import explain


def ask(*words: str) -> int:
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    return explain.run(parser.parse_args(words))


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_error_is_found_by_name_in_any_case_and_by_each_of_its_numbers(name: str) -> None:
    kind = KINDS[name]
    words = [name, name.upper(), name.lower(), str(kind.number), *map(str, kind.also)]

    assert [explain.find(word) for word in words] == [kind] * len(words)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("313", "IncorrectPluginhostFile"),
        ("314", "IncorrectPluginhostFile"),
        ("316", "IncorrectJSONConfigFile"),
        ("317", "IncorrectJSONConfigFile"),
    ],
)
def test_the_other_numbers_of_microsoft_s_extension_are_known(number: str, name: str) -> None:
    assert explain.find(number) is KINDS[name]


def test_an_error_is_explained_with_what_happened_what_to_do_and_the_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = KINDS["Pre-ScriptTimeout"]

    assert ask("pre-scripttimeout") == 0

    lines = capsys.readouterr().out.splitlines()
    statuses = (
        "3 (done, but degraded: at a lower level than configured); 4 (aborted or refused)"
        " where continueBackupOnFailure is false and there are several disks"
    )
    assert lines == [
        "Pre-ScriptTimeout (308)",
        f"  what happened: {kind.when}",
        f"  what to do: {kind.action}",
        f"  exit status: {statuses}",
    ]


def test_an_error_that_no_setting_turns_into_an_abort_has_one_exit_status() -> None:
    assert explain.told(KINDS["AlreadyHeld"])[-1] == "  exit status: 9 (busy)"


def test_all_errors_are_listed_without_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask() == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [f"{name}:" for name in KINDS]


def test_the_json_has_the_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("316", "--json") == 0

    (row,) = json.loads(capsys.readouterr().out)["errors"]
    kind = KINDS["IncorrectJSONConfigFile"]
    assert row == {
        "name": "IncorrectJSONConfigFile",
        "number": 305,
        "also": [316, 317],
        "when": kind.when,
        "action": kind.action,
        "exit_status": 3,
        "may_abort": True,
    }


def test_the_json_without_a_name_has_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--json") == 0

    assert len(json.loads(capsys.readouterr().out)["errors"]) == len(KINDS)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("Pre-ScriptTimout", "did you mean Pre-ScriptTimeout?"),
        ("timeout", "Pre-ScriptTimeout, Post-ScriptTimeout, FsFreezeTimeout"),
        ("IncorrectJSONConfgFile", "did you mean IncorrectJSONConfigFile?"),
        ("315", "list them: quiesce-guest explain"),
        ("", "list them: quiesce-guest explain"),
    ],
)
def test_an_unknown_error_ends_with_status_2_and_the_nearest_names(
    capsys: pytest.CaptureFixture[str], word: str, says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        ask(word)

    assert ended.value.code == 2
    assert says in capsys.readouterr().err
