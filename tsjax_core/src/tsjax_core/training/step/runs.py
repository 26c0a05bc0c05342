"""An epoch as runs of steps, from signals on the device or from batches that are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import jax
import numpy as np

from tsjax_core.protocols import ResidentSource
from tsjax_core.training.step.context import StepContext
from tsjax_core.training.step.engine import Engine, Places, Run
from tsjax_core.types import AnyArray, Batch, HostArray

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline

CAPACITY: Final = 32
"""Most steps in a run. One call takes about as long as a step of the smallest models, and with
more steps a run of the largest would keep an interrupt waiting."""

_BYTES: Final = 1 << 26
"""Most memory that the batches of a run may take."""


def runs_of_places(
    pipeline: GrainPipeline, engine: Engine, epoch: int, context: StepContext
) -> Iterator[Run]:
    """Yield the runs of an epoch whose windows are cut on the device.

    Of `context`, step, progress and lr are (steps in the epoch,).
    """
    source = pipeline.train
    assert isinstance(source, ResidentSource)
    capacity = min(CAPACITY, pipeline.steps_per_epoch) if engine.steps_in_loops else 1
    first = 0
    for block in pipeline.index_blocks(epoch, capacity):
        yield _make_run(Places(*source.locate(block)), context, first, len(block), capacity)
        first += len(block)


def runs_of_batches(
    pipeline: GrainPipeline, engine: Engine, signals: Batch | None, epoch: int, context: StepContext
) -> Iterator[Run]:
    """Yield the runs of an epoch of batches that are read, or that the host has to change.

    `signals` on the device serve to cut the windows where they are given.
    """
    batches = _read_batches(pipeline, engine, signals, epoch)
    if engine.transform.runs_on_host or not engine.steps_in_loops:
        # Transforms that change shapes give each step its own.
        for number, batch in enumerate(batches):
            at = context.at(number)
            yield _make_run(_stack([engine.transform.on_host(batch, at)]), context, number, 1, 1)
        return
    first, capacity = 0, min(CAPACITY, pipeline.steps_per_epoch)
    size = sum(np.asarray(x).nbytes for x in pipeline.train.read_batch(np.zeros(1, int)).values())
    capacity = max(1, min(capacity, _BYTES // max(1, size * pipeline.windows_per_batch)))
    for group in _group(batches, capacity):
        yield _make_run(_stack(group), context, first, len(group), capacity)
        first += len(group)


def _read_batches(
    pipeline: GrainPipeline, engine: Engine, signals: Batch | None, epoch: int
) -> Iterator[Batch]:
    source = pipeline.train
    if signals is None:
        yield from pipeline.train_batches(epoch)
        return
    assert isinstance(source, ResidentSource)
    for indices in pipeline.batch_indices(epoch):
        yield engine.gather(signals, Places(*source.locate(indices)))


def _group(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while group := list(islice(items, size)):
        yield group


def _stack(batches: list[Batch]) -> dict[str, HostArray]:
    return {name: np.stack([np.asarray(batch[name]) for batch in batches]) for name in batches[0]}


def _make_run(feed: Any, context: StepContext, first: int, count: int, capacity: int) -> Run:
    return Run(
        jax.tree.map(lambda x: _fill(x, capacity), feed),
        context_of_run(context, first, count, capacity),
        np.int32(count),
    )


def context_of_run(context: StepContext, first: int, count: int, capacity: int) -> StepContext:
    """Return the context of a run of `count` steps from `first` on, of the context of an epoch."""
    part = slice(first, first + count)
    step, progress, lr = (
        _fill(x[part], capacity) for x in (context.step, context.progress, context.lr)
    )
    return StepContext(context.key, step, context.epoch, progress, lr)


def _fill(x: AnyArray, capacity: int) -> HostArray:
    more = capacity - len(x)
    return np.pad(x, ((0, more), *((0, 0),) * (np.ndim(x) - 1))) if more else np.asarray(x)
