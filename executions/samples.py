"""The sample files of every installation, under ids that never change: what the examples of task types work on."""

from __future__ import annotations

from pathlib import Path

from executions import files
from executions.models import StoredFile
from tasks_lib import types

FOLDER = Path(types.__file__).resolve().parent.parent / "samples"
#: File in ``tasks_lib/samples`` and its media type, by the id it is kept under.
SAMPLES = {
    "fl-sample0audio": ("speech.mp3", "audio/mpeg"),
    "fl-sample0video": ("speech.mp4", "video/mp4"),
    "fl-sample0image": ("picture.png", "image/png"),
    "fl-sample0pdf": ("document.pdf", "application/pdf"),
    "fl-sample0docx": (
        "document.docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    "fl-sample0csv": ("table.csv", "text/csv"),
    "fl-sample0zip": ("archive.zip", "application/zip"),
}
#: The id of an example workflow in every installation that began with the examples, by its file in ``examples/``.
SAMPLE_WORKFLOWS = {"measure-text": "wf-sample0measure"}


def keep_samples() -> list[str]:
    """Store the sample files that are not there yet; gives the ids of those. Doing it again changes nothing."""
    there = set(StoredFile.objects.filter(pk__in=SAMPLES).values_list("pk", flat=True))
    lacking = [file_id for file_id in SAMPLES if file_id not in there]
    for file_id in lacking:
        name, content_type = SAMPLES[file_id]
        with files.creating(name, content_type, metadata={"sample": True}, file_id=file_id) as writer:
            writer.write((FOLDER / name).read_bytes())
    return lacking
