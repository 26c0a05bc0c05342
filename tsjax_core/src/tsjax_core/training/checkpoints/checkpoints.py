"""Checkpoints of a fit: written while training goes on, and read to go on after a crash."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsjax_core.checks import whole_number
from tsjax_core.errors import CheckpointError, ConfigError
from tsjax_core.training.checkpoints.checkpoint_file import (
    Stored,
    begin_write,
    open_writer,
    read_checkpoint,
)
from tsjax_core.training.checkpoints.packing import unpack
from tsjax_core.training.checkpoints.training_state import (
    check_same_training,
    pack_snapshot,
    unpack_snapshot,
)
from tsjax_core.training.facts import describe_training
from tsjax_core.training.fit import Fit
from tsjax_core.training.monitor import Mode, Monitor
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.snapshot import TrainingSnapshot

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

    from tsjax_core.training.learner import Learner

_NAME = re.compile(r"epoch_(\d{6,})")
_OWNER = "fit"
"""Name of the file that says to which fit the checkpoints of a directory belong."""


class Checkpoints:
    """Writes a checkpoint after every epoch, and keeps the last and the best ones.

        checkpoints = Checkpoints("runs/a/checkpoints")
        for result in checkpoints.follow(learner.fit_iter(100), learner):
            ...

    `learner.resume("runs/a/checkpoints")` goes on from the last one. A checkpoint is written in
    the background from a copy, and appears in the directory when it is whole: a process that is
    killed at any moment loses the epoch that it was in, and at most the one before it.

    Args:
        path: Directory, new or empty, or that of the fit that `learner.resume` continues.
        keep_last: How many of the last epochs are kept, at least 1.
        keep_best: How many of the best epochs are kept besides.
        monitor: What makes an epoch better: `valid_loss`, `train_loss`, or the name of a metric or
            of a loss term.
        mode: min where less is better, max where more is.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        keep_last: int = 1,
        keep_best: int = 1,
        monitor: str = "valid_loss",
        mode: Mode = "min",
    ) -> None:
        self.path = Path(path)
        self.keep_last = whole_number("keep_last", keep_last, "epochs", least=1)
        self.keep_best = whole_number("keep_best", keep_best, "epochs")
        self._monitor = Monitor(monitor, mode)
        self._writing: int | None = None

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs, counted from 1, that have a checkpoint."""
        return stored_epochs(self.path)

    def follow(
        self, results: Iterable[EpochResult], learner: Learner
    ) -> Generator[EpochResult, None, None]:
        """Yield the `results` of a fit of `learner` unchanged, each after its checkpoint began.

        Raises:
            ConfigError: No epoch will have the value to monitor, or more of it is better.
            CheckpointError: The directory cannot be written, or holds another fit's checkpoints.
        """
        fit = learner.fit_in_progress
        if fit is None:
            raise ConfigError(
                "Checkpoints.follow got a learner without a fit; give it the results of "
                "learner.fit_iter(...) or learner.resume(...) of the same learner."
            )
        self._monitor.check(learner.metrics, learner.loss_weights)
        self._claim(fit)
        with open_writer() as writer:
            try:
                for result in results:
                    self._finish(writer, learner)
                    self._begin(writer, learner)
                    yield result
            finally:
                self._finish(writer, learner)

    def write(self, learner: Learner, fit: Fit) -> None:
        """Write one checkpoint of `fit`, whole when the call returns, and drop those not to keep.

        Raises:
            CheckpointError: The directory cannot be written, or holds another fit's checkpoints.
        """
        self._claim(fit)
        with open_writer() as writer:
            self._begin(writer, learner)
            self._finish(writer, learner)

    def _claim(self, fit: Fit) -> None:
        owner = self.path / _OWNER
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held = {path.name for path in self.path.iterdir()}
            held.discard(f"{_OWNER}.new")
            foreign = held and _OWNER not in held
            held_by = owner.read_text(encoding="utf-8") if _OWNER in held else ""
            if foreign or (self.epochs and held_by != fit.name):
                others = f"the checkpoints of another fit ({self._epochs_text})"
                what = "other files" if foreign else others
                raise CheckpointError(
                    f"{self.path} holds {what}. Go on from checkpoints with learner.resume(path), "
                    "or give another directory.",
                    path=self.path,
                )
            if held_by != fit.name:
                # Whole or not at all: without it the checkpoints would seem to be another fit's.
                fresh = owner.with_suffix(".new")
                fresh.write_text(fit.name, encoding="utf-8")
                fresh.replace(owner)
            for path in self.path.iterdir():
                # What a killed process left half-written, and epochs that will be trained again.
                found = _NAME.fullmatch(path.name)
                if path.is_dir() and (found is None or int(found[1]) > fit.done):
                    shutil.rmtree(path)
        except OSError as error:
            raise self._unwritable(fit.done, error) from error

    def _begin(self, writer: ocp.AsyncCheckpointer, learner: Learner) -> None:
        packed, facts = pack_snapshot(learner.snapshot(), describe_training(learner))
        done = self._writing = facts["done"]
        try:
            begin_write(writer, self.path / f"epoch_{done:06d}", packed, facts)
        except Exception as error:
            self._writing = None
            raise self._unwritable(done, error) from error

    def _finish(self, writer: ocp.AsyncCheckpointer, learner: Learner) -> None:
        """Wait for the checkpoint that is being written, if any, then drop those not to keep."""
        if self._writing is None:
            return
        done, self._writing = self._writing, None
        try:
            writer.wait_until_finished()
        except Exception as error:
            raise self._unwritable(done, error) from error
        fit = learner.fit_in_progress
        assert fit is not None
        epochs = self.epochs
        of_fit = learner.history[len(learner.history) - fit.done :]
        costs = {epoch: self._monitor.cost(of_fit[epoch - 1]) for epoch in epochs}
        best = sorted(epochs, key=lambda epoch: (costs[epoch], epoch))[: self.keep_best]
        for epoch in set(epochs) - set(epochs[-self.keep_last :]) - set(best):
            path = self.path / f"epoch_{epoch:06d}"
            # Renamed first, so that no half-deleted directory has the name of a checkpoint.
            gone = path.rename(path.with_name(f"dropped_{epoch:06d}"))
            shutil.rmtree(gone, ignore_errors=True)

    def _unwritable(self, epoch: int, error: Exception) -> CheckpointError:
        whole = ""
        with suppress(OSError):
            for path in self.path.glob("*-tmp*"):
                shutil.rmtree(path, ignore_errors=True)
            whole = f"Whole ones: {self._epochs_text}. " if self.epochs else ""
        what = (
            f"the checkpoint of epoch {epoch} cannot be written" if epoch else "cannot be written"
        )
        return CheckpointError(
            f"{self.path}: {what} ({_reason(error)}). {whole}Make room or choose a directory that "
            "can be written, then resume.",
            path=self.path,
        )

    @property
    def _epochs_text(self) -> str:
        epochs = self.epochs
        return f"epoch{'s' if len(epochs) != 1 else ''} {', '.join(map(str, epochs))}"


def _reason(error: Exception) -> str:
    """Return what the system said, which Orbax gives as a number behind a long text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    number = re.search(r"os_error_code='(\d+)'", text)
    return os.strerror(int(number[1])) if number else f"{type(error).__name__}: {text[:300]}"


