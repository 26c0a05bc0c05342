"""What a saved model is: its signals, its size, what it needs, and who wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from tsjax_core.errors import SavedModelError
from tsjax_core.experiments.components import write_spec
from tsjax_core.experiments.run import EXPERIMENT, MODEL, VERSIONS
from tsjax_core.inference.saved_model import DESCRIPTION, load_saved
from tsjax_core.protocols import MeasuringModel, StatefulModel
from tsjax_core.training.compatibility import window_of
from tsjax_core.types import Signals


@dataclass(frozen=True)
class ModelInfo:
    """A saved model in figures.

    Args:
        path: The directory of the model.
        name: Its qualified name, such as core/gru.
        options: Its options by name.
        signals: Channels, sampling time and statistics.
        parameters: Number of trained parameters.
        states: Numbers of the state between two samples; None for a model without one.
        receptive_field: Samples of the input that decide an output; None where all of them do.
        init_window: Measured outputs that it reads at the start of a record.
        quantities: Value and unit of physical parameters by name.
        versions: Version by distribution, of those that wrote it; of a run, also of its libraries,
            and the machine.
    """

    path: Path
    name: str
    options: Mapping[str, Any]
    signals: Signals
    parameters: int
    states: int | None
    receptive_field: int | None
    init_window: int
    quantities: Mapping[str, tuple[float, str]]
    versions: Mapping[str, str]


def describe_model(path: str | Path) -> ModelInfo:
    """Return what is in the directory of a saved model, or of a run that has one.

    Raises:
        SavedModelError: There is no saved model, or it is damaged.
        PluginError: The plugin that provides the model is missing or broken.
    """
    given = Path(path)
    folder = given / MODEL if (given / EXPERIMENT).is_file() else given
    if folder != given and not folder.exists():
        raise SavedModelError(
            f"{given} is a run without a model: its training did not end. Go on with it: "
            f"tsjax resume {given}",
            path=given,
        )
    saved = load_saved(folder)
    model: Any = saved.model
    states = None
    if isinstance(model, StatefulModel):
        leaves = jax.tree.leaves(jax.eval_shape(lambda: model.initial_state(1)))
        states = sum(leaf.size for leaf in leaves)
    quantities = model.quantities() if isinstance(model, MeasuringModel) else {}
    return ModelInfo(
        path=folder,
        name=saved.name,
        options=write_spec(saved.spec),
        signals=saved.signals,
        parameters=sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param))),
        states=states,
        receptive_field=getattr(model, "receptive_field", None),
        init_window=window_of(saved.spec),
        quantities={name: (float(value), unit) for name, (value, unit) in quantities.items()},
        versions=_versions(folder),
    )


def info_rows(info: ModelInfo) -> list[tuple[str, str]]:
    """Return the lines of a table: what is said, and its value."""
    signals, dt = info.signals, info.signals.dt
    rows = [("model", info.name), ("directory", str(info.path))]
    rows += [
        (what, ", ".join(names))
        for what, names in (
            ("inputs", signals.inputs),
            ("outputs", signals.outputs),
            ("scalar inputs", signals.scalar_inputs),
            ("scalar outputs", signals.scalar_outputs),
        )
        if names
    ]
    for key, names in signals.names.items():
        if (stats := signals.stats.get(key)) is None:
            continue
        rows += [
            (f"training data of {name}", f"mean {mean:.6g}, standard deviation {std:.6g}")
            for name, mean, std in zip(names, stats.mean, stats.std, strict=True)
        ]
    rows.append(("sampling time", "not known" if dt is None else f"{dt:.9g} s ({1 / dt:.6g} Hz)"))
    rows.append(("parameters", str(info.parameters)))
    rows.append(("state", "none" if info.states is None else f"{info.states} numbers"))
    field = info.receptive_field
    if field is None:
        memory = "the whole record"
    else:
        memory = f"{field} samples" + ("" if dt is None else f" ({field * dt:.4g} s)")
    rows.append(("memory", memory))
    if info.init_window:
        rows.append(("measured outputs at the start", f"{info.init_window} samples"))
    rows += [
        (name, f"{value:.6g} {unit}".strip()) for name, (value, unit) in info.quantities.items()
    ]
    rows += [(f"option {name}", str(value)) for name, value in info.options.items()]
    rows += [
        (name if name == "machine" else f"version of {name}", version)
        for name, version in info.versions.items()
    ]
    return rows


def _versions(folder: Path) -> dict[str, str]:
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    versions = {description["distribution"]: description["version"]}
    file = folder.parent / VERSIONS
    if folder.name == MODEL and file.is_file():
        versions |= json.loads(file.read_text(encoding="utf-8"))
    return versions
