"""``email.send`` against a real SMTP server on loopback: what arrives, what is refused, what is never shown."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tests.stubs.certificates import make_certificate
from tests.stubs.context import StubContext, run

SEND = registry.load().types["email.send"]
CANARY = "canary-p4ssw0rd"
Settings = dict[str, Any]


@dataclass
class Mailbox:
    """The server's side: what came, and what it says to whom."""

    refuse: dict[str, str] = field(default_factory=dict)
    answer: str = "250 OK"
    messages: list[bytes] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    users: list[str] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append(envelope.content)
        self.recipients.append(envelope.rcpt_tos)
        self.encrypted.append(session.ssl is not None)
        return self.answer

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == CANARY.encode(), handled=False)

    def last(self) -> EmailMessage:
        parsed = message_from_bytes(self.messages[-1], policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def serve(mailbox: Mailbox) -> Iterator[Callable[..., Settings]]:
    """Starts a server and gives the settings of a connection to it."""
    with ExitStack() as stack:

        def start(security: str = "none", **options: Any) -> Settings:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
            controller.start()
            stack.callback(controller.stop)
            return {"host": "127.0.0.1", "port": port, "security": security, "sender": "Flows <flows@example.com>"}

        yield start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key in the same file."""
    path = tmp_path_factory.mktemp("mail") / "mail.pem"
    return make_certificate(path, name="mail.example", names=[], addresses=["127.0.0.1"])


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def context_for(tmp_path: Path, settings: Settings, **parts: Any) -> StubContext:
    return StubContext(tmp_path, connections={"main": ("email", settings)}, **parts)


def send(tmp_path: Path, settings: Settings, **inputs: Any) -> Mapping[str, Any]:
    given = {"to": "ann@example.org", "subject": "Hi", "text": "Hello"} | inputs
    return run(SEND, context_for(tmp_path, settings), connection="main", **given)


def failure(tmp_path: Path, settings: Settings, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        send(tmp_path, settings, **inputs)
    error = raised.value
    assert CANARY not in f"{error} {error.details} {error.__cause__}"
    return error


def test_it_works(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    outputs = send(
        tmp_path,
        serve(),
        to=["Ann Müller <ann@example.org>", "bob@example.org"],
        cc='"Çem, the 3rd" <cem@example.org>, dan@example.org,',
        bcc=["eve@example.org", "ann@example.org"],
        reply_to="team@example.com",
        subject="Grüße, die Zweite",
        text="Hällo\n.\n.dots\nend",
        html="<p>Hällo</p>",
    )
    everybody = [f"{name}@example.org" for name in ("ann", "bob", "cem", "dan", "eve")]
    assert (outputs["accepted"], outputs["refused"], mailbox.recipients) == (everybody, [], [everybody])
    message = mailbox.last()
    assert message["From"] == "Flows <flows@example.com>"
    assert message["To"] == "Ann Müller <ann@example.org>, bob@example.org"
    assert message["Cc"] == '"Çem, the 3rd" <cem@example.org>, dan@example.org'
    assert (message["Bcc"], message["Reply-To"]) == (None, "team@example.com")
    assert message["Subject"] == "Grüße, die Zweite"
    assert message["Message-ID"] == outputs["message_id"]
    assert message.get_body(("plain",)).get_content().splitlines() == ["Hällo", ".", ".dots", "end"]
    assert message.get_body(("html",)).get_content().strip() == "<p>Hällo</p>"
    assert b"eve@" not in mailbox.messages[0]


def test_the_example_runs(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    outputs = run(SEND, context_for(tmp_path, serve()), **SEND.example)
    assert outputs["accepted"] == ["ann@example.com"]


def test_html_alone_and_long_lines(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    send(tmp_path, serve(), text=None, html="<p>" + "ü" * 5000 + "</p>")
    assert mailbox.last().get_content_type() == "text/html"
    assert mailbox.last().get_content().strip() == "<p>" + "ü" * 5000 + "</p>"
    assert max(map(len, mailbox.messages[0].splitlines())) < 998


def test_the_message_id_is_that_of_the_task(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    settings = serve()
    first, again = send(tmp_path, settings)["message_id"], send(tmp_path, settings)["message_id"]
    context = context_for(tmp_path, settings, idempotency_key="we-2.task")
    other = run(SEND, context, connection="main", to="a@example.org", subject="x", text="x")["message_id"]
    assert first == again != other
    assert first.endswith("@example.com>")


def test_attachments(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    context = context_for(tmp_path, serve())
    data = bytes(range(256)) * 1000 + b"x"
    files = [
        context.files.add("Bild ü.png", "image/png", data),
        context.files.add("evil\r\nBcc: eve@example.org\r\n.txt", "text/plain\r\nX: y", b"text"),
        context.files.add("mail.eml", "message/rfc822", b"From: x"),
        context.files.add("empty", "", b""),
    ]
    inputs = {"to": "a@example.org", "subject": "x", "text": "Hello", "attachments": files}
    run(SEND, context, connection="main", **inputs)
    message = mailbox.last()
    found = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in message.iter_attachments()
    ]
    assert found[0] == ("Bild ü.png", "image/png", data)
    assert found[1][2] == b"text"
    assert "Bcc" not in message
    assert [part["Bcc"] for part in message.walk()] == [None] * 6
    assert found[2:] == [
        ("mail.eml", "application/octet-stream", b"From: x"),
        ("empty", "application/octet-stream", b""),
    ]
    assert message.get_body(("plain",)).get_content().strip() == "Hello"


def test_an_attachment_by_its_id_has_its_name_and_type(
    serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path
) -> None:
    context = context_for(tmp_path, serve())
    file = context.files.add("plan.pdf", "application/pdf", b"%PDF")
    inputs = {"to": "a@example.org", "subject": "x", "text": "Hello", "attachments": [file["file_id"]]}
    run(SEND, context, connection="main", **inputs)
    [part] = mailbox.last().iter_attachments()
    assert (part.get_filename(), part.get_content_type()) == ("plan.pdf", "application/pdf")


def test_too_much_is_refused_before_anything_is_sent(
    serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path
) -> None:
    context = context_for(tmp_path, serve())
    file = context.files.add("big", "application/zip", bytes(13 * 1024 * 1024))
    inputs: dict[str, Any] = {"connection": "main", "to": "a@example.org", "subject": "x", "text": "x"}
    for more in ({"attachments": [file, file]}, {"attachments": [file] * 21}, {"text": "x" * 7_000_000}):
        with pytest.raises(TaskError) as raised:
            run(SEND, context, **(inputs | more))
        assert raised.value.code == "too_large"
    error = failure(tmp_path, serve(), to=[f"a{n}@example.org" for n in range(101)])
    assert error.code == "too_large"
    assert mailbox.messages == []


def test_the_servers_limit(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    error = failure(tmp_path, serve(data_size_limit=1000), text="x" * 2000)
    assert (error.code, error.retryable) == ("too_large", False)
    assert mailbox.messages == []


@pytest.mark.parametrize(
    "inputs",
    [
        {"subject": "x\r\nBcc: eve@example.org"},
        {"subject": "x\u2028y"},
        {"to": "ann@example.org\nBcc: eve@example.org"},
        {"to": ["Ann\r\n <ann@example.org>"]},
        {"to": "nobody"},
        {"to": []},
        {"to": 7},
        {"to": ["a@example.org, b@example.org"]},
        {"to": "alice@example.org)bob@example.net"},
        {"to": "ann@exa mple.org"},
        {"to": "Ann <ann@example.org> <eve@example.org>"},
        {"to": '"Ann" eve@example.org <ann@example.org'},
        {"to": "ann@-example.org"},
        {"cc": "üser@example.org"},
        {"reply_to": "<>"},
        {"text": None},
        {"attachments": ["nothing"]},
    ],
)
def test_what_cannot_be_sent(
    inputs: dict[str, Any], serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path
) -> None:
    assert failure(tmp_path, serve(), **inputs).code == "validation"
    assert mailbox.messages == []


def test_an_international_domain(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    assert send(tmp_path, serve(), to="ann@bücher.example")["accepted"] == ["ann@xn--bcher-kva.example"]


def test_some_are_refused(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    mailbox.refuse["bob@example.org"] = "550 No such user"
    outputs = send(tmp_path, serve(), to="ann@example.org, bob@example.org")
    assert outputs["accepted"] == ["ann@example.org"]
    assert outputs["refused"] == [{"address": "bob@example.org", "code": 550, "message": "No such user"}]
    assert len(mailbox.messages) == 1


@pytest.mark.parametrize(
    ("said", "code", "retryable"), [("550 No", "validation", False), ("450 Later", "communication", True)]
)
def test_all_are_refused(
    said: str, code: str, retryable: bool, serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path
) -> None:
    mailbox.refuse["ann@example.org"] = said
    error = failure(tmp_path, serve())
    assert (error.code, error.retryable) == (code, retryable)
    assert said[4:] in error.message


@pytest.mark.parametrize(
    ("said", "code", "retryable"),
    [
        ("554 Spam", "provider_error", False),
        ("552 Too large", "too_large", False),
        ("451 Later", "communication", True),
    ],
)
def test_the_message_is_refused(
    said: str, code: str, retryable: bool, serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path
) -> None:
    mailbox.answer = said
    error = failure(tmp_path, serve())
    assert (error.code, error.retryable) == (code, retryable)
    assert said in error.message


def test_starttls_and_login(
    serve: Callable[..., Settings],
    mailbox: Mailbox,
    tls: ssl.SSLContext,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    settings = serve("starttls", tls_context=tls, require_starttls=True, authenticator=mailbox.authenticate)
    send(tmp_path, settings | {"username": "flows", "password": CANARY})
    assert (mailbox.encrypted, mailbox.users) == ([True], ["flows"])
    error = failure(tmp_path, settings | {"username": "flows", "password": f"wrong {CANARY}"})
    assert (error.code, error.retryable) == ("authentication", False)


def test_tls_from_the_first_byte(
    serve: Callable[..., Settings],
    mailbox: Mailbox,
    tls: ssl.SSLContext,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    send(tmp_path, serve("tls", ssl_context=tls))
    assert len(mailbox.messages) == 1


def test_a_certificate_that_is_not_trusted(
    serve: Callable[..., Settings], mailbox: Mailbox, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    error = failure(tmp_path, serve("starttls", tls_context=tls) | {"username": "flows", "password": CANARY})
    assert (error.code, error.retryable) == ("communication", False)
    assert "certificate" in error.message
    assert (mailbox.users, mailbox.messages) == ([], [])


def test_never_without_the_encryption_asked_for(
    serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path
) -> None:
    error = failure(tmp_path, serve("starttls") | {"username": "flows", "password": CANARY})
    assert error.code == "validation"
    assert (mailbox.users, mailbox.messages) == ([], [])


def test_a_login_that_the_server_does_not_know(serve: Callable[..., Settings], tmp_path: Path) -> None:
    assert failure(tmp_path, serve() | {"username": "flows", "password": CANARY}).code == "validation"


def test_a_password_that_smtp_cannot_carry(serve: Callable[..., Settings], mailbox: Mailbox, tmp_path: Path) -> None:
    settings = serve(authenticator=mailbox.authenticate, auth_require_tls=False)
    assert failure(tmp_path, settings | {"username": "flows", "password": f"{CANARY}ü"}).code == "validation"


def test_no_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "a@example.com", "password": CANARY}
    error = failure(tmp_path, settings)
    assert (error.code, error.retryable) == ("communication", True)


@pytest.fixture
def silent_server() -> Iterator[Settings]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"host": "127.0.0.1", "port": server.getsockname()[1], "security": "none", "sender": "a@example.com"}


def test_a_server_that_says_nothing(silent_server: Settings, tmp_path: Path) -> None:
    inputs = {"connection": "main", "to": "a@example.org", "subject": "x", "text": "x"}
    with pytest.raises(TaskError) as raised:
        run(SEND, context_for(tmp_path, silent_server, cancellation=Cancellation(0.3)), **inputs)
    assert (raised.value.code, raised.value.retryable) == ("timeout", True)
    context = context_for(tmp_path, silent_server, cancellation=Cancellation(120))
    timer = threading.Timer(0.3, context.cancellation.stop, [TaskError("cancelled", "Cancelled.")])
    timer.start()
    with pytest.raises(TaskError, match="Cancelled"):
        run(SEND, context, **inputs)
    timer.join()


@pytest.mark.parametrize(("last", "retryable"), [(b".", False), (b"DATA", True)])
@pytest.mark.parametrize("silently", [False, True])
def test_a_server_that_breaks_off(last: bytes, retryable: bool, silently: bool, tmp_path: Path) -> None:
    """Before it has the message it may be sent again; after that nobody knows."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, client.makefile("rb") as lines:
                client.sendall(b"220 hello\r\n")
                inside = False
                for line in lines:
                    if line.strip() == last:
                        while silently and client.recv(1000):
                            pass
                        return
                    inside = inside or line.strip() == b"DATA"
                    client.sendall(b"354 go\r\n" if line.strip() == b"DATA" else b"" if inside else b"250 ok\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        settings = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "a@example.com"}
        context = context_for(tmp_path, settings, cancellation=Cancellation(0.5 if silently else 30))
        with pytest.raises(TaskError) as raised:
            run(SEND, context, connection="main", to="a@example.org", subject="x", text="x")
        thread.join(5)
    assert raised.value.retryable is retryable
    assert raised.value.code == ("timeout" if silently and retryable else "communication")
