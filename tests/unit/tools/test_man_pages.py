import importlib.util
import itertools
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("man_pages", ROOT / "tools/write_man_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def headings(page: str) -> list[str]:
    return re.findall(r"^\.SS (.*)$", page, re.MULTILINE)


def test_the_pages_are_those_of_the_parsers(tool: ModuleType) -> None:
    for name, text in tool.pages().items():
        assert (ROOT / "docs/man" / name).read_text() == text


def test_every_verb_that_is_no_secret_has_a_heading(tool: ModuleType) -> None:
    pages = tool.pages()
    assert " ".join(headings(pages["quiesce-guest.8"])) == (
        "check exec rehearse hold release status report explain thaw recover hook install uninstall"
    )
    of_host = headings(pages["quiesce.1"])
    assert {"backup", "points", "show", "restore", "prune", "vault init"} <= set(of_host)
    assert "supervise" not in of_host


def test_every_option_of_every_verb_is_in_its_page(tool: ModuleType) -> None:
    pages = tool.pages()
    for name, verbs in (
        ("quiesce-guest.8", tool.guest_verbs()),
        ("quiesce.1", tool.host_verbs(tool.quiesce, "quiesce")),
    ):
        for verb in verbs:
            assert verb.options or verb.about
            for names, _ in verb.options:
                assert f".TP\n.B {tool.escaped(names)}\n" in pages[name]


def test_what_a_page_tells_is_never_a_roff_request(tool: ModuleType) -> None:
    assert tool.escaped(".hidden\n'quoted'\n-x \\n") == "\\&.hidden\n\\&'quoted'\n\\-x \\en"


def test_lines_that_are_indented_stand_as_they_are(tool: ModuleType) -> None:
    told = tool.prose("examples:\n  one --two\n  three\n\nand\nso on")
    assert told.split("\n") == [
        ".PP", "examples:", ".PP", ".EX", "  one \\-\\-two", "  three", ".EE", ".PP", "and so on",
    ]  # fmt: skip


def test_the_wheel_has_both_pages_where_man_looks_for_them() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {
        f"docs/man/{page}": f"share/man/man{page[-1]}/{page}"
        for page in ("quiesce.1", "quiesce-guest.8")
    }


DOCUMENTS = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "errors.md"),
]


def command(usage: str) -> str:
    """Return the words of *usage* before its options and arguments."""
    return " ".join(itertools.takewhile(re.compile("[a-z-]+").fullmatch, usage.split(" ")))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_types_only_verbs_and_options_that_there_are(
    tool: ModuleType, document: Path
) -> None:
    usable = {}
    for verb in [*tool.guest_verbs(), *tool.host_verbs(tool.quiesce, "quiesce")]:
        known = f"{verb.usage} {' '.join(names for names, _ in verb.options)}"
        usable[command(verb.usage)] = set(re.findall(r"--[a-z-]+", known))
    common = {"--json", "--quiet", "--vault", "--config", "--keep"}
    for line in re.findall(
        r"^ *# (quiesce(?:-guest)? [^#\n]*)", document.read_text(), re.MULTILINE
    ):
        ours = line.split(" -- ")[0].replace("--quiet ", "", 1)
        name = max((each for each in usable if f"{ours} ".startswith(f"{each} ")), key=len)
        assert set(re.findall(r"--[a-z-]+", ours)) <= usable[name] | common, line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
