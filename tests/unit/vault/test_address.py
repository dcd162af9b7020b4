"""Where vaults lie, and whose credentials are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from quiesce.errors import QuiesceError
from quiesce.vault.stores.address import Address, open_store, parse
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.retrying import RetryingStore


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("file:///srv/vault", Address("file", "", "/srv/vault")),
        ("file://localhost/srv/my%20vault", Address("file", "", "/srv/my vault")),
        ("s3://backups", Address("s3", "backups", "")),
        ("s3://backups/", Address("s3", "backups", "")),
        ("s3://backups/hosts/a/", Address("s3", "backups", "hosts/a")),
        ("az://container/prefix", Address("az", "container", "prefix")),
        ("gs://my.bucket/prefix", Address("gs", "my.bucket", "prefix")),
    ],
)
def test_a_url_names_a_place(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "", "/srv/vault", "file://elsewhere/srv", "http://host/x", "s3://", "s3:///prefix",
        "s3://UPPER/x", "s3://bucket/../x", "s3://bucket/.hidden", "s3://bucket/a//b", "gs://b/ä",
    ],
)  # fmt: skip
def test_what_names_no_place_is_refused_with_what_would(url: str) -> None:
    with pytest.raises(QuiesceError) as caught:
        parse(url)

    assert caught.value.name == "VaultUnsupported"
    assert "s3://BUCKET/PREFIX" in caught.value.action


@pytest.mark.parametrize(
    "url", ["s3://key:hunter2@bucket/x", "az://c/x?sig=hunter2", "s3://b/#hunter2"]
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(QuiesceError, match="a password or a query") as caught:
        parse(url)

    assert "hunter2" not in caught.value.message + caught.value.action


def test_only_a_directory_is_one() -> None:
    assert parse("file:///srv/vault").directory == Path("/srv/vault")
    assert parse("s3://bucket/vault").directory is None
    assert [parse(url).text for url in ("s3://bucket", "az://box/d")] == [
        "s3://bucket",
        "az://box/d",
    ]


def test_buckets_are_asked_again_and_directories_are_not(tmp_path: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "z"}

    assert isinstance(open_store("s3://bucket/x", environment), RetryingStore)
    assert isinstance(open_store(tmp_path.as_uri(), {}), DirectoryStore)


def configured(store: object) -> dict[str, str]:
    return dict(store._store._remote.config)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = usual\naws_secret_access_key = s\n"
        "[backup]\naws_access_key_id = special\naws_secret_access_key = t\naws_session_token = u\n"
    )
    (folder / "config").write_text(
        "[default]\nregion = eu-south-1\n[profile backup]\nregion = eu-north-1\n"
        "endpoint_url = http://127.0.0.1:9\n"
    )
    return tmp_path


def test_the_files_of_awss_own_tools_are_read(home: Path) -> None:
    usual = configured(open_store("s3://bucket", {"HOME": str(home)}))
    special = configured(open_store("s3://bucket", {"HOME": str(home), "AWS_PROFILE": "backup"}))

    assert (usual["access_key_id"], usual["region"]) == ("usual", "eu-south-1")
    assert (special["access_key_id"], special["region"]) == ("special", "eu-north-1")
    assert (special["session_token"], special["endpoint"]) == ("u", "http://127.0.0.1:9")


def test_the_environment_wins_over_the_files(home: Path) -> None:
    given = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "v", "AWS_REGION": "here"}
    found = configured(open_store("s3://bucket", {"HOME": str(home), **given}))

    assert (found["access_key_id"], found["region"]) == ("mine", "here")
    assert "session_token" not in found


def test_a_damaged_file_of_credentials_is_not_shown(home: Path) -> None:
    (home / ".aws" / "credentials").write_text("hunter2")
    with pytest.raises(QuiesceError, match="its credentials are wrong") as caught:
        open_store("s3://bucket", {"HOME": str(home)})

    assert "hunter2" not in caught.value.message


def test_a_connection_string_names_account_key_and_endpoint() -> None:
    text = "AccountName=me;AccountKey=aGVsbG8=;BlobEndpoint=http://127.0.0.1:9/me;Other=1"
    found = configured(open_store("az://box", {"AZURE_STORAGE_CONNECTION_STRING": text}))

    assert found["account_name"] == "me"
    assert found["account_key"] == "aGVsbG8="
    assert found["endpoint"] == "http://127.0.0.1:9/me"


def test_azures_variables_win_over_its_connection_string() -> None:
    given = {
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=me;AccountKey=aGVsbG8=",
        "AZURE_STORAGE_ACCOUNT": "you",
    }

    assert configured(open_store("az://box", given))["account_name"] == "you"


def test_credentials_that_are_not_all_there_are_named_without_them() -> None:
    with pytest.raises(QuiesceError, match=r"cannot use az://box: .*not all there") as caught:
        open_store("az://box", {"AZURE_STORAGE_KEY": "hunter2"})

    assert caught.value.name == "VaultUnavailable"
    assert "hunter2" not in caught.value.message
