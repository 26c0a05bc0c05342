"""A plugin with one small component for each part of the contract that families need.

The tests beside this file install it, and use it through TOML and the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from flax import nnx

from tsjax_core import (
    Bounded,
    BoundedParameter,
    Carry,
    FrozenMapping,
    ResampledStore,
    hookimpl,
    normalized_mse,
)
from tsjax_core.cli import make_console
from tsjax_core.data.store import Split
from tsjax_core.experiments.experiment import load_experiment
from tsjax_core.models.scaling import Standardize
from tsjax_core.protocols import FiniteMemory, ModelSpec


class CarryingRNN(nnx.Module):
    """The model inside, whose rows go on from batch to batch in training."""

    def __init__(self, inner):
        self.inner, self.carry = inner, None

    @property
    def receptive_field(self):
        return self.inner.receptive_field if isinstance(self.inner, FiniteMemory) else None

    def begin_training(self, batch_size):
        self.carry = nnx.data(jax.tree.map(Carry, self.inner.initial_state(batch_size)))

    def __call__(self, u, *, batch=None):
        return self.call_with_aux(u, batch=batch)[0]

    def call_with_aux(self, u, *, batch=None):
        if batch is None or "position" not in batch:
            y, _, aux = self.inner.advance_with_aux(u, self.inner.initial_state(len(u)))
            return y, aux
        is_carry = lambda x: isinstance(x, Carry)  # noqa: E731 - short, and used twice
        fresh, begins = self.inner.initial_state(len(u)), batch["position"][:, 0] <= 0

        def pick(new, old):
            return jnp.where(begins.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        held = jax.tree.map(lambda c: c[...], self.carry, is_leaf=is_carry)
        state = jax.lax.stop_gradient(jax.tree.map(pick, fresh, held))
        y, after, aux = self.inner.advance_with_aux(u, state)
        jax.tree.map(lambda c, new: c.set_value(new), self.carry, after, is_leaf=is_carry)
        return y, aux

    def initial_state(self, batch_size):
        return self.inner.initial_state(batch_size)

    def advance(self, u, state):
        return self.inner.advance(u, state)


@dataclass(frozen=True)
class Carrying:
    """A stateful model trained with a carry.

    Args:
        model: The model inside.
    """

    model: ModelSpec

    @property
    def reads(self):
        return self.model.reads

    @property
    def receptive_field(self):
        return self.model.receptive_field if isinstance(self.model, FiniteMemory) else None

    def build(self, signals, *, rngs):
        return CarryingRNN(self.model.build(signals, rngs=rngs))


class FreeRunModel(nnx.Module):
    """y_t = a y_(t-1) + b u_t + c, with the measured y before in the initial window."""

    def __init__(self, spec, signals):
        self.window, self.n_y = spec.init_window, len(signals.outputs)
        self.y_scale = Standardize(signals.stats["y"])
        self.u_scale = Standardize(signals.stats["u"])
        self.a = nnx.Param(jnp.full((self.n_y,), 0.5))
        self.b = nnx.Param(jnp.full((len(signals.inputs), self.n_y), 0.1))

    @property
    def init_window(self):
        return self.window

    def initial_state(self, batch_size):
        return (jnp.zeros((batch_size, self.n_y)), jnp.zeros((batch_size, 1)))

    def __call__(self, u, y, *, progress=None):
        return self.advance(u, self.initial_state(len(u)), y)[0]

    def advance(self, u, state, y):
        drive = self.u_scale.normalize(u) @ self.b[...]
        measured = self.y_scale.normalize(y)

        def step(state, at):
            last, count = state
            drive, measured = at
            out = self.a[...] * last + drive
            fed = jnp.where(count < self.window, measured, out)
            return (fed, count + 1.0), out

        swap = lambda x: jnp.swapaxes(x, 0, 1)  # noqa: E731 - short, and used three times
        state, out = jax.lax.scan(step, state, (swap(drive), swap(measured)))
        return self.y_scale.denormalize(swap(out)), state


@dataclass(frozen=True)
class FreeRun:
    """A first-order model that is given the measured outputs of an initial window.

    Args:
        init_window: Samples of measured output.
    """

    init_window: int = 5
    reads = ("u", "y")

    def build(self, signals, *, rngs):
        return FreeRunModel(self, signals)


class LagModel(nnx.Module):
    """x' = (gain u - x) / time_constant, by the explicit Euler method, from x = 0."""

    def __init__(self, spec, signals):
        self.step_size = signals.dt
        names = dict(spec.parameters)
        self.gain = BoundedParameter(names["gain"])
        self.lag = BoundedParameter(names["time_constant"])

    def quantities(self):
        return {"gain": self.gain.quantity, "time_constant": self.lag.quantity}

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size, 1))

    def __call__(self, u):
        return self.advance(u, self.initial_state(len(u)))[0]

    def advance(self, u, state):
        def step(x, u):
            x = x + self.step_size / self.lag.value * (self.gain.value * u - x)
            return x, x

        state, x = jax.lax.scan(step, state, jnp.swapaxes(u[..., :1], 0, 1))
        return jnp.swapaxes(x, 0, 1), state

    def estimate_state(self, u, y):
        return y[:, -1, :1]


