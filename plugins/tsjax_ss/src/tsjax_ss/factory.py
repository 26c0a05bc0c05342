"""Learners of the models of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsjax_core.training.factory import make_learner
from tsjax_core.training.learner import Learner

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline


def NeuralSSLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "ss/neural", **options)`."""
    return make_learner(pipeline, "ss/neural", **options)


def WienerLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "ss/wiener", **options)`."""
    return make_learner(pipeline, "ss/wiener", **options)


def HammersteinLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "ss/hammerstein", **options)`."""
    return make_learner(pipeline, "ss/hammerstein", **options)


def WienerHammersteinLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "ss/wiener_hammerstein", **options)`."""
    return make_learner(pipeline, "ss/wiener_hammerstein", **options)
