"""All that decides the numbers of a training from one moment on, and whether two agree in it."""

from __future__ import annotations

import json
import math
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flax import nnx

from tsjax_core.errors import CheckpointError
from tsjax_core.signatures import name_of
from tsjax_core.training.checkpoints.checkpoint_file import Stored, version_of
from tsjax_core.training.checkpoints.packing import Layout, Packed, layout_of, pack, unpack
from tsjax_core.training.fit import Fit
from tsjax_core.training.progress import EpochResult

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "grain", "numpy")
_UNSAVED = "step_losses"
_SHOWN = 4


def state_of(learner: Learner) -> tuple[Packed, dict[str, Any]]:
    """Return the arrays and the facts from which the fit of `learner` goes on."""
    fit = learner.fit_in_progress
    assert fit is not None
    facts = {
        "done": fit.done,
        "n_epochs": fit.n_epochs,
        "fit": fit.name,
        "averaged": fit.raw is not None,
        "steps": learner.steps,
        "epochs_done": learner.epochs_done,
        "history": [_told(result) for result in learner.history],
        "training": training_facts(learner),
        "libraries": {name: version_of(name) for name in _LIBRARIES},
    }
    return pack(_tree(learner, fit.opt_state, fit.raw, fit.rates)), facts


def check_same_training(stored: Stored, learner: Learner, path: Path) -> Any:
    """Return the tree of arrays that `stored` fills; raise CheckpointError if it is another's.

    Warns of other versions of the libraries that compute.
    """
    facts = stored.facts
    here = json.loads(json.dumps(training_facts(learner)))
    differing = [
        f"{name}: {facts['training'].get(name)} there, {value} here"
        for name, value in here.items()
        if facts["training"].get(name) != value
    ]
    rates = np.empty(facts["n_epochs"] * learner.pipeline.steps_per_epoch, np.float32)
    opt_state = learner.new_optimizer_state()
    raw = nnx.state(learner.model, nnx.Param) if facts["averaged"] else None
    tree = _tree(learner, opt_state, raw, rates)
    differing += _layout_differences(stored.layout, layout_of(tree))
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise CheckpointError(
            f"the checkpoints in {path} belong to another training: "
            f"{'; '.join(differing[:_SHOWN])}{more}. Build the learner as it was built there, on "
            "the same data, or begin a new fit.",
            path=path,
        )
    others = {
        name: (there, version_of(name))
        for name, there in facts["libraries"].items()
        if version_of(name) != there
    }
    if others:
        told = ", ".join(f"{name} {old} (here {new})" for name, (old, new) in others.items())
        warnings.warn(
            f"the checkpoints in {path} were written with {told}; the numbers may differ in the "
            "last bits from those of an uninterrupted run.",
            stacklevel=2,
        )
    return tree


def take_over(stored: Stored, learner: Learner, tree: Any) -> Fit:
    """Bring `learner` to the moment of `stored`; return the fit to go on with.

    `tree` is what `check_same_training` returned.
    """
    facts, arrays = stored.facts, unpack(stored.data, tree)
    nnx.update(learner.model, arrays["model"])
    learner.steps, learner.epochs_done = facts["steps"], facts["epochs_done"]
    learner.history = [_from_told(told) for told in facts["history"]]
    return Fit(
        n_epochs=facts["n_epochs"],
        rates=np.asarray(arrays["rates"]),
        done=facts["done"],
        opt_state=arrays["optimizer"],
        raw=arrays["raw"],
        name=facts["fit"],
    )


def training_facts(learner: Learner) -> dict[str, Any]:
    """Return what two trainings that give equal numbers agree in, for a person to compare."""
    pipeline, signals = learner.pipeline, learner.signals
    described = {"checksum of the experiment": zlib.crc32(learner.description.encode())}
    return {
        "model": repr(learner.spec) if learner.spec else name_of(learner.model),
        "seed": learner.seed,
        "loss": dict(learner.loss_weights),
        "metrics": [name_of(metric) for metric in learner.metrics],
        "n_skip": learner.n_skip,
        "signals": {key: list(names) for key, names in signals.names.items()},
        "statistics of the data": zlib.crc32(
            b"".join(x.mean.tobytes() + x.std.tobytes() for x in signals.stats.values())
        ),
        "windows": len(pipeline.train),
        "win_sz": pipeline.win_sz,
        "bs": pipeline.bs,
        "batches an epoch": pipeline.steps_per_epoch,
        "order of the windows": learner.first_windows,
        **learner.ingredients,
        # A learner that is built in Python, from an experiment or by hand, has no text to compare.
        **(described if learner.description else {}),
    }


def _tree(learner: Learner, opt_state: Any, raw: Any, rates: Any) -> dict[str, Any]:
    return {
        "model": nnx.state(learner.model),
        "optimizer": opt_state,
        "raw": raw,
        "rates": rates,
    }


def _layout_differences(stored: Layout, expected: Layout) -> list[str]:
    there = {name: f"{dtype} {shape}" for name, dtype, shape in stored}
    here = {name: f"{dtype} {shape}" for name, dtype, shape in expected}
    return [
        f"{name}: {there.get(name, 'nothing')} there, {here.get(name, 'nothing')} here"
        for name in dict.fromkeys([*there, *here])
        if there.get(name) != here.get(name)
    ]


def _told(result: EpochResult) -> dict[str, Any]:
    """Return an epoch's result in the types of JSON, which has no NaN."""
    values = {f.name: getattr(result, f.name) for f in fields(result) if f.name != _UNSAVED}
    told: dict[str, Any] = _finite(values)
    return told


def _from_told(told: Mapping[str, Any]) -> EpochResult:
    return EpochResult(**{name: _as_told(value) for name, value in told.items()})


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _as_told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_told(each) for name, each in value.items()}
    return float(value) if isinstance(value, str) else value
