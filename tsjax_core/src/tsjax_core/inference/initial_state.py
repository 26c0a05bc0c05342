"""Where a simulation begins: the policies for the state before the first sample, by name.

A measured record begins in the middle of the system's life, and its state there is not zero. Four
policies, the same for every stateful model:

- `zero`: the model's own initial state; all samples count.
- `washout`: the same, and the first samples do not count, while the effect of the unknown state
  fades.
- `window`: the state from which the model explains the first measured outputs best, by a few
  Gauss-Newton steps. The samples of the window do not count.
- `encoder`: the model's own estimate from the first measured inputs and outputs (an
  `EstimatedState`). The simulation begins after them, and what lies before is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.checks import choice, whole_number
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.inference.chunks import ModelRunner, merge_for_evaluation
from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.protocols import EstimatedState
from tsjax_core.signatures import name_of
from tsjax_core.types import Array, HostArray

Policy: TypeAlias = Literal["zero", "washout", "window", "encoder"]

_STEPS = 6
"""Gauss-Newton steps. Each halves the damping where it helps and raises it where it does not."""


@dataclass(frozen=True)
class InitialState:
    """A policy for the state before the first sample.

    Args:
        policy: `zero`, `washout`, `window` or `encoder`.
        samples: Samples at the start of a sequence that the policy uses, and that do not count;
            0 for `zero`.

    Raises:
        ConfigError: There is no such policy, or `samples` does not fit it.
    """

    policy: Policy = "zero"
    samples: int = 0

    def __post_init__(self) -> None:
        choice("initial_state", self.policy, get_args(Policy))
        whole_number("init_samples", self.samples, "samples")
        if self.policy == "zero" and self.samples:
            raise ConfigError(
                f"init_samples = {self.samples}, and initial_state = 'zero' uses none; give "
                "'washout', 'window' or 'encoder', or leave it out.",
                key="init_samples",
            )
        if self.policy != "zero" and not self.samples:
            raise ConfigError(
                f"initial_state = {self.policy!r} needs the number of samples that it may use; "
                "give init_samples, 1 or more.",
                key="init_samples",
            )

    def __str__(self) -> str:
        return self.policy if self.policy == "zero" else f"{self.policy}, {self.samples} samples"

    @property
    def needs_outputs(self) -> bool:
        """Whether measured outputs are needed at the start of a sequence."""
        return self.policy in ("window", "encoder")

    def check(self, model: Any) -> None:
        """Raise ConfigError where `model` cannot begin as the policy says."""
        if self.policy == "encoder" and not isinstance(model, EstimatedState):
            raise ConfigError(
                f"initial_state = 'encoder', and {name_of(type(model))} has no estimate_state; "
                "give 'window', which serves every stateful model.",
                key="initial_state",
            )
        if self.needs_outputs and not ModelRunner(model).is_stateful:
            raise ConfigError(
                f"initial_state = {self.policy!r}, and {name_of(type(model))} has no initial_state "
                "and advance, and so no state to begin from; give 'zero' or 'washout'.",
                key="initial_state",
            )


def simulate_with(
    initial: InitialState, runner: ModelRunner, inputs: list[HostArray], y: HostArray | None
) -> HostArray:
    """Return the outputs for whole sequences, begun from measured outputs as `initial` says.

    `inputs` are (batch, time, n) and (batch, n), and `y` has at least the first `samples` outputs,
    (batch, time, n_y). Samples before an encoder's simulation begins are NaN.
    """
    assert y is not None
    state, begin = begin_from(initial, runner, inputs, y)
    rest = [x[:, begin:] if x.ndim == 3 else x for x in inputs]
    out, _ = runner.simulate_from(state, rest, None, caller="predict")
    if not begin:
        return out
    blank = np.full((len(out), begin, out.shape[-1]), np.nan, out.dtype)
    return np.concatenate([blank, out], axis=1)


def begin_from(
    initial: InitialState, runner: ModelRunner, inputs: list[HostArray], y: HostArray
) -> tuple[Any, int]:
    """Return the state to begin from, and the number of the sample that it stands before.

    Raises:
        ModelError: There are fewer samples than the policy uses, or some are not finite.
    """
    n = initial.samples
    early, measured = [x[:, :n] if x.ndim == 3 else x for x in inputs], y[:, :n]
    if measured.shape[1] < n or any(x.ndim == 3 and x.shape[1] < n for x in early):
        raise ModelError(
            f"initial_state = {initial.policy!r} uses the first {n} samples, and a sequence has "
            f"{min(y.shape[1], inputs[0].shape[1])}; give longer sequences, or fewer init_samples."
        )
    if bad := int(measured.size - np.isfinite(measured).sum()):
        raise ModelError(
            f"initial_state = {initial.policy!r} needs the measured outputs of the first {n} "
            f"samples, and {bad} of {measured.size} values there are NaN or infinite; measure "
            "them, give fewer init_samples, or begin from 'zero'."
        )
    if initial.policy == "encoder":
        return _encode(runner.graphdef, runner.variables, early[0], measured), n
    return _explain(runner.graphdef, runner.variables, early, measured), 0


@partial(jax.jit, static_argnums=0)
def _encode(graphdef: Any, variables: Any, u: Array, y: Array) -> Any:
    return merge_for_evaluation(graphdef, variables).estimate_state(u, y)


@partial(jax.jit, static_argnums=0)
def _explain(graphdef: Any, variables: Any, inputs: list[Array], y: Array) -> Any:
    """Return the state before the first sample from which the model explains `y` best.

    Least squares with the damping of Levenberg (1944) and Marquardt (1963), which keeps directions
    of the state that the outputs do not show near the model's own initial state.
    """
    model = merge_for_evaluation(graphdef, variables)
    like = model.initial_state(1)
    # The unit of each output, so that all count alike.
    spread = jnp.std(y, axis=1, keepdims=True)
    unit = jnp.where(spread > 0.0, spread, 1.0)

    def explain(own_inputs: list[Array], own_y: Array, own_unit: Array) -> Array:
        batch = [x[None] for x in own_inputs]

        def residuals(flat: Array) -> Array:
            out, _ = model.advance(batch[0], unflatten_state(flat[None], like), *batch[1:])
            return jnp.ravel((out[0] - own_y) / own_unit)

        def step(carry: tuple[Array, Array, Array], _: Any) -> tuple[Any, None]:
            flat, cost, damping = carry
            r = residuals(flat)
            jacobian = jax.jacrev(residuals)(flat)
            # In the space of the residuals, which are fewer than the states of large models.
            gram = jacobian @ jacobian.T
            size = jnp.trace(gram) / len(gram) + 1e-30
            weights = jnp.linalg.solve(gram + damping * size * jnp.eye(len(gram)), r)
            tried = flat - jacobian.T @ weights
            new = jnp.mean(residuals(tried) ** 2)
            better = new < cost
            return (
                jnp.where(better, tried, flat),
                jnp.where(better, new, cost),
                damping * jnp.where(better, 0.3, 4.0),
            ), None

        start = flatten_state(like)[0]
        begin = (start, jnp.mean(residuals(start) ** 2), jnp.asarray(1e-3, start.dtype))
        (flat, _, _), _ = jax.lax.scan(step, begin, None, length=_STEPS)
        return flat

    flat = jax.vmap(explain)(inputs, y, unit)
    return unflatten_state(flat, like)
