"""Real object stores for tests: SeaweedFS's S3, and Azurite, both on this machine alone."""

# ruff: noqa: S310 - all URLs are this module's own, of servers on this machine

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quiesce.demo.cache import kept
from quiesce.demo.image import cache_directory
from quiesce.vault.stores import address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quiesce.vault.stores.bucket import BucketStore

_AZURITE = Path(__file__).parent / "azurite"
_START_S = 60.0
_BUCKET = "quiesce-tests"
# Azurite's own, which its manual tells everybody.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class ObjectStoreServer:
    """A server that runs, with a bucket in it; *environment* has what a client needs to know."""

    scheme: str
    endpoint: str
    environment: Mapping[str, str]
    bucket: str = _BUCKET

    def url(self) -> str:
        """Return the URL of an empty place in the bucket that nobody else uses."""
        return f"{self.scheme}://{self.bucket}/{uuid.uuid4().hex}"

    def store(self, url: str) -> BucketStore:
        """Return the store at *url*, without any retries."""
        return address.open_bucket(address.parse(url), self.environment)


@dataclass(frozen=True)
class S3User:
    """Somebody whom the S3 server knows."""

    name: str
    key: str
    secret: str
    actions: tuple[str, ...]


KEEPER = S3User("keeper", "keeper-key", "keeper-secret", ("Admin", "Read", "Write", "List"))
HOST = S3User("host", "host-key", "host-secret", ())


@contextlib.contextmanager
def seaweedfs() -> Iterator[ObjectStoreServer]:
    """Run SeaweedFS, and leave nothing of it."""
    names = ("master", "volume", "filer", "s3")
    with tempfile.TemporaryDirectory(prefix="seaweedfs-") as directory:
        ports = dict(zip(("", *names), free_ports(2 * len(names) + 1), strict=False))
        grpc = dict(zip(names, free_ports(len(names)), strict=True))
        users = Path(directory, "users.json")
        users.write_text(json.dumps({"identities": [_identity(KEEPER), _identity(HOST)]}))
        command = [
            str(Path(sys.executable).with_name("weed")), "server", "-filer", "-s3",
            f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
            f"-s3.config={users}", "-s3.autoCreateBucket=false",
            "-master.volumeSizeLimitMB=64", "-volume.max=0", "-master.telemetry=false",
            *(f"-{name}.port={ports[name]}" for name in names),
            *(f"-{name}.port.grpc={grpc[name]}" for name in names),
        ]  # fmt: skip
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        environment = s3_environment(endpoint, KEEPER)
        try:
            with _running(command, f"{endpoint}/healthz", Path(directory)):
                _until(lambda: s3(endpoint, "PUT", f"/{_BUCKET}")[0] == 200, "a bucket")
                yield ObjectStoreServer("s3", endpoint, environment)
        finally:
            for port in (*ports.values(), *grpc.values()):
                for socket_file in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    socket_file.unlink()


@contextlib.contextmanager
def azurite() -> Iterator[ObjectStoreServer]:
    """Run Azurite, in memory."""
    installed = kept(
        cache_directory() / "azurite",
        [(_AZURITE / name).read_bytes() for name in ("package.json", "package-lock.json")],
        _install_azurite,
    )
    (port,) = free_ports(1)
    program = installed / "node_modules/azurite/dist/src/blob/main.js"
    command = [
        "node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent",
    ]  # fmt: skip
    endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    environment = {
        "AZURE_STORAGE_CONNECTION_STRING": (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
            f"BlobEndpoint={endpoint};"
        )
    }
    with (
        tempfile.TemporaryDirectory(prefix="azurite-") as directory,
        _running(command, endpoint, Path(directory)),
    ):
        _make_container(endpoint, _BUCKET)
        yield ObjectStoreServer("az", endpoint, environment)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ObjectStoreServer]:
    with seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def azure_server() -> Iterator[ObjectStoreServer]:
    with azurite() as server:
        yield server


def s3_environment(endpoint: str, user: S3User) -> dict[str, str]:
    """Return the environment of a client of *endpoint* who is *user*."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": user.key,
        "AWS_SECRET_ACCESS_KEY": user.secret,
    }


def s3(
    endpoint: str,
    method: str,
    path: str,
    *,
    query: str = "",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Ask the S3 server something as its keeper; return the status and what it says."""
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    given = {
        "host": endpoint.removeprefix("http://"),
        "x-amz-date": now,
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        **(headers or {}),
    }
    signed = ";".join(sorted(given))
    lines = [f"{name}:{given[name]}" for name in sorted(given)]
    canonical = "\n".join([method, path, query, *lines, "", signed, given["x-amz-content-sha256"]])
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + KEEPER.secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    given["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEEPER.key}/{scope}, SignedHeaders={signed},"
        f" Signature={signature}"
    )
    url = f"{endpoint}{path}?{query}"
    return _asked(urllib.request.Request(url, body or None, given, method=method))


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _identity(user: S3User) -> dict[str, object]:
    credentials = [{"accessKey": user.key, "secretKey": user.secret}]
    return {"name": user.name, "credentials": credentials, "actions": list(user.actions)}


def _install_azurite(part: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_AZURITE / name, part)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=part, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _make_container(endpoint: str, name: str) -> None:
    headers = {
        "x-ms-date": f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} GMT",
        "x-ms-version": "2021-08-06",
    }
    lines = "".join(f"{header}:{value}\n" for header, value in headers.items())
    text = f"PUT{12 * chr(10)}{lines}/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
    mac = hmac.new(base64.b64decode(_KEY), text.encode(), "sha256").digest()
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(mac).decode()}"
    headers["Content-Length"] = "0"
    url = f"{endpoint}/{name}?restype=container"
    status, said = _asked(urllib.request.Request(url, None, headers, method="PUT"))
    assert status == 201, said


def _asked(request: urllib.request.Request) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()
    except OSError as exc:
        return 0, str(exc).encode()


@contextlib.contextmanager
def _running(command: Sequence[str], url: str, directory: Path) -> Iterator[None]:
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd=directory,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # one system call, no lock
        )
    try:
        try:
            _until(lambda: process.poll() is not None or _asked_of(url) != 0, "an answer")
        finally:
            assert process.poll() is None, log.read_text()[-4000:]
        yield
    finally:
        process.kill()
        process.wait()


def _asked_of(url: str) -> int:
    return _asked(urllib.request.Request(url))[0]


def _until(is_so: object, what: str) -> None:
    end = time.monotonic() + _START_S
    while not is_so():
        assert time.monotonic() < end, f"there is not {what} within {_START_S} s"
        time.sleep(0.05)


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)
