"""A thaw of the agent that comes in the moment in which the session goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.faults

THAWS = 400
# Sessions that have answered already, one after the other.
COMING_AND_GOING = """
import sys
sys.path.insert(0, "/opt/guest-set")
from pathlib import Path
from quiesce.guest.window import line
Path("/run/quiesce").mkdir(mode=0o700)
while not Path("/run/enough").exists():
    held = line.create("qga")
    held.answer("ok", 0)
    held.close()
"""


@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
def test_a_thaw_finds_a_session_or_none_and_makes_no_file(box: Box, shell: str) -> None:
    assert box.run("install", "qga").returncode == 0
    box.write("/run/lines.py", COMING_AND_GOING)
    ended = box.shell(
        "sed -i 's,^program=.*,program=true,' /etc/quiesce/qga-hook\n"
        "python3 /run/lines.py >/run/lines.err 2>&1 & lines=$!\n"
        f"for _ in $(seq {THAWS}); do {shell} /etc/quiesce/qga-hook thaw; echo $?; done\n"
        "touch /run/enough; wait $lines; cat /run/lines.err >&2; ls -A /run/quiesce >&2"
    )

    # 5: the line was there, and the session went before it had answered.
    assert set(ended.stdout.split()) <= {"0", "5"}
    assert "0" in ended.stdout.split()
    assert ended.stderr == ""
