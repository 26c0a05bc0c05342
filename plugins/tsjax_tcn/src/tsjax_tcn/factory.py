"""Learners of the models of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsjax_core.training.factory import make_learner
from tsjax_core.training.learner import Learner

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline


def TCNLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "tcn/tcn", **options)`.

    The samples of the receptive field are skipped at the start of every sequence, unless `n_skip`
    says otherwise.
    """
    return make_learner(pipeline, "tcn/tcn", **options)


def CRNNLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "tcn/crnn", **options)`."""
    return make_learner(pipeline, "tcn/crnn", **options)
