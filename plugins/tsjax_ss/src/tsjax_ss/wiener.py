"""Wiener models: linear dynamics, and a static nonlinearity behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx

from tsjax_core.checks import check_choices, check_counts
from tsjax_core.errors import ModelError
from tsjax_core.models.linear import Linear
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.types import Array, HostArray, Signals
from tsjax_ss.blocks import LinearBlock, StaticMap
from tsjax_ss.features import Features


@dataclass(frozen=True)
class Wiener:
    """x+ = a x + b u, w = c x + d u, y = f(w): a system whose sensor is not linear.

    f is the identity and one hidden layer beside it, whose output weights are zero at the start: a
    learner begins with `core/linear` of the training records. Made for `learner.polish`.

    Args:
        order: Number of states. If not given, the validation records choose it among 1 to 10.
        hidden_size: Units of the hidden layer; without meaning for monomials.
        features: Activation of the hidden layer, or `monomials` of w.
        degree: Highest degree of the monomials, which begin at 2.
        direct: Whether the present input acts on the present output.
        horizon: Samples that the identification of the linear model looks at, see `core/linear`.
    """

    order: int | None = None
    hidden_size: int = 12
    features: Features = "tanh"
    degree: int = 3
    direct: bool = True
    horizon: int | None = None

    reads: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_choices(self, "features")
        check_counts(self, hidden_size=1, degree=2)
        self.linear()

    def linear(self) -> Linear:
        """Return the specification of the linear model to begin from."""
        return Linear(self.order, self.direct, self.horizon)

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> WienerModel:
        """Return a stable random model of the given order, whose f is the identity."""
        return WienerModel(self, signals, rngs=rngs)

    def identify(
        self,
        signals: Signals,
        train: Sequence[tuple[HostArray, HostArray]],
        valid: Sequence[tuple[HostArray, HostArray]],
        *,
        rngs: nnx.Rngs,
    ) -> tuple[Wiener, WienerModel]:
        """Return the specification with its order, and the model begun from the linear one.

        Raises:
            DataError: The records are too short for the horizon.
        """
        linear, begun = self.linear().identify(signals, train, valid, rngs=rngs)
        spec = replace(self, order=linear.order)
        model = spec.build(signals, rngs=rngs)
        own = begun.normalized_matrices()
        model.block.set_matrices(own)
        model.offset[...] = jnp.asarray(own.offset, model.offset.dtype)
        return spec, model


class WienerModel(nnx.Module):
    """The model of a `Wiener`, in normalised inputs and outputs.

    `block` holds the linear part, `map` the static one. The state before the first sample is zero,
    the equilibrium of inputs at their mean.
    """

    def __init__(self, spec: Wiener, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ("u", "y"), "Wiener")
        if spec.order is None:
            raise ModelError(
                "Wiener has no order; give one, or train it with a Learner, whose validation "
                "records choose it."
            )
        n_u, n_y = len(signals.inputs), len(signals.outputs)
        self.u_scale, self.y_scale = (Standardize(signals.stats[key]) for key in ("u", "y"))
        self.block = LinearBlock(spec.order, n_u, n_y, direct=spec.direct, rngs=rngs)
        self.map = StaticMap(n_y, spec.hidden_size, spec.features, spec.degree, rngs=rngs)
        self.offset = nnx.Param(jnp.zeros(n_y))

    def __call__(self, u: Array) -> Array:
        """Simulate from zero state: `u` (batch, time, n_u)."""
        return self.advance(u, self.initial_state(u.shape[0]))[0]

    def initial_state(self, batch_size: int) -> Array:
        """Return the zero state, (batch, order)."""
        return jnp.zeros((batch_size, self.block.order), self.offset.dtype)

    def advance(self, u: Array, state: Array) -> tuple[Array, Array]:
        """Simulate a chunk `u` (batch, time, n_u) from `state` (batch, order)."""
        w, after = self.block(self.u_scale.normalize(u), state)
        return self.y_scale.denormalize(self.map(w) + self.offset[...]), after
