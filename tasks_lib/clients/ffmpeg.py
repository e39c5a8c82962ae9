"""Runs ffmpeg within limits (``bounded.py``), on local media files of known kinds and on nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.clients import bounded

#: Containers that may be read. Playlists are not among them: one that is named x.mp4 makes ffmpeg read other files.
READABLE_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mp3,wav,ogg,flac,aac,mpegts,avi,flv,aiff,caf,amr,s16le"
#: Decoders that may be used: those of ordinary sound and video. No subtitles, no pictures that name other files (SVG).
READABLE_CODECS = (
    "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,flac,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,libvorbis,"
    "pcm_s8,pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,"
    "pcm_alaw,pcm_mulaw,adpcm_ima_wav,adpcm_ima_qt,adpcm_ms,adpcm_swf,gsm_ms,nellymoser,"
    "av1,libdav1d,libaom-av1,flv,h263,h264,hevc,vvc,mpeg1video,mpeg2video,mpegvideo,mpeg4,msmpeg4v2,msmpeg4,"
    "prores,dnxhd,ffv1,huffyuv,theora,vp6f,vp8,libvpx,vp9,libvpx-vp9,mjpeg,png,rawvideo"
)
#: Pixels of one picture: 8K fits.
MAX_PIXELS = 8192 * 4320
#: Streams of one file, and threads for each step: more threads hold more pictures at once.
MAX_STREAMS, THREADS = 50, 2
#: What one run may use.
LIMITS = bounded.Limits(cpu_seconds=3600, address_space=2 * 1024**3, file_size=2 * 1024**3, timeout=3600.0)

_DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_STREAM = re.compile(r"^  Stream #0:\d+.*?: (Audio|Video): ", re.MULTILINE)
_MEMORY = re.compile(
    r"Cannot allocate memory|Picture size \d+x\d+|not enough memory|Failed to allocate|pthread_create\(\) failed",
    re.IGNORECASE,
)
#: Which part of ffmpeg speaks, and where that part lies in memory.
_SPEAKER = re.compile(r"^(?:\[[^]]* @ 0x[0-9a-f]+\] )+")
_WHITELIST = re.compile(r" (?:\(\w+\) )?not on whitelist '[^']*'")
_SAID_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Media:
    """What a media file is said to hold. ``duration`` is in seconds, ``None`` where it does not say."""

    duration: float | None
    has_audio: bool
    has_video: bool


@cache
def binary() -> str:
    """Path of the ffmpeg to use: the environment's ``FFMPEG_BINARY``, else the one ``imageio-ffmpeg`` brings."""
    if named := os.environ.get("FFMPEG_BINARY"):
        return named
    import imageio_ffmpeg  # looks for its binary, which only media tasks need

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def source(path: Path, *options: str) -> list[str]:
    """The arguments that name ``path`` as an input, readable as a local media file and as nothing else."""
    allowed = ["-protocol_whitelist", "file", "-format_whitelist", READABLE_FORMATS]
    allowed += ["-codec_whitelist", READABLE_CODECS, "-max_pixels", str(MAX_PIXELS), "-max_streams", str(MAX_STREAMS)]
    return [*options, *allowed, "-threads", str(THREADS), "-i", f"file:{path}"]


def run(
    arguments: Sequence[str],
    *,
    folder: Path,
    cancellation: Cancellation,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run ffmpeg in ``folder`` with ``arguments`` (inputs from ``source``; outputs are names in ``folder``).

    ``on_line`` hears what it prints. Raises ``TaskError``: the cancellation's own, ``timeout``, ``too_large`` where it
    would need more than it may have, or ``validation`` when it cannot do what is asked of it.
    """
    ended = _run(["-loglevel", "error", "-y", *arguments], folder, cancellation, on_line)
    if ended.code != 0:
        raise _refusal(ended, folder)


def seconds_done(tell: Callable[[float], None]) -> Callable[[str], None]:
    """An ``on_line`` for ``run`` with ``-progress pipe:1`` that tells how many seconds of the result there are."""

    def hear(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "out_time_us" and value.isdecimal():
            tell(int(value) / 1_000_000)

    return hear


def probe(path: Path, *, cancellation: Cancellation) -> Media:
    """What a media file holds. Raises ``TaskError`` where it cannot be read as one."""
    ended = _run(["-loglevel", "info", *source(path)], path.parent, cancellation, None)
    kinds = set(_STREAM.findall(ended.stderr))
    if not kinds:
        raise _refusal(ended, path.parent)
    found = _DURATION.search(ended.stderr)
    seconds = None if found is None else int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    return Media(seconds, "Audio" in kinds, "Video" in kinds)


def duration(path: Path, *, cancellation: Cancellation) -> float | None:
    """Length of a media file in seconds, ``None`` where it does not say, or is none."""
    try:
        return probe(path, cancellation=cancellation).duration
    except TaskError as error:
        if error.code != "validation":
            raise
        return None


def _run(
    arguments: Sequence[str], folder: Path, cancellation: Cancellation, on_line: Callable[[str], None] | None
) -> bounded.Finished:
    return bounded.run(
        [binary(), "-nostdin", "-hide_banner", "-filter_threads", str(THREADS), *arguments],
        folder=folder,
        cancellation=cancellation,
        limits=LIMITS,
        environment={"MALLOC_ARENA_MAX": "2"},  # else each thread reserves 64 MiB of the address space
        on_line=on_line,
    )


def _refusal(ended: bounded.Finished, folder: Path) -> TaskError:
    """Why it could not be done, in ffmpeg's words without our folder."""
    said = [line for line in ended.stderr.replace(f"{folder}/", "").splitlines() if line.strip()]
    # It ends in order at the signal for too much CPU time, and says nothing.
    broken = ended.broken_limit or ("its limit of CPU time" if ended.code == 255 and not said else "")
    if broken:
        return TaskError("too_large", f"ffmpeg was stopped: the file makes it go over {broken}.")
    if ended.code == -9 or any(map(_MEMORY.search, said)):
        limit = f"a picture may have {MAX_PIXELS:,} pixels, and ffmpeg {LIMITS.address_space // 2**20:,} MiB"
        return TaskError("too_large", f"The file needs more memory than it may have: {limit}.")
    # The first line is what went wrong, most often; the last what it came to.
    ends = (_WHITELIST.sub(" is not among those read", _SPEAKER.sub("", line)) for line in (*said[:1], *said[-1:]))
    words = "; ".join(dict.fromkeys(line[:_SAID_LENGTH] for line in ends))
    return TaskError("validation", f"ffmpeg could not process the file: {words or f'it ended with {ended.code}'}")
