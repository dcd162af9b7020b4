"""The programs speak Italian where the locale asks for it, installed and as one file."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from guest_box import SOURCE, Box

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

CONFIG = "/etc/azure/VMSnapshotPluginConfig.json"
REFUSED = f"IncorrectJSONConfigFile: {CONFIG} è rifiutato: ha le autorizzazioni 0644, non 0600"
MEND = f"azione consigliata: chmod 600 {CONFIG}"


@pytest.fixture
def wrong(box: Box) -> Box:
    """Return a box whose plugin configuration everybody may read."""
    box.configure()
    (box.root / CONFIG.lstrip("/")).chmod(0o644)
    return box


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a one-file program, built beside the checkout's own."""
    directory = tmp_path_factory.mktemp("build")
    (directory / "tools").mkdir()
    tool = directory / "tools/build_pyz.py"
    tool.write_bytes((SOURCE.parent.parent / "tools/build_pyz.py").read_bytes())
    (directory / "src").mkdir()
    (directory / "src/quiesce").symlink_to(SOURCE)
    subprocess.run([sys.executable, str(tool)], check=True, capture_output=True)
    return directory / "build/quiesce-guest.pyz"


def test_check_tells_a_wrong_mode_and_the_command_that_mends_it_in_italian(wrong: Box) -> None:
    told = wrong.shell("LANG=it_IT.UTF-8 quiesce-guest check")

    assert told.returncode == 3
    assert REFUSED in told.stdout
    assert MEND in told.stdout


def test_the_one_file_program_has_the_catalogue_too(wrong: Box, archive: Path) -> None:
    program = wrong.root / "usr/local/bin/quiesce-guest.pyz"
    program.write_bytes(archive.read_bytes())

    told = wrong.shell("LANG=it_IT.UTF-8 python3 -I /usr/local/bin/quiesce-guest.pyz check")

    assert told.returncode == 3, told.stderr
    assert REFUSED in told.stdout
    assert MEND in told.stdout


def test_a_report_has_names_that_never_change_and_messages_in_italian(wrong: Box) -> None:
    wrong.mount("/data")

    ended = wrong.shell("LANG=it_IT.UTF-8 quiesce-guest exec --freeze /data -- true")

    (error,) = wrong.report()["errors"]
    assert ended.returncode == 3
    assert (error["name"], error["number"]) == ("IncorrectJSONConfigFile", 305)
    assert error["message"] == f"{CONFIG} è rifiutato: ha le autorizzazioni 0644, non 0600"
    assert error["action"] == f"chmod 600 {CONFIG}"


def test_scripts_and_commands_keep_their_own_language(box: Box) -> None:
    box.configure(pre='echo "$LANG $LANGUAGE $LC_ALL" >/run/script-language')
    box.mount("/data")

    ended = box.shell(
        "LANG=it_IT.UTF-8 quiesce-guest exec --freeze /data -- sh -c 'echo $LANG >/run/command'"
    )

    assert ended.returncode == 0, ended.stderr
    assert box.read("/run/script-language").strip() == "C.UTF-8"
    assert box.read("/run/command").strip() == "it_IT.UTF-8"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_a_terminal_cannot_show_is_no_traceback(box: Box, encoding: str) -> None:
    told = box.shell(
        f"LANG=it_IT.UTF-8 PYTHONPATH=/opt/guest-set PYTHONIOENCODING={encoding} python3 -c"
        " 'from quiesce.guest.cli.main import run; run()' explain 308"
        f" | iconv -f {encoding} -t utf-8"
    )

    assert (told.returncode, told.stderr) == (0, "")
    assert "stato di uscita: 3" in told.stdout


def test_an_explanation_in_json_has_the_name_and_the_italian_text(box: Box) -> None:
    told = box.shell("LANG=it_IT.UTF-8 quiesce-guest explain fsfreezefailed --json")

    (row,) = json.loads(told.stdout)["errors"]
    assert row["name"] == "FsFreezeFailed"
    assert "congelare" in row["when"]


def test_an_unknown_error_is_a_wrong_usage(box: Box) -> None:
    told = box.run("explain", "Pre-ScriptTimout")

    assert told.returncode == 2
    assert "did you mean Pre-ScriptTimeout?" in told.stderr


def test_the_catalogue_is_read_before_anything_is_frozen_and_never_again(box: Box) -> None:
    box.configure(post="exit 1")
    box.mount("/data")

    box.shell(
        "LANG=it_IT.UTF-8 strace -f -e trace=openat,ioctl -o /run/trace"
        " quiesce-guest exec --freeze /data -- true"
    )

    calls = box.read("/run/trace").splitlines()
    reads = [at for at, call in enumerate(calls) if "quiesce.mo" in call]
    freezes = [at for at, call in enumerate(calls) if "FIFREEZE" in call]
    assert box.report()["errors"][0]["message"].endswith("è finito con stato 1")
    assert len(reads) == len(freezes) == 1
    assert reads[0] < freezes[0]
