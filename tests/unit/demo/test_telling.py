from pathlib import Path

from quiesce.cli.commands.demo import _lines
from quiesce.demo.checks import Check
from quiesce.demo.story import Kept, Story

TIMES = {
    "script_s": 0.4,
    "held_s": 0.021,
    "frozen_s": 0.009,
    "snapshot_s": 0.008,
    "boot_s": 18.0,
    "copy_s": 6.0,
    "backup_s": 9.0,
    "restore_s": 1.5,
    "restored_boot_s": 17.0,
    "total_s": 62.0,
}
SIZES = {"logical_bytes": 3 << 30, "read_bytes": 600 << 20, "new_bytes": 150 << 20}


def story(*checks, kept=None):
    return Story("tcg", times=TIMES, sizes=SIZES, checks=list(checks), point="01K", kept=kept)


def test_the_summary_has_every_check_the_times_and_the_sizes():
    text = "\n".join(
        _lines(story(Check("rows are there", True, "all"), Check("e2fsck", False, "bad [inode]")))
    )

    assert "[green]✓[/] rows are there" in text
    assert "[bold red]✗[/] e2fsck" in text
    assert "bad \\[inode]" in text
    for word in (
        "held 21 ms",
        "frozen 9 ms",
        "copy 6.0 s",
        "restore 1.5 s",
        "3.0 GiB",
        "150.0 MiB",
    ):
        assert word in text


def test_a_kept_machine_is_told_with_its_end():
    kept = Kept(Path("/var/tmp/d"), Path("/var/tmp/d/quiesce.toml"), 42, "host=127.0.0.1 port=5")
    text = "\n".join(_lines(story(kept=kept)))

    assert "quiesce --config /var/tmp/d/quiesce.toml backup demo" in text
    assert "kill 42; rm -r /var/tmp/d" in text


def test_the_document_names_what_failed():
    told = story(Check("e2fsck", False, "bad")).to_json()

    assert told["schema"] == "quiesce.demo/1"
    assert told["checks"] == [{"name": "e2fsck", "passed": False, "detail": "bad"}]
    assert told["kept"] is None
