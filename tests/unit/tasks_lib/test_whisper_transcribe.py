"""whisper.transcribe: the real recogniser with the tiny English model, on speech of the local voice."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
import time
from pathlib import Path

import psutil
import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tasks_lib.base import FileValue
from tasks_lib.clients import whisper
from tasks_lib.types.video_extract_audio import ExtractAudio
from tasks_lib.types.whisper_transcribe import WhisperTranscribe
from tests.stubs import speech
from tests.stubs.context import StubContext, run
from tests.stubs.speech import PICTURE, SENTENCE, share_heard

pytestmark = pytest.mark.slow


@pytest.fixture
def context(tmp_path: Path) -> StubContext:
    return StubContext(tmp_path / "files", cancellation=Cancellation(120))


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WHISPER_MODEL", "WHISPER_MODELS"):
        monkeypatch.delenv(name, raising=False)


def spoken(context: StubContext, text: str, *arguments: str, name: str = "speech.wav") -> FileValue:
    """``text`` in the local voice as a stored file."""
    return context.files.add(
        name, "application/octet-stream", speech.spoken(text, context.folder.parent, *arguments, name=name)
    )


def recognisers() -> list[int]:
    """Processes of ours that recognise speech."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "recognise_speech" in child.cmdline():
                found.append(child.pid)
    return found


def test_speech_in_a_video_comes_back_as_text(context: StubContext) -> None:
    video = spoken(context, SENTENCE, *PICTURE, name="speech.mp4")
    audio = run(ExtractAudio(), context, video=video)["audio"]
    outputs = run(WhisperTranscribe(), context, audio=audio)
    assert share_heard(SENTENCE, outputs["text"]) >= 0.6, outputs["text"]
    assert outputs["language"] == "en"
    assert outputs["duration"] == pytest.approx(11, abs=4)
    assert " ".join(segment["text"] for segment in outputs["segments"]) == outputs["text"]
    times = [moment for segment in outputs["segments"] for moment in (segment["start"], segment["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= outputs["duration"] + 1
    assert context.used == {"model": "tiny.en", "seconds": outputs["duration"], "local": True}
    assert context.progressed[-1][0] == pytest.approx(1, abs=0.2)


def test_a_long_sound_is_heard_in_windows(context: StubContext) -> None:
    """The sentence comes again after more than ten minutes of silence, and its time is right."""
    late = spoken(context, "The station is cold.", "-af", "adelay=602000", "-ar", "16000", name="late.flac")
    outputs = run(WhisperTranscribe(), context, audio=late, language="en")
    assert share_heard("station cold", outputs["segments"][-1]["text"]) > 0
    assert outputs["segments"][-1]["start"] == pytest.approx(602, abs=3)


def test_a_language_the_model_does_not_know(context: StubContext) -> None:
    with pytest.raises(TaskError, match=r"does not know the language .de.\. It knows: en") as raised:
        run(WhisperTranscribe(), context, audio=spoken(context, "Hello"), language="DE")
    assert raised.value.code == "validation"


@pytest.mark.parametrize("model", ["../secrets", "/etc", "-x", "a/b", "."])
def test_a_model_is_a_name_and_no_path(context: StubContext, model: str) -> None:
    with pytest.raises(TaskError, match="is no name of a model"):
        run(WhisperTranscribe(), context, audio={"file_id": "fl-none"}, model=model)


def test_a_model_that_is_not_there(context: StubContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskError, match="'base' is not on this machine") as error:
        run(WhisperTranscribe(), context, audio={"file_id": "fl-none"}, model="base")
    assert error.value.code == "validation"
    assert "hf download Systran/faster-whisper-base" in error.value.message
    monkeypatch.setenv("WHISPER_MODELS", str(tmp_path))
    (tmp_path / "base").mkdir()
    with pytest.raises(TaskError, match=r"it has no model\.bin"):
        run(WhisperTranscribe(), context, audio={"file_id": "fl-none"}, model="base")


def test_where_models_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = whisper.find_model(None)
    assert (bundled.name, bundled.folder.name) == ("tiny.en", "model")
    (tmp_path / "base").symlink_to(bundled.folder)
    monkeypatch.setenv("WHISPER_MODELS", str(tmp_path))
    assert whisper.find_model("base") == whisper.Model("base", tmp_path / "base")
    assert whisper.find_model(None) == bundled
    monkeypatch.setenv("WHISPER_MODEL", "base")
    assert whisper.find_model(None).name == "base"
    assert whisper.find_model("tiny.en") == bundled
    monkeypatch.setenv("WHISPER_MODEL", str(tmp_path / "base"))
    assert whisper.find_model(None).folder == tmp_path / "base"


def test_cancelling_ends_it_at_once(context: StubContext) -> None:
    long = spoken(context, SENTENCE * 4)

    def cancel_when_it_hears() -> None:
        while not recognisers() and not context.cancellation.error:
            time.sleep(0.01)
        context.cancellation.stop(TaskError("cancelled", "stop"))

    threading.Thread(target=cancel_when_it_hears).start()
    with pytest.raises(TaskError, match="stop"):
        run(WhisperTranscribe(), context, audio=long)
    assert recognisers() == []


def test_its_memory_is_bounded(context: StubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "BASE_MEMORY", 350 * 1024**2)
    monkeypatch.setattr(whisper, "TIMES_MODEL", 0)
    with pytest.raises(TaskError, match="needed more than 350 MiB of memory") as raised:
        run(WhisperTranscribe(), context, audio=spoken(context, "Hello"))
    assert raised.value.code == "too_large"


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry.get("whisper.transcribe")
    assert found.missing() == ""
    real = importlib.util.find_spec
    monkeypatch.setattr("tasks_lib.base.find_spec", lambda name: None if name == "faster_whisper" else real(name))
    assert "pip install -r requirements-whisper.txt" in found.missing()
