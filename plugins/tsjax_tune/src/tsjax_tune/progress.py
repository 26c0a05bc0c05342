"""How a study goes: a table that is kept up to date on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tsjax_core.training.monitor import Mode
from tsjax_tune.members import members_of, shown_name
from tsjax_tune.results import TrialResult, best_row
from tsjax_tune.study_log import StudyLog

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

ENDED = ("finished", "stopped", "failed")
LEAST_ROWS = 5
PAUSE = 0.2
"""Seconds between two looks at all trials, of which there may be many."""


@dataclass(frozen=True)
class TrialState:
    """Where a trial stands: waiting, running, finished, stopped or failed, and its best epoch."""

    name: str
    status: str
    epochs: int
    value: float
    seconds: float
    values: Mapping[str, Any]


class StudyProgress:
    """Shows the trials of a study on standard error.

    Args:
        log: The record of the study, which this continues.
        metric: What is compared.
        mode: Whether less or more of it is better.
        total: Trials in all, None where they are not counted beforehand.
        describe: Returns what of a configuration is shown.
        console: Where it is shown, None for nowhere.
    """

    def __init__(
        self,
        log: StudyLog,
        metric: str,
        mode: Mode,
        total: int | None,
        describe: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        console: Console | None,
    ) -> None:
        self._log, self._metric, self._mode, self._total = log, metric, mode, total
        self._describe, self._console = describe, console
        self._begin = time.monotonic()
        self._states: list[TrialState] = []
        self._trials: Sequence[Trial] = ()
        self._ended: set[str] | None = None
        self._looked = -math.inf

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it in the block."""
        console = self._console
        try:
            if console is None or not console.is_terminal:
                yield
                return
            with Live(
                get_renderable=self._table, console=console, refresh_per_second=4, transient=True
            ):
                yield
        finally:
            self._look(self._trials)

    def see_report(self, trial: Trial, report: Mapping[str, Any]) -> None:
        """Write what a worker reported to the record."""
        self._log.record(str(trial), report)

    def see_trials(self, trials: Sequence[Trial]) -> None:
        """Take in where the trials stand."""
        self._trials = trials
        if time.monotonic() - self._looked >= PAUSE:
            self._look(trials)

    def _look(self, trials: Sequence[Trial]) -> None:
        """Print a line for each trial that has ended since the last look."""
        self._states = [state for trial in trials for state in self._states_of(trial)]
        ended = [state for state in self._states if state.status in ENDED]
        if self._ended is None:
            # Trials that had ended before an interruption were shown then.
            self._ended = {state.name for state in ended}
        for state in ended:
            if state.name not in self._ended:
                self._ended.add(state.name)
                self._print_line(state)
        self._looked = time.monotonic()

    def _states_of(self, trial: Trial) -> Iterator[TrialState]:
        for member, config in members_of(trial.config).items():
            log = self._log.of(str(trial), member)
            history = log.history
            best = best_row(history, self._metric, self._mode)
            status = {"RUNNING": "running", "TERMINATED": "stopped", "ERROR": "failed"}.get(
                trial.status, "waiting"
            )
            if log.ended is not None:
                status = "failed" if log.ended else "finished"
            yield TrialState(
                shown_name(str(trial), member),
                status,
                len(history),
                math.nan if best is None else float(best[self._metric]),
                sum(row["seconds"] for row in history),
                self._describe(config),
            )

    def _ranking(self) -> list[TrialState]:
        sign = 1.0 if self._mode == "min" else -1.0
        judged = [state for state in self._states if math.isfinite(state.value)]
        return sorted(judged, key=lambda state: sign * state.value)

    def _print_line(self, state: TrialState) -> None:
        if self._console is None or self._console.is_terminal:
            return
        total = len(self._states) if self._total is None else self._total
        ranking = self._ranking()
        best = f"  best {ranking[0].value:.4g}" if ranking else ""
        value = f"{self._metric} {state.value:.4g}" if math.isfinite(state.value) else "no value"
        print(  # noqa: T201
            f"{state.name}, {len(self._ended or ())} of {total}, {state.status}  {value}{best}  "
            f"{state.epochs} epochs  {describe_values(state.values)}",
            file=sys.stderr,
            flush=True,
        )

    def _table(self) -> Table:
        states, ranking = self._states, self._ranking()
        ended = sum(state.status in ENDED for state in states)
        total = len(states) if self._total is None else self._total
        elapsed = timedelta(seconds=round(time.monotonic() - self._begin))
        title = f"{ended} of {total} trials ended, {elapsed}"
        if ranking:
            title += f", best {self._metric} {ranking[0].value:.4g} ({ranking[0].name})"
        running = [state for state in states if state.status == "running"]
        without = [s for s in states if s.status in ENDED and not math.isfinite(s.value)]
        rest = [state for state in (*ranking, *without) if state.status != "running"]
        room = LEAST_ROWS
        if self._console is not None:
            room = max(room, self._console.size.height - len(running) - 7)
        left = len(rest) - room
        more = f"and {left} further trials" if left > 0 else None
        return state_table([*running, *rest[:room]], self._metric, title=title, caption=more)


def state_table(
    states: Sequence[TrialState],
    metric: str,
    *,
    title: str | None = None,
    caption: str | None = None,
) -> Table:
    """Return a table with a row for each trial."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    keys = list(dict.fromkeys(key for state in states for key in state.values))
    for name in ("trial", "status", metric, "epochs", "seconds", *keys):
        number = name in (metric, "epochs", "seconds")
        fixed = number or name in ("trial", "status")
        # On a narrow terminal the keys are folded, so that they leave room for the other columns.
        table.add_column(
            name, justify="right" if number else "left", no_wrap=fixed, overflow="fold"
        )
    for state in states:
        table.add_row(
            state.name,
            state.status,
            f"{state.value:.4g}" if math.isfinite(state.value) else "-",
            str(state.epochs),
            f"{state.seconds:.1f}",
            *(format_value(state.values[key]) if key in state.values else "" for key in keys),
            style={"failed": "red", "running": "bold"}.get(state.status),
        )
    return table


def describe_values(values: Mapping[str, Any]) -> str:
    """Return the values of a configuration as one line."""
    return "  ".join(f"{key}={format_value(value)}" for key, value in values.items())


def format_value(value: Any) -> str:
    """Return a value as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def state_of(trial: TrialResult) -> TrialState:
    """Return where a trial stands that is over."""
    epochs = len(trial.history)
    return TrialState(trial.name, trial.status, epochs, trial.value, trial.seconds, trial.values)
