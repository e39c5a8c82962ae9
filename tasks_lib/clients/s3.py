"""Objects of one bucket, below one prefix: streamed both ways, in time, ended when the task is."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.lifeline import Lifeline

#: Bytes of one object, of one part of an upload (and so of what is held at once), of one read.
MAX_OBJECT, PART, CHUNK = 512 * 1024 * 1024, 8 * 1024 * 1024, 256 * 1024
#: Seconds for everything where the task has no deadline, to connect, and between two packets.
TIMEOUT, CONNECT_TIMEOUT, READ_TIMEOUT = 3600.0, 10, 60
#: Bytes of a key with its prefix, and of all metadata, as S3 has them.
MAX_KEY, MAX_METADATA = 1024, 2048
_METADATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_METADATA_VALUE = re.compile(r"[\x20-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_CODES: dict[str, tuple[str, bool]] = {
    word: (code, retryable)
    for code, retryable, words in [
        ("authentication", False, "InvalidAccessKeyId SignatureDoesNotMatch InvalidToken ExpiredToken NotSignedUp"),
        ("authentication", False, "TokenRefreshRequired AuthorizationHeaderMalformed InvalidSecurity"),
        ("authorization", False, "AccessDenied AllAccessDisabled AccountProblem"),
        ("rate_limited", True, "SlowDown RequestLimitExceeded Throttling TooManyRequests"),
        ("communication", True, "RequestTimeout RequestTimeTooSkewed OperationAborted"),
        ("too_large", False, "EntityTooLarge KeyTooLongError MetadataTooLarge"),
    ]
    for word in words.split()
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the store says of an object. ``size`` is in bytes."""

    key: str
    size: int
    etag: str
    content_type: str
    last_modified: str | None
    metadata: Mapping[str, str]


class Bucket:
    """One bucket of a connection. Keys are below the connection's prefix; each method raises ``TaskError``."""

    def __init__(self, client: Any, settings: Mapping[str, Any], line: Lifeline) -> None:
        self._client = client
        self._bucket = str(settings["bucket"])
        self._prefix = str(settings["prefix"] or "")
        self._line = line

    @contextmanager
    def reading(self, key: str) -> Iterator[tuple[Stored, Iterator[bytes]]]:
        """What is known of the object, and its content in chunks. Raises ``too_large`` over ``MAX_OBJECT``."""
        with _translated(self._line, key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
            with closing(answer["Body"]) as body:
                stored = _stored(key, answer)
                if stored.size > MAX_OBJECT:
                    raise _too_large()
                yield stored, self._chunks(body)

    def write(self, key: str, content: IO[bytes], content_type: str, metadata: Mapping[str, str]) -> Stored:
        """Store ``content`` from where it stands: at once when it fits one part, else part by part."""
        named = {"Bucket": self._bucket, "Key": self._full(key)}
        about = {"ContentType": content_type, "Metadata": dict(metadata)}
        with _translated(self._line, key):
            first = _part(content)
            if len(first) < PART:
                answer = self._client.put_object(**named, **about, Body=first)
                size = len(first)
            else:
                answer, size = self._write_parts(named, about, first, content)
        etag = str(answer.get("ETag", "")).strip('"')
        return Stored(
            key=key, size=size, etag=etag, content_type=content_type, last_modified=None, metadata=dict(metadata)
        )

    def _write_parts(
        self, named: Mapping[str, str], about: Mapping[str, Any], first: bytes, content: IO[bytes]
    ) -> tuple[Mapping[str, Any], int]:
        upload = {**named, "UploadId": self._client.create_multipart_upload(**named, **about)["UploadId"]}
        parts: list[dict[str, Any]] = []
        size = 0
        try:
            for data in _all_parts(first, content):
                self._line.check()
                size += len(data)
                number = len(parts) + 1
                etag = self._client.upload_part(**upload, PartNumber=number, Body=io.BytesIO(data))["ETag"]
                parts.append({"PartNumber": number, "ETag": etag})
            return self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}), size
        except BaseException:  # whatever ends it, the parts are thrown away; it goes on
            self._abort(upload)
            raise

    def _abort(self, upload: Mapping[str, Any]) -> None:
        """Throw the parts away, where the line still carries that; else the bucket's own rule does it."""
        from botocore.exceptions import BotoCoreError, ClientError  # an extra

        try:
            self._client.abort_multipart_upload(**upload)
        except (BotoCoreError, ClientError, OSError):
            return

    def _chunks(self, body: Any) -> Iterator[bytes]:
        seen = 0
        while chunk := body.read(CHUNK):
            self._line.check()
            seen += len(chunk)
            if seen > MAX_OBJECT:
                raise _too_large()
            yield chunk
        self._line.check()  # a cut line looks like the end

    def _full(self, key: str) -> str:
        """The key with the prefix. A server before the store may resolve ``..``, so none leads out of the prefix."""
        full = self._prefix + key
        if not key or _CONTROL.search(key):
            raise TaskError("validation", "`key` must be a text without control characters.")
        if len(full.encode()) > MAX_KEY:
            raise TaskError("too_large", f"`key` is longer than {MAX_KEY} bytes with the connection's prefix.")
        if self._prefix and not {".", ".."}.isdisjoint(key.split("/")):
            raise TaskError("validation", "`key` has a part `.` or `..`, which a connection with a prefix refuses.")
        return full


