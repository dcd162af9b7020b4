"""What a command works with: its settings, where things lie, and what opens the vault."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from quiesce import config
from quiesce.vault.keys.access import Access
from quiesce.vault.keys.files import KeyDirectory
from quiesce.vault.keys.passphrase import PassphraseSources
from quiesce.vault.stores import address

if TYPE_CHECKING:
    from pathlib import Path

    from quiesce.config import Settings
    from quiesce.ports import PrunableStore


@dataclass(frozen=True)
class Environment:
    """What a command works with: the settings, where things lie, and what opens the vault."""

    settings: Settings
    state_dir: Path
    vault_url: str
    passphrase: PassphraseSources = field(default_factory=PassphraseSources)

    @property
    def key_directory(self) -> KeyDirectory:
        """Where the key files of this host are."""
        return KeyDirectory(self.settings.vault.keys or self.state_dir / "keys")

    @property
    def access(self) -> Access:
        """How the vault is opened on this host."""
        return Access(self.vault_url, self.key_directory, self.passphrase)

    def store(self) -> PrunableStore:
        """Return the vault's store; see `address.open_store`."""
        return address.open_store(self.vault_url, os.environ)


def load_environment(
    settings_path: Path | None,
    vault_url: str | None,
    *,
    passphrase: PassphraseSources | None = None,
) -> Environment:
    """Return the environment of a command; *vault_url* wins over the settings."""
    settings = config.load(settings_path)
    state_dir = config.state_directory()
    url = vault_url or settings.vault.url or (state_dir / "vault").absolute().as_uri()
    sources = replace(passphrase or PassphraseSources(), command=settings.vault.passphrase_command)
    return Environment(settings, state_dir, url, sources)
