"""The contracts between core and plugins.

Each is structural: a class that has the members meets the contract, whatever it inherits from.
Abilities that only some components have are protocols of their own, so that a component states
what it can do by its type and never by a flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from flax import nnx

from tsjax_core.types import Array, HostArray, Sample, Signals


@runtime_checkable
class ModelSpec(Protocol):
    """Hyperparameters of a model, as a frozen dataclass that survives JSON and `repr`."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes, in the order of its arguments, such as `("u",)`."""
        ...

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> Model:
        """Return the model with freshly drawn parameters, for the channels in `signals`."""
        ...


@runtime_checkable
class IdentifiedSpec(ModelSpec, Protocol):
    """A specification whose model begins at a solution that is computed from the records.

    A learner that is given the specification calls `identify` once, in the place of `build`.
    """

    def identify(
        self,
        signals: Signals,
        train: Sequence[tuple[HostArray, HostArray]],
        valid: Sequence[tuple[HostArray, HostArray]],
        *,
        rngs: nnx.Rngs,
    ) -> tuple[ModelSpec, Model]:
        """Return a specification without open choices, and its model begun from the records.

        A record is the pair of `u` (time, n_u) and `y` (time, n_y) of a whole file, in raw units;
        outputs that were not measured are NaN. `build` of the specification that is returned gives
        a model of the same structure.
        """
        ...


@runtime_checkable
class FiniteMemory(Protocol):
    """A model whose outputs depend on a known number of recent inputs, or its hyperparameters.

    Hyperparameters tell it for the models that they build, a model given ready-made for itself.
    """

    @property
    def receptive_field(self) -> int | None:
        """Samples of input, the present one included, that an output depends on.

        None says that there is no such number, as of a model around one without.
        """
        ...


@runtime_checkable
class InitialWindow(Protocol):
    """A model that reads the measured output `y` at the start of a sequence, or its specification.

    Its `__call__` has an argument named `y`. Beyond the window the model does not look at `y`, and
    is given zeros where nothing was measured.
    """

    @property
    def init_window(self) -> int:
        """Samples of measured output, from the first one on, that the model may use."""
        ...


@runtime_checkable
class Model(Protocol):
    """An `nnx.Module` that maps inputs to outputs, both in raw physical units.

    Called with the arrays named by `ModelSpec.reads`, each (batch, time, channels), or (batch,
    channels) for scalars. It returns (batch, time, n_y), or (batch, n_y_scalar) where the targets
    are scalars. In training alone it is given those of the keyword-only arguments `key` (fresh in
    each step), `batch` and `progress` (0 to 1 over the fit) that it declares.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Return the outputs."""
        ...


@runtime_checkable
class AuxModel(Protocol):
    """A model that also returns named intermediate values, for losses that declare `aux`."""

    def call_with_aux(self, *args: Any, **kwargs: Any) -> tuple[Array, Mapping[str, Array]]:
        """Take what `__call__` takes; return its output and the intermediate values."""
        ...


@runtime_checkable
class StatefulModel(Protocol):
    """A model that can be run chunk by chunk: the chunks' outputs equal the whole's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Return the outputs of whole sequences, from the initial state on."""
        ...

    def initial_state(self, batch_size: int) -> Any:
        """Return the state before the first sample, a pytree whose leaves are (batch, ...)."""
        ...

    def advance(self, *args: Any, **kwargs: Any) -> tuple[Array, Any]:
        """`advance(u, state, *further) -> (y, state)` for a chunk of any length, in raw units.

        A model that is random in training takes a keyword-only `key` here too.
        """
        ...


@runtime_checkable
class StatefulAuxModel(StatefulModel, Protocol):
    """A stateful model that also returns named intermediate values for a chunk."""

    def advance_with_aux(self, *args: Any, **kwargs: Any) -> tuple[Array, Any, Mapping[str, Array]]:
        """Take what `advance` takes; return outputs, state, and the values, each (batch, ...)."""
        ...


@runtime_checkable
class EstimatedState(StatefulModel, Protocol):
    """A stateful model with an encoder of its own for the state after measured samples."""

    def estimate_state(self, u: Array, y: Array) -> Any:
        """Return the state after `u` (batch, time, n_u) and `y` (batch, time, n_y), raw units."""
        ...


@runtime_checkable
class AheadModel(Protocol):
    """A model that also predicts outputs from those that were measured some steps before."""

    def predict_ahead(self, u: Array, y: Array, *further: Array, steps: int = 1) -> Array:
        """Return each output as predicted `steps` samples before, (batch, time, n_y)."""
        ...


@runtime_checkable
class MeasuringModel(Protocol):
    """A model with physical parameters, which the history reports by name and unit."""

    def quantities(self) -> Mapping[str, tuple[Any, str]]:
        """Return value and unit of each, such as `{"damping": (d, "N s/m")}`."""
        ...


@runtime_checkable
class CarryingModel(Protocol):
    """A model whose rows go on from batch to batch in training, in `Carry` variables.

    In training it declares `batch`: a row whose `batch["position"][:, 0]` is 0 or less begins a
    new sequence. Without `batch`, as in evaluation, or without `position` in it, the carry is not
    looked at.
    """

    def begin_training(self, batch_size: int) -> None:
        """Make the `Carry` variables for batches of so many rows."""
        ...


class LossTerm(Protocol):
    """A scalar to minimise.

    `pred` and `target` are (batch, time, n_y) in raw units, `y_mean` and `y_std` are (n_y,) of the
    training split. A term may declare any of the keyword-only arguments `batch`, `model`, `aux`,
    `key`, `progress` (0 to 1 over the fit) and `signals`, and is given exactly those. Samples that
    do not count have a target of NaN.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Return the value, a scalar."""
        ...


