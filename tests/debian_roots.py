"""Root directories of those Debian releases whose Python the guest set runs on, for its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from quiesce.demo.cache import kept
from quiesce.demo.image import cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PYTHONS = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
PACKAGES = "/opt/packages"  # where the roots have the Python packages below
# The newest that run on all of these Pythons; pip asks its own Python, and not the one it installs
# for, what pytest needs.
_PYTHON_PACKAGES = (
    "exceptiongroup==1.3.1",
    "hypothesis==6.141.1",
    "jsonschema==4.25.1",
    "pytest==8.4.2",
    "pytest-timeout==2.4.0",
    "tomli==2.3.0",
)
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_MMDEBSTRAP = (
    *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory"),
    "--include=python3",
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
)
_BUILD_S = 240


def root_of(suite: str) -> Path:
    """Return the root directory of a Debian, built where it is missing; nobody writes to it."""
    recipe = "\n".join([*_MMDEBSTRAP, suite, PACKAGES, *_pip(suite)])
    return kept(cache_directory() / "roots" / suite, [recipe.encode()], _builder(suite)) / "root"


def _builder(suite: str) -> Callable[[Path], None]:
    def build(directory: Path) -> None:
        root = directory / "root"
        # Its mounts of /proc and /dev end with it, even where it is killed.
        _run("unshare", "--mount", *_MMDEBSTRAP, suite, str(root), _mirror())
        _run(sys.executable, "-m", *_pip(suite), "--target", f"{root}{PACKAGES}")

    return build


def _pip(suite: str) -> tuple[str, ...]:
    only = ("--only-binary", ":all:", "--python-version", PYTHONS[suite])
    return ("pip", "install", "--quiet", *only, *_PYTHON_PACKAGES)


def _mirror() -> str:
    """Return where this machine's apt gets Debian from."""
    told = _run(
        *("apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)"),
        *("Created-By: Packages", "Origin: Debian", "Component: main"),
    )
    sites = [line.split() for line in told.splitlines()]
    return next(site for site, codename in sites if codename in PYTHONS)


def _run(*argv: str) -> str:
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        env={**os.environ, "LANG": "C.UTF-8"},
        check=False,
    )
    assert done.returncode == 0, f"{argv}: {done.stderr[-2000:]}"
    return done.stdout