@contextmanager
def opened(settings: Mapping[str, Any], cancellation: Cancellation) -> Iterator[Bucket]:
    """The bucket of a connection. Raises ``TaskError``. The endpoint is the admin's: its address is not checked."""
    import boto3  # an extra, and slow
    from botocore.config import Config  # the same
    from botocore.exceptions import BotoCoreError  # the same

    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"total_max_attempts": 1},  # the engine retries
        proxies={},  # none from the environment
        ignore_configured_endpoint_urls=True,
        signature_version="s3v4",
        s3={"addressing_style": "path" if settings["endpoint_url"] else "auto"},
        # Stores other than Amazon's do not know its newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    left = cancellation.remaining()
    with Lifeline(TIMEOUT if left is None else left, cancellation) as line:
        try:
            client = boto3.session.Session().client(
                "s3",
                region_name=settings["region"],
                endpoint_url=settings["endpoint_url"],
                aws_access_key_id=settings["access_key_id"],
                aws_secret_access_key=settings["secret_access_key"],
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise TaskError("validation", f"The connection cannot be used: {str(error)[:300]}.") from None
        with closing(client):
            _hold_connections(client, line)
            yield Bucket(client, settings, line)


def checked_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata that S3 takes. Raises ``validation``."""
    if not all(isinstance(value, (str, int, float)) for value in metadata.values()):
        raise TaskError("validation", "`metadata` must have texts as its values.")
    texts = {name: str(value) for name, value in metadata.items()}
    for name, value in texts.items():
        if not _METADATA_NAME.fullmatch(name) or not _METADATA_VALUE.fullmatch(value):
            message = f"`metadata` has {name[:60]!r}: names are letters, digits and -, values are plain ASCII."
            raise TaskError("validation", message)
    if sum(len(name) + len(value) for name, value in texts.items()) > MAX_METADATA:
        raise TaskError("too_large", f"`metadata` is larger than {MAX_METADATA} bytes.")
    return texts


def _hold_connections(client: Any, line: Lifeline) -> None:
    """Let ``line`` end whatever connection the client makes: botocore's own timeouts are for each packet only."""
    from botocore import awsrequest  # an extra

    class Plain(awsrequest.AWSHTTPConnection):  # type: ignore[misc]  # botocore has no types
        def _new_conn(self) -> Any:
            sock = super()._new_conn()
            line.hold(sock)
            return sock

    class Secure(awsrequest.AWSHTTPSConnection):  # type: ignore[misc]  # the same
        def _new_conn(self) -> Any:
            sock = super()._new_conn()
            line.hold(sock)
            return sock

    pools = {
        "http": type("HeldPool", (awsrequest.AWSHTTPConnectionPool,), {"ConnectionCls": Plain}),
        "https": type("HeldSecurePool", (awsrequest.AWSHTTPSConnectionPool,), {"ConnectionCls": Secure}),
    }
    # botocore has no public way to its sockets; a test sees that a hanging server is left in time.
    client._endpoint.http_session._manager.pool_classes_by_scheme = pools  # noqa: SLF001


@contextmanager
def _translated(line: Lifeline, key: str) -> Iterator[None]:
    """Turn what botocore raises into a ``TaskError``."""
    from botocore import exceptions  # an extra

    try:
        yield
    except exceptions.ClientError as error:
        line.check()
        raise _client_error(error.response, key) from None
    except exceptions.ParamValidationError as error:
        raise TaskError("validation", f"S3 cannot be asked that: {str(error)[:300]}.") from None
    except exceptions.SSLError as error:
        raise TaskError("communication", f"The secure connection to S3 failed: {_short(error)}.") from None
    except (exceptions.BotoCoreError, OSError) as error:
        line.check()  # a cut line shows as a broken connection
        raise TaskError("communication", f"S3 cannot be reached: {_short(error)}.", retryable=True) from None


def _client_error(response: Mapping[str, Any], key: str) -> TaskError:
    said = response.get("Error", {})
    word = str(said.get("Code", ""))[:100]
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    details = {"s3_error": word, "status": status}
    if word in ("NoSuchKey", "404"):
        return TaskError("validation", f"There is no object {key[:200]!r} in the bucket.", details=details)
    if word in _CODES:
        code, retryable = _CODES[word]
    elif status in {429, 503}:
        code, retryable = "rate_limited", True
    elif status >= 500 or status == 200:  # S3 may begin a 200 and then fail
        code, retryable = "provider_error", True
    else:
        code, retryable = ("authorization" if status == 403 else "validation"), False
    message = " ".join(str(said.get("Message", "")).split())[:300].rstrip(".")
    return TaskError(code, f"S3 says {word}: {message}.", retryable, details=details)


def _stored(key: str, answer: Mapping[str, Any]) -> Stored:
    moment = answer.get("LastModified")
    return Stored(
        key=key,
        size=int(answer.get("ContentLength") or 0),
        etag=str(answer.get("ETag", "")).strip('"'),
        content_type=str(answer.get("ContentType") or "application/octet-stream"),
        last_modified=None if moment is None else moment.isoformat().replace("+00:00", "Z"),
        metadata={str(name): str(value) for name, value in (answer.get("Metadata") or {}).items()},
    )


def _part(content: IO[bytes]) -> bytes:
    """The next ``PART`` bytes, fewer only at the end, whatever a single read gives."""
    data = bytearray()
    while len(data) < PART and (more := content.read(PART - len(data))):
        data += more
    return bytes(data)


def _all_parts(first: bytes, content: IO[bytes]) -> Iterator[bytes]:
    """The parts of an object; raises ``too_large`` over ``MAX_OBJECT`` bytes."""
    data, size = first, 0
    while data:
        size += len(data)
        if size > MAX_OBJECT:
            raise _too_large()
        yield data
        data = _part(content)


def _too_large() -> TaskError:
    return TaskError("too_large", f"The object is larger than the {MAX_OBJECT // 1024**2} MiB that are carried.")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
