"""What opens a vault on a host, and what the host takes for its vault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from quiesce import keycare, wiring
from quiesce.config import Settings
from quiesce.environment import Environment
from quiesce.errors import QuiesceError
from quiesce.testing.fakes import SilentProgress
from quiesce.vault.format import names
from quiesce.vault.format.header import VaultHeader
from quiesce.vault.keys.files import KeyDirectory
from quiesce.vault.repository import Vault
from quiesce.vault.scrubbing import Budget
from quiesce.vault.stores.memory import MemoryStore
from vault_box import KEYS, VAULT_ID, back_up, lay_key_files, pattern, small_vault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quiesce.ports import PrunableStore

URL = "file:///srv/vault"
PLAIN = VaultHeader(VAULT_ID, 1 << 20).encode()


class Turncoat(MemoryStore):
    """A store that shows the encrypted vault once, and one without encryption ever after."""

    def __init__(self) -> None:
        super().__init__()
        self.headers_read = 0

    def get(self, name: str, start_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        found = super().get(name, start_bytes, length_bytes)
        if name != names.VAULT_NAME:
            return found
        self.headers_read += 1
        return found if self.headers_read == 1 else PLAIN


@dataclass(frozen=True)
class Given(Environment):
    """An environment whose store is given."""

    given: PrunableStore | None = None

    def store(self) -> PrunableStore:
        return cast("PrunableStore", self.given)


@pytest.fixture
def store() -> Turncoat:
    store = Turncoat()
    small_vault(store)
    store.headers_read = 0
    return store


@pytest.fixture
def env(store: Turncoat, tmp_path: Path) -> Environment:
    lay_key_files(tmp_path / "keys", URL)
    return Given(Settings(), tmp_path, URL, given=store)


def test_a_store_that_answers_otherwise_the_second_time_gets_nothing_in_clear(
    store: Turncoat, env: Environment
) -> None:
    secret = b"plain text that nobody is to see; " + pattern(3, 100)

    back_up(wiring.open_vault(env), {"vda": secret})

    assert not [name for name in store.list("") if secret in MemoryStore.get(store, name)]
    assert store.headers_read == 1


@pytest.mark.parametrize(
    "act",
    [
        wiring.plan_prune,
        lambda env: wiring.stats(env, progress=SilentProgress()),
        lambda env: wiring.scrub(env, Budget(), opens=True, progress=SilentProgress()),
        keycare.key_state,
        lambda env: keycare.rotate(env, [], new_ids=False),
    ],
)
def test_what_a_vault_says_of_itself_is_read_once(
    store: Turncoat, env: Environment, act: Callable[[Environment], object]
) -> None:
    act(env)

    assert store.headers_read == 1


def test_keys_are_not_used_with_a_vault_that_has_none() -> None:
    store = MemoryStore()
    small_vault(store, encrypted=False)

    with pytest.raises(QuiesceError) as caught:
        Vault.open(store, KEYS)

    assert caught.value.name == "VaultReplaced"


@pytest.mark.parametrize(
    "spelling",
    [
        "file://{}/v", "file://{}/v/", "file://{}/./v", "file://localhost{}/v", "file://{}/%76",
        "file://{}/elsewhere/../v", "file://{}//v", "file:///{}/v", "file://{}/link",
    ],
)  # fmt: skip
def test_another_vault_at_a_place_is_noticed_however_the_place_is_spelt(
    tmp_path: Path, spelling: str
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "link").symlink_to("v")
    lay_key_files(tmp_path / "keys", f"file://{tmp_path}/v")
    directory, url = KeyDirectory(tmp_path / "keys"), spelling.format(tmp_path)
    other = VaultHeader(bytes(16))

    with pytest.raises(QuiesceError) as caught:
        directory.keys(vault_id=other.vault_id, vault_hash=other.hash, url=url)
    assert caught.value.name == "VaultReplaced"
    with pytest.raises(QuiesceError) as caught:
        directory.refuse_pinned(url)
    assert caught.value.name == "KeyExists"


def test_another_vault_at_another_place_is_nothing_to_a_host(tmp_path: Path) -> None:
    lay_key_files(tmp_path, "s3://backups/hosts")
    other = VaultHeader(bytes(16))

    for url in (
        "s3://backups/others",
        "s3://backups",
        "file:///backups/hosts",
        "gs://backups/hosts",
    ):
        found = KeyDirectory(tmp_path).keys(vault_id=other.vault_id, vault_hash=other.hash, url=url)
        assert not found.are_any
    with pytest.raises(QuiesceError):
        KeyDirectory(tmp_path).refuse_pinned("s3://backups/hosts/")