def stored_epochs(path: Path) -> tuple[int, ...]:
    """Return the epochs, counted from 1, of the checkpoints in the directory `path`."""
    found = (_NAME.fullmatch(each.name) for each in path.iterdir()) if path.is_dir() else ()
    return tuple(sorted(int(name[1]) for name in found if name))


def write_checkpoint(path: Path, learner: Learner) -> Path:
    """Write a checkpoint of the fit in progress to `path`, in the place of earlier ones there.

    Raises:
        CheckpointError: The directory cannot be written, or holds something else.
    """
    checkpoints = Checkpoints(path, keep_best=0)
    fit = learner.fit_in_progress
    assert fit is not None
    checkpoints.write(learner, fit)
    return path


def read_training(path: Path, epoch: int | None, learner: Learner) -> TrainingSnapshot:
    """Return the training of `learner` at the end of `epoch`, the last one if None.

    Raises:
        CheckpointError: There is none, it is damaged, or it belongs to another training.
    """
    stored = _read(path, epoch)
    tree = check_same_training(stored, learner, describe_training(learner), path)
    return unpack_snapshot(stored, tree)


def read_model(path: Path, epoch: int, learner: Learner) -> Any:
    """Return the variables that the model of `learner` had after `epoch`.

    Raises:
        CheckpointError: There is no such checkpoint, it is damaged, or of another training.
    """
    stored = _read(path, epoch)
    tree = check_same_training(stored, learner, describe_training(learner), path)
    return unpack(stored.data, tree)["model"]


def _read(path: Path, epoch: int | None) -> Stored:
    epochs = stored_epochs(path)
    if not epochs:
        raise CheckpointError(
            f"{path} holds no checkpoint to resume from. Give the directory that Checkpoints "
            "wrote to, or begin a new fit.",
            path=path,
        )
    wanted = epochs[-1] if epoch is None else epoch
    if wanted not in epochs:
        raise CheckpointError(
            f"{path} holds no checkpoint of epoch {wanted}; it has {', '.join(map(str, epochs))}. "
            "Checkpoints(keep_last=..., keep_best=..., monitor=...) says which are kept.",
            path=path,
        )
    try:
        return read_checkpoint(path / f"epoch_{wanted:06d}")
    except CheckpointError as error:
        whole = [each for each in reversed(epochs) if each != wanted and _is_whole(path, each)]
        if not whole:
            raise
        raise CheckpointError(
            f"{error} The one of epoch {whole[0]} is whole: resume with epoch={whole[0]}.",
            path=error.path,
        ) from error


def _is_whole(path: Path, epoch: int) -> bool:
    try:
        read_checkpoint(path / f"epoch_{epoch:06d}")
    except CheckpointError:
        return False
    return True
