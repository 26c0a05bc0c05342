"""Learners of the models of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsjax_core.training.factory import make_learner
from tsjax_core.training.learner import Learner

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline


def PIRNNLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "pinn/pirnn", **options)`.

    The samples of the initial window are skipped at the start of every sequence. Unless `loss` is
    given, such as one composed with `physics_loss`, the model is trained on its outputs alone.
    """
    return make_learner(pipeline, "pinn/pirnn", **options)


def PINCLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "pinn/pinc", **options)`.

    Give `loss=surrogate_loss(...)`, or a loss composed with it.
    """
    return make_learner(pipeline, "pinn/pinc", **options)


def DDPINNLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - as above
    """Return `make_learner(pipeline, "pinn/ddpinn", **options)`.

    Give `loss=surrogate_loss(...)`, or a loss composed with it.
    """
    return make_learner(pipeline, "pinn/ddpinn", **options)


def GreyBoxLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - as above
    """Return `make_learner(pipeline, "pinn/grey_box", **options)`, which needs Diffrax.

    The samples of the initial window are skipped at the start of every sequence.
    """
    return make_learner(pipeline, "pinn/grey_box", **options)
