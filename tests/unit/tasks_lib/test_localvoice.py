"""The local voice: real speech, clearly marked, and the protocol's own errors for the rest."""

from __future__ import annotations

import json
import math
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import audio, registry
from tasks_lib.clients import ffmpeg
from tasks_lib.clients.localvoice import COMMENT, VOICES, LocalVoiceServer
from tests.stubs.context import StubContext, run

SPEECH = registry.load().types["openai.audio.text_to_speech"]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalVoiceServer]:
    with LocalVoiceServer() as voice:
        thread = threading.Thread(target=voice.serve_forever, args=(0.02,))
        thread.start()
        yield voice
        voice.shutdown()
        thread.join()


def ask(server: LocalVoiceServer, body: Any, path: str = "/audio/speech") -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(server.base_url + path, data=data, timeout=20)


def samples(sound: Path) -> list[int]:
    """A sound file decoded: signed 16 bit, one channel, 24,000 a second."""
    target = ["-f", "s16le", "-ac", "1", "-ar", "24000", "decoded.raw"]
    ffmpeg.run([*ffmpeg.source(sound), *target], folder=sound.parent, cancellation=Cancellation(20))
    return [sample for (sample,) in struct.iter_unpack("<h", (sound.parent / "decoded.raw").read_bytes())]


def test_hello_world_through_the_task_type(server: LocalVoiceServer, tmp_path: Path) -> None:
    context = StubContext(tmp_path / "files", openai_base_url=server.base_url)
    spoken = run(SPEECH, context, text="Hello, world")["audio"]
    assert (spoken["name"], spoken["content_type"]) == ("speech.mp3", "audio/mpeg")
    assert context.files.metadata[spoken["file_id"]] == {"voice": "local"}
    assert any("local voice" in message for _, message in context.logs)
    assert COMMENT.encode("utf-16-le") in context.files.read(spoken) or COMMENT.encode() in context.files.read(spoken)
    heard = samples(context.files.path(spoken))
    assert len(heard) / 24_000 > 0.5
    assert max(map(abs, heard)) > 3_000, "it is silent"
    loud = sum(abs(sample) > 500 for sample in heard) / len(heard)
    assert loud > 0.2, "it is hardly more than a click"


def test_a_long_text(server: LocalVoiceServer, tmp_path: Path) -> None:
    context = StubContext(tmp_path / "files", openai_base_url=server.base_url)
    spoken = run(SPEECH, context, text="This is a sentence. " * 220)["audio"]
    assert context.files.metadata[spoken["file_id"]] == {"voice": "local"}
    seconds = ffmpeg.duration(context.files.path(spoken), cancellation=Cancellation(20))
    assert seconds is not None
    assert seconds > 180


@pytest.mark.parametrize("kind", sorted(audio.FORMATS))
def test_formats_are_real_and_marked(server: LocalVoiceServer, tmp_path: Path, kind: str) -> None:
    answer = ask(server, {"input": "Hello, world", "response_format": kind})
    assert (answer.status_code, answer.headers["x-dataflow-voice"]) == (200, "local")
    assert answer.headers["content-type"] == audio.FORMATS[kind].content_type
    assert answer.headers["transfer-encoding"] == "chunked"
    if kind == "pcm":
        assert 24_000 < len(answer.content) < 200_000
        return
    sound = tmp_path / f"sound.{kind}"
    sound.write_bytes(answer.content)
    assert max(map(abs, samples(sound))) > 3_000
    ffmpeg.run([*ffmpeg.source(sound), "-f", "ffmetadata", "said.txt"], folder=tmp_path, cancellation=Cancellation(20))
    assert COMMENT in (tmp_path / "said.txt").read_text() or kind == "opus"
    if kind == "opus":
        assert COMMENT.encode() in answer.content


def pitch(pcm: bytes) -> float:
    """How high a voice is, in Hz: the lag at which its loudest part resembles itself most, above 1 kHz left out."""
    heard: list[int] = [sample for (sample,) in struct.iter_unpack("<h", pcm)]
    low = [sum(heard[at : at + 24]) / 24 for at in range(0, len(heard) - 24, 4)]
    start = max(range(0, len(low) - 1400, 200), key=lambda at: sum(map(abs, low[at : at + 600])))
    part = low[start : start + 1400]

    def likeness(lag: int) -> float:
        later = part[lag : lag + 1000]
        together = sum(a * b for a, b in zip(part[:1000], later, strict=False))
        return float(together / math.sqrt(sum(b * b for b in later) + 1))

    return 6000 / max(range(15, 100), key=likeness)


