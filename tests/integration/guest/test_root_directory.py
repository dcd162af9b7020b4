"""The root directory itself is on the way to every file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guest_box import Box

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("spoil", ["chmod 777 /", "chown 65534 /"])
def test_where_others_can_write_the_root_directory_no_script_runs(box: Box, spoil: str) -> None:
    box.configure()
    box.shell(spoil)

    ended = box.run("exec", "--no-freeze", "--json", "--", "true")

    assert ended.returncode == 3
    errors = box.report()["errors"]
    assert {error["name"] for error in errors} >= {"IncorrectJSONConfigFile"}
    assert all("the directory / " in error["message"] for error in errors)
    assert box.scripts_ran() == []
