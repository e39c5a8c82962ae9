"""Gives one message to an SMTP server: in time, ended when its task is, and never without the encryption asked for."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.lifeline import Lifeline
from tasks_lib.base import JsonValue

#: Seconds for everything where the task has no deadline.
TIMEOUT = 300.0
#: Characters of the server's words that are shown, bytes sent at once.
_SHOWN, _CHUNK = 300, 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Who will get the message, and whom the server refused (``address``, ``code``, ``message``)."""

    accepted: Sequence[str]
    refused: Sequence[Mapping[str, JsonValue]]


class _Connection(smtplib.SMTP):
    """An SMTP connection on a lifeline. The admin's server: its address is not checked."""

    def __init__(self, line: Lifeline, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._line, self._tls = line, tls
        # A name of our own: smtplib would ask the name servers for one, for as long as they take.
        name = socket.gethostname()
        super().__init__(host, port, local_hostname=name if "." in name else "localhost")

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        sock = self._line.connect(host, port, None, socket.getaddrinfo)
        return sock if self._tls is None else self._tls.wrap_socket(sock, server_hostname=host)


def send(
    settings: Mapping[str, Any], sender: str, recipients: Sequence[str], message: IO[bytes], cancellation: Cancellation
) -> Sent:
    """Send ``message`` (read from where it stands). Raises ``TaskError`` where nobody gets it."""
    left = cancellation.remaining()
    with Lifeline(TIMEOUT if left is None else left, cancellation) as line:
        with _translated(line):
            connection = _opened(line, settings)
        try:
            with _translated(line):
                _log_in(connection, settings)
                accepted, refused = _envelope(connection, sender, recipients, message)
                code, said = connection.docmd("DATA")
                if code != 354:
                    raise smtplib.SMTPDataError(code, said)
                _write(connection, message, line)
            with _translated(line, ended=True):
                code, said = connection.docmd(".")
                if code != 250:
                    raise smtplib.SMTPDataError(code, said)
            with contextlib.suppress(smtplib.SMTPException, OSError):  # the message is on its way
                connection.quit()
        finally:
            connection.close()
    return Sent(accepted=accepted, refused=refused)


def _opened(line: Lifeline, settings: Mapping[str, Any]) -> _Connection:
    security = settings["security"]
    context = ssl.create_default_context() if security != "none" else None
    host = str(settings["host"])
    connection = _Connection(line, host, int(settings["port"]), context if security == "tls" else None)
    if security == "starttls":
        try:
            connection.starttls(context=context)
        except BaseException:  # whatever ends it, the connection is closed; it goes on
            connection.close()
            raise
    return connection


def _log_in(connection: _Connection, settings: Mapping[str, Any]) -> None:
    connection.ehlo_or_helo_if_needed()
    if not settings["username"]:
        return
    try:
        connection.login(str(settings["username"]), str(settings["password"] or ""))
    except UnicodeError:
        message = "The user name or password of the connection has characters beyond ASCII, which SMTP cannot carry."
        raise TaskError("validation", message) from None


def _envelope(
    connection: _Connection, sender: str, recipients: Sequence[str], message: IO[bytes]
) -> tuple[list[str], list[dict[str, JsonValue]]]:
    """Say from whom, how large, and to whom; who is accepted and who is refused. Raises where nobody is accepted."""
    start = message.tell()
    size = message.seek(0, 2) - start
    message.seek(start)
    limit = str(connection.esmtp_features.get("size") or "")
    if limit.isdecimal() and 0 < int(limit) < size:
        raise TaskError("too_large", f"The message has {size:,} bytes; the mail server takes at most {int(limit):,}.")
    code, said = connection.mail(sender, [f"size={size}"] if connection.has_extn("size") else [])
    if code != 250:
        raise smtplib.SMTPSenderRefused(code, said, sender)
    answers = {address: connection.rcpt(address) for address in recipients}
    accepted = [address for address, (code, _) in answers.items() if code in (250, 251)]
    refused = {address: answer for address, answer in answers.items() if address not in accepted}
    if not accepted:
        raise smtplib.SMTPRecipientsRefused(refused)
    return accepted, [
        {"address": address, "code": code, "message": _words(said)} for address, (code, said) in refused.items()
    ]


def _write(connection: _Connection, message: IO[bytes], line: Lifeline) -> None:
    """The message, a dot before every line that begins with one (RFC 5321, 4.5.2), and an end of line."""
    assert connection.sock is not None
    ended = b"\r\n"
    while chunk := message.read(_CHUNK):
        chunk += message.readline()  # whole lines
        line.check()
        stuffed = chunk.replace(b"\n.", b"\n..")
        connection.sock.sendall(b"." + stuffed if chunk.startswith(b".") else stuffed)
        ended = chunk[-2:]
    if ended != b"\r\n":
        connection.sock.sendall(b"\r\n")


@contextmanager
def _translated(line: Lifeline, *, ended: bool = False) -> Iterator[None]:
    """Turn what smtplib raises into a ``TaskError``. ``ended``: the server has the whole message."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        unsure = ended and error.smtp_code <= 0  # what it said is no answer
        raise (_unsure(line, error) if unsure else _response_error(error)) from None
    except smtplib.SMTPRecipientsRefused as error:
        raise _nobody(error) from None
    except smtplib.SMTPNotSupportedError as error:
        message = f"The mail server cannot do what the connection asks for: {error} Check its `security` and user."
        raise TaskError("validation", message) from None
    except ssl.SSLCertVerificationError as error:
        message = f"The mail server's certificate is not trusted: {error.verify_message}."
        raise TaskError("communication", message) from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        if ended:
            raise _unsure(line, error) from None
        line.check()  # a cut line shows as a broken connection
        message = f"The mail server cannot be reached: {_words(str(error))}."
        raise TaskError("communication", message, retryable=True) from None


def _unsure(line: Lifeline, error: Exception) -> TaskError:
    """The server has the message and did not say what becomes of it: sent again it might come twice."""
    try:
        line.check()
    except TaskError as stopped:
        if not stopped.retryable:
            return stopped
    said = _words(str(error))
    message = f"The mail server broke off after it had the message ({said}). Whether it is sent is not known."
    return TaskError("communication", message)


def _response_error(error: smtplib.SMTPResponseException) -> TaskError:
    code, said = int(error.smtp_code), _words(error.smtp_error)
    details = {"smtp_code": code}
    shown = f"{code} {said}".strip() + "."
    if isinstance(error, smtplib.SMTPAuthenticationError) and code >= 500:
        return TaskError("authentication", f"The mail server refused the login: {shown}", details=details)
    if code in (530, 535, 538):
        return TaskError("authentication", f"The mail server asks for a login: {shown}", details=details)
    if 400 <= code < 500 or code == -1:
        return TaskError(
            "communication", f"The mail server cannot take it now: {shown}", retryable=True, details=details
        )
    kind = "too_large" if code == 552 else "provider_error"
    return TaskError(kind, f"The mail server refused the message: {shown}", details=details)


def _nobody(error: smtplib.SMTPRecipientsRefused) -> TaskError:
    """The server refused everybody: for now where that holds for one of them."""
    refused: Mapping[str, tuple[int, bytes]] = error.recipients
    later = any(400 <= code < 500 for code, _ in refused.values())
    shown = [{"address": address, "code": code, "message": _words(said)} for address, (code, said) in refused.items()]
    first = shown[0]
    message = f"The mail server refused every recipient; {first['address']}: {first['code']} {first['message']}."
    return TaskError("communication" if later else "validation", message, later, details={"refused": shown})


def _words(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:_SHOWN].rstrip(".")
