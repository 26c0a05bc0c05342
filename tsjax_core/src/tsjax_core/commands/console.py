"""Where commands print, and the programs that they compile."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text


def show_error(text: str) -> None:
    """Print what the user has to fix, on standard error."""
    _show("error", "bold red", text)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning of Python in the form of errors; it takes the place of `showwarning`."""
    _show("warning", "yellow", str(message))


def _show(what: str, style: str, text: str) -> None:
    """Print a message for the user, in colour on a terminal; lines stay as they are."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    console.print(Text(f"{what}:", style), Text(text))


class _PipeConsole(Console):
    """A console that says why it ends where its reader, such as `head`, has ended before."""

    def on_broken_pipe(self) -> None:
        """End the command with a word on standard error."""
        # Python writes what is left in its buffers at the end, into the pipe that is broken.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        show_error(
            "nothing reads the output any more (broken pipe), so that the command ended. Write it "
            "to a file instead: tsjax ... > output.txt"
        )
        sys.exit(1)


def make_console() -> Console:
    """Return the console on which a command prints."""
    # Without a terminal rich assumes 80 columns and would break long paths and numbers.
    # Names of signals and files may hold brackets, which are not markup.
    return _PipeConsole(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)


def keep_compiled_programs() -> None:
    """Keep compiled programs between processes, so that a second start does not wait for them."""
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tsjax" / "xla"
    settings: dict[str, str | int] = {
        "jax_compilation_cache_dir": str(cache),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    config: Any = jax.config
    for name, value in settings.items():
        config.update(name, value)
