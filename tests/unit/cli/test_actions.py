import re

from quiesce.cli.main import quiesce
from quiesce.errors import KINDS


def test_an_action_names_only_verbs_of_the_host_s_program_that_there_are() -> None:
    named = {
        verb
        for kind in KINDS.values()
        for verb in re.findall(r"(?:^|[:;] )quiesce ([a-z]+)", kind.action)
    }

    assert "points" in named
    assert named <= set(quiesce.commands)
