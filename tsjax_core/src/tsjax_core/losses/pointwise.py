"""Losses taken apart into their samples, and put together again with other weights.

A loss that is a mean over samples is known by its value on each sample alone, which is got by
giving it arrays with one sample, (1, 1, n_y), under `jax.vmap`. A loss that is marked `channelwise`
is taken apart into channels too; of any other a sample counts where all its channels are measured.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tsjax_core.errors import ConfigError
from tsjax_core.losses.measured import on_host, ratio
from tsjax_core.losses.wrapping import Arguments, Points, WrappedLoss
from tsjax_core.protocols import LossTerm
from tsjax_core.signatures import Declared, declare
from tsjax_core.types import AnyArray, Array, HostArray, is_sequence

_CHUNK = 4096
"""Samples that are evaluated at once in host memory, so that all records share one program."""


class WeighedLoss(WrappedLoss):
    """The mean of the values of the inner loss with the weights that `weigh` returns."""

    sequences_only: ClassVar[bool] = False
    """Whether the wrapper needs a time axis."""

    label: ClassVar[str] = ""
    """The name of the wrapper in errors."""

    @abstractmethod
    def weigh(self, points: Points, arguments: Arguments) -> AnyArray:
        """Return the weights of the samples, which are those in `points` so far."""

    def points(self, arguments: Arguments) -> Points:
        """Return the inner loss at every sample with its new weights."""
        if self.sequences_only:
            check_sequences(self.label, arguments)
        arguments = with_time(arguments)
        within = own = arguments
        if "key" in self.adds:
            # Each loss in a nest draws numbers of its own.
            keys = jax.random.split(arguments.given["key"])
            within, own = (
                arguments._replace(given={**arguments.given, "key": key}) for key in keys
            )
        found = points_of(self.inner)(within)
        return found._replace(weights=self.weigh(found, own))

    def value(self, arguments: Arguments) -> Array:
        """Return the weighted mean."""
        return weighted_mean(self.points(arguments))


def weighted_mean(points: Points) -> Array:
    """Return `sum(weights * values) / sum(weights)`; where all weights are 0, as in `ratio`."""
    xp, values, weights = library(points), points.values, points.weights
    total = xp.sum(xp.where(weights == 0, 0.0, values) * weights)
    mean: Array = ratio(xp, total, xp.sum(weights))
    return mean


def library(points: Points) -> Any:
    """Return numpy for points in host memory, else jax.numpy."""
    return np if on_host(points.values) else jnp


def points_of(loss: LossTerm, *, whole_samples: bool = False) -> Callable[[Arguments], Points]:
    """Return the function that gives the value and the weight of a loss at every sample.

    Args:
        loss: The loss.
        whole_samples: Do not take a loss apart into channels.
    """
    if isinstance(loss, WrappedLoss):
        return loss.points
    term = declare("loss", loss)
    per_channel = bool(getattr(loss, "channelwise", False)) and not whole_samples
    is_plain = not term.wants - {"signals"}
    on_device: Callable[[Arguments], Array] = partial(_values, term, per_channel)
    if is_plain:
        on_device = _compiled(term, per_channel)

    def points(arguments: Arguments) -> Points:
        pred, target = arguments.pred, arguments.target
        host = on_host(pred, target) and is_plain
        xp: Any = np if host else jnp
        measured = ~xp.isnan(target)
        if not per_channel:
            measured = measured.all(-1, keepdims=True)
        # A loss may have no derivative at a place that does not count.
        still = pred if host else lax.stop_gradient(pred)
        arguments = arguments._replace(
            pred=xp.where(measured, pred, still), target=xp.where(measured, target, still)
        )
        values: Any = _in_chunks(on_device, arguments) if host else on_device(arguments)
        return Points(xp.where(measured, values, 0.0), measured.astype(values.dtype), per_channel)

    return points


def with_time(arguments: Arguments) -> Arguments:
    """Return scalars (batch, n_y) as sequences of one sample."""
    if arguments.pred.ndim == 3:
        return arguments
    return arguments._replace(pred=arguments.pred[:, None], target=arguments.target[:, None])


def _values(term: Declared, per_channel: bool, arguments: Arguments) -> Array:
    """Return the value at every sample, (batch, time, n); `batch` too is cut into samples."""
    pred, target, y_mean, y_std, given = arguments
    rest = {name: value for name, value in given.items() if name != "batch"}
    batch = given["batch"] if "batch" in term.wants else {}
    scalars = {k: v for k, v in batch.items() if not is_sequence(k)}
    sequences = {
        k: v[:, v.shape[1] - pred.shape[1] :] for k, v in batch.items() if k not in scalars
    }

    def sample(
        p: Array, t: Array, sequence: Mapping[str, Array], row: Mapping[str, Array]
    ) -> Array:
        own = {k: v[None, None] for k, v in sequence.items()} | {k: v[None] for k, v in row.items()}
        return _sample(term, per_channel, Arguments(p, t, y_mean, y_std, {**rest, "batch": own}))

    over_time = jax.vmap(sample, in_axes=(0, 0, 0, None))
    values: Array = jax.vmap(over_time)(pred, target, sequences, scalars)
    return values


@lru_cache(maxsize=128)
def _programs(term: Declared, *, per_channel: bool) -> Callable[..., Array]:
    def values(given: Mapping[str, Any], arrays: tuple[Any, ...]) -> Array:
        pred, target, y_mean, y_std = arrays
        return _values(term, per_channel, Arguments(pred, target, y_mean, y_std, given))

    return jax.jit(values)


def _compiled(term: Declared, per_channel: bool) -> Callable[[Arguments], Array]:
    """Return the values of a loss that declares nothing but `signals`, as a compiled program."""
    own = frozenset({"signals"}) & term.wants

    def values(arguments: Arguments) -> Array:
        given = {name: arguments.given[name] for name in own}
        if given:
            return _values(term, per_channel, arguments._replace(given=given))
        return _programs(term, per_channel=per_channel)({}, tuple(arguments[:4]))

    return values


def _sample(term: Declared, per_channel: bool, arguments: Arguments) -> Array:
    """Return the value at one sample (n_y,), per channel or as (1,)."""
    *arrays, given = arguments

    def value(*arrays: Any) -> Array:
        pred, target = (x.reshape(1, 1, -1) for x in arrays[:2])
        y_mean, y_std = (None if x is None else jnp.reshape(x, -1) for x in arrays[2:])
        scalar: Array = term(pred, target, y_mean, y_std, given=given)
        return scalar

    if per_channel:
        values: Array = jax.vmap(value)(*arrays)
        return values
    return jnp.reshape(value(*arrays), 1)


def _in_chunks(on_device: Callable[[Arguments], Array], arguments: Arguments) -> HostArray:
    """Return the values at all samples (batch, time, n), in float64."""
    pred, target, *_ = arguments
    rows = [x.reshape(-1, x.shape[-1]).astype(np.float32) for x in (pred, target)]
    values = []
    for start in range(0, len(rows[0]), _CHUNK):
        parts = [x[start : start + _CHUNK] for x in rows]
        full = [np.pad(x, ((0, _CHUNK - len(x)), (0, 0)), "edge")[None] for x in parts]
        found = on_device(arguments._replace(pred=full[0], target=full[1]))
        values.append(np.asarray(found, np.float64)[0, : len(parts[0])])
    return np.concatenate(values).reshape(*pred.shape[:2], -1)


def check_sequences(name: str, arguments: Arguments) -> None:
    """Raise ConfigError, from the wrapper `name`, for a prediction without a time axis."""
    if arguments.pred.ndim != 3:
        raise ConfigError(
            f"{name} got a prediction of shape {arguments.pred.shape}; it needs sequences (batch, "
            "time, n_y), and scalar targets have no time.",
            key="loss",
        )
