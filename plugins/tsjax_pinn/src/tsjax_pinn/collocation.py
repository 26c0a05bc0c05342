"""Known equations as a loss on generated excitation, without measured data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import jax
import jax.numpy as jnp

from tsjax_core.checks import choice, positive, whole_number
from tsjax_core.errors import ModelError
from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.protocols import LossTerm, StatefulModel
from tsjax_core.signatures import name_of
from tsjax_core.types import AnyArray, Array, FrozenMapping, Signals
from tsjax_pinn.excitation import KINDS, Kind, check_excitation, excitation_signals
from tsjax_pinn.physics import Equations, Ramp, auxiliary_channels, sampling_time
from tsjax_pinn.residual import NOTHING, Constant, Scheme, channels, load_residual

Initial: TypeAlias = Literal["state_encoder", "random_hidden", "zero"]

_INITIALS: Final[tuple[Initial, ...]] = ("state_encoder", "random_hidden", "zero")


@dataclass(frozen=True)
class _CollocationLoss:
    """The loss that `collocation_loss` returns."""

    equations: Equations
    initial: Initial
    begin_weight: float
    output_range: float
    hidden_std: float
    time: int | None
    excitation: FrozenMapping[Any]

    __name__ = "collocation_loss"

    @property
    def wants(self) -> frozenset[str]:
        """What the loss declares."""
        wants = frozenset({"batch", "model", "signals", "key"})
        return wants if self.equations.ramp.is_constant else wants | {"progress"}

    def __call__(
        self,
        _pred: AnyArray,
        _target: AnyArray,
        y_mean: AnyArray,
        y_std: AnyArray,
        *,
        batch: Mapping[str, Any],
        model: Any,
        signals: Signals,
        key: Array,
        progress: Any = None,
    ) -> Array:
        """Return the value."""
        rows, time, n_u = batch["u"].shape
        time = self.time or time
        dt = sampling_time(signals, of="collocation_loss")
        for_u, for_y, for_state = jax.random.split(key, 3)
        drawn = excitation_signals(for_u, rows, time, n_u, dt=dt, **self.excitation)
        stats = signals.stats["u"]
        u = jnp.asarray(stats.mean) + jnp.asarray(stats.std) * drawn
        ends = self.output_range
        mean, std = jnp.asarray(y_mean), jnp.asarray(y_std)
        y0 = mean + std * jax.random.uniform(
            for_y, (rows, len(signals.outputs)), minval=-ends, maxval=ends
        )
        y, aux = self._simulate(model, u, y0, for_state)
        outputs = channels(signals.outputs, y) | auxiliary_channels(model, aux, time)
        counts = jnp.ones((rows, time), bool)
        inputs = channels(signals.inputs, u)
        value = self.equations.mean_square(inputs, outputs, model, dt, counts)
        if self.initial == "state_encoder" and self.begin_weight:
            # The outputs go on from the sample that was encoded.
            apart = (y[:, 0] - y0) / std
            value = value + self.begin_weight * jnp.mean(jnp.square(apart))
        ramp = self.equations.ramp
        return value if ramp.is_constant else ramp(progress) * value

    def _simulate(
        self, model: Any, u: Array, y0: Array, key: Array
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return outputs and intermediate values for `u` from a state of the chosen kind."""
        own = hasattr(model, "simulate_from")
        if self.initial == "state_encoder":
            if not own or not hasattr(model, "encode_state"):
                raise ModelError(
                    f"collocation_loss with initial = 'state_encoder' needs a model with "
                    f"encode_state and simulate_from, such as 'pinn/pirnn', and {name_of(model)} "
                    "has none; give initial = 'zero' or 'random_hidden'."
                )
            found: tuple[Array, Mapping[str, Array]] = model.simulate_from(
                u, model.encode_state(y0)
            )
            return found
        if not isinstance(model, StatefulModel):
            raise ModelError(
                f"collocation_loss simulates from a state, and {name_of(model)} has no "
                "initial_state and advance; give a stateful model, such as 'core/gru'."
            )
        fresh: Any = model.initial_state(u.shape[0])
        flat = flatten_state(fresh.prognosis if own else fresh)
        if self.initial == "random_hidden":
            flat = self.hidden_std * jax.random.normal(key, flat.shape)
        if own:
            given: Any = model
            found = given.simulate_from(u, flat)
            return found
        return model.advance(u, unflatten_state(flat, fresh))[0], {}


