"""Whatever the settings files say: settings are loaded, and with a refusal no script is among them.

In a directory below /run, since every directory above a settings file must be root's alone.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bad_files import CONF, HOST, JSON, bad_files
from quiesce.guest.configuration import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

PLACES = {
    JSON: settings.PLUGIN_CONFIGS[0],
    HOST: settings.PLUGIN_HOST,
    CONF: settings.GUEST_CONF,
}
MODES = {JSON: 0o600, HOST: 0o644, CONF: 0o600}
GOOD = '{{"preScriptLocation": "{0}", "postScriptLocation": "{0}"}}'


@pytest.fixture
def root() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="quiesce-test-", dir="/run"))
    for path in ("etc/azure", "etc/quiesce"):
        (made / path).mkdir(parents=True, mode=0o755)
    (made / "script").touch(mode=0o700)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def put(root: Path, kind: str, data: bytes) -> None:
    data = data.replace(b"/etc/azure/pre.sh", b"%s/script" % bytes(root))
    data = data.replace(b"/etc/azure/post.sh", b"%s/script" % bytes(root))
    data = data.replace(b"/etc/azure/VM", b"%s/etc/azure/VM" % bytes(root))
    path = root / PLACES[kind].lstrip("/")
    path.write_bytes(data)
    path.chmod(MODES[kind])


def see(root: Path) -> settings.GuestSettings:
    found = settings.load(root=str(root))
    assert not (found.refused and found.plugins)
    for error in found.refused:
        is_of_script = "-Script" in error.name
        is_of_another = error.message.startswith("there is no plugin configuration /")
        assert is_of_script or is_of_another or str(root) in error.message
        assert error.action
    for plugin in found.plugins:
        for spec in (plugin.pre, plugin.post):
            assert spec.path == f"{root}/script"
            assert 0 < spec.timeout_s <= found.max_timeout_s
    assert 0 < found.freeze_timeout_s <= found.deadline_s / 2 <= 1800
    return found


def see_all(root: Path, *, seed: int, count: int) -> tuple[int, int]:
    """Return in how many cases scripts would be run, and in how many they are refused."""
    run = refused = 0
    for number, (kind, data) in enumerate(bad_files(seed, count)):
        for place in PLACES.values():
            (root / place.lstrip("/")).unlink(missing_ok=True)
        put(root, JSON, GOOD.format(root / "script").encode())
        put(root, kind, data)
        try:
            found = see(root)
        except Exception as exc:
            raise AssertionError(f"file {number} of seed {seed}, {kind}: {data!r}") from exc
        run += bool(found.plugins)
        refused += bool(found.refused)
        assert found.configured
    return run, refused


def test_no_script_is_among_the_settings_where_a_file_is_refused(root: Path) -> None:
    run, refused = see_all(root, seed=101, count=1000)

    assert run > 50
    assert refused > 400


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_script_is_among_the_settings_of_a_hundred_thousand_bad_files(root: Path) -> None:
    see_all(root, seed=102, count=100_000)
