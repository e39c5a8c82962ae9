"""youtube.download: which addresses it takes, and the real yt-dlp in its own process against pages on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deno
import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.egress import Egress
from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tasks_lib.clients import bounded, ffmpeg, youtube
from tasks_lib.types.youtube_download import YoutubeDownload
from tests.stubs.context import StubContext, run
from tests.stubs.web_stub import WebStub

pytestmark = pytest.mark.slow

WATCH = "https://www.youtube.com/watch?v=jNQXAC9IVRw"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds of picture and sound."""
    folder = tmp_path_factory.mktemp("clip")
    made = ("-f", "lavfi", "-i", "testsrc=d=2:s=160x120:r=10", "-f", "lavfi", "-i", "sine=440:d=2")
    ffmpeg.run([*made, "-c:v", "libx264", "-c:a", "aac", "clip.mp4"], folder=folder, cancellation=Cancellation(60))
    return (folder / "clip.mp4").read_bytes()


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


@pytest.fixture
def context(tmp_path: Path) -> StubContext:
    return StubContext(tmp_path / "files", cancellation=Cancellation(120))


@pytest.mark.parametrize(
    "url",
    [
        WATCH,
        "http://youtube.com/watch?feature=x&v=jNQXAC9IVRw&list=PL123&t=4",
        "https://m.youtube.com/watch/?v=jNQXAC9IVRw",
        "https://music.youtube.com/watch?v=jNQXAC9IVRw#t=1",
        "https://youtu.be/jNQXAC9IVRw?si=abc",
        "https://www.youtube.com/shorts/jNQXAC9IVRw",
        "https://www.youtube.com/live/jNQXAC9IVRw?feature=share",
        "https://www.youtube-nocookie.com/embed/jNQXAC9IVRw",
        "https://WWW.YouTube.com./watch?v=jNQXAC9IVRw",
    ],
)
def test_an_address_is_made_anew_from_the_id(url: str) -> None:
    assert youtube.address_of(url, Egress()) == (WATCH, ("youtube",))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://www.youtube.com/playlist?list=PLabcdefghijk", "names no video"),
        ("https://www.youtube.com/@channel", "names no video"),
        ("https://www.youtube.com/redirect?q=http://127.0.0.1/", "names no video"),
        ("https://www.youtube.com/watch?v=../../etc/x", "names no video"),
        ("https://www.youtube.com/watch?v=short", "names no video"),
        ("https://youtu.be/jNQXAC9IVRw/extra", "names no video"),
        ("https://evil.example/watch?v=jNQXAC9IVRw", "is not YouTube"),
        ("https://youtube.com.evil.example/watch?v=jNQXAC9IVRw", "is not YouTube"),
        ("https://notyoutube.com/watch?v=jNQXAC9IVRw", "is not YouTube"),
        ("https://www.youtube.com@evil.example/watch?v=jNQXAC9IVRw", "user name or password"),
        ("http://127.0.0.1/clip.mp4", "is not YouTube"),
        ("http://localhost/clip.mp4", "is not YouTube"),
        ("file:///etc/passwd", "must start with http"),
        ("--exec=id", "not usable|must start with http"),
        ("ytsearch:cats", "not usable|must start with http"),
        ("generic:http://127.0.0.1/", "not usable|must start with http"),
        ("", "not usable|must start with http"),
    ],
)
def test_what_is_refused_before_anything_is_started(url: str, words: str) -> None:
    with pytest.raises(TaskError, match=words) as raised:
        youtube.address_of(url, Egress())
    assert (raised.value.code, raised.value.retryable) == ("validation", False)


def test_hosts_that_the_operator_opens() -> None:
    inside = Egress(allowed_hosts=frozenset({"media.lan:8080"}))
    assert youtube.address_of("http://media.lan:8080/a.mp4", inside)[0] == "http://media.lan:8080/a.mp4"
    with pytest.raises(TaskError, match="is not YouTube"):
        youtube.address_of("http://media.lan/a.mp4", inside)
    assert youtube.address_of("http://localhost/a.mp4", Egress(allow_loopback=True))[1] == ("generic", "html5")


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("rr3---sn-4g5e6nzl.googlevideo.com", True),
        ("WWW.youtube.com.", True),
        ("evilyoutube.com", False),
        ("youtube.com.evil.example", False),
        ("127.0.0.1", False),
    ],
)
def test_where_a_youtube_download_may_go(host: str, may: bool) -> None:
    assert youtube._is_youtubes(host) == may


def test_a_video_on_a_page(context: StubContext, web: WebStub, clip: bytes) -> None:
    web.page("/clip.mp4", clip, content_type="video/mp4")
    page = web.page("/page", "<html><head><title>A / clip</title></head><video src='clip.mp4'></video></html>")
    outputs = run(YoutubeDownload(), context, url=page)
    assert outputs["title"].startswith("A / clip")
    assert outputs["duration"] == pytest.approx(2, abs=0.1)
    video = outputs["video"]
    assert (video["name"], video["content_type"]) == ("A - clip (1).mp4", "video/mp4")
    found = ffmpeg.probe(context.files.path(video), cancellation=Cancellation(20))
    assert (found.has_audio, found.has_video) == (True, True)
    assert context.progressed[-1] == (0.95, "Writing the file")
    assert all("Python" not in str(request.headers) for request in web.requests)


