"""Forget, recall, hold, unhold and prune through the real program."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from quiesce import config
from quiesce.cli.main import main
from quiesce.errors import ExitStatus
from quiesce.system import ulid
from quiesce.vault.stores.directory import DirectoryStore
from vault_box import CHUNK, EVIDENCE, copied, lay_key_files, open_vault, pattern, small_vault

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


class Program:
    """The program with a vault of its own, that has four points."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings = root / "quiesce.toml"
        self.store = DirectoryStore(root / "vault")
        self._url = (root / "vault").as_uri()
        self._capsys = capsys
        vault = small_vault(self.store)
        lay_key_files(root / "state" / "keys", self._url)
        for seed in range(4):
            with vault.session(machine="web1", uuid=None, sid=ulid.new()) as session:
                copied(session, {"vda": pattern(seed, 3 * CHUNK)})
                session.commit(EVIDENCE, created_at=datetime.now(UTC).isoformat()[:-6] + "Z")

    def run(self, *arguments: str, status: ExitStatus = ExitStatus.DONE) -> str:
        found = main(["--config", str(self.settings), "--vault", self._url, *arguments])
        output = self._capsys.readouterr().out
        assert found == status, output
        return output

    def json(self, *arguments: str, **more: Any) -> dict[str, Any]:
        document = json.loads(self.run(*arguments, "--json", **more))
        if "schema" in document:
            name = document["schema"].partition(".")[2].partition("/")[0]
            schema = (resources.files("quiesce") / "schemas" / f"{name}.json").read_text()
            jsonschema.validate(document, json.loads(schema))
        return document

    def states(self) -> list[str]:
        return [point["state"] for point in self.json("points")["points"]]

    @property
    def latest(self) -> str:
        return open_vault(self.store).find("web1@latest").id

    @property
    def ids(self) -> list[str]:
        return [point.id for point in open_vault(self.store).points()]


@pytest.fixture
def program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.setattr(config, "state_directory", lambda: tmp_path / "state")
    made = Program(tmp_path, capsys)
    made.settings.write_text("[retention]\nkeep_last = 2\nundelete_days = 0\n")
    return made


def test_a_dry_run_says_what_would_go_and_why_and_does_nothing(program: Program) -> None:
    ids = program.ids
    document = program.json("prune", "--dry-run")
    (domain,) = document["domains"]

    assert document["done"] is False
    assert [point["id"] for point in domain["forgotten"]] == [ids[1], ids[0]]
    assert domain["kept"] == {ids[3]: ["newest", "last"], ids[2]: ["last"]}
    assert "would forget 2" in program.run("prune", "--dry-run")
    assert program.states() == ["live"] * 4


def test_two_prunes_free_the_space_of_what_is_forgotten(program: Program) -> None:
    before = len(list(program.store.list("")))
    program.json("prune")
    assert program.states() == ["forgotten", "forgotten", "live", "live"]
    document = program.json("prune")

    assert document["domains"][0]["freed_bytes"] > 6 * CHUNK
    assert program.states() == ["live", "live"]
    assert len(list(program.store.list(""))) < before
    assert "kept 2, forgot 0, purged 0, freed 0 B" in program.run("prune")


def test_without_rules_a_prune_forgets_nothing(program: Program) -> None:
    program.settings.write_text("")
    program.run("prune")

    assert program.states() == ["live"] * 4


def test_a_prune_that_would_forget_too_much_is_refused(program: Program) -> None:
    program.settings.write_text("[retention]\nkeep_last = 1\n")
    error = program.json("prune", status=ExitStatus.ABORTED)["error"]

    assert error["name"] == "PruneRefused"
    assert program.states() == ["live"] * 4
    program.run("prune", "--limit", "75")
    assert program.states().count("live") == 1


def test_forget_and_recall(program: Program) -> None:
    newest, before = program.ids[3], program.ids[2]
    document = program.json("forget", "web1@latest")

    assert [point["state"] for point in document["points"]] == ["forgotten"]
    assert program.latest == before
    assert program.json("recall", newest)["points"][0]["state"] == "live"
    assert program.latest == newest


def test_a_held_point_stays_until_the_hold_ends(program: Program) -> None:
    first = program.ids[0]
    assert program.json("hold", first)["holds"][0]["legal"] is False
    assert program.json("forget", first, status=ExitStatus.ABORTED)["error"]["name"] == "PointHeld"
    program.run("prune")
    assert program.states() == ["live", "forgotten", "live", "live"]

    assert program.json("unhold", first)["holds"] == []
    program.run("forget", first)


def test_a_legal_hold_ends_only_where_that_is_meant(program: Program) -> None:
    first = program.ids[0]
    program.run("hold", first, "--legal")

    refused = program.json("unhold", first, status=ExitStatus.ABORTED)
    assert "--legal" in refused["error"]["action"]
    assert program.json("unhold", first, "--legal")["holds"] == []


@pytest.mark.parametrize("verb", ["forget", "recall", "hold", "unhold"])
def test_a_point_that_is_not_there_is_not_found(program: Program, verb: str) -> None:
    program.run(verb, "01JD0000", status=ExitStatus.NOT_FOUND)


def test_wrong_rules_are_named(program: Program) -> None:
    program.settings.write_text("[retention]\nkeep_last = -1\n")
    error = program.json("prune", status=ExitStatus.USAGE)["error"]

    assert "retention.keep_last" in error["message"]
