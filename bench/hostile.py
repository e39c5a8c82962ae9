"""``python -m bench.hostile``: what each hostile file costs, and how it ends. Prints a table (Markdown).

Each case runs in a process of its own, as a worker would run it. Peaks are the kernel's, of that process and of the
largest that it started; a child's below our own is not told apart. ``python -m bench.hostile WORD…`` runs some.
To add a case, add a line to ``CASES``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from types import SimpleNamespace
from typing import IO, Any

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tasks_lib.base import MISSING
from tests.stubs import hostile_files as hostile
from tests.stubs import hostile_media
from tests.stubs.context import StubContext

_WAV = {"format": "wav", "sample_rate": 48_000}
_large = hostile_media.honest_picture


def _playlist(kind: str) -> bytes:
    return (
        hostile_media.PLAYLISTS[kind]
        .replace("{canary}", "/etc/passwd")
        .replace("{server}", "http://127.0.0.1")
        .encode()
    )


#: Name, task type, its input for the file, what makes the file, other inputs.
Case = tuple[str, str, str, Callable[[], bytes], Mapping[str, Any]]
CASES: list[Case] = [
    ("zip: 600 MiB of zeros", "archive.unzip", "archive", lambda: hostile.zip_bomb(600), {}),
    ("zip: 100 MiB of zeros", "archive.unzip", "archive", lambda: hostile.zip_bomb(100), {}),
    ("zip: lies about its size", "archive.unzip", "archive", lambda: hostile.lying_zip(400), {}),
    ("zip: 1,000 entries on the same bytes", "archive.unzip", "archive", lambda: hostile.overlapping_zip(1000), {}),
    ("zip: directory of 5 million entries", "archive.unzip", "archive", lambda: hostile.wide_zip(5_000_000), {}),
    ("zip: directory of 40,000 entries", "archive.unzip", "archive", lambda: hostile.wide_zip(40_000), {}),
    ("zip: ../../etc/passwd", "archive.unzip", "archive", lambda: hostile.zip_of({"../../etc/passwd": b"x"}), {}),
    ("zip: symbolic link", "archive.unzip", "archive", hostile.symlink_zip, {}),
    ("zip: 500 MiB, honest", "archive.unzip", "archive", lambda: hostile.stored_zip(500), {}),
    ("pdf: page of 1 GiB, packed twice", "document.extract_text", "file", lambda: hostile.pdf_bomb(1024), {}),
    ("pdf: page tree in itself", "document.extract_text", "file", hostile.looping_pdf, {}),
    ("pdf: a million pages", "document.extract_text", "file", lambda: hostile.many_pages_pdf(1_000_000), {}),
    ("pdf: 5 million brackets", "document.extract_text", "file", lambda: hostile.nested_pdf(5_000_000), {}),
    ("docx: a billion laughs", "document.extract_text", "file", hostile.word_with_entities, {}),
    ("docx: 1 GiB of spaces", "document.extract_text", "file", lambda: hostile.word_bomb(1024), {}),
    ("docx: 19 MiB of elements", "document.extract_text", "file", lambda: hostile.wide_word(19), {}),
    ("png: claims 60,000 × 60,000", "image.resize", "image", lambda: hostile.claiming_png(60000, 60000), {"width": 9}),
    ("png: 7,000 × 7,000, honest", "image.resize", "image", lambda: hostile.picture("PNG", (7000, 7000)), {"width": 9}),
    ("png: to WebP", "image.convert", "image", lambda: hostile.picture("PNG", (7000, 7000)), {"format": "webp"}),
    ("jpeg: cut off", "image.resize", "image", lambda: hostile.picture("JPEG", (900, 900))[:3000], {"width": 9}),
    ("gif: 5,000 frames", "image.resize", "image", lambda: hostile.gif(5000), {"width": 4}),
    ("gif: 60 frames of 1,000 × 1,000", "image.resize", "image", lambda: hostile.gif(60, (1000, 1000)), {"width": 9}),
    ("svg", "image.convert", "image", lambda: b"<svg xmlns='x'/>", {"format": "png"}),
    ("media: HLS playlist as .mp4", "audio.convert", "audio", lambda: _playlist("hls media"), {}),
    ("media: concat script as .mp4", "audio.convert", "audio", lambda: _playlist("concat script"), {}),
    ("media: playlist with http: as .mp4", "video.extract_audio", "video", lambda: _playlist("hls http"), {}),
    ("media: truncated", "video.extract_audio", "video", hostile_media.truncated, {}),
    ("media: scrambled", "video.extract_audio", "video", hostile_media.scrambled, {}),
    ("media: picture of 10,000 × 10,000", "video.thumbnail", "video", lambda: _large(10_000, 10_000), {}),
    ("media: picture of 8,000 × 4,400", "video.thumbnail", "video", lambda: _large(8000, 4400), {}),
    ("media: 65,535 channels", "audio.convert", "audio", hostile_media.wide_wav, {}),
    ("media: 200 streams", "audio.convert", "audio", lambda: hostile_media.many_streams(200), {}),
    ("media: days of sound", "audio.convert", "audio", lambda: hostile_media.slow_wav(300_000), _WAV),
    ("media: days of sound, split", "audio.split", "audio", lambda: hostile_media.slow_wav(300_000), _WAV),
    ("media: subtitles that name files", "video.extract_audio", "video", hostile_media.with_subtitles, {}),
    ("media: 10 minutes of silence", "whisper.transcribe", "audio", lambda: hostile_media.slow_wav(60_000, 100), {}),
]


class DiskFiles:
    """Files of a try, on disk: those of the tests are held in memory, which would be measured too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def open(self, value: Mapping[str, Any]) -> Iterator[IO[bytes]]:
        """The file to read."""
        with (self._folder / value["file_id"]).open("rb") as file:
            yield file

    @contextmanager
    def create(self, name: str, _: str, **__: object) -> Iterator[Any]:
        """A file to write."""
        with (self._folder / "made").open("wb") as file:
            yield SimpleNamespace(write=file.write, value={"file_id": "made", "name": name})


