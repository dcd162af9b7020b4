"""Stores in buckets of real servers do what every store does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from quiesce.errors import QuiesceError
from quiesce.vault.stores.passing import PassingFailure
from store_suite import StoreSuite

if TYPE_CHECKING:
    from object_stores import ObjectStoreServer
    from quiesce.vault.stores.bucket import BucketStore

pytestmark = pytest.mark.integration


@pytest.fixture(params=["s3_server", "azure_server"])
def server(request: pytest.FixtureRequest) -> ObjectStoreServer:
    return request.getfixturevalue(request.param)


@pytest.fixture
def store(server: ObjectStoreServer) -> BucketStore:
    return server.store(server.url())


class TestBuckets(StoreSuite):
    """In a bucket of SeaweedFS's S3, and in a container of Azurite."""


def test_names_with_percent_signs_are_kept_as_they_are(store: BucketStore) -> None:
    names = ["domains/%41b/log/1", "domains/%2Ex/log/1", "domains/-_.y/log/1"]
    for name in names:
        store.create(name, name.encode())

    assert list(store.list("domains/")) == sorted(names)
    assert list(store.folders("domains/")) == ["%2Ex", "%41b", "-_.y"]
    assert [store.get(name).decode() for name in names] == names


def test_more_than_a_page_is_listed_and_deleted(s3_server: ObjectStoreServer) -> None:
    store = s3_server.store(s3_server.url())
    names = [f"packs/{number:04d}" for number in range(1100)]
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda name: store.create(name, b""), names))

    assert list(store.list("packs/")) == names
    store.delete(["packs/missing", *names])
    assert list(store.list("packs/")) == []


def test_two_places_in_a_bucket_do_not_see_each_other(server: ObjectStoreServer) -> None:
    url = server.url()
    ours, below, beside = (server.store(f"{url}{more}") for more in ("", "/below", "-beside"))
    ours.create("a/b", b"ours")
    beside.create("a/b", b"beside")

    assert list(ours.list("")) == ["a/b"]
    assert ours.get("a/b") == b"ours"
    assert list(below.list("")) == []


def test_a_bucket_that_is_not_there_is_no_missing_blob(server: ObjectStoreServer) -> None:
    store = server.store(f"{server.scheme}://nobodys-bucket/x")
    for act in (
        lambda: store.get("a"),
        lambda: store.create("a", b""),
        lambda: list(store.list("")),
        lambda: list(store.folders("d/")),
    ):
        with pytest.raises(QuiesceError, match="there is no such bucket or container") as caught:
            act()
        assert caught.value.name == "VaultUnavailable"
        assert not isinstance(caught.value, PassingFailure)


def test_wrong_credentials_are_refused_at_once_and_not_shown(server: ObjectStoreServer) -> None:
    wrong = {"AWS_SECRET_ACCESS_KEY": "very-secret"}
    if server.scheme == "az":
        wrong = {"AZURE_STORAGE_KEY": "dmVyeS1zZWNyZXQ="}
    store = type(server)(server.scheme, server.endpoint, {**server.environment, **wrong}).store(
        server.url()
    )
    with pytest.raises(QuiesceError, match="the store refuses it") as caught:
        store.get("a")

    assert not isinstance(caught.value, PassingFailure)
    assert "credentials" in caught.value.action
    assert "secret" not in caught.value.message


def test_a_server_that_is_not_there_may_come_back(server: ObjectStoreServer) -> None:
    environment = {
        name: value.replace(server.endpoint, "http://127.0.0.1:9/x")
        for name, value in server.environment.items()
    }
    store = type(server)(server.scheme, server.endpoint, environment).store(server.url())
    with pytest.raises(PassingFailure) as caught:
        store.create("a", b"")

    assert "http" not in caught.value.message.removeprefix("HTTP")
