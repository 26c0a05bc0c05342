"""What a study gave: a row per trial, and the best of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tsjax_core.errors import TrainingError

if TYPE_CHECKING:
    from ray.tune import Result, ResultGrid

Mode = Literal["min", "max"]
Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrialResult:
    """A trial. `value` is the metric at its best epoch (from 1), NaN and 0 where there is none.

    `status` is finished, stopped (by a scheduler, a time budget or an interruption before its last
    epoch) or failed, with `error` as text. `history` has what each epoch reported, and
    `checkpoint` is the directory of the checkpoint of the best epoch that has one.
    """

    name: str
    config: Mapping[str, Any]
    status: Status
    value: float
    epoch: int
    error: str = ""
    history: Sequence[Mapping[str, float]] = field(default=(), repr=False)
    checkpoint: Path | None = None

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
        keys = list(dict.fromkeys(key for trial in self.trials for key in trial.config))
        return [
            {
                "trial": trial.name,
                "status": trial.status,
                self.metric: trial.value,
                "best_epoch": trial.epoch,
                "epochs": len(trial.history),
                "seconds": round(trial.seconds, 3),
                **{key: trial.config.get(key, "") for key in keys},
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
    grid: ResultGrid, metric: str, mode: Mode, n_epochs: int, directory: Path
) -> StudyResult:
    """Return the study whose results Ray has in `grid`."""
    results: list[Result] = [grid[place] for place in range(len(grid))]
    trials = tuple(_read_trial(result, metric, mode, n_epochs) for result in results)
    return StudyResult(trials, metric, mode, directory)


def _read_trial(result: Result, metric: str, mode: Mode, n_epochs: int) -> TrialResult:
    frame = result.metrics_dataframe
    rows: list[dict[str, Any]] = []
    if frame is not None and "epoch" in frame:
        frame = frame[[key for key in frame if not str(key).startswith("config/")]]
        rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    # An epoch that was trained again after an interruption counts once.
    history = list({int(row["epoch"]): row for row in rows}.values())
    best = _best(history, metric, mode)
    error = str(result.error).strip().splitlines()[-1] if result.error else ""
    error = error.partition("TrialError: ")[2] or error
    status: Status = "failed" if error else "stopped"
    if not error and history and history[-1]["epoch"] >= n_epochs:
        status = "finished"
    kept = [(values, saved) for saved, values in result.best_checkpoints or []]
    chosen = _best([values for values, _ in kept], metric, mode)
    paths = [Path(saved.path) for values, saved in kept if values is chosen]
    return TrialResult(
        Path(result.path).name,
        dict(result.config or {}),
        status,
        math.nan if best is None else float(best[metric]),
        0 if best is None else int(best["epoch"]),
        error,
        tuple(history),
        paths[0] if paths else None,
    )


def _best(rows: Sequence[Mapping[str, Any]], metric: str, mode: Mode) -> Mapping[str, Any] | None:
    finite = [row for row in rows if math.isfinite(row.get(metric, math.nan))]
    if not finite:
        return None
    pick = min if mode == "min" else max
    return pick(finite, key=lambda row: float(row[metric]))
