"""Mail messages: addresses that hold nothing but an address, headers that end where they end, attachments streamed."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from itertools import chain
from typing import IO

from dataflow.lib.errors import TaskError
from tasks_lib.base import JsonValue

#: People a message may go to, characters of its subject, and bytes of all its texts and files before encoding.
MAX_RECIPIENTS, MAX_SUBJECT, MAX_BYTES = 100, 500, 25 * 1024 * 1024
#: Bytes that are encoded at once: whole lines of base64.
_CHUNK = 57 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]?")
_ENTRY = re.compile(r"""(?:[^,"]|"[^"]*")+""")
_NAMED = re.compile(r"""([^<>"]*|"[^<>"]*"\s*)<([^<>\s]+)>""")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What a message says and to whom."""

    sender: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    text: str | None
    html: str | None
    message_id: str

    @property
    def recipients(self) -> list[str]:
        """Whom the server is told, each once."""
        return list(dict.fromkeys(address.addr_spec for address in (*self.to, *self.cc, *self.bcc)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes along, opened when it is its turn."""

    name: str
    content_type: str
    content: IO[bytes]


def addresses(value: JsonValue, place: str) -> tuple[Address, ...]:
    """The addresses in a list or a text with commas, each ``a@b`` or ``Name <a@b>``. Raises ``validation``."""
    if value is None or value == "":
        return ()
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in given):
        raise TaskError("validation", f"`{place}` must be a text or a list of texts.")
    if any(_CONTROL.search(item) for item in given):
        raise TaskError("validation", f"`{place}` contains a line break or another control character.")
    if sum(map(len, given)) > 500 * MAX_RECIPIENTS:
        raise TaskError("too_large", f"`{place}` is too long: a message goes to at most {MAX_RECIPIENTS} addresses.")
    # A text may have several, an entry of a list is one. Python's own reader guesses where it should refuse.
    entries = _ENTRY.findall(value) if isinstance(value, str) else given
    return tuple(_address(entry.strip(), place) for entry in entries)


def header_text(value: str, place: str) -> str:
    """A text for a header. Raises ``validation`` for one that could end it."""
    if _CONTROL.search(value):
        raise TaskError("validation", f"`{place}` contains a line break or another control character.")
    if len(value) > MAX_SUBJECT:
        raise TaskError("too_large", f"`{place}` is longer than {MAX_SUBJECT} characters.")
    return value


def message_id(key: str, sender: Address) -> str:
    """The same for every try of one task: receivers that know it show the message once."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{sender.domain}>"


def write(letter: Letter, attachments: Iterator[Attachment], out: IO[bytes], check: Callable[[], None]) -> None:
    """Write the whole message as SMTP carries it. Raises ``too_large`` over ``MAX_BYTES`` of content."""
    body = _body(letter)
    size = len((letter.text or "").encode()) + len((letter.html or "").encode())
    first = next(attachments, None)
    if first is None:
        _add_headers(body, letter)
        out.write(body.as_bytes(policy=SMTP))
        return
    boundary = f"=_{hashlib.sha256(letter.message_id.encode()).hexdigest()[:40]}"
    outer = EmailMessage(policy=SMTP)
    _add_headers(outer, letter)
    kind = f'Content-Type: multipart/mixed; boundary="{boundary}"'
    out.write(outer.as_bytes(policy=SMTP).removesuffix(b"\r\n") + f"{kind}\r\n\r\n".encode())
    out.write(f"--{boundary}\r\n".encode() + body.as_bytes(policy=SMTP))
    for attachment in chain([first], attachments):
        out.write(f"\r\n--{boundary}\r\n".encode() + _part_headers(attachment))
        for chunk in _blocks(attachment.content):
            check()
            size += len(chunk)
            if size > MAX_BYTES:
                message = f"The message is larger than {MAX_BYTES // 1024**2} MiB. Send a file's address instead."
                raise TaskError("too_large", message)
            out.write(base64.encodebytes(chunk).replace(b"\n", b"\r\n"))
    out.write(f"\r\n--{boundary}--\r\n".encode())


def _blocks(content: IO[bytes]) -> Iterator[bytes]:
    """The content in blocks of ``_CHUNK`` bytes, the last one shorter: base64 has no gaps, whatever a read gives."""
    while block := content.read(_CHUNK):
        while len(block) < _CHUNK and (more := content.read(_CHUNK - len(block))):
            block += more
        yield block


def _address(entry: str, place: str) -> Address:
    """``a@b``, ``Name <a@b>`` or ``"Name, the second" <a@b>``."""
    found = _NAMED.fullmatch(entry)
    name, spec = (found[1].strip().strip('"'), found[2]) if found else ("", entry)
    local, _, domain = spec.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode()
    except UnicodeError:
        ascii_domain = ""
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(ascii_domain) or len(ascii_domain) > 253:
        raise TaskError("validation", f"`{place}` has {entry[:100]!r}, which is no mail address.")
    return Address(display_name=name, username=local, domain=ascii_domain)


def _body(letter: Letter) -> EmailMessage:
    """The texts: the plain one, the HTML one, or both for the reader to choose from."""
    body = EmailMessage(policy=SMTP)
    if letter.text is not None or letter.html is None:
        body.set_content(_clean(letter.text or ""))
        if letter.html is not None:
            body.add_alternative(_clean(letter.html), subtype="html")
    else:
        body.set_content(_clean(letter.html), subtype="html")
    return body


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _add_headers(message: EmailMessage, letter: Letter) -> None:
    message["From"] = letter.sender
    for name, people in (("To", letter.to), ("Cc", letter.cc), ("Reply-To", letter.reply_to)):
        if people:
            message[name] = people
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = letter.message_id
    message["Auto-Submitted"] = "auto-generated"
    if "MIME-Version" not in message:
        message["MIME-Version"] = "1.0"


def _part_headers(attachment: Attachment) -> bytes:
    part = EmailMessage(policy=SMTP)
    part["Content-Type"] = _media_type(attachment)
    part["Content-Transfer-Encoding"] = "base64"
    part.add_header("Content-Disposition", "attachment", filename=_CONTROL.sub("_", attachment.name))
    return part.as_bytes(policy=SMTP)


def _media_type(attachment: Attachment) -> str:
    given = attachment.content_type.split(";")[0].strip().lower()
    for kind in (given, mimetypes.guess_type(attachment.name)[0] or ""):
        if _MEDIA_TYPE.fullmatch(kind) and not kind.startswith(("multipart/", "message/")):
            return kind
    return "application/octet-stream"
