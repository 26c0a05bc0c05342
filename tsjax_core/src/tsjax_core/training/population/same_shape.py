"""Whether several learners are of one shape, so that one program can train all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.errors import ConfigError
from tsjax_core.signatures import name_of

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner

_FACTS: tuple[tuple[str, Callable[[Learner], Any], Callable[[Learner], Any], str], ...] = (
    (
        "model",
        lambda x: (x.engine.structure, _shapes(x.model)),
        lambda x: x.spec or f"{type(x.model).__name__} with {_shapes(x.model)}",
        "build all models of one specification; their seeds may differ",
    ),
    (
        "training data",
        lambda x: id(x.pipeline.train),
        lambda x: x.pipeline.train,
        "make the pipeline once; dataclasses.replace(pipeline, seed=1) orders its windows anew",
    ),
    (
        "statistics of the data",
        lambda x: x.signals,
        lambda x: x.signals,
        "make the pipeline once, and give it to all of them",
    ),
    (
        "batches",
        lambda x: (x.pipeline.steps_per_epoch, x.pipeline.windows_per_batch, x.pipeline.resident),
        lambda x: (
            f"{x.pipeline.steps_per_epoch} batches of {x.pipeline.windows_per_batch} windows an "
            f"epoch, resident={x.pipeline.resident}"
        ),
        "let all pipelines have the same bs and n_batches",
    ),
    (
        "loss",
        lambda x: [(term.name, id(term.term)) for term in x.engine.terms],
        lambda x: ", ".join(term.name for term in x.engine.terms),
        "make each loss term once and give the same function to all of them; weights may differ",
    ),
    (
        "optimizer",
        lambda x: id(x.optimizer.given),
        lambda x: _given(x.optimizer.given, "the default"),
        "make the optimizer once and give the same one to all of them",
    ),
    (
        "batch transform",
        lambda x: id(x.engine.transform.given),
        lambda x: _given(x.engine.transform.given, "none"),
        "make the transform once and give the same one to all of them",
    ),
    (
        "number of devices",
        lambda x: x.placement.n_devices,
        lambda x: x.placement.n_devices,
        "give all of them the same devices",
    ),
)


def check_same_shape(learners: Sequence[Learner]) -> None:
    """Raise ConfigError unless `learners` differ in numbers only: parameters, seeds, weights."""
    if not learners:
        raise ConfigError("fit_population got no learner; give at least one.", key="learners")
    if len({id(learner) for learner in learners}) < len(learners):
        raise ConfigError(
            f"fit_population got {len(learners)} learners, and some of them are one and the same; "
            "build each of them by itself.",
            key="learners",
        )
    first = learners[0]
    for number, learner in enumerate(learners[1:], start=1):
        for what, fact, told, cure in _FACTS:
            if fact(learner) != fact(first):
                pair = f"{told(learner)}, and learner 0 {told(first)}"
                same = " (another one of the same name)" if told(learner) == told(first) else ""
                raise ConfigError(
                    f"fit_population trains learners of one shape. The {what} of learner {number} "
                    f"is {pair}{same}; {cure}.",
                    key="learners",
                )


def _shapes(model: nnx.Module) -> list[tuple[tuple[int, ...], str]]:
    leaves = jax.tree.leaves(nnx.state(model))
    return [(jnp.shape(leaf), str(jnp.result_type(leaf))) for leaf in leaves]


def _given(given: Any, none: str) -> str:
    return none if given is None else name_of(given)
