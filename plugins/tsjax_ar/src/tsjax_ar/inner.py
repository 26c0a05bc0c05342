"""Models inside a model: their specifications, their signals, and the measured output they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import lax

from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.models.recurrent import GRU
from tsjax_core.protocols import ModelSpec, StatefulModel
from tsjax_core.signatures import name_of, wants_of
from tsjax_core.types import Array, NormStats, Signals

DEFAULT_INNER: Final[Any] = GRU()
"""The model inside where none is named."""


def check_inner(owner: str, key: str, spec: Any) -> None:
    """Raise ConfigError unless `spec` is a specification of a model that reads `u` or scalars too.

    `owner` and `key` name the specification around it and the field that it stands in.
    """
    if isinstance(spec, type) or not isinstance(spec, ModelSpec):
        raise ConfigError(
            f"{owner} got {key} = {spec!r}; give the specification of a model, such as "
            "GRU(hidden_size=32), or in an experiment its name, such as 'core/gru'.",
            key=key,
        )
    reads = tuple(spec.reads)
    if reads not in {("u",), ("u", "u_scalar")}:
        raise ConfigError(
            f"{owner} got {key} = {name_of(type(spec))}, which reads {', '.join(reads)}; give a "
            "model that reads 'u', or 'u' and 'u_scalar'. The measured outputs are given to it as "
            "further inputs.",
            key=key,
        )


def check_stateful(owner: str, key: str, model: Any) -> None:
    """Raise ModelError unless `model`, built for the field `key`, runs chunk by chunk."""
    if not isinstance(model, StatefulModel):
        raise ModelError(
            f"{owner}: the model in {key}, {name_of(type(model))}, has no initial_state and "
            "advance, and cannot go on from sample to sample; give a stateful one, such as "
            "'core/gru' or 'tcn/tcn'."
        )


def with_outputs_as_inputs(signals: Signals, outputs: tuple[str, ...], stats: NormStats) -> Signals:
    """Return signals whose inputs are those of `signals` and its outputs, for `outputs`.

    `stats` are the statistics of `outputs`.
    """
    inputs = (*signals.inputs, *signals.outputs)
    both = signals.stats["u"] + signals.stats["y"]
    return replace(
        signals,
        inputs=inputs,
        outputs=outputs,
        scalar_outputs=(),
        stats={**signals.stats, "u": both, "y": stats},
    )


def unit_stats(n: int) -> NormStats:
    """Return the statistics of `n` channels that need no scaling."""
    return NormStats(np.zeros(n), np.ones(n))


def offered(method: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the keyword arguments `given` that `method` declares and that are known."""
    wants = wants_of(method)
    return {key: value for key, value in given.items() if key in wants and value is not None}


def fill_gaps(y: Array, before: Array) -> Array:
    """Return `y` (batch, time, n_y) with NaN replaced by the last sample that was measured.

    `before` (n_y,) stands where nothing was measured yet.
    """
    numbers = jnp.arange(y.shape[1], dtype=jnp.int32)[:, None]
    known = jnp.isfinite(y)
    last = lax.cummax(jnp.where(known, numbers, -1), axis=1)
    held = jnp.take_along_axis(jnp.where(known, y, 0.0), jnp.maximum(last, 0), axis=1)
    return jnp.where(last < 0, before, held)


def delay(y: Array, first: Array) -> Array:
    """Return `y` (batch, time, n_y) one sample later; `first`, (n_y,) or (batch, n_y), begins."""
    begin = jnp.broadcast_to(first, (len(y), y.shape[-1]))[:, None]
    return jnp.concatenate([begin, y[:, :-1]], axis=1)
