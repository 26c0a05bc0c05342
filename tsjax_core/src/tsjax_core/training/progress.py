"""What a fit shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
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
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(_Sync(learner), *columns, console=console) as bar:
        task = bar.add_task("", total=1.0, epoch=0, epochs=n_epochs, text="compiling")
        for result in results:
            text = describe(result)
            bar.update(task, completed=learner.progress, epoch=result.epoch + 1, text=text)
            yield result


def describe(result: EpochResult) -> str:
    """Return losses and metrics of an epoch as one line."""
    values = {"train": result.train_loss, "valid": result.valid_loss, **result.metrics}
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


class _Sync(ProgressColumn):
    """Moves the bar within an epoch: the display's own refresh reads the learner's progress."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self._learner = learner

    def render(self, task: Task) -> RenderableType:
        task.completed = max(task.completed, self._learner.progress)
        return ""
