"""Whether this runner gets on, as a thread of it can tell: a hang is no long computation.

Work passes through phases and ends steps (a batch, a chunk, a result, a phase). A step ended is progress; so is CPU
time that the process has used, however long one step takes, as a bound of a large network may. That does not go for a
phase that waits for a GPU, because its driver spins: there only steps count, none of which takes minutes. A process
that is stopped says nothing at all. No torch here: the thread runs before that is there.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from workers.messages import Alive, Event, Phase

BEAT_SECONDS = 1.0
LEAST_CPU = 0.01  # of the time that has passed; the thread itself takes a hundredth of that

STARTING = "starting"
WHILE = "while "

Say = Callable[[Event], None]
T = TypeVar("T")
R = TypeVar("R")


class Heart:
    """What this process is doing."""

    def __init__(self) -> None:
        self.steps = 0
        self.rest()
        self.say: Say = lambda event: None
        self.gauge: Callable[[], Alive] = Alive  # says how much memory is held, once there is a device
        self._asked = self.steps, time.process_time(), time.monotonic()

    def rest(self) -> None:
        """There is no order to work on, whatever became of the last one."""
        self.phase = STARTING
        self.waits_for_device = False
        self.working = False

    def start(self, say: Say) -> None:
        """From now on tell ``say`` of phases, and that there is progress, about every ``BEAT_SECONDS``."""
        self.say = say
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            if self.advanced() and self.working:
                self.say(self.gauge())

    def advanced(self) -> bool:
        """Whether there was progress since this was asked last."""
        steps, cpu, at = self._asked
        self._asked = self.steps, time.process_time(), time.monotonic()
        used, passed = self._asked[1] - cpu, self._asked[2] - at
        return self.steps != steps or (not self.waits_for_device and used >= LEAST_CPU * passed)


HEART = Heart()


def step() -> None:
    """A step has ended."""
    HEART.steps += 1


def stepping(call: Callable[[T], R]) -> Callable[[T], R]:
    """The same call, each of which is a step."""

    def counted(argument: T) -> R:
        step()
        return call(argument)

    return counted


@contextmanager
def phase(name: str, device: Any = None) -> Iterator[None]:
    """What the block does, in words that follow "while"; ``device``: the torch device that it waits for, by default the
    one of the block around it. An error that leaves the block has a note of it (``phase_of``)."""
    before = HEART.phase, HEART.waits_for_device
    _enter(name, before[1] if device is None else device.type != "cpu")
    try:
        yield
    except Exception as error:
        error.add_note(f"{WHILE}{name}")
        raise
    finally:
        _enter(*before)


def doing(what: str) -> None:
    """A step of the phase begins, told in the words of one."""
    _enter(what, HEART.waits_for_device)


def phase_of(error: BaseException) -> str:
    """The innermost phase in which it was raised."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(WHILE)]
    return notes[0].removeprefix(WHILE) if notes else HEART.phase


def _enter(name: str, waits_for_device: bool) -> None:
    HEART.phase, HEART.waits_for_device = name, waits_for_device
    step()
    HEART.say(Phase(name))