@pytest.mark.parametrize("sound", ["aac", "libopus"])
def test_the_sound_alone(context: StubContext, web: WebStub, tmp_path: Path, sound: str) -> None:
    made = ("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-f", "lavfi", "-i", "sine=440:d=1", "-c:v", "libx264")
    ffmpeg.run([*made, "-c:a", sound, "clip.mkv"], folder=tmp_path, cancellation=Cancellation(60))
    url = web.page("/clip.mkv", (tmp_path / "clip.mkv").read_bytes(), content_type="video/x-matroska")
    audio = run(YoutubeDownload(), context, url=url, audio_only=True)["video"]
    assert audio["content_type"] == "audio/mp4"
    found = ffmpeg.probe(context.files.path(audio), cancellation=Cancellation(20))
    assert (found.has_audio, found.has_video) == (True, False)


def test_picture_and_sound_apart_are_joined(context: StubContext, web: WebStub, tmp_path: Path) -> None:
    """As YouTube has them: a DASH manifest with one of each."""
    made = ("-f", "lavfi", "-i", "testsrc=d=2:s=160x120:r=10", "-f", "lavfi", "-i", "sine=440:d=2")
    dash = ("-c:v", "libx264", "-c:a", "aac", "-f", "dash", "all.mpd")
    ffmpeg.run([*made, *dash], folder=tmp_path, cancellation=Cancellation(60))
    for path in [path for path in tmp_path.iterdir() if path.suffix in (".mpd", ".m4s")]:
        web.page(f"/{path.name}", path.read_bytes(), content_type="application/dash+xml")
    video = run(YoutubeDownload(), context, url=web.url("/all.mpd"))["video"]
    found = ffmpeg.probe(context.files.path(video), cancellation=Cancellation(20))
    assert (found.has_audio, found.has_video) == (True, True)


def refused(context: StubContext, url: str, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        run(YoutubeDownload(), context, url=url, **inputs)
    assert context.files.names() == []
    return raised.value


def test_a_page_cannot_lead_it_inside(context: StubContext, web: WebStub, clip: bytes) -> None:
    """The host of the page is opened, what the page points to is not."""
    with WebStub() as inside:
        inside.page("/clip.mp4", clip, content_type="video/mp4")
        page = web.page("/page", f"<html><video src='{inside.url('/clip.mp4')}'></video></html>")
        away = web.page("/away", "", status=302, location=inside.url("/clip.mp4"))
        context.http = Egress(allowed_hosts=frozenset({f"127.0.0.1:{web.port}"}))
        for url in (page, away):
            error = refused(context, url)
            assert error.code == "blocked_address", error.message
            assert error.details.get("address") == "127.0.0.1", error.message
        assert inside.requests == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x.mp4", "data:video/mp4;base64,AAAA"])
def test_a_page_cannot_lead_it_to_files(context: StubContext, web: WebStub, target: str) -> None:
    page = web.page("/page", f"<html><video src='{target}'></video></html>")
    assert refused(context, page).code in ("validation", "communication", "blocked_address")


def test_a_page_is_no_video(context: StubContext, web: WebStub) -> None:
    assert refused(context, web.page("/page", "<html><p>Words</p></html>")).code == "validation"
    liar = web.page("/liar.mp4", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", content_type="video/mp4")
    assert refused(context, liar).code == "validation"


def test_a_server_that_breaks_may_be_tried_again(context: StubContext, web: WebStub) -> None:
    error = refused(context, web.url("/status?code=503"))
    assert (error.code, error.retryable) == ("communication", True)
    assert refused(context, web.url("/status?code=404")).retryable is False


@pytest.mark.parametrize("told", [True, False])
def test_its_size_is_bounded(context: StubContext, web: WebStub, monkeypatch: Any, told: bool) -> None:
    monkeypatch.setattr(youtube, "MAX_BYTES", 200_000)
    path = f"/bytes?n=3000000&length={int(told)}&.mp4"
    page = web.page("/page", f"<html><video src='{path}' type='video/mp4'></video></html>")
    assert refused(context, page).code == "too_large"


def test_the_users_configuration_is_not_read(
    context: StubContext, web: WebStub, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    for folder in (tmp_path / "yt-dlp", tmp_path / ".config" / "yt-dlp", tmp_path / ".yt-dlp"):
        folder.mkdir(parents=True)
        (folder / "config").write_text(f"--exec 'touch {canary}'\n")
        plugin = folder / "plugins" / "mine" / "yt_dlp_plugins" / "extractor"
        plugin.mkdir(parents=True)
        (plugin / "mine.py").write_text(f"open({str(canary)!r}, 'w')\n")
    (tmp_path / "yt-dlp.conf").write_text(f"--exec 'touch {canary}'\n")
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", "PYTHONPATH"):
        monkeypatch.setenv(name, str(tmp_path))
    url = web.page("/clip.mp4", clip, content_type="video/mp4")
    assert run(YoutubeDownload(), context, url=url)["video"]["size"] > 0
    assert not canary.exists()


def test_cancelling_ends_it(context: StubContext, web: WebStub, monkeypatch: pytest.MonkeyPatch) -> None:
    error = TaskError("cancelled", "stop")

    def stop_when_asked(fraction: float, message: str) -> None:
        context.cancellation.stop(error)

    monkeypatch.setattr(context, "progress", stop_when_asked)
    body = "x" * 3_000_000
    page = web.page("/clip.mp4", body, content_type="video/mp4")
    assert refused(context, page) is error


def test_without_a_javascript_runtime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry.get("youtube.download")
    assert found.missing() == ""
    monkeypatch.setattr("tasks_lib.base.find_spec", lambda name: None if name == "deno" else object())
    assert "pip install -r requirements-youtube.txt" in found.missing()


def test_the_runtime_works_within_the_limits(tmp_path: Path) -> None:
    program = [os.fsdecode(deno.find_deno_bin()), "eval", "--no-remote", "console.log(6 * 7)"]
    done = bounded.run(program, folder=tmp_path, cancellation=Cancellation(60), limits=youtube.LIMITS)
    assert (done.code, done.stdout) == (0, "42\n")
