"""Prove the set-up before it is needed: the vault can be used from here, and how far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quiesce.policy.bucket import host_policy
from quiesce.vault.repository import Vault
from quiesce.vault.stores import address
from quiesce.vault.stores.probing import probe

if TYPE_CHECKING:
    from quiesce.ports import PrunableStore


@dataclass(frozen=True)
class Examined:
    """A vault that can be used, what this host may do there, and what a host should (S3 alone)."""

    url: str
    may_delete: bool
    bucket_policy: dict[str, Any] | None


def examine(store: PrunableStore, url: str, *, token: str) -> Examined:
    """Open the vault in *store*, which *url* names, and try its store with *token*, a new id.

    Raises QuiesceError as `Vault.open` and `probe`.
    """
    Vault.open(store)
    place = address.parse(url)
    return Examined(
        url,
        probe(store, token).may_delete,
        host_policy(place.bucket, place.path) if place.scheme == "s3" else None,
    )
