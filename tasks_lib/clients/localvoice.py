"""The local voice: a small server that speaks the OpenAI protocol for speech, with espeak-ng, for use without a key.

``python -m tasks_lib.clients.localvoice --port 0`` prints ``ready: http://127.0.0.1:PORT/v1`` once it answers.
It listens on loopback only, marks what it makes, and refuses what it cannot do with the protocol's own error.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import JsonError, parse_json
from tasks_lib import audio
from tasks_lib.clients.espeak import EspeakError, Voice, speak

#: What marks its sound: this comment in the file, and this header on the answer.
COMMENT = "Local voice (espeak-ng), not OpenAI"
MARK_HEADER, MARK = "x-dataflow-voice", "local"
MODEL = "local-voice"
MAX_CHARACTERS = 4096
MAX_BODY = 1024 * 1024
#: Seconds one request may take.
TIMEOUT = 120.0
_CHUNK = 16 * 1024
_IDLE_TIMEOUT = 30.0

VOICES: Mapping[str, Voice] = {
    "alloy": Voice("en-us+f5", 45),
    "ash": Voice("en-us+m3", 45),
    "ballad": Voice("en-gb-x-rp+m7", 50),
    "cedar": Voice("en-us+m8", 45),
    "coral": Voice("en-us+f2", 60),
    "echo": Voice("en-us+m1", 40),
    "fable": Voice("en-gb-x-rp+m2", 55),
    "marin": Voice("en-us+f1", 50),
    "nova": Voice("en-us+f3", 60),
    "onyx": Voice("en-us+m2", 20),
    "sage": Voice("en-us+f4", 50),
    "shimmer": Voice("en-us+f1", 65),
    "verse": Voice("en-us+m4", 50),
}


class ProtocolError(Exception):
    """A request that is refused, as the protocol says it."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_TIMEOUT

    def do_GET(self) -> None:
        """List the one model."""
        if self.path.rstrip("/") == "/v1/models":
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "espeak-ng"}
            self._send_json(200, {"object": "list", "data": [model]})
        else:
            self._refuse(_unknown(self.path))

    def do_POST(self) -> None:
        """Speak, or say that nothing else can be done here."""
        try:
            body = self._body()
            if self.path.rstrip("/") != "/v1/audio/speech":
                raise _unknown(self.path)
            self._speak(body)
        except ProtocolError as error:
            self._refuse(error)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            raise ProtocolError(413 if length.isdecimal() else 411, "The body must say its length, at most 1 MiB.")
        return self.rfile.read(int(length))

    def _speak(self, body: bytes) -> None:
        request = speech_request(body)
        with tempfile.TemporaryDirectory(prefix="localvoice-") as folder:
            try:
                made = make_speech(request, Path(folder), Cancellation(TIMEOUT))
            except (EspeakError, TaskError) as error:
                raise ProtocolError(500, f"The local voice failed: {error}", code="server_error") from error
            self.send_response(200)
            self.send_header("Content-Type", audio.FORMATS[request["response_format"]].content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header(MARK_HEADER, MARK)
            self.end_headers()
            with made.open("rb") as sound:
                while chunk := sound.read(_CHUNK):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, error: ProtocolError) -> None:
        self._send_json(error.status, {"error": error.body})

    def _send_json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header(MARK_HEADER, MARK)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the base class
        """Say nothing: what people have spoken is not for the log."""


class LocalVoiceServer(ThreadingHTTPServer):
    """The server; ``port`` 0 takes a free one. Use as a context manager around ``serve_forever``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def base_url(self) -> str:
        """What ``OPENAI_BASE_URL`` has to be."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to tell."""


def speech_request(body: bytes) -> dict[str, Any]:
    """The checked body of a speech request, defaults filled in. Raises ``ProtocolError``."""
    try:
        given = parse_json(body)
    except JsonError as error:
        raise ProtocolError(400, error.detail) from error
    if not isinstance(given, dict):
        raise ProtocolError(400, "The body must be a JSON object.")
    request = {"voice": "alloy", "response_format": "mp3", "speed": 1.0} | given
    text, speed = request.get("input"), request["speed"]
    if not isinstance(text, str) or not text:
        raise ProtocolError(400, "`input` must be a text that is not empty.", param="input")
    if len(text) > MAX_CHARACTERS:
        message = f"`input` is longer than {MAX_CHARACTERS} characters."
        raise ProtocolError(400, message, param="input", code="string_above_max_length")
    _require_known(request, "voice", VOICES)
    _require_known(request, "response_format", audio.FORMATS)
    if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0.25 <= speed <= 4:
        raise ProtocolError(400, "`speed` must be a number from 0.25 to 4.", param="speed")
    return request


def make_speech(request: Mapping[str, Any], folder: Path, cancellation: Cancellation) -> Path:
    """The spoken file, in ``folder``. Raises ``EspeakError`` or ``TaskError``."""
    sound = speak(request["input"], VOICES[request["voice"]], request["speed"])
    samples, target = folder / "samples.raw", folder / "speech"
    samples.write_bytes(sound.samples)
    kind = request["response_format"]
    audio.encode(samples, sound.rate, target, kind, comment=COMMENT, cancellation=cancellation)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="OpenAI-protocol speech with espeak-ng, on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    with LocalVoiceServer(parser.parse_args(arguments).port) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for the loop that this very thread runs, so another has to call it
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        speak("ready", VOICES["alloy"])  # so that a missing library shows now, not at the first request
        print(f"ready: {server.base_url}", flush=True)  # noqa: T201  what started it waits for this line
        server.serve_forever(poll_interval=0.1)
    return 0


def _require_known(request: Mapping[str, Any], name: str, known: Mapping[str, object]) -> None:
    if not isinstance(request[name], str) or request[name] not in known:
        raise ProtocolError(400, f"`{name}` must be one of {', '.join(known)}.", param=name)


def _unknown(path: str) -> ProtocolError:
    message = (
        f"The local voice only speaks; it cannot do {path[:100]}. "
        "Set OPENAI_API_KEY, or send the header X-OpenAI-Key, to use OpenAI."
    )
    return ProtocolError(404, message, code="unsupported_by_local_voice")


if __name__ == "__main__":
    raise SystemExit(main())
