from __future__ import annotations

import gettext
import re
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quiesce import catalogue
from quiesce.catalogue import language_of, phrase, translation
from quiesce.errors import KINDS, ExitStatus, QuiesceError
from quiesce.guest.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMPILED = Path(catalogue.__file__).parent / "locale/it/LC_MESSAGES/quiesce.mo"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Let each test choose its language."""
    translation.cache_clear()
    yield
    translation.cache_clear()


@pytest.fixture
def in_italian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "it_IT.UTF-8")


def loading(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], bytes]) -> None:
    """Let *load* be what reads the catalogue."""

    class Loader:
        def get_data(self, path: str) -> bytes:
            return load(path)

    monkeypatch.setitem(vars(catalogue), "__loader__", Loader())


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, None),
        ({"LANG": ""}, None),
        ({"LANG": "C"}, None),
        ({"LANG": "en_GB.UTF-8"}, None),
        ({"LANG": "fr_FR.UTF-8"}, None),
        ({"LANG": "it"}, "it"),
        ({"LANG": "it_IT"}, "it"),
        ({"LANG": "it_IT.UTF-8"}, "it"),
        ({"LANG": "it_CH.UTF-8@euro"}, "it"),
        ({"LANG": "it@euro"}, "it"),
        ({"LANG": "italian"}, None),
        ({"LANG": "it_IT.UTF-8", "LC_MESSAGES": "C.UTF-8"}, None),
        ({"LANG": "C", "LC_MESSAGES": "it_IT.UTF-8"}, "it"),
        ({"LANG": "C", "LC_MESSAGES": "C", "LC_ALL": "it_IT.UTF-8"}, "it"),
        ({"LANG": "it_IT.UTF-8", "LC_ALL": "en_US.UTF-8"}, None),
        ({"LANG": "it_IT.UTF-8", "LC_ALL": "POSIX"}, None),
        ({"LANG": "it_IT.UTF-8", "LC_ALL": ""}, "it"),
        ({"LANGUAGE": "it"}, None),
        ({"LANGUAGE": "it", "LANG": "C.UTF-8"}, None),
        ({"LANGUAGE": "it", "LANG": "en_US.UTF-8"}, "it"),
        ({"LANGUAGE": "fr:it:en", "LANG": "en_US.UTF-8"}, "it"),
        ({"LANGUAGE": "en:it", "LANG": "it_IT.UTF-8"}, None),
        ({"LANGUAGE": "fr:de", "LANG": "it_IT.UTF-8"}, None),
        ({"LANGUAGE": "", "LANG": "it_IT.UTF-8"}, "it"),
    ],
)
def test_the_language_is_chosen_as_gettext_chooses_it(
    environ: dict[str, str], language: str | None
) -> None:
    assert language_of(environ) == language


@pytest.mark.usefixtures("in_italian")
def test_a_text_is_said_in_italian_with_its_values_in_their_places() -> None:
    said = phrase("cannot thaw {path}: {reason}", path="/data", reason="EIO")

    assert said == "impossibile sbloccare /data: EIO"


@pytest.mark.usefixtures("in_italian")
def test_an_error_speaks_italian_and_keeps_its_name_and_number() -> None:
    error = QuiesceError("ThawFailed", "cannot thaw {path}: {reason}", path="/", reason="EIO")
    table_s = QuiesceError("NothingHeld", "nothing is held")

    assert (error.name, error.number) == ("ThawFailed", 1003)
    assert str(error) == error.message == "impossibile sbloccare /: EIO"
    assert table_s.action == "mettere prima a riposo: quiesce-guest hold"


@pytest.mark.usefixtures("in_italian")
def test_what_is_not_in_the_catalogue_is_said_as_it_is() -> None:
    assert phrase("nobody says this of {path}", path="/") == "nobody says this of /"
    assert phrase("") == ""


def test_braces_in_values_and_in_texts_without_values_stay() -> None:
    error = QuiesceError(
        "ThawFailed", "cannot thaw {path}: {reason}", path="/{a}", reason="{}", action="rm {path}"
    )

    assert error.message == "cannot thaw /{a}: {}"
    assert error.action == "rm /{a}"
    assert QuiesceError("ThawFailed", "{it} {", action="} {x").message == "{it} {"
    assert QuiesceError("ThawFailed", "{it} {", action="} {x").action == "} {x"


def test_values_may_have_any_name() -> None:
    error = QuiesceError("ThawFailed", "{name} {message} {self}", name=1, message=2, self=3)

    assert error.message == "1 2 3"


@pytest.mark.parametrize("data", [b"", b"\xde\x12\x04\x95", b"nonsense" * 100])
@pytest.mark.usefixtures("in_italian")
def test_a_damaged_catalogue_means_english(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    loading(monkeypatch, lambda _path: data)

    assert phrase("there is no report") == "there is no report"


@pytest.mark.usefixtures("in_italian")
def test_a_catalogue_that_is_cut_anywhere_means_english_or_italian_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = COMPILED.read_bytes()
    said = set()
    for end in range(0, len(whole), 199):
        translation.cache_clear()
        loading(monkeypatch, lambda _path, end=end: whole[:end])
        said.add(phrase("cannot thaw {path}: {reason}", path="/", reason="EIO"))

    assert said <= {"cannot thaw /: EIO", "impossibile sbloccare /: EIO"}


@pytest.mark.usefixtures("in_italian")
def test_a_missing_catalogue_means_english(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str) -> bytes:
        raise FileNotFoundError(path)

    loading(monkeypatch, missing)

    assert phrase("there is no report") == "there is no report"


@pytest.mark.parametrize("wrong", ["{other}", "{path", "{}", "{path.nothing}", "{path:d}"])
def test_a_translation_that_the_values_do_not_fit_means_english(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(catalogue, "translation", lambda: lambda _text: wrong)

    assert phrase("it is {path}", path="/") == "it is /"


def test_every_row_of_the_table_and_every_status_is_in_the_italian_catalogue() -> None:
    with COMPILED.open("rb") as file:
        italian = gettext.GNUTranslations(file)
    texts = [text for kind in KINDS.values() for text in (kind.when, kind.action)]
    texts += [status.meaning for status in ExitStatus]
    commands = {kind.action for kind in KINDS.values() if kind.action.startswith("quiesce")}

    assert [text for text in texts if italian.gettext(text) == text and text not in commands] == []


def italian_texts() -> dict[str, str]:
    """Return the English texts of the compiled catalogue with the Italian ones."""
    with COMPILED.open("rb") as file:
        known: dict[str, str] = vars(gettext.GNUTranslations(file))["_catalog"]
    return {text: said for text, said in known.items() if text}


def test_the_italian_catalogue_has_the_places_for_values_of_the_texts() -> None:
    def places(text: str) -> list[tuple[str | None, str | None, str | None]]:
        return sorted(field[1:] for field in string.Formatter().parse(text) if field[1])

    texts = italian_texts()
    wrong = [text for text, said in texts.items() if places(text) != places(said)]

    assert len(texts) > 100
    assert wrong == []


def test_commands_options_and_names_are_the_same_in_italian() -> None:
    kept = re.compile(
        r"[:;] quiesce(?:-guest)? [a-z]+|--[a-z-]+|/[a-z][a-z/.]+|ch(?:mod|own) \S+|[a-z]+[A-Z]\w+"
    )
    texts = italian_texts()
    wrong = {
        text: said
        for text, said in texts.items()
        if sorted(kept.findall(text)) != sorted(kept.findall(said))
    }

    assert wrong == {}


def test_nothing_is_loaded_or_read_for_english(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(path: str) -> bytes:
        pytest.fail(f"{path} was read")

    loading(monkeypatch, never)
    monkeypatch.delitem(sys.modules, "gettext")
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")

    assert phrase("there is no report") == "there is no report"
    assert "gettext" not in sys.modules


def test_the_catalogue_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def load(path: str) -> bytes:
        read.append(path)
        return COMPILED.read_bytes()

    loading(monkeypatch, load)
    monkeypatch.setenv("LC_ALL", "it_IT.UTF-8")
    translation()
    for _ in range(3):
        assert phrase("there is no report") == "non ci sono rapporti"

    assert len(read) == 1


def test_the_guest_s_program_reads_the_catalogue_before_it_does_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[str] = []
    loading(monkeypatch, lambda path: read.append(path) or b"")
    monkeypatch.setenv("LC_ALL", "it_IT.UTF-8")
    with pytest.raises(SystemExit):
        main(["--version"])

    assert len(read) == 1
    assert "quiesce-guest" in capsys.readouterr().out
