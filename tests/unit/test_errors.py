from quiesce.errors import KINDS, QuiesceError


def test_every_number_is_used_once() -> None:
    numbers = [kind.number for kind in KINDS.values()]

    assert len(numbers) == len(set(numbers))


def test_every_action_is_one_line_without_a_full_stop() -> None:
    wrong = [kind.name for kind in KINDS.values() if kind.action.endswith(".") or not kind.action]

    assert wrong == []


def test_an_action_of_the_raiser_replaces_the_table_s() -> None:
    assert QuiesceError("VaultNotFound", "no vault", action="look").action == "look"
    assert QuiesceError("VaultNotFound", "no vault").action == KINDS["VaultNotFound"].action
