"""What a study gave: a row per trial, and the best of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tsjax_core.errors import TrainingError
from tsjax_core.training.monitor import Mode
from tsjax_tune.members import members_of, name_of_config, number_of, shown_name
from tsjax_tune.study_log import StudyLog, TrialLog
from tsjax_tune.training import best_checkpoint

if TYPE_CHECKING:
    from ray.tune import Result, ResultGrid

Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrialResult:
    """A trial. `value` is the metric at its best epoch (from 1), NaN and 0 where there is none.

    `status` is finished, stopped (by a scheduler, a time budget or an interruption before its last
    epoch) or failed, with `error` as text. `history` has what each epoch reported, and
    `checkpoint` is the directory of the checkpoint of the best epoch. Of a trial that was killed,
    the epochs after its last checkpoint are in the history alone. `values` is what of `config`
    stands in tables.
    """

    name: str
    config: Mapping[str, Any]
    status: Status
    value: float
    epoch: int
    error: str = ""
    history: Sequence[Mapping[str, float]] = field(default=(), repr=False)
    checkpoint: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The time that its epochs took."""
        return sum(row["seconds"] for row in self.history)


@dataclass(frozen=True)
class StudyResult:
    """The trials of a study in the order of their start, judged by `metric`."""

    trials: tuple[TrialResult, ...]
    metric: str
    mode: Mode
    directory: Path

    @property
    def ranking(self) -> tuple[TrialResult, ...]:
        """The trials that have a finite value, the best first."""
        sign = 1.0 if self.mode == "min" else -1.0
        judged = [trial for trial in self.trials if math.isfinite(trial.value)]
        return tuple(sorted(judged, key=lambda trial: sign * trial.value))

    @property
    def best(self) -> TrialResult:
        """The trial with the best value at any of its epochs.

        Raises:
            TrainingError: No trial has a finite value.
        """
        if self.ranking:
            return self.ranking[0]
        errors = dict.fromkeys(trial.error for trial in self.trials if trial.error)
        raise TrainingError(
            f"none of {len(self.trials)} trials in {self.directory} has a finite {self.metric}. "
            f"{next(iter(errors), 'Train with a lower lr or another model.')}"
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per trial, the best first and those without a value last."""
        ranking = self.ranking
        rest = [trial for trial in self.trials if trial not in ranking]
        keys = list(dict.fromkeys(key for trial in self.trials for key in trial.values))
        return [
            {
                "trial": trial.name,
                "status": trial.status,
                self.metric: trial.value,
                "best_epoch": trial.epoch,
                "epochs": len(trial.history),
                "seconds": round(trial.seconds, 3),
                **{key: trial.values.get(key, "") for key in keys},
                "error": trial.error,
            }
            for trial in (*ranking, *rest)
        ]

    def write_csv(self, file: str | Path) -> Path:
        """Write `rows` to `file`, and return its path."""
        rows = self.rows()
        file = Path(file)
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]) if rows else ["trial"])
            writer.writeheader()
            writer.writerows(rows)
        return file


def read_results(
    grid: ResultGrid,
    log: StudyLog,
    metric: str,
    mode: Mode,
    directory: Path,
    describe: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> StudyResult:
    """Return the study whose trials Ray has in `grid`, and whose epochs are in `log`."""
    numbered: list[tuple[int, TrialResult]] = []
    for place in range(len(grid)):
        result: Result = grid[place]
        name = name_of_config(result.config or {}) or Path(result.path).name
        error = str(result.error).strip().splitlines()[-1] if result.error else ""
        error = error.partition("TrialError: ")[2] or error
        saved = None if result.checkpoint is None else Path(result.checkpoint.path)
        for member, config in members_of(result.config or {}).items():
            entry = log.of(name, member)
            shown = shown_name(name, member), config, describe(config)
            folder = None if saved is None else saved / member
            trial = _read_trial(*shown, entry, error, folder, metric, mode)
            numbered.append((number_of(trial.name), trial))
    # Packs have the trials in another order; those without a number stay in that of their start.
    numbered.sort(key=lambda each: each[0])
    return StudyResult(tuple(trial for _, trial in numbered), metric, mode, directory)


def _read_trial(
    name: str,
    config: Mapping[str, Any],
    values: Mapping[str, Any],
    log: TrialLog,
    error: str,
    folder: Path | None,
    metric: str,
    mode: Mode,
) -> TrialResult:
    status: Status = "failed" if error else "stopped"
    if log.ended is not None:
        error = log.ended
        status = "failed" if error else "finished"
    best = best_row(log.history, metric, mode)
    checkpoint = None
    if folder is not None and (found := best_checkpoint(folder)) is not None:
        checkpoint, epoch = found
        best = best_row([log.rows[epoch]] if epoch in log.rows else [], metric, mode)
    return TrialResult(
        name,
        config,
        status,
        math.nan if best is None else float(best[metric]),
        0 if best is None else int(best["epoch"]),
        error,
        log.history,
        checkpoint,
        values,
    )


def best_row(
    rows: Sequence[Mapping[str, float]], metric: str, mode: Mode
) -> Mapping[str, float] | None:
    """Return the epoch with the best finite value of `metric`, None where there is none."""
    finite = [row for row in rows if math.isfinite(row.get(metric, math.nan))]
    if not finite:
        return None
    pick = min if mode == "min" else max
    return pick(finite, key=lambda row: float(row[metric]))
