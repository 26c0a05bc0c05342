"""Files of a split as whole records, for methods that do not train on windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from flax import nnx

from tsjax_core.models.building import build_model, identify_model
from tsjax_core.protocols import IdentifiedSpec, ModelSpec
from tsjax_core.types import HostArray

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline
    from tsjax_core.data.store import Split


@dataclass(frozen=True)
class TrainingRecord:
    """A file whole: what the model reads, the target, and which samples count.

    `inputs` are in the order of the model's `reads`, each (time, n), or (n,) for scalars; `target`
    is (time, n_y), in raw units; `counts` is (time,), false for the first `n_skip` samples.
    """

    name: str
    inputs: tuple[HostArray, ...]
    target: HostArray
    counts: HostArray


def read_records(
    pipeline: GrainPipeline, split: Split, reads: Sequence[str], n_skip: int
) -> Iterator[TrainingRecord]:
    """Yield each file of `split` whole; no transform acts on it."""
    records = pipeline.records(split)
    for index, path in enumerate(records.paths):
        sample = records[index]
        counts = np.arange(len(sample["u"])) >= n_skip
        inputs = tuple(sample[key] for key in reads)
        yield TrainingRecord(str(path), inputs, sample[pipeline.signals.target], counts)


def begin_model(spec: ModelSpec, pipeline: GrainPipeline, *, seed: int) -> nnx.Module:
    """Return the model of `spec`, which an `IdentifiedSpec` begins from the records."""
    if isinstance(spec, IdentifiedSpec) and pipeline.signals.target == "y":
        return identify_from(spec, pipeline, seed=seed)[1]
    return build_model(spec, pipeline.signals, seed=seed)


def identify_from(
    spec: IdentifiedSpec, pipeline: GrainPipeline, *, seed: int
) -> tuple[ModelSpec, nnx.Module]:
    """Return the specification and the model that `spec` identifies from the records.

    Raises:
        DataError: The records are not enough.
    """
    train, valid = (read_pairs(pipeline, split) for split in ("train", "valid"))
    return identify_model(spec, pipeline.signals, train, valid, seed=seed)


def read_pairs(pipeline: GrainPipeline, split: Split) -> list[tuple[HostArray, HostArray]]:
    """Return inputs (time, n_u) and outputs (time, n_y) of each file of `split`."""
    return [(each.inputs[0], each.target) for each in read_records(pipeline, split, ("u",), 0)]
