"""The files in which a host keeps its keys, for its owner alone."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final

from quiesce.errors import QuiesceError
from quiesce.system.files import create_durably
from quiesce.vault.format import document
from quiesce.vault.format.document import hash_of, text
from quiesce.vault.keys.holders import HostKey, KeeperKey, Keys
from quiesce.vault.stores.address import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from quiesce.vault.format.header import VaultHeader

FORMAT: Final = 1
_MAX_BYTES: Final = 64 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class KeyDirectory:
    """Key files of vaults: `<vault id>.host`, and `<vault id>.keeper` on who cares for the vault.

    A host's file also pins the vault that it belongs to, by its place, however that is spelt, and
    by its vault.json.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def host_path(self, vault_id: bytes) -> Path:
        """Return where the host's key of the vault lies."""
        return self._path / f"{vault_id.hex()}.host"

    def keeper_path(self, vault_id: bytes) -> Path:
        """Return where the keeper's key of the vault lies."""
        return self._path / f"{vault_id.hex()}.keeper"

    def save(self, keys: Keys, *, vault: VaultHeader, url: str) -> tuple[Path, ...]:
        """Write the host's and the keeper's key of *keys*, durably; return where they are.

        Raises QuiesceError KeyExists where there is a file of that vault, or of another one at the
        same place, KeyFileUnusable where it cannot be written.
        """
        self.refuse_pinned(url)
        vault_id = vault.vault_id
        base = {"format": FORMAT, "vault": vault.hash.hex()}
        files: dict[Path, dict[str, Any]] = {}
        if keys.keeper is not None:
            files[self.keeper_path(vault_id)] = {**base, "secret": keys.keeper.secret.hex()}
        if keys.host is not None:
            host = {**base, "url": url, "secret": keys.host.secret.hex()}
            files[self.host_path(vault_id)] = host
        for path, value in files.items():
            self._write(path, document.encode(value))
        return tuple(files)

    def refuse_pinned(self, url: str) -> None:
        """Raise QuiesceError KeyExists where there is a host's key of a vault at *url*."""
        for path, value in self._hosts():
            if place_of(text(value.get("url", ""))) == place_of(url):
                raise QuiesceError("KeyExists", f"{path} is the key of a vault at {url}")

    def remove(self, paths: Iterable[Path]) -> None:
        """Take key files away that were saved for nothing."""
        for path in paths:
            path.unlink(missing_ok=True)

    def keys(self, *, vault_id: bytes, vault_hash: bytes, url: str) -> Keys:
        """Return the keys that are here of the vault at *url* with this id and vault.json.

        Raises QuiesceError VaultReplaced where another vault is pinned for that place, or another
        vault.json for that vault, and KeyFileUnusable.
        """
        for path, value in self._hosts():
            is_same = hash_of(value.get("vault")) == vault_hash
            is_at_place = place_of(text(value.get("url", ""))) == place_of(url)
            is_meant = is_at_place or path == self.host_path(vault_id)
            if is_meant and not is_same:
                raise QuiesceError(
                    "VaultReplaced", f"{url} is not the vault that {path} is the key of"
                )
        host, keeper = (
            self._secret(path, vault_hash)
            for path in (self.host_path(vault_id), self.keeper_path(vault_id))
        )
        return Keys(
            host=None if host is None else HostKey(host),
            keeper=None if keeper is None else KeeperKey(keeper),
        )

    def _hosts(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        try:
            found = sorted(self._path.glob("*.host"))
        except OSError as exc:
            raise _unusable(self._path, exc.strerror or "cannot be read") from exc
        for path in found:
            value = self._read(path)
            if value is not None:
                yield path, value

    def _secret(self, path: Path, vault_hash: bytes) -> bytes | None:
        value = self._read(path)
        if value is None:
            return None
        if hash_of(value.get("vault")) != vault_hash:
            raise QuiesceError("VaultReplaced", f"{path} is the key of a vault that was there once")
        return hash_of(value.get("secret"))

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _unusable(path, exc.strerror or "cannot be read") from exc
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            is_ours = status.st_uid in {0, os.geteuid()} and not status.st_mode & _OTHERS
            if not stat.S_ISREG(status.st_mode) or not is_ours:
                raise _unusable(path, "others can read or change it")
            try:
                value = document.decode(file.read(_MAX_BYTES))
                hash_of(value.get("vault"))
                hash_of(value.get("secret"))
                text(value.get("url", ""))
            except ValueError as exc:
                raise _unusable(path, "it is no key file, or damaged") from exc
        if value.get("format") != FORMAT:
            raise _unusable(path, "this version does not know its format")
        return value

    def _write(self, path: Path, data: bytes) -> None:
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_durably(path, data)
        except FileExistsError as exc:
            raise QuiesceError("KeyExists", f"{path} exists") from exc
        except OSError as exc:
            raise _unusable(path, exc.strerror or "cannot be written") from exc


def _unusable(path: Path, why: str) -> QuiesceError:
    return QuiesceError("KeyFileUnusable", f"cannot use {path}: {why}")
