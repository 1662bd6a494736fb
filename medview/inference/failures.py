"""What the fault of a model is told as: its own error, lack of memory, or reaching out of its box.

The log gets the place of a fault and never the words of the error, which may hold a patient's.
"""

from __future__ import annotations

import errno
import logging
import os
import traceback
from pathlib import Path

from medview.inference import wire

_log = logging.getLogger(__name__)

#: How the system words what the box refuses.
_REFUSALS = (os.strerror(errno.EPERM), os.strerror(errno.EACCES))


def failure(job_uid: str, title: str, error: Exception) -> wire.Failed:
    """A fault of a model in words; the log gets the place, not the words of the error."""
    # torch is not imported here; its error for a full GPU is known by its name.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return wire.Failed(
            job_uid,
            wire.FailureKind.OUT_OF_MEMORY,
            f"There was not enough memory for {title}.",
            "Close other programs, or run it on the processor.",
        )
    if reached := reached_out(error):
        return out_of_reach(job_uid, title, reached)
    place = " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in reversed(traceback.extract_tb(error.__traceback__))
    )
    _log.warning("a model raised %s at %s", type(error).__name__, place)
    return wire.Failed(
        job_uid,
        wire.FailureKind.FAULT,
        f"{title} stopped with an error of its own.",
        "Its result, if any, was not used. Try another model or image.",
        type(error).__name__,
    )


def reached_out(error: BaseException) -> str:
    """What an error says of something that the box refused; "" if that is not where it comes from.

    Libraries wrap the system's own error in others, or only tell its words.
    """
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, PermissionError):
            return type(at).__name__ + (f": {at.filename}" if at.filename else "")
        if isinstance(at, RuntimeError) and any(words in str(at) for words in _REFUSALS):
            return f"{PermissionError.__name__} in {type(at).__name__}"
        at = at.__cause__ or at.__context__
    return ""


def out_of_reach(job_uid: str, title: str, reached: str) -> wire.Failed:
    """A model that reached for what lies outside of its box."""
    _log.warning("a model reached out of its box")
    return wire.Failed(
        job_uid,
        wire.FailureKind.FAULT,
        f"{title} tried to reach what models may not reach, and was stopped by the system.",
        "Models see their own folder and the image: no network, no programs, no other files.",
        reached,
    )
