"""The outputs that belong to the states of a model."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from tsjax_core.errors import ModelError
from tsjax_core.models.layers import layer_norm
from tsjax_core.models.recurrent import RecurrentModel
from tsjax_core.models.state import unflatten_state
from tsjax_core.protocols import StatefulAuxModel
from tsjax_core.signatures import name_of
from tsjax_core.types import Array


@runtime_checkable
class ObservableModel(StatefulAuxModel, Protocol):
    """A stateful model whose output at a sample is a function of its state after that sample.

    Its intermediate values have `states`, (batch, time, S), as `flatten_state` joins a state.
    """

    def observe(self, states: Array) -> Array:
        """Return the outputs (n, n_y) of flat states (n, S), in raw physical units."""
        ...


def check_observable(owner: str, key: str, model: Any) -> None:
    """Raise ModelError unless `observe_states` can be computed for `model`, built for `key`."""
    recurrent = isinstance(model, RecurrentModel) and model.spec.output == "sequence"
    if not recurrent and not isinstance(model, ObservableModel):
        raise ModelError(
            f"{owner}: the model in {key}, {name_of(type(model))}, has no outputs that are a "
            "function of its state; give 'core/rnn', 'core/gru' or 'core/lstm', or a stateful "
            "model with the methods advance_with_aux, which gives its 'states', and "
            "observe(states)."
        )


def observe_states(model: Any, states: Array) -> Array:
    """Return the outputs (..., n_y) that `model` has in the flat states (..., S)."""
    flat = states.reshape(-1, states.shape[-1])
    y = model.observe(flat) if isinstance(model, ObservableModel) else _observe(model, flat)
    out: Array = y.reshape(*states.shape[:-1], y.shape[-1])
    return out


def _observe(model: RecurrentModel, flat: Array) -> Array:
    """Return the outputs of recurrent layers, whose last one, or all of them, the head sees."""
    spec = model.spec
    hidden = [layer[0] for layer in unflatten_state(flat, model.initial_state(1))]
    if spec.normalization == "layernorm":
        hidden = [layer_norm(h) for h in hidden]
    seen = sum(hidden[1:], hidden[0]) if spec.residual else hidden[-1]
    return model.y_scale.denormalize(model.head(seen))


def in_parts(states: Array, like: Any) -> Array:
    """Return flat states (batch, time, S) as (batch, time, parts, width).

    The parts are those of the state `like`: the layers, and h and c of each layer of an LSTM. A
    state whose parts are of unequal size is one part.
    """
    sizes = {leaf[0].size for leaf in jax.tree.leaves(like)}
    width = sizes.pop() if len(sizes) == 1 else states.shape[-1]
    return jnp.reshape(states, (*states.shape[:2], -1, width))
