"""Media files that are meant to do harm. ``{canary}`` in a playlist is a file, ``{server}`` a web server, to be filled in."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from dataflow.lib.cancellation import Cancellation
from tasks_lib.clients import bounded, ffmpeg

#: Playlists and other texts that make ffmpeg read something else, whatever they are called.
PLAYLISTS: Mapping[str, str] = {
    "hls media": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{canary}\n#EXT-X-ENDLIST\n",
    "hls master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile://{canary}\n",
    "hls http": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{server}/a.ts\n#EXT-X-ENDLIST\n",
    "hls key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{server}/key"\n#EXTINF:10,\nfile://{canary}\n#EXT-X-ENDLIST\n',
    "hls concat": "#EXTM3U\n#EXTINF:10,\nconcat:{server}/a|file://{canary}\n#EXT-X-ENDLIST\n",
    "hls subfile": "#EXTM3U\n#EXTINF:10,\nsubfile,,start,0,end,0,,:{canary}\n#EXT-X-ENDLIST\n",
    "concat script": "ffconcat version 1.0\nfile '{canary}'\n",
    "concat http": "ffconcat version 1.0\nfile '{server}/a.mp4'\n",
    "dash": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>file://{canary}</BaseURL></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "smil": "<smil><body><video src='{server}/a.mp4'/></body></smil>",
    "svg": "<svg xmlns='http://www.w3.org/2000/svg'><image href='file://{canary}'/></svg>",
    "subtitles": "1\n00:00:00,000 --> 00:00:09,000\n<font face='{canary}'>Hi</font>\n",
    "metadata": ";FFMETADATA1\ntitle={canary}\n",
    "one line": "concat:{canary}|{canary}",
}


def _made(name: str, *arguments: str, other: bytes = b"") -> bytes:
    with tempfile.TemporaryDirectory(prefix="hostile-media-") as folder:
        (Path(folder) / "other").write_bytes(other)
        # Not by `ffmpeg.run`: what a test does to its limits is not for making the file.
        command = [ffmpeg.binary(), "-nostdin", "-loglevel", "error", *arguments, name]
        limits = bounded.Limits(address_space=16 * 1024**3)
        made = bounded.run(command, folder=Path(folder), cancellation=Cancellation(120), limits=limits)
        assert made.code == 0, made.stderr
        return (Path(folder) / name).read_bytes()


@cache
def good() -> bytes:
    """A second of picture and sound."""
    inputs = ("-f", "lavfi", "-i", "testsrc=d=1:s=64x64:r=10", "-f", "lavfi", "-i", "sine=440:d=1")
    return _made("good.mp4", *inputs, "-c:v", "libx264", "-c:a", "aac")


def truncated() -> bytes:
    """Without its second half, in which its index is."""
    return good()[: len(good()) // 2]


def scrambled() -> bytes:
    """Its sound and pictures overwritten, its index left."""
    whole = bytearray(good())
    start = whole.index(b"mdat") + 4
    for place in range(start, whole.index(b"moov"), 3):
        whole[place] = place * 7 % 256
    return bytes(whole)


def claiming_picture(width: int, height: int) -> bytes:
    """A small Motion JPEG whose pictures say that they are this large."""
    small = _made("small.avi", "-f", "lavfi", "-i", "testsrc=d=0.4:s=64x64:r=5", "-c:v", "mjpeg")
    return small.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", height, width))


@cache
def honest_picture(width: int, height: int) -> bytes:
    """A picture that really is this large."""
    size = f"color=c=navy:s={width}x{height}:d=0.04:r=25"
    return _made("large.mkv", "-f", "lavfi", "-i", size, "-threads", "1", "-c:v", "mjpeg", "-q:v", "31")


def slow_wav(samples: int, rate: int = 1) -> bytes:
    """A sound of one sample a second: a small file that lasts for days."""
    return _wav(rate=rate, channels=1, bits=8, data=bytes(samples), size=samples)


def endless_wav() -> bytes:
    """A sound that does not say where it ends."""
    return _wav(rate=8000, channels=1, bits=8, data=bytes(80_000), size=0xFFFFFFFF)


def wide_wav() -> bytes:
    """A sound of 65,535 channels."""
    return _wav(rate=192_000, channels=65_535, bits=16, data=bytes(1_000_000), size=1_000_000)


def _wav(*, rate: int, channels: int, bits: int, data: bytes, size: int) -> bytes:
    frame = channels * bits // 8
    about = struct.pack("<HHIIHH", 1, channels, rate, rate * frame % 2**32, frame % 2**16, bits)
    whole = b"WAVEfmt " + struct.pack("<I", 16) + about + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(len(whole), 0xFFFFFFFF)) + whole


def many_streams(count: int) -> bytes:
    """A file of so many sounds."""
    maps = [argument for _ in range(count) for argument in ("-map", "0:a")]
    return _made("many.mkv", "-i", "other", *maps, "-c", "copy", other=endless_wav())


def with_subtitles() -> bytes:
    """Sound, picture, and subtitles that name a font and files."""
    style = "[Script Info]\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,/etc/passwd\n[Events]\n"
    style += "Format: Start, End, Text\nDialogue: 0:00:00.00,0:00:01.00,{\\fnfile:///etc/passwd\\p1}m 0 0\n"
    inputs = (
        "-f",
        "lavfi",
        "-i",
        "testsrc=d=1:s=64x64:r=10",
        "-f",
        "lavfi",
        "-i",
        "sine=440:d=1",
        "-f",
        "ass",
        "-i",
        "other",
    )
    codecs = ("-c:v", "libx264", "-c:a", "aac", "-c:s", "copy")
    maps = ("-map", "2:s", "-map", "0:v", "-map", "1:a")
    return _made("subtitles.mkv", *inputs, *maps, *codecs, "-attach", "other", "-metadata:s:t", "mimetype=font/ttf",
                 other=style.encode())  # fmt: skip


#: Files that hold no text, by what is wrong with them.
BINARIES: Mapping[str, Callable[[], bytes]] = {
    "a single zero": lambda: b"\0",
    "zeros": lambda: bytes(1_000_000),
    "truncated": truncated,
    "scrambled": scrambled,
    "picture of 10,000 × 10,000": lambda: claiming_picture(10_000, 10_000),
    "picture of 65,000 × 65,000": lambda: claiming_picture(65_000, 65_000),
    "65,535 channels": wide_wav,
    "200 streams": lambda: many_streams(200),
}