def collocation_loss(
    residual: str | Callable[..., Any],
    initial: Initial = "state_encoder",
    difference: Scheme = "central",
    constants: FrozenMapping[Constant] = NOTHING,
    scales: FrozenMapping[float] = NOTHING,
    trim: int = 2,
    ramp_begin: float = 0.0,
    ramp_end: float = 0.0,
    begin_weight: float = 0.0,
    output_range: float = 2.0,
    hidden_std: float = 0.1,
    time: int | None = None,
    kinds: tuple[Kind, ...] = KINDS,
    amplitude: tuple[float, float] = (0.5, 2.0),
    frequency: tuple[float, float] = (0.1, 3.0),
    components: int = 1,
) -> LossTerm:
    """Mean square of the residuals of known equations, under generated excitation.

    In every step the model simulates fresh random inputs, as many as the batch has sequences, and
    the equations are to hold on what it returns. No measured output is used.

    Args:
        residual: A function of (u, y, derivatives, parameters), or its place, as in `physics_loss`.
        initial: Where simulations begin: `state_encoder` from random outputs by the state encoder
            of the model, `random_hidden` from a random state of the network, `zero` from its zero
            state.
        difference: How derivatives are computed: `forward`, `central` or `central4`.
        constants: Known parameters by name, each with its unit.
        scales: What the residual of each equation is divided by, in its unit; of an array, the
            scale `residual`.
        trim: Samples at both ends of a sequence that do not count, where differences are one-sided.
        ramp_begin: Share of the fit at which the weight begins to rise from 0.
        ramp_end: Share of the fit from which on the weight is full; 0 for a constant weight.
        begin_weight: With `state_encoder`, weight of the mean square of the first output's distance
            from the encoded one, in training standard deviations.
        output_range: With `state_encoder`, greatest distance of the random outputs from the mean,
            in training standard deviations.
        hidden_std: With `random_hidden`, standard deviation of the state.
        time: Samples of the simulations, those of the batch where it is not given.
        kinds: Kinds of excitation, see `excitation_signals`.
        amplitude: Range of the amplitudes, in training standard deviations around the mean.
        frequency: Range of the frequencies in Hz.
        components: Signals that are averaged in each input.

    Raises:
        ConfigError: An option is refused, or, when the loss is computed, the residual has another
            shape than (batch, time), asks for a name that is not there, or the data have no
            sampling time.
        ModelError: When the loss is computed: the model cannot begin where `initial` says.
    """
    owner = "collocation_loss"
    function = load_residual(residual, of=owner)
    choice("initial", initial, _INITIALS, of=owner)
    check_excitation(owner, kinds, amplitude, frequency, components)
    for name, value in (("output_range", output_range), ("hidden_std", hidden_std)):
        positive(name, value, of=owner)
    if begin_weight:
        positive("begin_weight", begin_weight, of=owner)
    if time is not None:
        whole_number("time", time, "samples", least=1, of=owner)
    ramp = Ramp(ramp_begin, ramp_end)
    equations = Equations(owner, function, difference, constants, scales, trim, ramp)
    excitation = FrozenMapping(
        {
            "kinds": tuple(kinds),
            "amplitude": tuple(amplitude),
            "frequency": tuple(frequency),
            "components": components,
        }
    )
    return _CollocationLoss(
        equations, initial, begin_weight, output_range, hidden_std, time, excitation
    )
