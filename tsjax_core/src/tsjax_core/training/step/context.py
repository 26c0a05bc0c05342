"""Where in the fit a step is: what decides its random draws and its learning rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from tsjax_core.types import Array


class StepContext(NamedTuple):
    """Key, number, epoch, progress and learning rate of a step.

    They are data, so that every step runs the same program. `step` counts over the life of the
    learner and with `key` decides the random draws; `epoch` and `progress` (0 to 1) count over one
    fit. The context of several steps has (steps,) in `step`, `progress` and `lr`.
    """

    key: Any
    step: Any
    epoch: Any
    progress: Any
    lr: Any

    def at(self, number: Any) -> StepContext:
        """Return the context of one of its steps."""
        step, progress, lr = (x[number] for x in (self.step, self.progress, self.lr))
        return self._replace(step=step, progress=progress, lr=lr)

    def key_for(self, use: int) -> Array:
        """Return the key of this step for one of its uses."""
        return jax.random.fold_in(jax.random.fold_in(self.key, self.step), use)
