"""What runs inside an import worker: calls by name into `io`, one at a time.

Light on purpose: `io` and its libraries are imported in the worker only.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing.connection import Connection
from typing import Any

from medview.core.errors import MedviewError, ReadError
from medview.core.shared_array import SharedArray, SharedArrayName

if sys.platform != "win32":
    import resource


@dataclass(frozen=True)
class Terms:
    """What a worker may do.

    It calls functions of modules whose names begin with one of `rooms`, in an address space of
    `memory_bytes`. `preload` is imported before the first call.
    """

    rooms: tuple[str, ...]
    memory_bytes: int
    preload: tuple[str, ...] = ()


class Answer(IntEnum):
    """What a worker says: that it is ready, a part of a result, a result, or a failure."""

    READY = 0
    PIECE = 1
    DONE = 2
    FAILED = 3


@dataclass(frozen=True)
class Order:
    """One call. With `marked` the function is first given what to call with each step it takes."""

    target: str
    arguments: tuple[Any, ...]
    marked: bool = False


#: Cycles are looked for after so many new things.
_CYCLES_AFTER = 100_000

#: Three numbers that a worker shares with its lane: the step it is at, how often it said so, and
#: the part of the step.
MARK_SHAPE = (3,)


def serve(connection: Connection, terms: Terms, mark: SharedArrayName) -> None:
    """Say READY once, then answer each Order with (Answer, result or MedviewError); ends at EOF.

    What a generator yields is sent piece by piece.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries that print must not mix into the standard output of the program.
    os.dup2(2, 1)
    # Two workers share the cores already; the threads of linear algebra would only queue up.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    limit_memory(terms.memory_bytes)
    for module in terms.preload:
        # A module that cannot be imported says why when it is called.
        with suppress(ImportError):
            importlib.import_module(module)
    # Thousands of small things live for the length of one call: looking for cycles among them, and
    # among what the libraries hold, again and again would take as long as reading.
    gc.freeze()
    gc.set_threshold(_CYCLES_AFTER)
    with suppress(EOFError, OSError), SharedArray.attach(mark) as marks:
        step = _stepper(marks)
        connection.send((Answer.READY, None))
        while True:
            for answer in _answers(connection.recv(), terms.rooms, step):
                connection.send(answer)


def _stepper(marks: SharedArray) -> Callable[..., None]:
    """What writes down the step that is taken, and the part of it.

    The same step again, or a number below zero, says that work goes on.
    """
    numbers = marks.array

    def step(number: int, part: int = 0) -> None:
        if number >= 0:
            numbers[0], numbers[2] = number, part
        numbers[1] += 1

    return step


def limit_memory(memory_bytes: int) -> None:
    """Bound the address space of this process, where the system knows such a bound."""
    if sys.platform == "win32":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


def check_target(target: str, rooms: tuple[str, ...]) -> tuple[str, str]:
    """Module and function of a target `module:function`; ValueError outside the allowed rooms."""
    module, colon, function = target.partition(":")
    if not colon or not function.isidentifier() or not module.startswith(rooms):
        raise ValueError(f"Import workers do not run {target}")
    return module, function


def _answers(
    order: Order, rooms: tuple[str, ...], step: Callable[..., None]
) -> Iterator[tuple[Answer, Any]]:
    target = order.target
    try:
        module, function = check_target(target, rooms)
        found = getattr(importlib.import_module(module), function)
        result = found(step, *order.arguments) if order.marked else found(*order.arguments)
        if isinstance(result, Iterator):
            for piece in result:
                yield Answer.PIECE, piece
            result = None
        yield Answer.DONE, result
    except MedviewError as error:
        yield Answer.FAILED, error
    except MemoryError:
        yield (
            Answer.FAILED,
            ReadError(
                "There was not enough memory to read this",
                "Close other studies, or open fewer files at once.",
                f"MemoryError in {target}",
            ),
        )
    except Exception as error:  # noqa: BLE001  (the worker loop: one bad file costs one call)
        yield (
            Answer.FAILED,
            ReadError(
                "A file could not be read: it is damaged, or not what it claims to be",
                "The other files are not affected.",
                _where(error),
            ),
        )


def _where(error: Exception) -> str:
    """The kind of an error and where it arose, without its text: that may name a patient."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.name}:{frame.lineno}" for frame in frames[1:]]
    return f"{type(error).__name__} in {' > '.join(places)}"
