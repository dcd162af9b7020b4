import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("catalogue_tool", ROOT / "tools/catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def read(tool: ModuleType, source: str) -> tuple[list[str], list[str]]:
    """Return the texts that are found in *source*, and the faults."""
    texts = tool.Texts()
    tool._Reader(texts, ROOT / "src/quiesce/some.py").visit(ast.parse(source))
    return list(texts.places), texts.faults


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('QuiesceError("ThawFailed", "a text")', ["a text"]),
        ('QuiesceError("ThawFailed", "a " "text", action="an action")', ["a text", "an action"]),
        ('QuiesceError(name, "one" if is_so else "other")', ["one", "other"]),
        ('phrase("a {thing}", thing=1)', ["a {thing}"]),
        ('X = mark("later")', ["later"]),
        ('_kind = ErrorKind("Name", 1, STATUS, "when", "action")', ["when", "action"]),
        ('_WHY = "because"\ndef f():\n    return QuiesceError(name, _WHY)', ["because"]),
        (
            'def f():\n    said = "a"\n    phrase(said)\n    said = "b"\n    phrase(said)',
            ["a", "b"],
        ),
        ('QuiesceError("ThawFailed", "{path}: {reason}", path=1, reason=2)', []),
        ('print("not for the catalogue")', []),
    ],
)
def test_texts_are_found_where_they_stand(tool: ModuleType, source: str, found: list[str]) -> None:
    assert read(tool, source) == (found, [])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ('QuiesceError("ThawFailed", f"cannot thaw {path}")', "no f-string"),
        ('phrase("it is {a}", b=1)', "places without a value {'a'}"),
        ('phrase("it is {a}", a=1, b=1)', "values without a place {'b'}"),
        ('QuiesceError(name, "it is {a}", a=1, action="do {c}")', "without a value {'c'}"),
    ],
)
def test_calls_that_cannot_be_translated_are_faults(
    tool: ModuleType, source: str, says: str
) -> None:
    _texts, faults = read(tool, source)

    assert len(faults) == 1
    assert says in faults[0]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("è {path}", None),
        ("", "no translation"),
        ("è {way}", "other places for values"),
        ("è {path!r}", "other places for values"),
        ("è", "other places for values"),
        ("è {path}.", "begins or ends other"),
        (" è {path}", "begins or ends other"),
    ],
)
def test_translations_that_do_not_fit_are_faults(
    tool: ModuleType, said: str, fault: str | None
) -> None:
    texts = tool.Texts()
    texts.add("it is {path}", "some.py")
    catalogue = Catalog(locale="it")
    catalogue.add("it is {path}", said)

    faults = list(tool._faults(catalogue, texts))

    assert len(faults) == (0 if fault is None else 1)
    assert fault is None or fault in faults[0]


def test_a_translation_of_what_is_no_longer_said_is_a_fault(tool: ModuleType) -> None:
    catalogue = Catalog(locale="it")
    catalogue.add("gone", "andato")

    (fault,) = tool._faults(catalogue, tool.Texts())

    assert "no longer in the sources" in fault


def test_bringing_up_to_date_keeps_what_is_translated(tool: ModuleType) -> None:
    old = Catalog(locale="it")
    old.add("stays", "resta")
    old.add("gone", "andato")
    texts = tool.Texts()
    texts.add("stays", "some.py")
    texts.add("new", "some.py")

    new = tool._updated(old, texts)

    assert {message.id: message.string for message in new if message.id} == {
        "stays": "resta",
        "new": "",
    }


def test_nothing_of_the_guest_set_is_left_out(tool: ModuleType) -> None:
    texts = tool._read_sources()

    assert len(texts.places) > 200
    assert texts.faults == []
