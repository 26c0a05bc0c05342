"""Where a batch transform runs: on the host, in the compiled step, and in evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from tsjax_core.signatures import TRANSFORM_ARGUMENTS, declared, name_of
from tsjax_core.transforms.changes import Transform, changes_shape, check_batch
from tsjax_core.transforms.compose import ComposedTransform
from tsjax_core.types import Array, Batch


class Clock(NamedTuple):
    """Where in the fit a step is; data, so that every step runs the same program.

    `step` counts over the life of the learner and with `key` decides the random draws; `epoch` and
    `progress` (0 to 1) count over one fit. The clock of several steps has (steps,) in `step`,
    `progress` and `lr`.
    """

    key: Any
    step: Any
    epoch: Any
    progress: Any
    lr: Any

    def at(self, number: Any) -> Clock:
        """Return the clock of one of its steps."""
        step, progress, lr = (x[number] for x in (self.step, self.progress, self.lr))
        return self._replace(step=step, progress=progress, lr=lr)

    def key_for(self, use: int) -> Array:
        """Return the key of this step for one of its uses."""
        return jax.random.fold_in(jax.random.fold_in(self.key, self.step), use)


class PlacedTransform:
    """A batch transform, taken apart by where its parts run.

    Args:
        transform: The transform, or None.

    Raises SignatureError where it asks for what tsjax does not give.
    """

    def __init__(self, transform: Transform | None) -> None:
        self.given = transform
        self.name = None if transform is None else name_of(transform)
        self._on_host = self._compiled = self._evaluation = None
        if isinstance(transform, ComposedTransform):
            self._on_host = _placed(transform.on_host)
            self._compiled = _placed(transform.compiled)
            self._evaluation = _placed(transform.in_evaluation)
        elif transform is not None:
            placed = _placed(transform)
            if changes_shape(transform):
                self._on_host = placed
            else:
                self._compiled = placed
            if getattr(transform, "in_evaluation", False):
                self._evaluation = placed

    @property
    def runs_on_host(self) -> bool:
        """Whether a part has to run before the compiled step."""
        return self._on_host is not None

    def on_host(self, batch: Batch, clock: Clock) -> Batch:
        """Return `batch` after the part that changes shapes."""
        return batch if self._on_host is None else self._on_host(batch, clock)

    def compiled(self, batch: Batch, clock: Clock) -> Batch:
        """Return `batch` after the part that keeps shapes; called while a step is traced."""
        return batch if self._compiled is None else self._compiled(batch, clock)

    def in_evaluation(self, batch: Batch, key: Array) -> Batch:
        """Return a batch of a validation or test split after the part that acts there too."""
        if self._evaluation is None:
            return batch
        end = Clock(key, np.int32(0), np.int32(0), np.float32(1.0), np.float32(0.0))
        return self._evaluation(batch, end)


def _placed(transform: Transform | None) -> Callable[[Batch, Clock], Batch] | None:
    """Return `transform` as a function of batch and clock, which checks what it returns."""
    if transform is None:
        return None
    wants = declared(
        transform, kind="transform", offered=TRANSFORM_ARGUMENTS, positional=("batch",)
    )

    def apply(batch: Batch, clock: Clock) -> Batch:
        given = {"key": clock.key_for(0), "progress": clock.progress, "epoch": clock.epoch}
        changed = transform(batch, **{name: given[name] for name in wants})
        check_batch(changed, batch, name_of(transform))
        return changed

    return apply
