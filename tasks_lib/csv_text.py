"""CSV as it comes: bytes in some encoding, a delimiter that nobody names, headers with gaps. Everything in one pass."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import LARGEST_INTEGER, SMALLEST_INTEGER
from tasks_lib.base import JsonValue

#: Encodings that can be asked for; ``auto`` is a byte order mark, else UTF-8, else the encoding of Windows.
ENCODINGS = (
    "auto", "utf-8", "utf-16-le", "utf-16-be", "windows-1252", "iso-8859-1", "iso-8859-2", "iso-8859-15",
    "windows-1250", "windows-1251", "koi8-r", "mac-roman", "shift_jis", "gb18030", "big5", "euc-kr",
)  # fmt: skip
#: Characters of one field, and of one line that does not end.
MAX_FIELD, MAX_LINE = 1024 * 1024, 4 * 1024 * 1024
MAX_COLUMNS = 2_000
#: Those that fit equally well are taken in this order: `1,5;2,5` has decimal commas, `a|b,c` has lists in its cells.
_DELIMITERS = ("\t", ";", ",", "|")
#: Lines and characters by which the delimiter is guessed.
_SAMPLE_LINES, _SAMPLE = 50, 64 * 1024
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
#: What a byte order mark has a say in.
_MARKED = ("auto", "utf-8", "utf-16-le", "utf-16-be")
_LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")  # a piece may end between \r and \n
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_LONGEST_NUMBER = 40
_BOOLEANS = {"true": True, "false": False}


def decoded(chunks: Iterable[bytes], encoding: str, note: Callable[[str], None]) -> Iterator[str]:
    """The text of a file, piece by piece; ``note`` is told what was guessed.

    Raises ``TaskError('validation')`` for bytes that are not of an ``encoding`` asked for.
    """
    pieces = iter(chunks)
    head = next(pieces, b"")
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), "")
    name = marked if marked and encoding in _MARKED else "utf-8" if encoding == "auto" else encoding
    decoder = codecs.getincrementaldecoder(name)()
    only_ascii = True
    for chunk in chain([head], pieces, [b""]):
        try:
            text = decoder.decode(chunk, not chunk)
        except UnicodeDecodeError as error:
            if marked or encoding != "auto":
                message = f"The file is not {encoding}: byte {error.object[error.start]:#04x} does not belong. "
                raise TaskError("validation", f"{message}Give the right `encoding`.") from None
            good = bytes(error.object[: error.start]).decode()
            # The first letter beyond ASCII is none of UTF-8: then nothing is. Later it is damage.
            name = "cp1252" if only_ascii and good.isascii() else "utf-8"
            note(f"The file is not all UTF-8; it is read as {name}, with \ufffd for what that has not.")
            decoder = codecs.getincrementaldecoder(name)("replace")
            text = good + decoder.decode(bytes(error.object[error.start :]), not chunk)
        only_ascii = only_ascii and text.isascii()
        yield text


def lines_of(texts: Iterable[str]) -> Iterator[str]:
    """Lines with their ends, which are those of CSV only: a field may hold any other. Raises ``TaskError``."""
    rest = ""
    for text in texts:
        if "\0" in text:
            message = (
                "There are NUL characters in it: it is no CSV, or in another encoding. Give `encoding` (utf-16-le?)."
            )
            raise TaskError("validation", message)
        rest += text
        start = 0
        for found in _LINE_END.finditer(rest):
            yield rest[start : found.end()]
            start = found.end()
        rest = rest[start:]
        if len(rest) > MAX_LINE:
            raise TaskError("too_large", f"A line has more than {MAX_LINE:,} characters. Is it CSV?")
    if rest:
        yield rest


def records(lines: Iterable[str], delimiter: str | None, quote: str) -> Iterator[tuple[int, list[str]]]:
    """Every record that is no empty line, with the number of the line where it ends. Raises ``TaskError``."""
    lines = iter(lines)
    if delimiter is None:
        sample = list(_sample(lines))
        delimiter = _guessed(sample, quote)
        lines = chain(sample, lines)
    csv.field_size_limit(MAX_FIELD)  # of the whole process: nobody here wants another
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True)
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        if "field larger than" in str(error):
            message = f"Line {reader.line_num}: a field has more than {MAX_FIELD:,} characters. Is a quote not closed?"
            raise TaskError("too_large", message) from None
        message = f"Line {reader.line_num}: {error}. A quote inside a quoted field is written twice."
        raise TaskError("validation", message) from None


def _sample(lines: Iterator[str]) -> Iterator[str]:
    size = 0
    for line in islice(lines, _SAMPLE_LINES):
        yield line
        size += len(line)
        if size > _SAMPLE:
            return


def _guessed(sample: Sequence[str], quote: str) -> str:
    """The delimiter by which most records are equally wide; ``csv.Sniffer`` takes quadratic time on odd quotes."""
    best, found = 0.0, ","
    for delimiter in _DELIMITERS:
        csv.field_size_limit(MAX_FIELD)
        try:
            widths = Counter(
                len(record) for record in csv.reader(sample, delimiter=delimiter, quotechar=quote) if record
            )
        except csv.Error:  # the sample is cut, or has a field that is too large: `records` will say so
            continue
        for width, count in widths.most_common(1):
            if width > 1 and count / widths.total() > best:
                best, found = count / widths.total(), delimiter
    return found


def column_names(header: Sequence[str]) -> list[str]:
    """A name for every column, none twice: ``column_2`` for an empty one, ``name_2`` for the second ``name``."""
    if len(header) > MAX_COLUMNS:
        raise TaskError("too_large", f"There are {len(header):,} columns; at most {MAX_COLUMNS:,} are read.")
    taken = {cell.strip() for cell in header}
    numbers: dict[str, int] = {}
    names: dict[str, None] = {}
    for place, cell in enumerate(header, 1):
        own = cell.strip()
        name = wanted = own or f"column_{place}"
        while name in names or (name != own and name in taken):
            numbers[wanted] = numbers.get(wanted, 1) + 1
            name = f"{wanted}_{numbers[wanted]}"
        names[name] = None
    return list(names)


def converted(text: str) -> JsonValue:
    """A number, a boolean or null where a cell is written as one; ``007``, ``1.000,5`` and `` 1`` stay texts."""
    if text == "":
        return None
    if (boolean := _BOOLEANS.get(text.lower() if len(text) < 6 else "")) is not None:
        return boolean
    if len(text) > _LONGEST_NUMBER or (found := _NUMBER.fullmatch(text)) is None:
        return text
    if found["fraction"]:
        number = float(text)
        return number if number not in (float("inf"), float("-inf")) else text
    whole = int(text)
    return whole if SMALLEST_INTEGER <= whole <= LARGEST_INTEGER else text
