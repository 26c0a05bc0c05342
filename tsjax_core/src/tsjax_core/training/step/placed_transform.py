"""Where a batch transform runs: on the host, in the compiled step, and in evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tsjax_core.signatures import declare, name_of
from tsjax_core.training.step.context import StepContext
from tsjax_core.transforms.changes import Transform, changes_shape, check_batch
from tsjax_core.transforms.compose import ComposedTransform
from tsjax_core.types import Array, Batch, Signals


class PlacedTransform:
    """A batch transform, taken apart by where its parts run.

    Args:
        transform: The transform, or None.
        signals: What transforms that declare `signals` are given.

    Raises SignatureError where it asks for what tsjax does not give.
    """

    def __init__(self, transform: Transform | None, signals: Signals) -> None:
        self.given = transform
        self.name = None if transform is None else name_of(transform)
        self._signals = signals
        self._on_host = self._compiled = self._evaluation = None
        if isinstance(transform, ComposedTransform):
            self._on_host = self._place(transform.on_host)
            self._compiled = self._place(transform.compiled)
            self._evaluation = self._place(transform.in_evaluation)
        elif transform is not None:
            placed = self._place(transform)
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

    @property
    def acts_in_evaluation(self) -> bool:
        """Whether a part acts on validation and test batches too."""
        return self._evaluation is not None

    def on_host(self, batch: Batch, context: StepContext) -> Batch:
        """Return `batch` after the part that changes shapes."""
        return batch if self._on_host is None else self._on_host(batch, context)

    def compiled(self, batch: Batch, context: StepContext) -> Batch:
        """Return `batch` after the part that keeps shapes; called while a step is traced."""
        return batch if self._compiled is None else self._compiled(batch, context)

    def in_evaluation(self, batch: Batch, key: Array) -> Batch:
        """Return a batch of a validation or test split after the part that acts there too."""
        if self._evaluation is None:
            return batch
        end = StepContext(key, np.int32(0), np.int32(0), np.float32(1.0), np.float32(0.0))
        return self._evaluation(batch, end)

    def _place(self, transform: Transform | None) -> Callable[[Batch, StepContext], Batch] | None:
        """Return `transform` as a function of batch and context, which checks what it returns."""
        if transform is None:
            return None
        declared = declare("transform", transform).bind(signals=self._signals)
        wants_key = "key" in declared.wants

        def apply(batch: Batch, context: StepContext) -> Batch:
            given = {"progress": context.progress, "epoch": context.epoch}
            if wants_key:
                given["key"] = context.key_for(0)
            changed = declared(batch, given=given)
            check_batch(changed, batch, declared.name)
            result: Batch = changed
            return result

        return apply
