"""``email.send``: a mail by the admin's mail server."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from functools import partial
from tempfile import TemporaryFile

from dataflow.lib.errors import TaskError
from tasks_lib import file_values, mail_message
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import smtp
from tasks_lib.connections import complete, guarded
from tasks_lib.literals import wrong_inputs
from tasks_lib.mail_message import MAX_BYTES, MAX_RECIPIENTS, Attachment, Letter

#: Files of one message.
MAX_ATTACHMENTS = 20
_NO_MESSAGE = "Give `text`, `html` or both."


class EmailSend(TaskType):
    """Sends a message through a connection to an SMTP server."""

    name = "email.send"
    title = "Send an email"
    category = "integrations"
    description = "Sends a mail with text, HTML and files. Whom the mail server refuses is said in `refused`."
    inputs = (
        Field(name="connection", type="text", required=True, description="Name of the connection", example="main"),
        Field(
            name="to",
            type="any",
            required=True,
            description="Addresses: a list, or a text with commas; `Name <a@b>` too",
            example=["Ann <ann@example.com>"],
        ),
        Field(name="cc", type="any", description="Addresses of a copy that all may see"),
        Field(name="bcc", type="any", description="Addresses of a copy that nobody else sees"),
        Field(name="reply_to", type="any", description="Where answers go"),
        Field(name="subject", type="text", required=True, description="Subject, one line", example="The report"),
        Field(name="text", type="text", aliases=("body",), description="The message as plain text"),
        Field(name="html", type="text", description="The message as HTML; with `text` readers choose"),
        Field(name="attachments", type="list", description=f"Files, at most {MAX_BYTES // 1024**2} MiB with the texts"),
    )
    outputs = (
        Field(name="accepted", type="list", description="Addresses that the server took", example=["ann@example.com"]),
        Field(name="refused", type="list", description="Those it refused: `address`, `code`, `message`"),
        Field(name="message_id", type="text", description="The message's own name, the same for every try"),
    )
    retried = ("communication", "timeout")
    idempotent = False
    example = {"connection": "main", "to": ["ann@example.com"], "subject": "The report", "text": "It is ready."}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """Addresses and subject, where they are known, and that there is a message."""
        places = ("to", "cc", "bcc", "reply_to")
        checks = {place: partial(mail_message.addresses, place=place) for place in places}
        yield from wrong_inputs(given, {**checks, "subject": partial(mail_message.header_text, place="subject")})
        if given.get("text") is None and given.get("html") is None:
            yield "text", _NO_MESSAGE

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Send the message. Raises ``TaskError``; where only some are refused, the task succeeds."""
        settings = complete("email", context.connection(inputs["connection"], "email"))
        letter = _letter(inputs, str(settings["sender"] or ""), context.idempotency_key)
        with TemporaryFile() as message:
            with closing(_attached(context, inputs["attachments"])) as attached:
                mail_message.write(letter, attached, message, context.cancellation.check)
            message.seek(0)
            with guarded("email", settings):
                sent = smtp.send(settings, letter.sender.addr_spec, letter.recipients, message, context.cancellation)
        if sent.refused:
            names = ", ".join(str(entry["address"]) for entry in sent.refused)
            context.log(f"The mail server refused {names}.", level="warning")
        return {"accepted": sent.accepted, "refused": sent.refused, "message_id": letter.message_id}


def _letter(inputs: Mapping[str, JsonValue], sender_text: str, key: str) -> Letter:
    senders = mail_message.addresses(sender_text, "sender")
    if len(senders) != 1:
        raise TaskError("validation", "The connection's `sender` must be one address.")
    if inputs["text"] is None and inputs["html"] is None:
        raise TaskError("validation", _NO_MESSAGE)
    letter = Letter(
        sender=senders[0],
        to=mail_message.addresses(inputs["to"], "to"),
        cc=mail_message.addresses(inputs["cc"], "cc"),
        bcc=mail_message.addresses(inputs["bcc"], "bcc"),
        reply_to=mail_message.addresses(inputs["reply_to"], "reply_to"),
        subject=mail_message.header_text(inputs["subject"], "subject"),
        text=inputs["text"],
        html=inputs["html"],
        message_id=mail_message.message_id(key, senders[0]),
    )
    if not letter.to:
        raise TaskError("validation", "`to` names nobody.")
    if len(letter.recipients) > MAX_RECIPIENTS:
        raise TaskError("too_large", f"A message goes to at most {MAX_RECIPIENTS} addresses.")
    if max(len(letter.text or ""), len(letter.html or "")) > MAX_BYTES // 4:
        raise TaskError("too_large", f"`text` and `html` may have {MAX_BYTES // 4:,} characters each. Attach a file.")
    return letter


def _attached(context: TaskContext, values: JsonValue) -> Generator[Attachment, None, None]:
    """The files in turn, each open while it is read."""
    given = values or []
    if len(given) > MAX_ATTACHMENTS:
        raise TaskError("too_large", f"A message has at most {MAX_ATTACHMENTS} attachments.")
    files = [file_values.given_file(context, value, f"attachments[{index}]") for index, value in enumerate(given)]
    for file in files:
        with context.files.open(file) as content:
            kind = str(file.get("content_type") or "")
            yield Attachment(name=file_values.name_of(file, "file"), content_type=kind, content=content)
