"""The record of a study: what every epoch of every trial gave, in one file.

Ray's own logs of a trial lose lines where the trial is paused and goes on, as in population-based
training, because it takes over an older copy. This file is only appended to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EPOCHS = "epochs.jsonl"


@dataclass
class TrialLog:
    """Epochs of a trial by their number from 1, and how it ended: None before it did."""

    rows: dict[int, Mapping[str, float]] = field(default_factory=dict)
    ended: str | None = None

    @property
    def history(self) -> tuple[Mapping[str, float], ...]:
        """The epochs in their order."""
        return tuple(self.rows[epoch] for epoch in sorted(self.rows))


class StudyLog:
    """Reads and continues the record in a directory.

    Args:
        directory: The directory of the study.
    """

    def __init__(self, directory: Path) -> None:
        self.file = directory / EPOCHS
        self._trials: dict[tuple[str, str], TrialLog] = {}
        whole = 0
        for line in self._lines():
            try:
                entry = json.loads(line)
            except ValueError:
                # The end of what a process that was killed was writing.
                break
            self._take(entry)
            whole += len(line)
        if self.file.exists():
            with self.file.open("r+b") as stream:
                stream.truncate(whole)

    def of(self, trial: str, member: str) -> TrialLog:
        """Return the record of a member of a trial of Ray, empty where it has not begun."""
        return self._trials.setdefault((trial, member), TrialLog())

    def record(self, trial: str, report: Mapping[str, Any]) -> None:
        """Add what a worker reported."""
        entry = {"trial": trial, **{key: report[key] for key in ("rows", "restarted", "ended")}}
        if not (entry["rows"] or entry["ended"]):
            return
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        self._take(entry)

    def _take(self, entry: Mapping[str, Any]) -> None:
        for member, rows in entry["rows"].items():
            log = self.of(entry["trial"], member)
            if member in entry["restarted"]:
                log.rows.clear()
            # An epoch that was trained again after an interruption counts once.
            log.rows.update((int(row["epoch"]), row) for row in rows)
        for member, error in entry["ended"].items():
            self.of(entry["trial"], member).ended = error

    def _lines(self) -> Iterator[bytes]:
        if self.file.exists():
            with self.file.open("rb") as stream:
                yield from stream
