"""Learners of the models of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsjax_core.training.factory import make_learner
from tsjax_core.training.learner import Learner
from tsjax_quat.losses import ms_inclination_rad2
from tsjax_quat.metrics import rms_inclination_deg

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline


def StrapDownLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "quat/strapdown", **options)`.

    Unless said otherwise, the loss is the mean squared inclination error and the metric its root in
    degrees.
    """
    return make_learner(pipeline, "quat/strapdown", **_with_defaults(options))


def UnitQuaternionLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "quat/unit", **options)`, with `model=` the model inside.

    Unless said otherwise, the loss is the mean squared inclination error and the metric its root in
    degrees.
    """
    return make_learner(pipeline, "quat/unit", **_with_defaults(options))


def _with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    return {"loss": ms_inclination_rad2, "metrics": [rms_inclination_deg], **options}
