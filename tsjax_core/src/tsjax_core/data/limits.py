"""Epochs of a chosen number of batches."""

from __future__ import annotations

import dataclasses

from tsjax_core.data.batches import GrainPipeline
from tsjax_core.data.options import checked_count


def limit_batches(pipeline: GrainPipeline, n_batches: int) -> GrainPipeline:
    """Return `pipeline` with epochs of at most `n_batches` training batches.

    A shorter epoch is the beginning of the whole one: a random part of the windows, none twice,
    and other windows in the next epoch. Evaluation still covers whole splits. Of several limits
    the least holds, also that of `exact_batches`.

    Raises ConfigError unless `n_batches` is a whole number of at least 1.
    """
    n_batches = checked_count("n_batches", n_batches)
    if pipeline.max_batches is not None:
        n_batches = min(n_batches, pipeline.max_batches)
    return dataclasses.replace(pipeline, max_batches=n_batches)


def exact_batches(pipeline: GrainPipeline, n_batches: int) -> GrainPipeline:
    """Return `pipeline` with epochs of exactly `n_batches` training batches of `bs` windows.

    Where the windows do not suffice they come again in another order, each once before any comes
    once more. A weighted source draws as many as are needed. Limits set before are lifted.

    Raises ConfigError unless `n_batches` is a whole number of at least 1.
    """
    n_batches = checked_count("n_batches", n_batches)
    return dataclasses.replace(pipeline, n_batches=n_batches, max_batches=None)
