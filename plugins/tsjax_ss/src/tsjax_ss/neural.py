"""Nonlinear state space: a linear model and a small network beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.checks import check_choices, check_counts
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.models.linear import Linear
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.types import Array, HostArray, Signals
from tsjax_ss.embedding import load_blocks
from tsjax_ss.features import ACTIVATIONS, StateFeatures, compute_monomials, list_monomials


@dataclass(frozen=True)
class NeuralSS:
    """x+ = a x + b u + f(x, u), y = c x + d u + g(x, u): linear at first, then nonlinear.

    A learner begins with `core/linear` of the training records: f and g have one hidden layer
    together, whose output weights are zero at the start. Made for `learner.polish`. With monomials
    in the place of the hidden layer it is a polynomial nonlinear state space (Paduart et al.,
    Automatica 46, 2010). Where the system is a polynomial of few states, `state_monomials` of its
    degree extrapolate best: what is not in the system cannot be learned.

    Args:
        order: Number of states. If not given, the validation records choose it among 1 to 10.
        hidden_size: Units of the hidden layer; without meaning for monomials.
        features: Activation of the hidden layer, `monomials` of states and inputs, or
            `state_monomials` of the states alone.
        degree: Highest degree of the monomials, which begin at 2.
        direct: Whether the present input acts on the present output.
        horizon: Samples that the identification of the linear model looks at, see `core/linear`.
        begin: A run, or a saved model, of `ss/wiener`, `ss/hammerstein` or `ss/wiener_hammerstein`
            that was trained on the same data: its equations in the place of the linear model. Units
            of the hidden layer beyond its own act on nothing at first.
    """

    order: int | None = None
    hidden_size: int = 12
    features: StateFeatures = "tanh"
    degree: int = 3
    direct: bool = True
    horizon: int | None = None
    begin: str | None = None

    reads: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_choices(self, "features")
        check_counts(self, hidden_size=1, degree=2)
        self.linear()

    def linear(self) -> Linear:
        """Return the specification of the linear model to begin from."""
        return Linear(self.order, self.direct, self.horizon)

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> NeuralSSModel:
        """Return a stable random model of the given order, without nonlinear part."""
        return NeuralSSModel(self, signals, rngs=rngs)

    def identify(
        self,
        signals: Signals,
        train: Sequence[tuple[HostArray, HostArray]],
        valid: Sequence[tuple[HostArray, HostArray]],
        *,
        rngs: nnx.Rngs,
    ) -> tuple[NeuralSS, NeuralSSModel]:
        """Return the specification with its order, and the model begun from the linear one.

        Raises:
            DataError: The records are too short for the horizon.
            ConfigError: `begin` does not fit the data, or the other options.
        """
        if self.begin is not None:
            return self._begin_from(self.begin, signals, rngs)
        linear, begun = self.linear().identify(signals, train, valid, rngs=rngs)
        spec = replace(self, order=linear.order)
        model = spec.build(signals, rngs=rngs)
        own = begun.normalized_matrices()
        for name in ("a", "b", "c", "d"):
            variable = getattr(model, name)
            variable[...] = jnp.asarray(getattr(own, name), variable.dtype)
        model.y_offset[...] = jnp.asarray(own.offset, model.y_offset.dtype)
        return spec, model

    def _begin_from(
        self, path: str, signals: Signals, rngs: nnx.Rngs
    ) -> tuple[NeuralSS, NeuralSSModel]:
        """Return the specification and the model that a model of blocks is a case of."""
        found = load_blocks(path, signals)
        for name, own, wanted in (
            ("order", self.order or found.order, found.order),
            ("features", self.features, found.features),
        ):
            if own != wanted:
                raise ConfigError(
                    f"{name} = {own!r}, and the model in begin = {path!r} has {wanted!r}; give "
                    f"{name} = {wanted!r}.",
                    key=name,
                )
        if self.hidden_size < found.width:
            raise ConfigError(
                f"hidden_size = {self.hidden_size}, and the model in begin = {path!r} has "
                f"{found.width} units; give so many or more.",
                key="hidden_size",
            )
        spec = replace(self, order=found.order)
        model = spec.build(signals, rngs=rngs)
        for name in ("a", "b", "c", "d", "x_offset", "y_offset"):
            variable = getattr(model, name)
            variable[...] = jnp.asarray(getattr(found, name), variable.dtype)
        for name in ("hidden_state", "hidden_input", "hidden_bias"):
            variable = getattr(model, name)
            variable[...] = variable[...].at[: found.width].set(getattr(found, name))
        for name in ("to_state", "to_output"):
            variable = getattr(model, name)
            variable[...] = variable[...].at[:, : found.width].set(getattr(found, name))
        return spec, model


class NeuralSSModel(nnx.Module):
    """The model of a `NeuralSS`, in normalised inputs and outputs.

    The state before the first sample is zero. `hidden_state` (h, n) and `hidden_input` (h, n_u)
    are the weights of the hidden layer, `to_state` (n, h) and `to_output` (n_y, h) those behind it.
    """

    def __init__(self, spec: NeuralSS, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ("u", "y"), "NeuralSS")
        if spec.order is None:
            raise ModelError(
                "NeuralSS has no order; give one, or train it with a Learner, whose "
                "validation records choose it."
            )
        linear = spec.linear().build(signals, rngs=rngs)
        n, n_u, n_y = spec.order, len(signals.inputs), len(signals.outputs)
        self.spec = spec
        self.u_scale, self.y_scale = (Standardize(signals.stats[key]) for key in ("u", "y"))
        self.a, self.b, self.c, self.d = linear.a, linear.b, linear.c, linear.d
        self.x_offset, self.y_offset = nnx.Param(jnp.zeros(n)), linear.offset
        self.polynomial = spec.features in {"monomials", "state_monomials"}
        if self.polynomial:
            variables = n + n_u if spec.features == "monomials" else n
            width = len(list_monomials(variables, spec.degree))
        else:
            width = spec.hidden_size
            key, bias_key = jax.random.split(rngs.params())
            weights = jax.random.normal(key, (width, n + n_u)) / math.sqrt(n + n_u)
            self.hidden_state = nnx.Param(weights[:, :n])
            self.hidden_input = nnx.Param(weights[:, n:])
            self.hidden_bias = nnx.Param(jax.random.uniform(bias_key, (width,), minval=-1.0))
        self.to_state = nnx.Param(jnp.zeros((n, width)))
        self.to_output = nnx.Param(jnp.zeros((n_y, width)))

    def __call__(self, u: Array) -> Array:
        """Simulate from zero state: `u` (batch, time, n_u)."""
        return self.advance(u, self.initial_state(u.shape[0]))[0]

    def initial_state(self, batch_size: int) -> Array:
        """Return the zero state, (batch, order)."""
        return jnp.zeros((batch_size, self.a.shape[0]), self.a.dtype)

    def advance(self, u: Array, state: Array) -> tuple[Array, Array]:
        """Simulate a chunk `u` (batch, time, n_u) from `state` (batch, order)."""
        normalized = self.u_scale.normalize(u)
        driven = normalized @ self.b[...].T + self.x_offset[...]
        # What the inputs alone decide is computed for all samples at once.
        inner = normalized
        if not self.polynomial:
            inner = normalized @ self.hidden_input[...].T + self.hidden_bias[...]
        a, to_state = self.a[...].T, self.to_state[...].T

        def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            force, inside = now
            return x @ a + self._features(x, inside) @ to_state + force, x

        over_time = (jnp.moveaxis(driven, 1, 0), jnp.moveaxis(inner, 1, 0))
        after, states = jax.lax.scan(step, state, over_time)
        states = jnp.moveaxis(states, 0, 1)
        y = states @ self.c[...].T + normalized @ self.d[...].T + self.y_offset[...]
        y = y + self._features(states, inner) @ self.to_output[...].T
        return self.y_scale.denormalize(y), after

    def _features(self, x: Array, inner: Array) -> Array:
        """Return the features of states (..., n) and of what the inputs decide, (..., width)."""
        spec = self.spec
        if spec.features == "monomials":
            return compute_monomials(jnp.concatenate([x, inner], axis=-1), spec.degree)
        if spec.features == "state_monomials":
            return compute_monomials(x, spec.degree)
        return ACTIVATIONS[spec.features](x @ self.hidden_state[...].T + inner)
