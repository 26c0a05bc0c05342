"""Losses where one part of a model takes over from another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from tsjax_ar.terms import Values, make_term, masked_mean
from tsjax_core.checks import positive, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, Array


def transition_smoothness(window: int = 3, dt: float = 1.0) -> LossTerm:
    """Mean square of the second derivative of the output around the end of the initial window.

    It looks at the `window` outputs before that end and the `window` outputs after it, in training
    standard deviations; derivatives are second differences over `dt`^2. It is 0 for a straight
    line, and where the sequence has fewer than three of these samples.

    Args:
        window: Samples before and after the end of the initial window, 2 or more.
        dt: Unit of time: 1 for a derivative by samples, the sampling time for one by seconds.

    Raises:
        ConfigError: `window` or `dt` is out of range; when the loss is computed, the model does not
            give its outputs and the end of its window as `output` and `begin`.
    """
    window = whole_number("window", window, "samples", least=2, of="transition_smoothness")
    dt = positive("dt", dt, of="transition_smoothness")

    def term(
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray,
        y_std: AnyArray,
        *,
        aux: Mapping[str, Any],
        batch: Mapping[str, Any],
    ) -> Array:
        values = Values("transition_smoothness", aux, batch)
        y = values["output"] / jnp.asarray(y_std)
        bent = (y[:, 2:] - 2.0 * y[:, 1:-1] + y[:, :-2]) / dt**2
        begin = values["begin"][:, None, None]
        first = jnp.arange(bent.shape[1])[:, None]
        inside = (first >= begin - window) & (first + 2 < begin + window)
        counts = values.counts
        return masked_mean(
            jnp.square(bent), inside & counts[:, 2:] & counts[:, 1:-1] & counts[:, :-2]
        )

    term.__name__ = "transition_smoothness"
    return term


def consistency(
    first: str = "diagnosis", second: str = "encoded", at: int | None = None
) -> LossTerm:
    """Mean squared difference of two estimates of the state, at one sample.

    Both networks are drawn to each other. With a `FranSysModel` that has a state encoder, they are
    the state from all samples up to `at` and the state from the output at `at` alone, which the
    model normalises for both.

    Args:
        first: Intermediate value of the model, (batch, time, ...).
        second: The value to compare it with.
        at: The sample, the last one of the initial window of each sequence where it is not given.

    Raises:
        ConfigError: When the loss is computed: the model does not give the values, or the sequence
            has no sample `at`.
    """
    if at is not None:
        at = whole_number("at", at, "samples", of="consistency")

    def cost(values: Values) -> Array:
        a, b = values[first], values[second]
        if at is not None and at >= values.time:
            raise ConfigError(
                f"consistency: at = {at}, and the sequences have {values.time} samples; give a "
                "sample within them.",
                key="loss",
            )
        begin = values["begin"] if at is None else jnp.full((len(a),), at + 1)
        places = jnp.arange(values.time) == begin[:, None] - 1
        mask = values.counts[..., 0] & places
        if "known" in values.aux:
            mask &= values["known"][..., 0]
        return masked_mean(
            jnp.square(a - b), mask.reshape(*mask.shape, *[1] * (a.ndim - mask.ndim))
        )

    return make_term("consistency", cost)
