"""One step of a model as a function of its state and its input, both plain vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.inference.chunks import check_stateful, merge_for_evaluation
from tsjax_core.inference.predict import y_argument
from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.types import Array, HostArray, Signals


@dataclass(frozen=True, eq=False)
class StepModel:
    """A trained model, one sample at a time.

    `advance(x, u)` returns the state after a sample and the output at it: `x` (n_x,), `u` (n_u,)
    and the output (n_y,), inputs and outputs in their units. Before the first sample the state is
    `start`.
    """

    model: Any
    signals: Signals
    start: HostArray
    like: Any

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of the state, of the inputs, and of the outputs."""
        return len(self.start), len(self.signals.inputs), len(self.signals.outputs)

    def advance(self, x: Array, u: Array) -> tuple[Array, Array]:
        """Return state after the sample, (n_x,), and output, (n_y,)."""
        graphdef, variables = nnx.split(self.model)
        model = merge_for_evaluation(graphdef, variables)
        y, after = model.advance(u[None, None], unflatten_state(x[None], self.like))
        return flatten_state(after)[0], y[0, 0]

    def linearize(self, x: Array, u: Array) -> tuple[Array, Array, Array, Array]:
        """Return A (n_x, n_x), B (n_x, n_u), C (n_y, n_x) and D (n_y, n_u) of the step."""
        (a, b), (c, d) = jax.jacfwd(self.advance, argnums=(0, 1))(x, u)
        return a, b, c, d


def make_step(model: Any, signals: Signals) -> StepModel:
    """Return one step of `model`, which is trained on `signals`.

    Raises:
        ModelError: The model has no state to carry on, reads more than the inputs, has scalar
            outputs, or its state holds other numbers than real ones.
    """
    check_stateful("export", model)
    if y_argument(model) is not None:
        raise ModelError(
            f"{type(model).__name__} reads measured outputs at the start of a record, and an "
            "exported step has inputs alone. Use tsjax_core.Simulator for it."
        )
    if signals.target != "y" or signals.scalar_inputs:
        raise ModelError(
            f"{type(model).__name__} has inputs or outputs that are one value per record; a step "
            "is exported for models of input and output sequences."
        )
    like = model.initial_state(1)
    start = np.asarray(flatten_state(like)[0], np.float32)
    step = StepModel(model, signals, start, like)
    try:
        jax.eval_shape(step.advance, jnp.asarray(start), jnp.zeros(len(signals.inputs)))
    except TypeError as error:
        raise ModelError(
            f"{type(model).__name__} reads more than the inputs u ({error}); a step is exported "
            "for models that read u alone."
        ) from error
    return step
