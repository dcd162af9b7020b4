"""Where a vault lies, by its URL, and with whose credentials a bucket is asked."""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from quiesce.errors import QuiesceError
from quiesce.vault.stores.blobs import is_name
from quiesce.vault.stores.bucket import BucketStore
from quiesce.vault.stores.directory import DirectoryStore
from quiesce.vault.stores.retrying import RetryingStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import ClientConfig, ObjectStore

    from quiesce.ports import PrunableStore

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,253}")
_USE: Final = "use file:///PATH, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or gs://BUCKET/PREFIX"
# A pack is one request, and a line can be slow; an answer that stops coming is another matter.
_REQUEST: Final = timedelta(minutes=15)
_SILENCE: Final = timedelta(seconds=60)
_CONNECT: Final = timedelta(seconds=10)
_AWS_VARIABLES: Final = (
    ("AWS_ACCESS_KEY_ID", "access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
    ("AWS_SESSION_TOKEN", "session_token"),
    ("AWS_DEFAULT_REGION", "region"),
    ("AWS_REGION", "region"),
    ("AWS_ENDPOINT_URL", "endpoint"),
    ("AWS_ENDPOINT_URL_S3", "endpoint"),
)
_AZURE_VARIABLES: Final = (
    ("AZURE_STORAGE_ACCOUNT", "account_name"),
    ("AZURE_STORAGE_KEY", "account_key"),
    ("AZURE_STORAGE_SAS_TOKEN", "sas_key"),
    ("AZURE_STORAGE_ENDPOINT", "endpoint"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """A vault's place: *scheme* is file, s3, az or gs.

    *path* is the directory's, or the prefix in the bucket *bucket*, without slashes around it.
    """

    scheme: str
    bucket: str
    path: str

    @property
    def directory(self) -> Path | None:
        """The directory that it names, None where it names a bucket."""
        return Path(self.path) if self.scheme == "file" else None

    @property
    def place(self) -> str:
        """What is the same for all spellings of one place; of a directory, where links lead."""
        if self.directory is None:
            return self.text
        return "file:///" + os.path.realpath(self.path).lstrip("/")

    @property
    def text(self) -> str:
        """The address as it is shown."""
        return f"{self.scheme}://{self.bucket}/{self.path}".rstrip("/")


def parse(url: str) -> Address:
    """Return what *url* says. Raises QuiesceError VaultUnsupported, without showing a password."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise QuiesceError(
            "VaultUnsupported",
            "the vault's URL has a name, a password or a query in it",
            action="leave them out: credentials come from the environment or the usual files",
        )
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path:
        return Address("file", "", unquote(parts.path))
    prefix = unquote(parts.path).strip("/")
    if (
        parts.scheme not in {"s3", "az", "gs"}
        or _BUCKET.fullmatch(parts.netloc) is None
        or not (prefix == "" or is_name(prefix))
    ):
        raise QuiesceError("VaultUnsupported", f"{url:.200} names no vault", action=_USE)
    return Address(parts.scheme, parts.netloc, prefix)


def place_of(url: str) -> str:
    """Return the place that *url* names, spelt as for every other name of it."""
    try:
        return parse(url).place
    except (QuiesceError, ValueError):
        return url


def open_store(url: str, environment: Mapping[str, str]) -> PrunableStore:
    """Return the store at *url*; a bucket's asks again where a failure may pass.

    Nothing is asked of it yet. Raises as `parse` and `open_bucket`.
    """
    address = parse(url)
    directory = address.directory
    if directory is not None:
        return DirectoryStore(directory)
    return RetryingStore(open_bucket(address, environment))


def open_bucket(address: Address, environment: Mapping[str, str]) -> BucketStore:
    """Return the store in the bucket of *address*, with the credentials of *environment*.

    They are what the clouds' own tools take: environment variables, `~/.aws`, a connection string,
    Google's application default credentials, or the machine's own identity. Nothing is asked of the
    store yet. Raises QuiesceError VaultUnavailable where they make no sense.
    """
    make = {"s3": _s3, "az": _azure, "gs": _gcs}[address.scheme]
    try:
        return BucketStore(make(address, environment), address.text)
    except (BaseError, ValueError) as exc:
        # Its text can have a part of what is secret.
        raise QuiesceError(
            "VaultUnavailable",
            f"cannot use {address.text}: its credentials are wrong or not all there"
            f" ({type(exc).__name__})",
            action="see that the environment names account, key and region",
        ) from None


def _s3(address: Address, environment: Mapping[str, str]) -> ObjectStore:
    # A bucket with object lock takes nothing without a checksum.
    config = {"checksum_algorithm": "SHA256", **_aws_files(environment)}
    for variable, key in _AWS_VARIABLES:
        if environment.get(variable):
            config[key] = environment[variable]
    return S3Store(
        address.bucket,
        prefix=address.path or None,
        config=config,  # type: ignore[arg-type]  # a dictionary of its keys
        client_options=_client(config.get("endpoint", "")),
        retry_config={"max_retries": 0},
    )


def _azure(address: Address, environment: Mapping[str, str]) -> ObjectStore:
    config = _connection_string(environment.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    for variable, key in _AZURE_VARIABLES:
        if environment.get(variable):
            config[key] = environment[variable]
    return AzureStore(
        address.bucket,
        prefix=address.path or None,
        config=config,  # type: ignore[arg-type]  # a dictionary of its keys
        client_options=_client(config.get("endpoint", "")),
        retry_config={"max_retries": 0},
    )


def _gcs(address: Address, _environment: Mapping[str, str]) -> ObjectStore:
    return GCSStore(
        address.bucket,
        prefix=address.path or None,
        client_options=_client(""),
        retry_config={"max_retries": 0},
    )


def _client(endpoint: str) -> ClientConfig:
    return {
        "allow_http": endpoint.startswith("http://"),
        "timeout": _REQUEST,
        "read_timeout": _SILENCE,
        "connect_timeout": _CONNECT,
    }


def _aws_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what `~/.aws` says where the environment itself has no key."""
    if environment.get("AWS_ACCESS_KEY_ID"):
        return {}
    home = Path(environment.get("HOME") or "/root") / ".aws"
    profile = environment.get("AWS_PROFILE") or "default"
    found: dict[str, Any] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", profile if profile == "default" else f"profile {profile}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", profile),
    ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(environment.get(variable) or home / file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            raise ValueError("not a file of settings") from None
        if parser.has_section(section):
            found |= parser.items(section)
    keys = {
        "aws_access_key_id": "access_key_id",
        "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token",
        "region": "region",
        "endpoint_url": "endpoint",
    }
    return {keys[key]: value for key, value in found.items() if key in keys}


def _connection_string(text: str) -> dict[str, str]:
    """Return what an Azure connection string (`AccountName=…;AccountKey=…`) says."""
    keys = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "SharedAccessSignature": "sas_key",
        "BlobEndpoint": "endpoint",
    }
    pairs = (part.partition("=") for part in text.split(";"))
    return {keys[key]: value for key, _, value in pairs if key in keys and value}
