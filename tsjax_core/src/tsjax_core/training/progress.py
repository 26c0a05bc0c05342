"""What a fit shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tsjax_core.training.learner import EpochResult, Learner


def follow(
    results: Iterable[EpochResult], learner: Learner, n_epochs: int, console: Console | None = None
) -> Iterator[EpochResult]:
    """Yield `results` unchanged and show how far the fit is, on standard error."""
    console = Console(stderr=True) if console is None else console
    if not console.is_terminal:
        for result in results:
            line = f"epoch {result.epoch + 1}/{n_epochs}  {describe(result)}"
            print(f"{line}  {result.seconds:.1f} s", file=sys.stderr, flush=True)  # noqa: T201
            yield result
        return
    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        _TimeLeft(learner),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=1.0, epoch=0, epochs=n_epochs, text="compiling")
        for result in results:
            text = describe(result)
            bar.update(task, completed=learner.progress, epoch=result.epoch + 1, text=text)
            yield result


def describe(result: EpochResult) -> str:
    """Return losses and metrics of an epoch as one line."""
    values = {"train": result.train_loss, "valid": result.valid_loss, **result.metrics}
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


class _TimeLeft(ProgressColumn):
    """Moves the bar within an epoch, and tells the time left from the share that is done.

    The display refreshes by itself, and reads the learner's progress when it does.
    """

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self._learner = learner

    def render(self, task: Task) -> RenderableType:
        """Return the time left as text."""
        done = task.completed = self._learner.progress
        if not done or task.elapsed is None:
            return "-:--:-- left"
        left = timedelta(seconds=round(task.elapsed * (1.0 - done) / done))
        return f"{left} left"
