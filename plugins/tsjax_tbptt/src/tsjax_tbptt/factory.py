"""Learners of the models of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsjax_core.errors import ConfigError
from tsjax_core.training.factory import make_learner
from tsjax_core.training.learner import Learner
from tsjax_tbptt.source import TBPTTSource

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline


def TBPTTLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "tbptt/rnn", **options)`, after a look at the pipeline.

    Raises:
        ConfigError: The training batches of the pipeline do not go on from one to the next: they
            have no `position`, or other rows or batches in an epoch than their source was made for.
    """
    check_chunks(pipeline)
    return make_learner(pipeline, "tbptt/rnn", **options)


def check_chunks(pipeline: GrainPipeline) -> None:
    """Raise ConfigError where rows of training batches do not go on in the next batch."""
    if not pipeline.has_position:
        raise ConfigError(
            "the training batches have no position, so that no row goes on in the next batch and "
            "no state would be carried. Give create_grain_dls source='tbptt/chunks', or name it "
            "in [data.source].",
            key="source",
        )
    source = pipeline.train
    if not isinstance(source, TBPTTSource):
        return
    if pipeline.bs != source.bs:
        raise ConfigError(
            f"bs = {pipeline.bs} of the pipeline, and its source tbptt/chunks arranges {source.bs} "
            "rows; make the pipeline anew with create_grain_dls and the bs that you want.",
            key="bs",
        )
    steps = pipeline.steps_per_epoch
    if source.epoch_batches not in (None, steps):
        raise ConfigError(
            f"an epoch has {steps} batches, and the next one would go on after the epoch_batches = "
            f"{source.epoch_batches} of tbptt/chunks; leave n_batches out and limit no batches.",
            key="n_batches",
        )