def own_peak() -> int:
    """The most memory that this program has held, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def run_one(name: str, file: Path) -> str:
    """Run one case here, and tell what it took as the rest of a line of the table."""
    _, type_name, place, _, others = next(case for case in CASES if case[0] == name)
    task_type = registry.load().types[type_name]
    given: dict[str, Any] = {one.name: None if one.default is MISSING else one.default for one in task_type.inputs}
    context = StubContext(file.parent, cancellation=Cancellation(300))
    context.files = DiskFiles(file.parent)  # type: ignore[assignment]  # see there
    before, started = own_peak(), time.monotonic()
    try:
        task_type.run(context, **given | {place: {"file_id": file.name}} | dict(others))
        result = "done"
    except TaskError as error:
        result = f"`{error.code}`: {error.message[:110]}"
    seconds, child = time.monotonic() - started, getrusage(RUSAGE_CHILDREN).ru_maxrss // 1024
    # Before it is another program, a child counts our memory as its own.
    told = "–" if child == 0 else f"{child} MB" if child > before + 2 else f"< {before} MB"
    return f"{seconds:.1f} | {own_peak()} MB ({before}) | {told} | {result} |"


def main(words: list[str]) -> None:
    """Run the cases, each in a process of its own, and print a line for each."""
    print("| file | size | s | our peak (before) | child's peak | result |\n|---|---|---|---|---|---|")
    for name, _, _, make, _ in CASES:
        if words and not any(word in name for word in words):
            continue
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            file = Path(folder) / "fl-case"
            size = file.write_bytes(make()) // 1024
            argv = [sys.executable, "-m", "bench.hostile", "--one", name, str(file)]
            told = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(f"| {name} | {size:,} KiB | {json.loads(told)}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(run_one(sys.argv[2], Path(sys.argv[3]))))
    else:
        main(sys.argv[1:])
