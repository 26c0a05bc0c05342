"""Learners from the name of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tsjax_core.checks import nearest
from tsjax_core.data.batches import GrainPipeline
from tsjax_core.errors import ConfigError
from tsjax_core.losses.regression import normalized_mae
from tsjax_core.options import options_of
from tsjax_core.registry.registry import get_model
from tsjax_core.training.learner import Learner
from tsjax_core.training.optimizer.rate import Optimizer
from tsjax_core.types import Array


def make_learner(
    pipeline: GrainPipeline,
    name: str,
    /,
    *,
    loss: Callable[..., Array] = normalized_mae,
    metrics: Sequence[Callable[..., Array]] = (),
    optimizer: Optimizer | None = None,
    batch_transform: Callable[..., Mapping[str, Array]] | None = None,
    n_skip: int | None = None,
    seed: int = 0,
    devices: int = 1,
    initial_state: str = "zero",
    init_samples: int = 0,
    **hyperparameters: Any,
) -> Learner:
    """Return a learner for the model registered as `name`, such as `"core/gru"`.

    Pipeline and name are given by position. The named arguments are those of `Learner`; all others
    are hyperparameters of the model, which `tsjax show NAME` lists.

    Raises:
        PluginError: No installed plugin offers the model.
        ConfigError: A hyperparameter is unknown or out of range.
        ModelError: The model does not fit the data.
    """
    given: Any = pipeline
    if not isinstance(given, GrainPipeline):
        raise ConfigError(
            f"make_learner got a {type(given).__name__} for the pipeline; give what "
            "create_grain_dls returns.",
            key="pipeline",
        )
    asked: Any = name
    if not isinstance(asked, str):
        raise ConfigError(
            f"make_learner got {asked!r} for the name of a model; give a name such as 'core/gru', "
            "or use Learner(spec, pipeline) for a specification.",
            key="model",
        )
    spec_class = get_model(name)
    known = [option.name for option in options_of(spec_class)]
    for option in hyperparameters:
        if option not in known:
            raise ConfigError(
                f"{name} has no hyperparameter {option!r}.{nearest(option, known)} "
                f"It has: {', '.join(known)}.",
                key=option,
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
        initial_state=initial_state,
        init_samples=init_samples,
    )


def RNNLearner(pipeline: GrainPipeline, /, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "core/rnn", **options)`."""
    return make_learner(pipeline, "core/rnn", **options)


def GRULearner(pipeline: GrainPipeline, /, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "core/gru", **options)`."""
    return make_learner(pipeline, "core/gru", **options)


def LSTMLearner(pipeline: GrainPipeline, /, **options: Any) -> Learner:  # noqa: N802 - reads as a type
    """Return `make_learner(pipeline, "core/lstm", **options)`."""
    return make_learner(pipeline, "core/lstm", **options)
