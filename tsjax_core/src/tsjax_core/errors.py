"""Every error that tsjax raises for a user's mistake or a broken part.

One tree under `TsjaxError`. Each error has the facts as fields and a text that says what was got,
what was expected and what to do. `exit_status` is what the command line returns for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tsjax_core.training.progress import EpochResult


class TsjaxError(Exception):
    """Base of all errors that tsjax raises on purpose."""

    exit_status: ClassVar[int] = 1


class DataError(TsjaxError):
    """The measured data cannot be used as they are. `path` and `signal` say where, if known."""

    def __init__(self, message: str, *, path: Path | None = None, signal: str | None = None):
        super().__init__(message)
        self.path = path
        self.signal = signal


class SplitError(DataError):
    """A split (train, valid or test) is missing or has no file."""


class MissingSignalError(DataError):
    """A signal or attribute is absent from a file."""


class UnequalLengthError(DataError):
    """Signals of one file have different lengths."""


class WindowError(DataError):
    """No window fits, or a window lies outside its file."""


class NonFiniteError(DataError):
    """Samples are NaN or infinite."""


class ConstantChannelError(DataError):
    """A channel has one value over the whole training split, or hardly varies beside its level.

    `level` is that level where its changes may be lost in 32-bit numbers, else None.
    """

    def __init__(self, message: str, *, signal: str | None = None, level: float | None = None):
        super().__init__(message, signal=signal)
        self.level = level


class UnsupportedDatasetError(DataError):
    """A data set in a file does not hold numbers along one axis."""


class UnreadableFileError(DataError):
    """A file is missing, truncated, or not of its format."""


class ConfigError(TsjaxError):
    """An option has an unknown name or a wrong value. `key` is its dotted path."""

    exit_status = 2

    def __init__(self, message: str, *, key: str | None = None, file: Path | None = None):
        super().__init__(message)
        self.key = key
        self.file = file


class SignatureError(TsjaxError):
    """A loss, metric, transform or model asks for an argument that tsjax does not give."""


class TrainingError(TsjaxError):
    """A training ended without a model that is worth keeping."""


class DivergenceError(TrainingError):
    """A training diverged: `what` says when and how, `advice` what to try.

    `result` is the epoch in which it did; the model has the parameters of the epoch before.
    """

    def __init__(self, what: str, *, advice: str, result: EpochResult):
        super().__init__(
            f"training {what}. The model has the parameters of the epoch before. {advice}"
        )
        self.what = what
        self.advice = advice
        self.result = result


class CheckpointError(TsjaxError):
    """A checkpoint cannot be written, read, or used. `path` is its directory."""

    def __init__(self, message: str, *, path: Path):
        super().__init__(message)
        self.path = path


class ModelError(TsjaxError):
    """A model does not fit the data, or its output has the wrong shape."""


class RunDirectoryError(TsjaxError):
    """A directory holds something else than expected. `path` is the directory."""

    exit_status = 2

    def __init__(self, message: str, *, path: Path):
        super().__init__(message)
        self.path = path


class SavedModelError(TsjaxError):
    """A saved model cannot be written or read. `path` is its directory."""

    def __init__(self, message: str, *, path: Path):
        super().__init__(message)
        self.path = path


class PluginError(TsjaxError):
    """A plugin or a component of one cannot be used. `namespace` is the plugin's."""

    def __init__(self, message: str, *, namespace: str):
        super().__init__(message)
        self.namespace = namespace


class UnknownNameError(PluginError, LookupError):
    """No installed plugin offers the name. `name` is what was asked for."""

    exit_status = 2

    def __init__(self, message: str, *, namespace: str, name: str):
        super().__init__(message, namespace=namespace)
        self.name = name


class UnknownNamespaceError(UnknownNameError):
    """No installed distribution has the namespace; `install` names the one that would, if known."""

    def __init__(self, message: str, *, namespace: str, name: str, install: str | None = None):
        super().__init__(message, namespace=namespace, name=name)
        self.install = install


class DuplicateNamespaceError(PluginError):
    """Several distributions claim one namespace; `distributions` names them."""

    def __init__(self, message: str, *, namespace: str, distributions: Sequence[str]):
        super().__init__(message, namespace=namespace)
        self.distributions = tuple(distributions)


class BrokenPluginError(PluginError):
    """A plugin fails to import, or what it registers does not meet the contract."""

    def __init__(self, message: str, *, namespace: str, distribution: str, version: str):
        super().__init__(message, namespace=namespace)
        self.distribution = distribution
        self.version = version
