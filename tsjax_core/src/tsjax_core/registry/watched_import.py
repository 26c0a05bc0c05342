"""An import whose plugin is named where it does not return, and that prints nothing on stdout."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Final, NoReturn

PATIENCE: Final = 20.0
"""Seconds after which a plugin is named that is still being imported."""


@contextmanager
def watched_import(what: str) -> Iterator[None]:
    """Name `what` on standard error while it is imported for too long, or is interrupted.

    What calls `os._exit` raises SystemExit instead.

    What it prints goes to standard error too, so that a list can be read by a program.
    """
    timer = threading.Timer(PATIENCE, _say, [f"still importing {what}; Ctrl-C ends it"])
    timer.daemon = True
    timer.start()
    leave = os._exit
    try:
        with redirect_stdout(sys.stderr):
            # It would end the process without a word.
            os._exit = _refuse_exit
            yield
    except KeyboardInterrupt:
        _say(f"interrupted while importing {what}")
        raise
    finally:
        os._exit = leave
        timer.cancel()


def _refuse_exit(status: int) -> NoReturn:
    raise SystemExit(f"it calls os._exit({status})")


def _say(text: str) -> None:
    """Print the only word that a user gets of an import that does not return."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
