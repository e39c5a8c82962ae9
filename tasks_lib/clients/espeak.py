"""Speech from the espeak-ng library, through ctypes. One voice at a time: the library keeps its state globally."""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from functools import cache

#: What espeak-ng says its normal speed is, in words per minute, and the least and most it takes.
NORMAL_RATE, SLOWEST_RATE, FASTEST_RATE = 175, 80, 450
#: A sound is at least so long.
SHORTEST_SECONDS = 0.25

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _PITCH = 1, 3

_lock = threading.Lock()
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class EspeakError(Exception):
    """The library refused: a voice that it does not have, or it cannot be loaded."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of espeak-ng: its name (language and variant) and pitch, 0–100."""

    name: str
    pitch: int = 50


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples: signed 16 bit, one channel."""

    samples: bytes
    rate: int


def speak(text: str, voice: Voice, speed: float = 1.0) -> Sound:
    """``text`` spoken; ``speed`` 1 is normal. A text with nothing to say in it is a moment of silence."""
    with _lock:
        library, rate = _library()
        if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise EspeakError(f"espeak-ng has no voice {voice.name!r}.")
        words = min(FASTEST_RATE, max(SLOWEST_RATE, round(NORMAL_RATE * speed)))
        library.espeak_SetParameter(_RATE, words, 0)
        library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        # For silence the library gives more or less of it, by what it said before: a player needs some.
        shortest = int(rate * SHORTEST_SECONDS) * 2
        return Sound(_synthesise(library, text).ljust(shortest, b"\0"), rate)


def _synthesise(library: ctypes.CDLL, text: str) -> bytes:
    samples = bytearray()

    def collect(wave: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if count:
            samples.extend(ctypes.string_at(wave, count * 2))
        return 0

    callback = _Callback(collect)  # kept alive until the library is done with it
    library.espeak_SetSynthCallback(callback)
    encoded = text.replace("\0", " ").encode("utf-8", "replace")
    answer = library.espeak_Synth(encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
    if answer != 0:
        raise EspeakError(f"espeak-ng could not speak the text (error {answer}).")
    library.espeak_Synchronize()
    return bytes(samples)


@cache
def _library() -> tuple[ctypes.CDLL, int]:
    """The library, initialised, and its sample rate."""
    import espeakng_loader  # only the local voice server needs it

    library = espeakng_loader.load_library()
    if library is None:
        raise EspeakError("The espeak-ng library cannot be loaded.")
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
        ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    data = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, _INITIALIZE_DONT_EXIT)
    if rate <= 0:
        raise EspeakError("espeak-ng cannot be initialised: its data is missing.")
    return library, rate
