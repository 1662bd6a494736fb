"""What runs inside an import worker: calls by name into `io`, one at a time.

Light on purpose: `io` and its libraries are imported in the worker only.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from medview.core.errors import MedviewError, ReadError

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


def serve(connection: Connection, terms: Terms) -> None:
    """Answer calls (target, arguments) with (worked, result or MedviewError); ends at EOF."""
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
    with suppress(EOFError, OSError):
        while True:
            connection.send(_answer(connection.recv(), terms.rooms))


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


def _answer(call: tuple[str, tuple[Any, ...]], rooms: tuple[str, ...]) -> tuple[bool, Any]:
    target, arguments = call
    try:
        module, function = check_target(target, rooms)
        found = importlib.import_module(module)
        return True, getattr(found, function)(*arguments)
    except MedviewError as error:
        return False, error
    except MemoryError:
        return False, ReadError(
            "There was not enough memory to read this",
            "Close other studies, or open fewer files at once.",
            f"MemoryError in {target}",
        )
    except Exception as error:  # noqa: BLE001  (the worker loop: one bad file costs one call)
        return False, ReadError(
            "A file could not be read: it is damaged, or not what it claims to be",
            "The other files are not affected.",
            _where(error),
        )


def _where(error: Exception) -> str:
    """The kind of an error and where it arose, without its text: that may name a patient."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.name}:{frame.lineno}" for frame in frames[1:]]
    return f"{type(error).__name__} in {' > '.join(places)}"