@dataclass(frozen=True)
class Lag:
    """A first-order lag with physical parameters.

    Args:
        parameters: `gain` and `time_constant`, each with start, low, high and unit.
    """

    parameters: FrozenMapping[Bounded] = field(
        default_factory=lambda: FrozenMapping(
            {"gain": Bounded(1.0, unit="1"), "time_constant": Bounded(0.1, 0.01, 10.0, "s")}
        )
    )
    reads = ("u",)

    def build(self, signals, *, rngs):
        return LagModel(self, signals)


class Chunks:
    """Consecutive chunks of whole files: row b of a batch goes on from row b of the one before."""

    def __init__(self, records, *, bs: int, win_sz: int, weights=None):
        self.records, self.bs, self.win_sz, self.weights = records, bs, win_sz, weights
        self.chunks = [
            (file, start)
            for file, length in enumerate(records.lengths.tolist())
            for start in range(0, length, win_sz)
        ]

    def __len__(self):
        # The last sample fills rows up whose files are at their end.
        return len(self.chunks) + 1

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        blank = index == len(self.chunks)
        file, start = (0, 0) if blank else self.chunks[index]
        n = 0 if blank else min(self.win_sz, int(self.records.lengths[file]) - start)
        sample = self.records.read(file, start, start + n)
        more = ((0, self.win_sz - n), (0, 0))
        filled = {key: np.pad(x, more) for key, x in sample.items()}
        at = np.arange(self.win_sz, dtype=np.int32)
        return {**filled, "position": np.where(at < n, start + at, -1).astype(np.int32)}

    def read_batch(self, indices):
        samples = [self[int(i)] for i in indices]
        return {key: np.stack([s[key] for s in samples]) for key in samples[0]}

    def _rows(self, bs, seed, epoch):
        """Return the chunks of each row, whole files one after the other."""
        files = np.random.default_rng((seed, epoch)).permutation(len(self.records.paths))
        rows = [[] for _ in range(bs)]
        for file in files:
            if self.weights is not None and not self.weights[self._first(file)]:
                continue
            shortest = min(rows, key=len)
            shortest += [i for i, (f, _) in enumerate(self.chunks) if f == file]
        return rows

    def _first(self, file):
        return next(i for i, (f, _) in enumerate(self.chunks) if f == file)

    def count_batches(self, bs):
        return max(map(len, self._rows(bs, 0, 0)))

    def draw(self, n, *, seed, epoch):
        rows = self._rows(self.bs, seed, epoch)
        order = np.full((-(-n // self.bs), self.bs), len(self.chunks), np.int64)
        for b, row in enumerate(rows):
            n_rows = min(len(row), len(order))
            order[:n_rows, b] = row[:n_rows]
        return order.reshape(-1)[:n]


def masked_error(pred, target, y_mean, y_std, *, batch, signals, progress):
    """Mean squared error where the mask of the batch is set."""
    counts = batch["mask"][:, -pred.shape[1] :] > 0.5
    target = jnp.where(counts, target, jnp.nan)
    return normalized_mse(pred, target, y_mean, y_std) * (
        1.0 + 0.0 * progress * len(signals.inputs)
    )


def hidden_size_of_states(pred, target, y_mean, y_std, *, aux):
    """Mean square of the states of all layers."""
    return jnp.mean(jnp.square(aux["states"]))


def peak_error(pred, target, y_mean=None, y_std=None, *, signals):
    """Largest absolute error in the unit of the outputs; one for each output name is known."""
    assert len(signals.outputs) == pred.shape[-1]
    return np.nanmax(np.abs(pred - target))


def scale_by_name(channel: str, by: float = 2.0):
    """Scale one input, found by its name.

    Args:
        channel: Name of the input.
        by: Factor.
    """

    def scale(batch, *, signals):
        factors = np.array([by if name == channel else 1.0 for name in signals.inputs], np.float32)
        return {**batch, "u": batch["u"] * factors}

    return scale


def halved(store, *, by: float = 2.0):
    """The files at a lower rate.

    Args:
        store: The files as they are.
        by: Old rate over new rate.
    """
    return ResampledStore(store, factor=1.0 / by, method="linear")


def error_plot(pred, target, *, signals, batch, title):
    """The error of the first output over its input."""
    from matplotlib.figure import Figure

    figure = Figure()
    axis = figure.subplots()
    axis.plot(np.asarray(batch["u"])[-len(pred) :, 0], pred[:, 0] - target[:, 0], ".")
    axis.set_xlabel(signals.inputs[0])
    axis.set_title(title)
    return figure


@hookimpl
def tsjax_models() -> Mapping[str, Any]:
    return {"carrying": Carrying, "free_run": FreeRun, "lag": Lag}


@hookimpl
def tsjax_sources():
    return {"chunks": Chunks}


@hookimpl
def tsjax_losses():
    return {"masked_error": masked_error, "states": hidden_size_of_states}


@hookimpl
def tsjax_metrics():
    return {"peak_error": peak_error}


@hookimpl
def tsjax_transforms():
    return {"scale_by_name": scale_by_name}


@hookimpl
def tsjax_stores():
    return {"halved": halved}


@hookimpl
def tsjax_plots():
    return {"error": error_plot}


def count_files(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="A TOML file.")],
    split: Annotated[Split, typer.Option(help="Which files.")] = "test",
) -> None:
    """Count the files of a split."""
    files = load_experiment(experiment).build().pipeline.file_names(split)
    make_console().print(f"{len(files)} files in {split}")


@hookimpl
def tsjax_commands():
    return {"count": count_files, "train": count_files}
