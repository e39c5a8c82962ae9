"""Few threads compute at a time, and none waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dataflow.lib.gate import Gate

LONG = 60.0


def most_at_a_time(gate: Gate) -> int:
    """Of many threads that want in: as many as are inside together."""
    inside: list[int] = []
    seen: list[int] = []

    def enter(number: int) -> None:
        with gate.inside(), gate.inside():
            inside.append(number)
            time.sleep(0.002)
            seen.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(enter, range(64)))
    return max(seen)


def test_as_many_as_there_are_places() -> None:
    gate = Gate(places=2, patience=LONG)
    assert most_at_a_time(gate) <= 2
    with pytest.raises(KeyError), gate.inside():
        raise KeyError
    assert most_at_a_time(gate) <= 2


def test_who_waits_outside_leaves_the_place_to_another() -> None:
    gate = Gate(places=1, patience=LONG)
    with gate.inside():
        with gate.outside(), gate.outside():
            other = threading.Thread(target=lambda: most_at_a_time(gate), daemon=True)
            other.start()
            other.join(20)
            assert not other.is_alive()
        assert most_at_a_time(Gate(places=1, patience=LONG)) == 1


def test_nobody_waits_for_ever() -> None:
    gate = Gate(places=1, patience=0.0)
    with gate.inside():
        # All of them without a place, none of which is given back.
        assert most_at_a_time(gate) > 1
    patient = Gate(places=1, patience=LONG)
    with patient.outside():
        assert most_at_a_time(patient) == 1