def test_every_voice_speaks(server: LocalVoiceServer) -> None:
    assert len(set(VOICES.values())) == len(VOICES)
    for voice in VOICES:
        assert ask(server, {"input": "Hello", "voice": voice}).status_code == 200


def test_voices_and_speed_differ(server: LocalVoiceServer) -> None:
    def spoken(**body: Any) -> bytes:
        return ask(server, {"input": "Hello there my friend", "response_format": "pcm"} | body).content

    assert pitch(spoken(voice="onyx")) * 1.5 < pitch(spoken(voice="shimmer"))
    assert len(spoken(speed=0.5)) > 1.5 * len(spoken(speed=2))


def test_at_the_same_time(server: LocalVoiceServer) -> None:
    """The library has one state: texts and voices must not mix. (The breath in a voice varies, its length does not.)"""

    def length(body: dict[str, str]) -> int:
        return len(ask(server, body).content)

    texts = ("One", "Two and three", "A much longer text is this.", "The longest text of all the texts that there are.")
    voices = ("alloy", "onyx", "fable", "nova")
    spoken = zip(texts, voices, strict=True)
    bodies = [{"input": text, "voice": voice, "response_format": "pcm"} for text, voice in spoken]
    alone = [length(body) for body in bodies]
    assert len(set(alone)) == len(texts)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(length, bodies * 4))
    assert together == pytest.approx(alone * 4, rel=0.05), "pauses vary a little, texts a lot"


def test_nothing_to_say_is_a_file_too(server: LocalVoiceServer) -> None:
    assert len(ask(server, {"input": " ", "response_format": "pcm"}).content) > 1000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'{"input": "a", "input": "b"}', None),
        (b'{"input": "\\ud800"}', None),
        (b"[" * 10_000, None),
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": 1}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"input": "x", "voice": "nobody"}, "voice"),
        ({"input": "x", "voice": {}}, "voice"),
        ({"input": "x", "response_format": "exe"}, "response_format"),
        ({"input": "x", "speed": 5}, "speed"),
        ({"input": "x", "speed": True}, "speed"),
        ({"input": "x", "speed": "1"}, "speed"),
    ],
)
def test_bad_requests(server: LocalVoiceServer, body: Any, param: str | None) -> None:
    answer = ask(server, body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_a_body_that_is_too_large(server: LocalVoiceServer) -> None:
    assert ask(server, b"x" * (1024 * 1024 + 1)).status_code == 413


@pytest.mark.parametrize("path", ["/chat/completions", "/audio/transcriptions", "/embeddings", "/nowhere"])
def test_what_it_cannot_do(server: LocalVoiceServer, path: str) -> None:
    answer = ask(server, {"model": "x"}, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "unsupported_by_local_voice")
    assert "X-OpenAI-Key" in error["message"]


def test_our_client_says_clearly_what_it_cannot_do(server: LocalVoiceServer, tmp_path: Path) -> None:
    context = StubContext(tmp_path, openai_base_url=server.base_url)
    with pytest.raises(TaskError) as raised:
        run(registry.load().types["openai.completion"], context, text="x", prompt="y")
    assert (raised.value.code, raised.value.retryable) == ("validation", False)
    assert "local voice only speaks" in raised.value.message


def test_models(server: LocalVoiceServer) -> None:
    listed = requests.get(server.base_url + "/models", timeout=5).json()
    assert [model["id"] for model in listed["data"]] == ["local-voice"]
    assert requests.get(server.base_url + "/other", timeout=5).status_code == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_process(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "tasks_lib.clients.localvoice", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = re.fullmatch(r"ready: (http://127\.0\.0\.1:\d+/v1)\n", process.stdout.readline())
        assert ready is not None
        answer = requests.post(f"{ready[1]}/audio/speech", json={"input": "Hello"}, timeout=20)
        assert answer.status_code == 200
        started = time.monotonic()
        process.send_signal(number)
        assert process.wait(5) == 0
        assert time.monotonic() - started < 2
        assert process.stderr.read() == ""
