"""A moment of a training as arrays and facts, and whether it belongs to a training."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flax import nnx

from tsjax_core.errors import CheckpointError
from tsjax_core.training.checkpoints.checkpoint_file import Stored, version_of
from tsjax_core.training.checkpoints.packing import Layout, Packed, layout_of, pack, unpack
from tsjax_core.training.fit import Fit
from tsjax_core.training.polish.options import PolishFit, PolishOptions
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.snapshot import TrainingSnapshot

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "grain", "numpy")
_UNSAVED = "step_losses"
_SHOWN = 4


def pack_snapshot(
    snapshot: TrainingSnapshot, training: Mapping[str, Any]
) -> tuple[Packed, dict[str, Any]]:
    """Return the arrays and the facts from which the fit of `snapshot` goes on.

    `training` describes the training, see `describe_training`.
    """
    fit = snapshot.fit
    assert fit is not None
    facts = {
        "done": fit.done,
        "n_epochs": fit.n_epochs,
        "lr": fit.lr,
        "fit": fit.name,
        "averaged": fit.raw is not None,
        "steps": snapshot.steps,
        "epochs_done": snapshot.epochs_done,
        "history": [_to_json(result) for result in snapshot.history],
        "training": training,
        "libraries": {name: version_of(name) for name in _LIBRARIES},
    }
    if isinstance(fit, PolishFit):
        facts["polish"] = {
            "options": fit.options.to_json(),
            "seconds": fit.seconds,
            "sizes": {name: len(array) for name, array in fit.opt_state.items()},
        }
    return pack(_tree(snapshot.model, fit.opt_state, fit.raw, fit.rates)), facts


def check_same_training(
    stored: Stored, learner: Learner, training: Mapping[str, Any], path: Path
) -> Any:
    """Return the tree of arrays that `stored` fills; raise CheckpointError if it is another's.

    `training` describes the training of `learner`. Warns of other versions of the libraries that
    compute.
    """
    facts = stored.facts
    here = json.loads(json.dumps(training))
    differing = [
        f"{name}: {facts['training'].get(name)} there, {value} here"
        for name, value in here.items()
        if facts["training"].get(name) != value
    ]
    polish = facts.get("polish")
    if polish is None:
        rates = np.empty(facts["n_epochs"] * learner.pipeline.steps_per_epoch, np.float32)
        opt_state = learner.new_optimizer_state()
    else:
        rates = np.empty(0, np.float32)
        opt_state = {name: np.empty(size, np.uint32) for name, size in polish["sizes"].items()}
    raw = nnx.state(learner.model, nnx.Param) if facts["averaged"] else None
    tree = _tree(nnx.state(learner.model), opt_state, raw, rates)
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
        shown = ", ".join(f"{name} {old} (here {new})" for name, (old, new) in others.items())
        warnings.warn(
            f"the checkpoints in {path} were written with {shown}; the numbers may differ in the "
            "last bits from those of an uninterrupted run.",
            stacklevel=2,
        )
    return tree


def unpack_snapshot(stored: Stored, tree: Any) -> TrainingSnapshot:
    """Return the moment of a training that `stored` holds.

    `tree` is what `check_same_training` returned.
    """
    facts, arrays = stored.facts, unpack(stored.data, tree)
    common: dict[str, Any] = {
        "n_epochs": facts["n_epochs"],
        "rates": np.asarray(arrays["rates"]),
        "lr": facts["lr"],
        "done": facts["done"],
        "opt_state": arrays["optimizer"],
        "raw": arrays["raw"],
        "name": facts["fit"],
    }
    polish = facts.get("polish")
    fit = Fit(**common)
    if polish is not None:
        options = PolishOptions(**polish["options"])
        fit = PolishFit(**common, options=options, seconds=polish["seconds"])
    history = tuple(_from_json(each) for each in facts["history"])
    return TrainingSnapshot(
        arrays["model"], facts["steps"], facts["epochs_done"], history, fit, fit
    )


def _tree(model: Any, opt_state: Any, raw: Any, rates: Any) -> dict[str, Any]:
    return {"model": model, "optimizer": opt_state, "raw": raw, "rates": rates}


def _layout_differences(stored: Layout, expected: Layout) -> list[str]:
    there = {name: f"{dtype} {shape}" for name, dtype, shape in stored}
    here = {name: f"{dtype} {shape}" for name, dtype, shape in expected}
    return [
        f"{name}: {there.get(name, 'nothing')} there, {here.get(name, 'nothing')} here"
        for name in dict.fromkeys([*there, *here])
        if there.get(name) != here.get(name)
    ]


def _to_json(result: EpochResult) -> dict[str, Any]:
    """Return an epoch's result in the types of JSON, which has no NaN."""
    values = {f.name: getattr(result, f.name) for f in fields(result) if f.name != _UNSAVED}
    plain: dict[str, Any] = _finite(values)
    return plain


def _from_json(stored: Mapping[str, Any]) -> EpochResult:
    return EpochResult(**{name: _restored(value) for name, value in stored.items()})


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _restored(each) for name, each in value.items()}
    return float(value) if isinstance(value, str) else value