@runtime_checkable
class ResidualTerm(Protocol):
    """A loss that is a mean of squares, for methods that need the residuals themselves."""

    residuals: Callable[..., Any]
    """Takes what the loss takes; returns the residuals, (batch, time, n), 0 where none counts.

    The loss is the sum of their squares times a factor that the prediction does not change.
    """


class Metric(Protocol):
    """A figure of merit of a whole split, from the same four arguments as a `LossTerm`.

    It may declare the keyword-only argument `signals`.

    A metric that is meaningful for each output channel alone carries the attribute
    `channelwise = True`, and one of which more is better `higher_is_better = True` (see the
    functions of these names in `tsjax_core.losses.regression`).
    """

    __call__: Callable[..., Array]


class BatchTransform(Protocol):
    """Returns a changed copy of a training batch and never changes its input.

    It may declare any of the keyword-only arguments `key`, `progress` (0 to 1 over the fit),
    `epoch` and `signals`. One that changes shapes carries the attribute `changes_shape = True` and
    runs on the host, before the compiled step.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Mapping[str, Array]:
        """Return the changed batch."""
        ...


@runtime_checkable
class Source(Protocol):
    """Samples by index: picklable, and equal for equal indices in every process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Return one sample; IndexError outside 0 to len - 1."""
        ...


@runtime_checkable
class BatchedSource(Source, Protocol):
    """A source whose samples have equal shapes and that reads many of them in one call."""

    def read_batch(self, indices: HostArray) -> Sample:
        """Return the samples at `indices`, stacked along a new first axis."""
        ...


@runtime_checkable
class DrawnSource(BatchedSource, Protocol):
    """A source that decides which samples an epoch sees; of others each comes once, shuffled."""

    def draw(self, n: int, *, seed: int, epoch: int) -> HostArray:
        """Return the indices of the first `n` samples of `epoch` as int64, (n,).

        Equal arguments give equal indices in every process, and more begin with fewer.
        """
        ...


@runtime_checkable
class PlannedSource(DrawnSource, Protocol):
    """A drawn source that knows how many batches show all of its samples."""

    def count_batches(self, bs: int) -> int:
        """Return the batches of `bs` samples in an epoch."""
        ...


@runtime_checkable
class WeighableSource(DrawnSource, Protocol):
    """A drawn source that can follow weights within its own order."""

    def with_weights(self, weights: HostArray) -> BatchedSource:
        """Return the source with `weights` (len,) of its samples, 0 or more, none of them NaN."""
        ...


@runtime_checkable
class ResidentSource(BatchedSource, Protocol):
    """A source whose windows can be cut on the device from signals that are kept there."""

    @property
    def win_sz(self) -> int:
        """Samples in a window."""
        ...

    @property
    def resident_bytes(self) -> int:
        """Device memory that `read_resident` would take."""
        ...

    def read_resident(self) -> Sample:
        """Return all files joined: sequences (all samples, n), scalars (files, n)."""
        ...

    def locate(self, indices: HostArray) -> tuple[HostArray, HostArray]:
        """Return where each window starts in the joined signals, and the number of its file."""
        ...


@runtime_checkable
class SignalStore(Protocol):
    """Named signals in files.

    A signal is one channel: a 1-D sequence of numbers. All methods raise a `DataError` that names
    the file and the signal.
    """

    @property
    def paths(self) -> Sequence[Path]:
        """The files, in a fixed order."""
        ...

    def get_seq_len(self, path: Path, signal: str | None = None) -> int:
        """Return the number of samples of `signal` in `path`, or of the first signal there."""
        ...

    def read_signals(
        self, path: Path, signals: Sequence[str], start: int = 0, stop: int | None = None
    ) -> HostArray:
        """Return samples `start` to `stop` as float32, (stop - start, len(signals))."""
        ...


@runtime_checkable
class WindowStore(SignalStore, Protocol):
    """A store that reads many windows of one file in one call."""

    def read_windows(
        self, path: Path, signals: Sequence[str], starts: HostArray, win_sz: int
    ) -> HostArray:
        """Return the windows from `starts` on as float32, (len(starts), win_sz, len(signals))."""
        ...


@runtime_checkable
class AttributeStore(SignalStore, Protocol):
    """A store whose files also carry scalars, one value per file."""

    def read_attributes(self, path: Path, names: Sequence[str]) -> HostArray:
        """Return the scalars `names` of `path` as float32, (len(names),)."""
        ...


@runtime_checkable
class SampledStore(SignalStore, Protocol):
    """A store that knows how its signals were sampled."""

    def get_dt(self, path: Path) -> float | None:
        """Return the sampling time of `path` in seconds, None where the file does not say."""
        ...


@runtime_checkable
class TimedStore(SignalStore, Protocol):
    """A store that knows where there are gaps between the samples of a file."""

    def get_stretches(self, path: Path) -> Sequence[tuple[int, int]]:
        """Return first sample and end of each stretch of `path` without a gap."""
        ...


@runtime_checkable
class UnitStore(SignalStore, Protocol):
    """A store that knows the units of its signals."""

    def get_unit(self, path: Path, signal: str) -> str:
        """Return the unit of `signal` as the file states it, empty where it does not."""
        ...


@runtime_checkable
class LocatingStore(SignalStore, Protocol):
    """A store in which the same numbers can have several names."""

    def locate(self, path: Path, signal: str) -> object:
        """Return what is equal for two names of the same numbers."""
        ...
