from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.guest.configuration.plugin_config import parse
from quiesce.guest.installation.install_config import install_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = "etc/azure/VMSnapshotPluginConfig.json"
PRE, POST = "etc/quiesce/scripts/pre", "etc/quiesce/scripts/post"
OTHERS = ("etc/azure/VMSnapshotScriptPluginConfig.json", "etc/azure/VMSnapshotPluginHost.conf")


@pytest.fixture(params=[0o022, 0o002, 0o077], autouse=True)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def actions(root: Path) -> dict[str, str]:
    return {change.path.lstrip("/"): change.action for change in install_config(root=root)}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_template_and_scripts_have_the_modes_of_the_page(tmp_path: Path) -> None:
    assert actions(tmp_path) == {CONFIG: "wrote", PRE: "wrote", POST: "wrote"}
    assert mode(tmp_path / CONFIG) == 0o600
    assert mode(tmp_path / PRE) == mode(tmp_path / POST) == 0o700
    assert mode(tmp_path / "etc/quiesce/scripts") == 0o700
    assert not mode(tmp_path / "etc/azure") & 0o022
    assert not mode(tmp_path / "etc/quiesce") & 0o022


def test_the_template_names_the_scripts_and_has_no_finding(tmp_path: Path) -> None:
    install_config(root=tmp_path)

    parsed = parse((tmp_path / CONFIG).read_bytes(), source="it")
    assert (parsed.errors, parsed.warnings) == ((), ())
    assert parsed.get("preScriptLocation", "") == f"/{PRE}"
    assert parsed.get("postScriptLocation", "") == f"/{POST}"
    assert parsed.get("preScriptParams", None) == ()


@pytest.mark.parametrize("existing", [CONFIG, PRE, POST])
def test_an_existing_file_is_left_as_it_is(tmp_path: Path, existing: str) -> None:
    put(tmp_path, existing, "theirs")
    expected = dict.fromkeys((CONFIG, PRE, POST), "wrote") | {existing: "left"}

    assert actions(tmp_path) == expected
    assert (tmp_path / existing).read_text() == "theirs"


def test_a_dangling_link_is_left_too(tmp_path: Path) -> None:
    put(tmp_path, "etc/azure/x", "")
    (tmp_path / CONFIG).symlink_to("/nowhere")

    assert actions(tmp_path)[CONFIG] == "left"
    assert (tmp_path / CONFIG).is_symlink()


@pytest.mark.parametrize("other", OTHERS)
def test_the_template_does_not_take_the_place_of_a_configuration_by_another_name(
    tmp_path: Path, other: str
) -> None:
    put(tmp_path, other, "theirs")

    assert actions(tmp_path) == {other: "left", PRE: "wrote", POST: "wrote"}
    assert not (tmp_path / CONFIG).exists()


def test_again_leaves_everything(tmp_path: Path) -> None:
    install_config(root=tmp_path)
    document = json.loads((tmp_path / CONFIG).read_text())

    assert set(actions(tmp_path).values()) == {"left"}
    assert json.loads((tmp_path / CONFIG).read_text()) == document


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    put(tmp_path, "etc/azure", "in the way")

    with pytest.raises(QuiesceError, match="etc/azure") as caught:
        install_config(root=tmp_path)

    assert caught.value.name == "InstallRefused"
