"""Compile the catalogues of `src/quiesce/locale`: a hook of the build, and a program."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_ROOT = Path(__file__).resolve().parent.parent
_EPOCH = dt.datetime(1980, 1, 1, tzinfo=dt.timezone.utc)


class CatalogueHook(BuildHookInterface[Any]):
    """Has the catalogues compiled before a wheel or an editable installation is made."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile all of them."""
        del version, build_data
        compile_catalogues(Path(self.root))


def compile_catalogues(root: Path) -> None:
    """Write a .mo beside each .po below *root*: the same bytes every time, whole or not at all."""
    for path in sorted(root.glob("src/quiesce/locale/*/LC_MESSAGES/*.po")):
        with path.open("rb") as source:
            catalogue = read_po(source)
        catalogue.creation_date = catalogue.revision_date = _EPOCH
        new = path.with_suffix(".mo.new")
        with new.open("wb") as target:
            write_mo(target, catalogue)
        new.replace(path.with_suffix(".mo"))


if __name__ == "__main__":
    compile_catalogues(_ROOT)
