"""Bring the catalogues up to date with the texts of the guest set; `--check`: say what is not.

Texts are what `QuiesceError`, `ErrorKind`, `phrase` and `mark` are given, where it stands in the
source. A new one is added without a translation, one that is gone is taken out.
"""

from __future__ import annotations

import argparse
import ast
import string
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGE = _ROOT / "src" / "quiesce"
_SOURCES = ("catalogue.py", "errors.py", "error_table.py", "system", "model", "guest")
_LANGUAGES = ("it",)
# Which arguments of a call are texts: by position, and by name.
_POSITIONS = {"QuiesceError": (1,), "ErrorKind": (3, 4), "phrase": (0,), "mark": (0,)}
_NAMES = {"QuiesceError": ("action",)}
_FORMATTED = ("QuiesceError", "phrase")


@dataclass
class Texts:
    """The texts of the sources with the files they stand in, and what is wrong with the calls."""

    places: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, text: str, place: str) -> None:
        """Keep *text*, unless there is no word in it."""
        if any(part.isalpha() for piece, _field in _pieces(text) for part in piece):
            places = self.places.setdefault(text, [])
            if place not in places:
                places.append(place)


def main() -> int:
    """Write the catalogues, or check them; 1 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, and say what is off")
    only_check = parser.parse_args().check
    texts = _read_sources()
    faults = list(texts.faults)
    for language in _LANGUAGES:
        path = _PACKAGE / "locale" / language / "LC_MESSAGES" / "quiesce.po"
        catalogue = _read_catalogue(path, language)
        if not only_check:
            catalogue = _updated(catalogue, texts)
            with path.open("wb") as target:
                write_po(target, catalogue, width=100, include_lineno=False)
        name = path.relative_to(_ROOT)
        faults += [f"{name}: {fault}" for fault in _faults(catalogue, texts)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def _read_catalogue(path: Path, language: str) -> Catalog:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return Catalog(locale=language, project="quiesce", version="0", fuzzy=False)
    with path.open("rb") as source:
        return read_po(source, locale=language)


def _updated(old: Catalog, texts: Texts) -> Catalog:
    new = Catalog(
        locale=old.locale,
        project="quiesce",
        version="0",
        header_comment="# The texts of quiesce-guest; tools/catalogue.py brings it up to date.",
        copyright_holder="the quiesce authors",
        creation_date=old.creation_date,
        revision_date=old.creation_date,
        last_translator="the quiesce authors",
        language_team="the quiesce authors",
        fuzzy=False,
    )
    for text, places in texts.places.items():
        message = old.get(text)
        said = message.string if message is not None else ""
        new.add(text, said, locations=[(place, 0) for place in places])
    return new


def _faults(catalogue: Catalog, texts: Texts) -> Iterator[str]:
    for text in texts.places:
        message = catalogue.get(text)
        said = str(message.string) if message is not None else ""
        if not said or (message is not None and message.fuzzy):
            yield f"no translation: {text!r} (run tools/catalogue.py, and add it)"
        elif _fields(said) != _fields(text):
            yield f"other places for values than in the text: {said!r}"
        elif _edges(said) != _edges(text):
            yield f"begins or ends other than the text (blank, full stop): {said!r}"
    for message in catalogue:
        if message.id and message.id not in texts.places:
            yield f"no longer in the sources: {message.id!r} (run tools/catalogue.py)"


def _edges(text: str) -> tuple[bool, bool, bool]:
    return text[:1].isspace(), text[-1:].isspace(), text.endswith(".")


def _fields(text: str) -> list[str]:
    return sorted(name for _piece, name in _pieces(text) if name is not None)


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """Split a template into literal pieces and the places for values, as they are written."""
    try:
        for piece, name, form, conversion in string.Formatter().parse(text):
            written = None
            if name is not None:
                written = name + (f"!{conversion}" if conversion else "")
                written += f":{form}" if form else ""
            yield piece, written
    except ValueError:  # braces that are no places: it is never formatted
        yield text, None


# Reading the sources.


def _read_sources() -> Texts:
    texts = Texts()
    for name in _SOURCES:
        path = _PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            _Reader(texts, file).visit(ast.parse(file.read_text(encoding="utf-8")))
    return texts


class _Reader(ast.NodeVisitor):
    """Finds the texts in one file."""

    def __init__(self, texts: Texts, file: Path) -> None:
        self._texts = texts
        self._place = file.relative_to(_ROOT).as_posix()
        self._names: list[dict[str, list[ast.Assign]]] = []

    def visit_Module(self, node: ast.Module) -> None:
        self._names.append(_assigned(node.body))
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._names.append(_assigned(list(ast.walk(node))))
        self.generic_visit(node)
        self._names.pop()

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _POSITIONS:
            return
        given = [node.args[index] for index in _POSITIONS[name] if index < len(node.args)]
        named = [word.value for word in node.keywords if word.arg in _NAMES.get(name, ())]
        found = [self._texts_of(argument, node.lineno) for argument in [*given, *named]]
        for text in (text for each in found for text in each):
            self._texts.add(text, self._place)
        if name in _FORMATTED and all(found):
            self._check_values(node, found)

    def _check_values(self, node: ast.Call, found: list[list[str]]) -> None:
        given = {str(word.arg) for word in node.keywords} - {"action"}
        if not given or "None" in given:  # never formatted, or a mapping of values
            return
        missing = _values_of([texts[-1] for texts in found]) - given
        unused = given - _values_of([text for texts in found for text in texts])
        if missing or unused:
            self._fault(node, f"values without a place {unused}, places without a value {missing}")

    def _texts_of(self, node: ast.expr, line: int) -> list[str]:
        """Return what *node* may be, the likeliest last; nothing where it does not stand here."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [node.value]
        if isinstance(node, ast.IfExp):
            return [*self._texts_of(node.body, line), *self._texts_of(node.orelse, line)]
        if isinstance(node, ast.JoinedStr):
            self._fault(node, "no f-string: a template and its values, for the catalogue")
        if isinstance(node, ast.Name):
            for names in reversed(self._names):
                before = [each for each in names.get(node.id, []) if each.lineno < line]
                if before:
                    texts = [self._texts_of(each.value, each.lineno) for each in before]
                    return [text for each in texts for text in each]
        return []

    def _fault(self, node: ast.expr, text: str) -> None:
        self._texts.faults.append(f"{self._place}:{node.lineno}: {text}")


def _values_of(texts: list[str]) -> set[str]:
    fields = [name for text in texts for name in _fields(text)]
    return {name.partition("!")[0].partition(":")[0] for name in fields}


def _assigned(nodes: list[ast.AST] | list[ast.stmt]) -> dict[str, list[ast.Assign]]:
    """Return the assignments to plain names among *nodes*, by name, in their order."""
    found: dict[str, list[ast.Assign]] = {}
    assignments = [node for node in nodes if isinstance(node, ast.Assign)]
    for node in sorted(assignments, key=lambda node: node.lineno):
        if isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node)
    return found


if __name__ == "__main__":
    sys.exit(main())
