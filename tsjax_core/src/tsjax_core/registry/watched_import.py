"""An import whose plugin is named where it does not return, and that prints nothing on stdout."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Final

PATIENCE: Final = 20.0
"""Seconds after which a plugin is named that is still being imported."""


@contextmanager
def watched_import(what: str) -> Iterator[None]:
    """Name `what` on standard error while it is imported for too long, or is interrupted.

    What it prints goes to standard error too, so that a list can be read by a program.
    """
    timer = threading.Timer(PATIENCE, _say, [f"still importing {what}; Ctrl-C ends it"])
    timer.daemon = True
    timer.start()
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        _say(f"interrupted while importing {what}")
        raise
    finally:
        timer.cancel()


def _say(text: str) -> None:
    """Print the only word that a user gets of an import that does not return."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
