"""Learners from the name of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tsjax_core.checks import nearest
from tsjax_core.errors import ConfigError
from tsjax_core.losses.regression import normalized_mae
from tsjax_core.options import options_of
from tsjax_core.registry.registry import get_model
from tsjax_core.training.learner import Learner
from tsjax_core.training.optimizer.rate import Optimizer
from tsjax_core.types import Array

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline


def make_learner(
    pipeline: GrainPipeline,
    model: str,
    *,
    loss: Callable[..., Array] = normalized_mae,
    metrics: Sequence[Callable[..., Array]] = (),
    optimizer: Optimizer | None = None,
    batch_transform: Callable[..., Mapping[str, Array]] | None = None,
    n_skip: int | None = None,
    seed: int = 0,
    devices: int = 1,
    **hyperparameters: Any,
) -> Learner:
    """Return a learner for the model registered as `model`, such as `"core/gru"`.

    The named arguments are those of `Learner`; all others are hyperparameters of the model, which
    `tsjax show NAME` lists.

    Raises:
        PluginError: No installed plugin offers the model.
        ConfigError: A hyperparameter is unknown or out of range.
        ModelError: The model does not fit the data.
    """
    spec_class = get_model(model)
    known = [option.name for option in options_of(spec_class)]
    for name in hyperparameters:
        if name not in known:
            raise ConfigError(
                f"{model} has no hyperparameter {name!r}.{nearest(name, known)} "
                f"It has: {', '.join(known)}.",
                key=name,
            )
    return Learner(
        spec_class(**hyperparameters),
        pipeline,
        loss,
        metrics,
        optimizer,
        batch_transform,
        n_skip,
        seed,
        devices=devices,
    )


def RNNLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "core/rnn", **options)`."""
    return make_learner(pipeline, "core/rnn", **options)


def GRULearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "core/gru", **options)`."""
    return make_learner(pipeline, "core/gru", **options)


def LSTMLearner(pipeline: GrainPipeline, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "core/lstm", **options)`."""
    return make_learner(pipeline, "core/lstm", **options)
