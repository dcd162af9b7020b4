"""A bucket that keeps what was deleted, and a host that may create and read alone."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from object_stores import HOST, s3, s3_environment
from quiesce.errors import QuiesceError
from quiesce.policy.bucket import PRINCIPAL, host_policy
from quiesce.policy.retention import KeepRules
from quiesce.vault.collecting import Terms
from quiesce.vault.keys.holders import Keys
from quiesce.vault.maintenance import Maintenance
from quiesce.vault.repository import Vault
from quiesce.vault.stores.passing import PassingFailure
from quiesce.vault.stores.probing import Probed, probe
from vault_box import CHUNK, back_up, open_vault, pattern, read_back, small_vault
from vault_box import HOST as HOST_KEY

if TYPE_CHECKING:
    from object_stores import ObjectStoreServer

pytestmark = pytest.mark.integration

LOCKED = b"""<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode>
<Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"""
DISK = {"vda": pattern(1, 3 * CHUNK)}
OTHER = {"vda": pattern(2, 3 * CHUNK)}


@pytest.fixture
def locked(s3_server: ObjectStoreServer) -> ObjectStoreServer:
    """A bucket whose objects cannot be deleted for a day."""
    bucket = f"locked-{uuid.uuid4().hex[:8]}"
    made = s3(
        s3_server.endpoint,
        "PUT",
        f"/{bucket}",
        headers={"x-amz-bucket-object-lock-enabled": "true"},
    )
    ruled = s3(s3_server.endpoint, "PUT", f"/{bucket}", query="object-lock=", body=LOCKED)
    assert (made[0], ruled[0]) == (200, 200), (made, ruled)
    return replace(s3_server, bucket=bucket)


def test_a_vault_lives_in_a_bucket_with_default_object_lock(locked: ObjectStoreServer) -> None:
    store = locked.store(locked.url())
    assert probe(store, "1") == Probed(may_delete=True)
    vault = small_vault(store)
    first = back_up(vault, DISK)
    second = back_up(vault, OTHER)
    assert read_back(vault, first) == DISK
    vault.forget(first)
    keeper = Maintenance(store, open_vault(store))
    terms = Terms(KeepRules(), timedelta(), datetime.now(UTC) + timedelta(days=30))
    (planned,) = keeper.plan(terms)
    collected = keeper.apply(planned)

    assert collected.deleted > 0
    assert [point.id for point in vault.points()] == [second.id]
    assert read_back(vault, second) == OTHER


def test_what_was_deleted_is_kept_as_long_as_the_lock_says(locked: ObjectStoreServer) -> None:
    store = locked.store(f"s3://{locked.bucket}/vault")
    store.create("packs/1", b"precious")
    store.delete(["packs/1"])
    assert list(store.list("")) == []
    _, listed = s3(locked.endpoint, "GET", f"/{locked.bucket}", query="versions=")
    version = re.search(rb"<Version>.*?<VersionId>([^<]+)", listed, re.DOTALL)
    assert version is not None, listed
    query, path = f"versionId={version[1].decode()}", f"/{locked.bucket}/vault/packs/1"

    assert s3(locked.endpoint, "DELETE", path, query=query)[0] == 403
    assert s3(locked.endpoint, "GET", path, query=query) == (200, b"precious")


@pytest.fixture
def host(s3_server: ObjectStoreServer) -> ObjectStoreServer:
    """A bucket of the keeper's with doctor's policy, as the host sees it."""
    bucket = f"shared-{uuid.uuid4().hex[:8]}"
    rules = host_policy(bucket, "vault")
    # SeaweedFS does not know the condition, and so would refuse every create.
    rules["Statement"] = [each for each in rules["Statement"] if each["Sid"] != "NeverOverwrite"]
    principal = f"arn:aws:iam::000000000000:user/{HOST.name}"
    body = json.dumps(rules).replace(PRINCIPAL, principal).encode()
    made = s3(s3_server.endpoint, "PUT", f"/{bucket}")
    ruled = s3(s3_server.endpoint, "PUT", f"/{bucket}", query="policy=", body=body)
    assert (made[0], ruled[0]) == (200, 204), (made, ruled)
    environment = s3_environment(s3_server.endpoint, HOST)
    return replace(s3_server, bucket=bucket, environment=environment)


def test_a_host_that_may_not_delete_makes_a_vault_backs_up_and_restores(
    host: ObjectStoreServer,
) -> None:
    store = host.store(f"s3://{host.bucket}/vault")
    assert probe(store, "1") == Probed(may_delete=False)
    vault = small_vault(store)
    point = back_up(vault, DISK)
    before = set(store.list(""))

    assert read_back(Vault.open(store, Keys(host=HOST_KEY)), point) == DISK
    for delete in (store.list("domains/"), ["vault.json"]):
        with pytest.raises(QuiesceError, match="the store refuses it") as caught:
            store.delete(list(delete))
        assert not isinstance(caught.value, PassingFailure)
    assert set(store.list("")) == before
    assert store.create("vault.json", b"another") is False


def test_a_host_sees_nothing_beside_its_vault(
    s3_server: ObjectStoreServer, host: ObjectStoreServer
) -> None:
    url = f"s3://{host.bucket}/other"
    replace(s3_server, bucket=host.bucket).store(url).create("a", b"secret")
    store = host.store(url)
    for act in (
        lambda: store.get("a"),
        lambda: list(store.list("")),
        lambda: store.create("b", b""),
    ):
        with pytest.raises(QuiesceError, match="the store refuses it"):
            act()
