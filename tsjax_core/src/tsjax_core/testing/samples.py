"""Signals and batches to test components with: random, reproducible, several channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from tsjax_core.types import Array, HostArray, NormStats, Signals


def sample_signals(
    n_u: int = 2,
    n_y: int = 3,
    *,
    n_u_scalar: int = 0,
    n_y_scalar: int = 0,
    dt: float | None = 0.1,
    seed: int = 0,
    further: Mapping[str, Sequence[str]] | None = None,
) -> Signals:
    """Return signals with statistics that differ from channel to channel; `dt` is in seconds."""
    rng = np.random.default_rng(seed)
    numbers = {"u": n_u, "y": n_y, "u_scalar": n_u_scalar, "y_scalar": n_y_scalar}
    names = {key: tuple(f"{key}_{i}" for i in range(n)) for key, n in numbers.items()}
    stats = {
        key: NormStats(rng.normal(0.0, 2.0, n), np.exp(rng.uniform(-1.5, 1.5, n)))
        for key, n in numbers.items()
        if n
    }
    more = {key: tuple(value) for key, value in (further or {}).items()}
    return Signals(names["u"], names["y"], stats, dt, names["u_scalar"], names["y_scalar"], more)


def sample_batch(
    signals: Signals, *, batch: int = 3, time: int = 24, seed: int = 0
) -> dict[str, Array]:
    """Return a batch in raw units with the statistics of `signals`.

    Sequences are first-order coloured noise, (batch, time, n); scalars are (batch, n).
    """
    rng = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for key, names in signals.names.items():
        if key.endswith("_scalar"):
            draws = rng.standard_normal((batch, len(names)))
        else:
            draws = _coloured(rng.standard_normal((batch, time, len(names))))
        stats = signals.stats.get(key, NormStats(np.zeros(len(names)), np.ones(len(names))))
        values[key] = jnp.asarray(draws * stats.std + stats.mean, jnp.float32)
    return values


def _coloured(white: HostArray) -> HostArray:
    """Filter (batch, time, n) by x_t = 0.8 x_(t-1) + 0.6 w_t, which keeps the variance."""
    x = white.copy()
    for t in range(1, x.shape[1]):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * white[:, t]
    return x
