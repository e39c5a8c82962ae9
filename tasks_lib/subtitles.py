"""Transcripts in parts put together, and subtitles written from their segments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from tasks_lib.base import JsonValue

Segment = Mapping[str, JsonValue]


def shifted(
    segments: Iterable[Segment], seconds: float, first_id: int, *, last: float = math.inf
) -> list[dict[str, JsonValue]]:
    """``segments`` of a part that begins ``seconds`` into the whole, numbered from ``first_id``.

    None goes beyond ``last``, where the part ends: a model may round up, and the next part begins there.
    """
    return [
        dict(segment)
        | {
            "id": first_id + index,
            "start": round(min(_number(segment, "start") + seconds, last), 3),
            "end": round(min(_number(segment, "end") + seconds, last), 3),
        }
        for index, segment in enumerate(segments)
    ]


def as_srt(segments: Sequence[Segment]) -> str:
    """SubRip subtitles."""
    return "\n".join(
        f"{index}\n{_time(segment, 'start', ',')} --> {_time(segment, 'end', ',')}\n{_text(segment)}\n"
        for index, segment in enumerate(segments, 1)
    )


def as_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT subtitles."""
    cues = (
        f"{_time(segment, 'start', '.')} --> {_time(segment, 'end', '.')}\n{_text(segment)}\n" for segment in segments
    )
    return "\n".join(["WEBVTT\n", *cues])


def _number(segment: Segment, name: str) -> float:
    value = segment.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _text(segment: Segment) -> str:
    return str(segment.get("text", "")).strip().replace("-->", "->")


def _time(segment: Segment, name: str, mark: str) -> str:
    milliseconds = max(0, round(_number(segment, name) * 1000))
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{thousandths:03d}"
