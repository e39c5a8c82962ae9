"""Files kept in S3 (``FILE_STORAGE``), by a real server of its protocol, which runs as a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import default_storage
from django.test import Client
from pytest_django import Settings

from dataflow import environment
from dataflow.environment import Environment
from executions import blobs, database, files
from executions.models import Blob, StoredFile
from tests.factories import make_file
from tests.plugins.stack import free_port, wait_until

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")
pytest.importorskip("storages")

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
DATA = b"kept in a bucket" * 100_000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(port), timeout=60, what="the server starts")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def bucket(endpoint: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A bucket that the files of this test are in."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    name = tmp_path.name.replace("_", "-")
    made = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    given = Environment({"FILE_STORAGE": f"s3://{name}/files?region=us-east-1&endpoint={endpoint}"})
    settings.STORAGES = settings.STORAGES | {"default": given.file_storage(data_dir=tmp_path)}
    return made


def keys(bucket: Any) -> list[str]:
    return [thing.key for thing in bucket.objects.all()]


def test_it_works(bucket: Any, client: Client, settings: Settings) -> None:
    file = make_file("a.txt", "text/plain", DATA)
    make_file("b.txt", "text/plain", DATA)
    assert keys(bucket) == [f"files/{file.blob.name}"]
    with files.open_stored(file.pk) as content:
        assert content.read(16) == b"kept in a bucket"
        content.seek(-6, 2)
        assert content.read() == b"bucket"
    assert client.get(f"/files/{file.pk}/content").getvalue() == DATA
    assert client.get(f"/files/{file.pk}/content", headers={"Range": "bytes=5-6"}).getvalue() == b"in"
    assert not list(Path(settings.FILE_UPLOAD_TEMP_DIR).glob("in-*"))


def test_it_goes_with_the_last_file(bucket: Any) -> None:
    ids = [make_file(data=DATA).pk for _ in range(2)]
    blobs.delete_files(ids[:1])
    assert len(keys(bucket)) == 1
    blobs.delete_files(ids[1:])
    assert keys(bucket) == []


def test_what_no_row_knows_is_found(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = make_file(data=DATA)
    bucket.put_object(Key="files/zz/aaaaaaaaaaaaaa", Body=b"x")
    bucket.put_object(Key="zz/bbbbbbbbbbbbbb", Body=b"not of this installation")
    assert blobs.sweep_storage() == 0
    monkeypatch.setattr(blobs, "LEFT_ALONE", timedelta(seconds=-60))
    assert blobs.sweep_storage() == 1
    assert sorted(keys(bucket)) == sorted([f"files/{known.blob.name}", "zz/bbbbbbbbbbbbbb"])


def test_a_content_that_is_gone(bucket: Any, client: Client) -> None:
    file = make_file()
    default_storage.delete(file.blob.name)
    assert client.get(f"/files/{file.pk}/content").status_code == 404
    StoredFile.objects.all().delete()
    Blob.objects.update(used_at=database.database_now() - timedelta(days=2))
    assert blobs.delete_unused() == 1


@pytest.mark.parametrize(
    "value", ["bucket", "https://example.com/x", "s3://", "s3:///prefix", "s3://bucket/x?acl=public-read", "/srv/files"]
)
def test_a_value_that_is_none(value: str, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"FILE_STORAGE is .* Write it like s3://"):
        Environment({"FILE_STORAGE": value}).file_storage(data_dir=tmp_path)


def test_without_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda _: None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install -r requirements-s3\.txt"):
        Environment({"FILE_STORAGE": "s3://bucket"}).file_storage(data_dir=tmp_path)
