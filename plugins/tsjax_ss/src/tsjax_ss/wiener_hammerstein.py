"""Wiener-Hammerstein models: a static nonlinearity between two linear blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.checks import check_choices, check_counts, whole_number
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.models.linear import Linear
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.models.subspace import Records, StateSpaceMatrices
from tsjax_core.types import Array, HostArray, Signals
from tsjax_ss.blocks import LinearBlock, StaticMap
from tsjax_ss.division import Division, choose_division, divide_poles, factor_square, pass_through
from tsjax_ss.features import Features
from tsjax_ss.start import normalize_records, scale_states


@dataclass(frozen=True)
class WienerHammerstein:
    """A linear block, a static nonlinearity f, and another linear block, one behind the other.

    f is the identity and one hidden layer beside it, whose output weights are zero at the start. A
    learner begins with `core/linear` of the training records, divided among both blocks:

    - With as many inputs as outputs, every division of its poles and zeros is tried, and the one
      taken between whose blocks a small nonlinearity explains most of the error that the linear
      model leaves on the training records.
    - Where there is no such division (other numbers of channels, a single pole, or several channels
      without direct term), the linear model is one of the blocks, and the other passes everything
      through: it has the same poles, with output weights of zero. The same criterion decides which
      it is.

    Made for `learner.polish`, which moves poles and zeros where they belong.

    Args:
        order: States of the linear model. If not given, the validation records choose it among 1
            to 10.
        orders: States of the block before f and of the one behind it. If not given, the division
            says so.
        channels: Signals between the blocks. If not given, the outputs or the inputs, whichever the
            division says.
        hidden_size: Units of the hidden layer; without meaning for monomials.
        features: Activation of the hidden layer, or `monomials` of the signals between the blocks.
        degree: Highest degree of the monomials, which begin at 2.
        direct: Whether the present input acts on the present output.
        horizon: Samples that the identification of the linear model looks at, see `core/linear`.
    """

    order: int | None = None
    orders: tuple[int, int] | None = None
    channels: int | None = None
    hidden_size: int = 12
    features: Features = "tanh"
    degree: int = 3
    direct: bool = True
    horizon: int | None = None

    reads: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_choices(self, "features")
        check_counts(self, hidden_size=1, degree=2)
        if self.orders is not None:
            if len(self.orders) != 2:
                raise ConfigError(
                    f"orders = {self.orders!r}; give two numbers of states, that of the block "
                    "before the nonlinearity and that of the block behind it.",
                    key="orders",
                )
            for each in self.orders:
                whole_number("orders", each, least=1)
        if self.channels is not None:
            check_counts(self, channels=1)
        self.linear()

    def linear(self) -> Linear:
        """Return the specification of the linear model to begin from."""
        return Linear(self.order, self.direct, self.horizon)

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> WienerHammersteinModel:
        """Return a stable random model of the given orders, whose f is the identity."""
        return WienerHammersteinModel(self, signals, rngs=rngs)

    def identify(
        self,
        signals: Signals,
        train: Sequence[tuple[HostArray, HostArray]],
        valid: Sequence[tuple[HostArray, HostArray]],
        *,
        rngs: nnx.Rngs,
    ) -> tuple[WienerHammerstein, WienerHammersteinModel]:
        """Return the specification with its orders, and the model begun from the linear one.

        Raises:
            DataError: The records are too short for the horizon.
            ModelError: No division has the orders or the channels that were given.
        """
        linear, begun = self.linear().identify(signals, train, valid, rngs=rngs)
        own, records = begun.normalized_matrices(), normalize_records(train, signals)
        division = _scale(choose_division(self._divisions(own, rngs), own, records), records)
        spec = replace(
            self,
            order=linear.order,
            orders=(division.before.order, division.behind.order),
            channels=len(division.before.c),
        )
        model = spec.build(signals, rngs=rngs)
        model.before.set_matrices(division.before)
        model.behind.set_matrices(division.behind)
        model.offset[...] = jnp.asarray(own.offset, model.offset.dtype)
        return spec, model

    def _divisions(self, linear: StateSpaceMatrices, rngs: nnx.Rngs) -> list[Division]:
        """Return the divisions of `linear` that have the orders and channels that are given."""
        n, n_y, n_u = linear.order, len(linear.c), linear.b.shape[1]
        found: list[Division] = []
        if n_u == n_y == 1:
            found = divide_poles(linear, self.orders, direct=self.direct)
        elif n_u == n_y and self.direct:
            found = factor_square(linear, self.orders)
        if not found:
            draws = np.asarray(jax.random.normal(rngs.params(), (n, n_y)), float)
            found = pass_through(linear, draws, direct=self.direct)
        possible = [
            each
            for each in found
            if self.orders in {None, (each.before.order, each.behind.order)}
            and self.channels in {None, len(each.before.c)}
        ]
        if possible:
            return possible
        kinds = sorted({(e.before.order, e.behind.order, len(e.before.c)) for e in found})
        raise ModelError(
            f"a linear model of order {n} with {n_u} inputs and {n_y} outputs cannot be divided as "
            f"orders = {self.orders} and channels = {self.channels} ask; possible are "
            + ", ".join(f"orders = {(a, b)} with channels = {c}" for a, b, c in kinds)
            + "."
        )


def _scale(division: Division, records: Records) -> Division:
    """Return the division with states and signals between the blocks of unit spread."""
    inputs = [np.nan_to_num(u) for u, _ in records]
    division = division.whiten(inputs)
    inner = [division.before.simulate(u) for u in inputs]
    return Division(scale_states(division.before, inputs), scale_states(division.behind, inner))


class WienerHammersteinModel(nnx.Module):
    """The model of a `WienerHammerstein`, in normalised inputs and outputs.

    `before` and `behind` hold the linear blocks, `map` the static nonlinearity. The state before
    the first sample is zero, the equilibrium of inputs at their mean; a state (batch, n) has that
    of the block before first.
    """

    def __init__(self, spec: WienerHammerstein, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ("u", "y"), "WienerHammerstein")
        if spec.orders is None:
            raise ModelError(
                "WienerHammerstein has no orders; give those of both blocks, or train it with a "
                "Learner, which divides a linear model."
            )
        n_u, n_y = len(signals.inputs), len(signals.outputs)
        channels = spec.channels or n_y
        first, second = spec.orders
        self.u_scale, self.y_scale = (Standardize(signals.stats[key]) for key in ("u", "y"))
        self.before = LinearBlock(first, n_u, channels, direct=spec.direct, rngs=rngs)
        self.map = StaticMap(channels, spec.hidden_size, spec.features, spec.degree, rngs=rngs)
        self.behind = LinearBlock(second, channels, n_y, direct=True, rngs=rngs)
        self.offset = nnx.Param(jnp.zeros(n_y))

    def __call__(self, u: Array) -> Array:
        """Simulate from zero state: `u` (batch, time, n_u)."""
        return self.advance(u, self.initial_state(u.shape[0]))[0]

    def initial_state(self, batch_size: int) -> Array:
        """Return the zero state, (batch, sum of orders)."""
        return jnp.zeros((batch_size, self.before.order + self.behind.order), self.offset.dtype)

    def advance(self, u: Array, state: Array) -> tuple[Array, Array]:
        """Simulate a chunk `u` (batch, time, n_u) from `state` (batch, sum of orders)."""
        first, second = jnp.split(state, [self.before.order], axis=-1)
        inner, first = self.before(self.u_scale.normalize(u), first)
        y, second = self.behind(self.map(inner), second)
        after = jnp.concatenate([first, second], axis=-1)
        return self.y_scale.denormalize(y + self.offset[...]), after
