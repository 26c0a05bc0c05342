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
        lambda x: x.pipeline.training_identity,
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
        lambda x: [(term.name, term.loss.component) for term in x.engine.terms],
        lambda x: ", ".join(term.name for term in x.engine.terms),
        "give equal loss terms to all of them; weights may differ",
    ),
    (
        "optimizer",
        lambda x: x.optimizer.given,
        lambda x: _given(x.optimizer.given, "the default"),
        "make the optimizer once and give the same one to all of them",
    ),
    (
        "batch transform",
        lambda x: x.engine.transform.given,
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


def shape_groups(learners: Sequence[Learner]) -> tuple[tuple[int, ...], ...]:
    """Return the places of learners that one program can train, group by group.

    Learners of a group are of one shape: `fit_population` takes them together. Groups are in the
    order of their first learner, and every learner is in one of them.
    """
    groups: list[list[int]] = []
    for number, learner in enumerate(learners):
        for group in groups:
            if _difference(learner, learners[group[0]]) is None:
                group.append(number)
                break
        else:
            groups.append([number])
    return tuple(tuple(group) for group in groups)


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
        difference = _difference(learner, first)
        if difference is None:
            continue
        what, shown, cure = difference
        pair = f"{shown(learner)}, and learner 0 {shown(first)}"
        same = " (another one of the same name)" if shown(learner) == shown(first) else ""
        raise ConfigError(
            f"fit_population trains learners of one shape. The {what} of learner {number} "
            f"is {pair}{same}; {cure}.",
            key="learners",
        )


def _difference(
    learner: Learner, other: Learner
) -> tuple[str, Callable[[Learner], Any], str] | None:
    """Return the first fact in which two learners differ, how to print it, and what to do."""
    for what, fact, shown, cure in _FACTS:
        if fact(learner) != fact(other):
            return what, shown, cure
    return None


def _shapes(model: nnx.Module) -> list[tuple[tuple[int, ...], str]]:
    leaves = jax.tree.leaves(nnx.state(model))
    return [(jnp.shape(leaf), str(jnp.result_type(leaf))) for leaf in leaves]


def _given(given: Any, none: str) -> str:
    return none if given is None else name_of(given)
