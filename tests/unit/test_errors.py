import re

from quiesce.errors import KINDS, ExitStatus, QuiesceError
from quiesce.guest.cli import main


def test_every_number_is_used_once() -> None:
    numbers = [kind.number for kind in KINDS.values()]

    assert len(numbers) == len(set(numbers))


def test_every_action_is_one_line_without_a_full_stop() -> None:
    wrong = [kind.name for kind in KINDS.values() if kind.action.endswith(".") or not kind.action]

    assert wrong == []


def test_an_action_of_the_raiser_replaces_the_table_s() -> None:
    assert QuiesceError("VaultNotFound", "no vault", action="look").action == "look"
    assert QuiesceError("VaultNotFound", "no vault").action == KINDS["VaultNotFound"].action


def test_every_row_says_in_one_line_what_happened_without_a_full_stop() -> None:
    wrong = [
        kind.name
        for kind in KINDS.values()
        if not kind.when or kind.when.endswith(".") or "\n" in kind.when or "{" in kind.when
    ]

    assert wrong == []


def test_the_numbers_of_microsoft_s_extension_are_used_once_too() -> None:
    numbers = [number for kind in KINDS.values() for number in (kind.number, *kind.also)]

    assert len(numbers) == len(set(numbers))
    assert {number for number in numbers if number < 1000} == {
        *(121, 122, 123),
        *range(300, 310),
        *(313, 314, 316, 317),
    }


def test_what_continue_backup_on_failure_decides_is_degraded_otherwise() -> None:
    assert {kind.exit_status for kind in KINDS.values() if kind.may_abort} == {ExitStatus.DEGRADED}


def test_every_exit_status_has_a_meaning() -> None:
    assert len({status.meaning for status in ExitStatus}) == len(ExitStatus)


def test_an_action_names_only_verbs_of_the_guest_s_program_that_there_are() -> None:
    named = {
        verb
        for kind in KINDS.values()
        for verb in re.findall(r"(?:^|[:;] )quiesce-guest ([a-z]+)", kind.action)
    }

    assert "check" in named
    assert named <= set(main._VERBS)
