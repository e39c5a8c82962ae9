"""The only way out by HTTP: which addresses may be reached, how long it may take, how much may come back.

The rules are those of ``../shared/spec/5-safety.md``. Nothing else imports ``requests``.
"""

from __future__ import annotations

import json as jsonlib
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, LocationParseError

from dataflow.lib.addresses import AddressPolicy
from dataflow.lib.cancellation import Cancellation
from dataflow.lib.connections import CheckedPools, Opener
from dataflow.lib.errors import TaskError
from dataflow.lib.lifeline import Lifeline, Resolver
from dataflow.lib.multipart import FilePart, multipart_body
from dataflow.lib.retry_after import parse_retry_after

MEBIBYTE = 1024 * 1024
DEFAULT_TIMEOUT = 60.0
DEFAULT_MAX_BYTES = 25 * MEBIBYTE
MAX_URL_LENGTH = 8192
USER_AGENT = "dataflow/1.0"

Params = Mapping[str, str | Sequence[str]]

_METHOD = re.compile(r"[A-Z]{1,20}")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
#: Headers that say how the message travels; a task that sets them could smuggle a second request or another host.
_OUR_HEADERS = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
        "expect",
    ]
)
#: What goes on to another server: any other header may hold a key that is for the first one only.
_PLAIN_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "user-agent", "content-length", "range"})
_BODY_HEADERS = frozenset({"content-type", "content-encoding", "content-language", "content-location"})
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Response:
    """An answer whose body has not been read yet. Lives as long as the ``with`` block of ``Egress.request``."""

    def __init__(self, answer: requests.Response, line: Lifeline, max_bytes: int) -> None:
        self._answer = answer
        self._line = line
        self._max_bytes = max_bytes
        self.status: int = answer.status_code
        #: Names match without regard to case.
        self.headers: Mapping[str, str] = answer.headers
        self.final_url: str = answer.url or ""

    @property
    def content_type(self) -> str:
        """The ``Content-Type`` header, ``""`` without one."""
        return self.headers.get("Content-Type", "")

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, if it does."""
        return parse_retry_after(self.headers.get("Retry-After"))

    def iter_bytes(self, chunk_size: int = 64 * 1024) -> Iterator[bytes]:
        """The decompressed body in parts. Raises ``too_large`` as soon as it is longer than ``max_bytes``."""
        seen = 0
        with _translated(self._line):
            for chunk in self._answer.raw.stream(chunk_size, decode_content=True):
                seen += len(chunk)
                if seen > self._max_bytes:
                    raise _too_large(self._max_bytes)
                self._line.check()
                yield chunk
            self._line.check()  # a cut connection looks like the end of a body without a length

    def read(self) -> bytes:
        """The whole decompressed body, at most ``max_bytes``."""
        return b"".join(self.iter_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """The way out by HTTP under the address rules.

    ``allowed_hosts`` (``host`` or ``host:port``) and ``allow_loopback`` open what would be refused; ``cancellation``
    interrupts a request at once; ``ca_file`` names the trusted certificates instead of the usual ones.
    """

    allowed_hosts: frozenset[str] = frozenset()
    allow_loopback: bool = False
    cancellation: Cancellation | None = None
    ca_file: str | None = None
    resolve: Resolver = socket.getaddrinfo

    def bound_to(self, cancellation: Cancellation) -> Egress:
        """The same rules, interrupted by ``cancellation``."""
        return replace(self, cancellation=cancellation)

    @contextmanager
    def request(  # noqa: PLR0913  a request has this many parts
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
        json: object = None,
        data: str | bytes | Mapping[str, str] | None = None,
        files: Sequence[FilePart] = (),
        auth: tuple[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_bytes: int = DEFAULT_MAX_BYTES,
        follow_redirects: int = 5,
    ) -> Iterator[Response]:
        """Send a request; the block gets the ``Response``, whatever its status.

        ``data`` is a raw body, or the fields of a form (multipart with ``files``); ``json`` is sent as JSON.
        ``timeout`` is seconds for everything: look-up, connect, redirects, the whole body. ``follow_redirects`` 0
        gives a redirect back as it is. Raises ``TaskError``: ``validation``, ``blocked_address``,
        ``communication``, ``timeout``, ``too_large``, or the cancellation's own.
        """
        with ExitStack() as stack:
            line = stack.enter_context(Lifeline(timeout, self.cancellation))
            session = stack.enter_context(self._session(line))
            body, content_type = stack.enter_context(_body(json, data, files))
            request = requests.Request(
                method=_checked_method(method),
                url=check_url(url, params),
                headers=_checked_headers(headers or {}, content_type),
                data=body,
                auth=None if auth is None else (auth[0].encode(), auth[1].encode()),
            )
            with _translated(line):
                answer = self._follow(session, request, line, follow_redirects)
            stack.callback(answer.close)
            _refuse_early(answer, max_bytes)
            yield Response(answer, line, max_bytes)

    def _session(self, line: Lifeline) -> requests.Session:
        policy = AddressPolicy(self.allowed_hosts, self.allow_loopback)
        session = _Session()
        session.trust_env = False  # no proxy, no .netrc, no certificates from the environment
        session.headers.clear()
        session.headers.update({"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate"})
        session.verify = self.ca_file or True
        adapter = _Adapter(lambda host, port: line.connect(host, port, policy, self.resolve))
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        return session

    def _follow(
        self, session: requests.Session, request: requests.Request, line: Lifeline, redirects: int
    ) -> requests.Response:
        left = redirects
        while True:
            prepared = session.prepare_request(request)
            wait = max(line.remaining(), 0.001)
            answer = session.send(prepared, stream=True, timeout=wait, allow_redirects=False)
            location = session.get_redirect_target(answer) if answer.status_code in _REDIRECTS else None
            if location is None or redirects == 0:
                return answer
            answer.close()
            if left == 0:
                raise TaskError("communication", f"The request was redirected more than {redirects} times.")
            left -= 1
            _redirect(request, answer, location)


class _Session(requests.Session):
    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """None: even when told not to follow, the original reads the whole body of a redirect, however long."""
        return iter(())


class _Adapter(HTTPAdapter):
    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        super().__init__(max_retries=0)

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002  as requests has it
        **options: Any,
    ) -> None:
        self.poolmanager = CheckedPools(self._opener, num_pools=connections, maxsize=maxsize, block=block, **options)


def check_url(url: str, params: Params | None = None) -> str:
    """``url`` in its normal form (with ``params`` added). Raises ``TaskError('validation')`` for what is not usable."""
    shown = url[:200]
    if len(url) > MAX_URL_LENGTH:
        raise TaskError("validation", f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if re.search(r"[\x00-\x1f\x7f\\]", url):
        raise TaskError("validation", f"The URL {shown!r} contains a control character or a backslash.")
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(url, params)
        parts = urlsplit(prepared.url or "")
        unusable = urlsplit(url).port == 0 or any(len(label) > 63 for label in (parts.hostname or "").split("."))
    except (requests.RequestException, ValueError) as error:
        raise TaskError("validation", f"The URL {shown!r} is not usable: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or unusable:
        raise TaskError("validation", f"The URL {shown!r} must start with http:// or https:// and name a host.")
    if "@" in parts.netloc:
        raise TaskError("validation", "The URL contains a user name or password; send them as `auth` instead.")
    return str(prepared.url)


def _checked_method(method: str) -> str:
    upper = method.upper()
    if not _METHOD.fullmatch(upper) or upper in _REFUSED_METHODS:
        raise TaskError("validation", f"{method[:40]!r} is not an HTTP method that can be used.")
    return upper


def _checked_headers(headers: Mapping[str, str], content_type: str | None) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise TaskError("validation", f"{name[:100]!r} is not the name of a header.")
        if name.lower() in _OUR_HEADERS:
            raise TaskError("validation", f"The header {name} is set by the platform and cannot be given.")
        if not _HEADER_VALUE.fullmatch(value):
            raise TaskError("validation", f"The value of the header {name} contains characters that are not allowed.")
    checked = {name: value.strip() for name, value in headers.items()}
    if content_type is not None and "content-type" not in {name.lower() for name in checked}:
        checked["Content-Type"] = content_type
    return checked


@contextmanager
def _body(
    json: object, data: str | bytes | Mapping[str, str] | None, files: Sequence[FilePart]
) -> Iterator[tuple[bytes | IO[bytes] | Mapping[str, str] | None, str | None]]:
    """The body as ``requests`` takes it, and its content type where that is ours to say."""
    if files:
        with multipart_body(data if isinstance(data, Mapping) else {}, files) as (body, content_type):
            yield body, content_type
    elif json is not None:
        yield _json_bytes(json), "application/json"
    else:
        yield data.encode() if isinstance(data, str) else data, None


def _json_bytes(value: object) -> bytes:
    try:
        return jsonlib.dumps(value, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise TaskError("validation", f"The JSON to send is not valid: {error}") from error


def _redirect(request: requests.Request, answer: requests.Response, location: str) -> None:
    """Change ``request`` to the one that ``answer`` redirects to."""
    try:
        target = check_url(urljoin(str(answer.url), location))
    except (TaskError, ValueError) as error:
        raise TaskError("communication", f"The server redirected to a URL that is not usable: {error}") from error
    dropped: frozenset[str] = frozenset()
    if answer.status_code == 303 or (answer.status_code in (301, 302) and request.method == "POST"):
        request.method = "HEAD" if request.method == "HEAD" else "GET"
        request.data = None
        dropped = _BODY_HEADERS
    elif hasattr(request.data, "seek"):
        request.data.seek(0)
    if not _same_origin(str(answer.url), target):
        dropped |= {name.lower() for name in request.headers} - _PLAIN_HEADERS - _BODY_HEADERS
        request.auth = None
    request.headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
    request.url = target


def _same_origin(old: str, new: str) -> bool:
    """The same scheme, host and port; from http to https on the standard ports counts as the same."""
    before, after = _origin(old), _origin(new)
    upgraded = (before[0], before[2], after[0], after[2]) == ("http", 80, "https", 443)
    return before == after or (upgraded and before[1] == after[1])


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def _refuse_early(answer: requests.Response, max_bytes: int) -> None:
    """Refuse what need not be read: a body announced as too large, an encoding nobody asked for."""
    length = answer.headers.get("Content-Length", "")
    if answer.request.method != "HEAD" and length.isdecimal() and len(length) < 20 and int(length) > max_bytes:
        raise _too_large(max_bytes)
    encodings = answer.headers.get("Content-Encoding", "").lower().split(",")
    unknown = [encoding.strip() for encoding in encodings if encoding.strip() not in _ENCODINGS]
    if unknown:
        raise TaskError("communication", f"The server compressed its answer with {unknown[0][:40]!r}, unasked.")


def _too_large(max_bytes: int) -> TaskError:
    return TaskError("too_large", f"The answer is larger than the limit of {max_bytes:,} bytes.")


@contextmanager
def _translated(line: Lifeline) -> Iterator[None]:
    """Turn what ``requests`` and urllib3 raise into a ``TaskError``."""
    try:
        yield
    except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
        _raise_as_task_error(error, line)


def _raise_as_task_error(error: Exception, line: Lifeline) -> NoReturn:
    line.check()  # a cut line shows as a broken connection
    if isinstance(error, (requests.Timeout, TimeoutError)):
        raise TaskError("timeout", "The other side did not answer in time.", retryable=True) from error
    if isinstance(error, (requests.exceptions.InvalidURL, LocationParseError, requests.exceptions.InvalidHeader)):
        raise TaskError("validation", f"The request cannot be sent: {error}") from error
    if isinstance(error, requests.exceptions.SSLError):
        raise TaskError("communication", f"The secure connection failed: {_reason(error)}") from error
    raise TaskError("communication", f"The request failed: {_reason(error)}", retryable=True) from error


def _reason(error: BaseException) -> str:
    """The innermost words, without the object addresses that urllib3 puts around them."""
    found = re.sub(r"<[^<>]*object at 0x[0-9a-f]+>:? ?", "", str(error))
    return found[:300] or type(error).__name__
