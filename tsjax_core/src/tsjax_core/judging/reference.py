"""The linear model beside which every model is judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from tsjax_core.data.batches import GrainPipeline
from tsjax_core.errors import DataError
from tsjax_core.models.linear import ARX
from tsjax_core.models.subspace import StateSpaceMatrices, estimate_start
from tsjax_core.training.evaluation import Evaluation, Pairs, Scores, compute_scores
from tsjax_core.types import HostArray, NormStats

_MOST_SAMPLES = 200_000
"""Samples of a split from which the model is computed; further records add nothing to it."""

_LEAST_SAMPLES = 20

_MATRICES = ("a", "b", "c", "d", "offset")


@dataclass(frozen=True, eq=False)
class LinearReference:
    """An ARX model of the training files, its order chosen on validation by simulation.

    Args:
        order: Past outputs and inputs in its equation.
        matrices: Its state space for normalised inputs and outputs.
        u: Mean and standard deviation of the inputs.
        y: Those of the outputs.
    """

    order: int
    matrices: StateSpaceMatrices
    u: NormStats
    y: NormStats

    @property
    def name(self) -> str:
        """What it is called in tables and figures."""
        return f"linear (ARX, order {self.order})"

    def simulate(self, u: HostArray, start: HostArray | None = None) -> HostArray:
        """Return the outputs (time, n_y) for inputs (time, n_u), both in their units.

        `start` has the first measured outputs (samples, n_y), from which the state before the first
        sample is estimated; without it, the simulation begins at rest.
        """
        inputs = (np.asarray(u, float) - self.u.mean) / self.u.std
        x0 = None
        if start is not None and len(start):
            outputs = (np.asarray(start, float) - self.y.mean) / self.y.std
            x0 = estimate_start(self.matrices, inputs[: len(outputs)], outputs)
        with np.errstate(over="ignore", invalid="ignore"):
            simulated = self.matrices.simulate(inputs, x0) * self.y.std + self.y.mean
        return np.asarray(simulated, np.float32)

    def write(self, file: Path) -> None:
        """Write the model to a JSON file."""
        numbers = {name: np.asarray(getattr(self.matrices, name)).tolist() for name in _MATRICES}
        scales = {
            key: {"mean": stats.mean.tolist(), "std": stats.std.tolist()}
            for key, stats in (("u", self.u), ("y", self.y))
        }
        text = json.dumps({"order": self.order, **numbers, **scales})
        file.write_text(text + "\n", encoding="utf-8")


def read_reference(file: Path) -> LinearReference | None:
    """Return the model in a JSON file, None where there is no such file."""
    if not file.is_file():
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    matrices = StateSpaceMatrices(*(np.array(data[name], float) for name in _MATRICES))
    return LinearReference(
        int(data["order"]), matrices, NormStats(**data["u"]), NormStats(**data["y"])
    )


def fit_reference(pipeline: GrainPipeline) -> LinearReference | None:
    """Return the linear model of the training files of a pipeline.

    None for targets that are no sequences, and for files too short for any order. Of long data
    sets, the first 200 000 samples are used.
    """
    signals = pipeline.signals
    if signals.target != "y":
        return None
    train, valid = (_read_some(pipeline, split) for split in ("train", "valid"))
    if sum(len(u) for u, _ in train) < _LEAST_SAMPLES:
        return None
    try:
        spec, model = ARX().identify(signals, train, valid, rngs=nnx.Rngs(0))
    except (DataError, np.linalg.LinAlgError):
        return None
    assert spec.order is not None
    return LinearReference(
        spec.order, model.normalized_matrices(), signals.stats["u"], signals.stats["y"]
    )


def score_reference(
    reference: LinearReference,
    evaluation: Evaluation,
    inputs: Sequence[HostArray],
    targets: Sequence[HostArray],
    metrics: Sequence[Any],
    outputs: Sequence[str],
) -> Evaluation:
    """Return the evaluation of a linear model on the files of another one's, sample by sample.

    Args:
        reference: The linear model.
        evaluation: That of the other model, of whole files.
        inputs: Inputs of each file, (time, n_u).
        targets: Measured outputs of each file, (time, n_y).
        metrics: The metrics of the other model.
        outputs: Names of the outputs.
    """
    initial = evaluation.initial_state
    pairs: Pairs = []
    for (_, pred, target), u, y in zip(evaluation.paired_files, inputs, targets, strict=True):
        start = y[: initial.samples] if initial.needs_outputs else None
        simulated = reference.simulate(u, start)
        pairs.append((simulated[-len(pred) :][None], np.asarray(target)[None]))
    stats = reference.y.mean, reference.y.std
    total = compute_scores(metrics, pairs, stats, outputs)
    by_file: dict[str, Scores] = {
        name: compute_scores(metrics, [pair], stats, outputs)
        for name, pair in zip(evaluation.files, pairs, strict=True)
    }
    return Evaluation(
        total.metrics,
        total.channels,
        evaluation.split,
        float("nan"),
        by_file,
        initial,
        pairs,
    )


def compare_errors(evaluation: Evaluation, reference: Evaluation) -> tuple[float, float]:
    """Return the errors of a model and of the reference: RMSE over spread, mean over outputs.

    An output that does not change is left out; NaN without any.
    """
    errors = [[], []]  # type: list[list[HostArray]]
    for (pred, target), (linear, _) in zip(evaluation.pairs, reference.pairs, strict=True):
        for place, y in enumerate((pred, linear)):
            errors[place].append(y[0].astype(float) - target[0])
    targets = np.concatenate([target[0] for _, target in evaluation.pairs]).astype(float)
    spread = np.nanstd(targets, axis=0)
    changing = spread > 0.0
    if not changing.any():
        return float("nan"), float("nan")
    own, linear_error = (
        np.sqrt(np.nanmean(np.square(np.concatenate(each)), axis=0)) for each in errors
    )
    with np.errstate(over="ignore"):
        means = [float(np.mean(each[changing] / spread[changing])) for each in (own, linear_error)]
    return means[0], means[1]


def _read_some(pipeline: GrainPipeline, split: Any) -> list[tuple[HostArray, HostArray]]:
    """Return inputs and outputs of the first files of a split, up to a number of samples."""
    records, left = pipeline.records(split), _MOST_SAMPLES
    found = []
    for index in range(len(records)):
        if left <= 0:
            break
        sample = records[index]
        u, y = sample["u"][:left], sample["y"][:left]
        # An equation needs inputs; a missing one stands at its mean.
        known = np.where(np.isfinite(u), u, pipeline.signals.stats["u"].mean)
        found.append((known, y))
        left -= len(u)
    return found


def describe_reference(evaluation: Evaluation, reference: Evaluation, name: str) -> str:
    """Return a sentence where a model is not better than the linear one, else nothing."""
    own, linear = compare_errors(evaluation, reference)
    if not own >= linear:
        return ""
    return (
        f"the {name} model is as good or better on {evaluation.split}: its error is "
        f"{100 * linear:.3g} % of the outputs' spread, and that of this model {100 * own:.3g} %. "
        "Use the linear one, train longer, or try another model."
    )
