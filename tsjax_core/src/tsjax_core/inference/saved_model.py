"""Saved models: a directory with `model.json` and the parameters.

`model.json` holds the component's name and options, the distribution and version that provide it,
and the signals with their statistics; the parameters are an Orbax checkpoint. Loading resolves the
name, so that the error for a missing plugin says what to install.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from tsjax_core.checks import is_number
from tsjax_core.directories import replaced_directory
from tsjax_core.errors import ConfigError, ModelError, SavedModelError, UnknownNamespaceError
from tsjax_core.experiments.components import read_spec, write_spec
from tsjax_core.models.building import build_model
from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.registry import get_model, installed, qualified_name
from tsjax_core.training.checkpoints.checkpoint_file import quiet_orbax
from tsjax_core.training.optimizer.parameter_names import parameter_name
from tsjax_core.types import Carry, NormStats, Signals

FORMAT = 1
DESCRIPTION = "model.json"
PARAMETERS = "parameters"

# A model is deterministic in evaluation, and begins every sequence anew: neither the state of its
# random draws nor that which training carries from batch to batch is part of it.
_SAVED = nnx.Not(nnx.Any(nnx.RngState, Carry))


@dataclass(frozen=True)
class SavedModel:
    """A model read from disk, with what it was built from."""

    model: nnx.Module
    name: str
    spec: ModelSpec
    signals: Signals


def save_model(
    model: nnx.Module,
    spec: ModelSpec | None,
    signals: Signals,
    path: Path,
    *,
    overwrite: bool = False,
) -> Path:
    """Write `model` to the directory `path`; with `overwrite`, in the place of an earlier one.

    Raises:
        SavedModelError: There is no specification, no installed plugin offers it, or `path` holds
            a saved model or something else.
    """
    if spec is None:
        raise SavedModelError(
            f"cannot save {type(model).__name__} to {path}: the learner was given a ready-made "
            "model, and loading needs a specification to rebuild it from. Give the learner the "
            "specification instead.",
            path=path,
        )
    name = qualified_name("model", type(spec))
    if name is None:
        raise SavedModelError(
            f"cannot save {type(spec).__name__} to {path}: no installed plugin registers it, so "
            "it could not be found again. Register it through the hook tsjax_models of a plugin.",
            path=path,
        )
    if path.exists() and not _is_saved_model(path):
        raise SavedModelError(
            f"cannot save to {path}: it exists and holds something other than a saved model. "
            "Choose another directory.",
            path=path,
        )
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise SavedModelError(
            f"cannot save to {path}: it holds a saved model. Choose another directory, or give "
            "overwrite=True to replace it.",
            path=path,
        )
    plugin = next(info for info in installed() if info.namespace == name.partition("/")[0])
    description = {
        "format": FORMAT,
        "name": name,
        "options": write_spec(spec),
        "distribution": plugin.distribution,
        "version": plugin.version,
        "signals": _signals_to_json(signals),
    }
    with replaced_directory(path) as fresh:
        text = json.dumps(description, indent=2)
        (fresh / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        names, arrays, _ = _named_arrays(nnx.to_pure_dict(nnx.state(model, _SAVED)))
        _write_arrays(fresh / PARAMETERS, dict(zip(names, arrays, strict=True)))
    return path


def load_model(path: str | Path) -> nnx.Module:
    """Return the model saved in the directory `path`.

    Raises:
        SavedModelError: There is no saved model, or its files are damaged or do not fit.
        PluginError: The plugin that provides the model is missing or broken.
    """
    return load_saved(path).model


def load_saved(path: str | Path) -> SavedModel:
    """Return the model saved in the directory `path`, with its specification and signals."""
    path = Path(path)
    file = path / DESCRIPTION
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        name, options = description["name"], description["options"]
        signals = _signals_from_json(description["signals"])
        known = description["format"] == FORMAT
        writer = f"{description['distribution']} {description['version']}"
        if not isinstance(name, str) or not isinstance(options, dict):
            raise TypeError("name is text and options are a table")  # noqa: TRY301 - reported below
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SavedModelError(
            f"{path} holds no saved model: there is no {DESCRIPTION}. Give the directory that "
            "learner.save wrote, or RUN/model of a training run.",
            path=path,
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SavedModelError(
            f"{file} is damaged ({type(error).__name__}: {error}); save the model again.",
            path=path,
        ) from error
    if not known:
        raise SavedModelError(
            f"{file} has format {description['format']!r}, and this version of tsjax-core reads "
            f"format {FORMAT}. Install the version that wrote it, or a newer one.",
            path=path,
        )
    try:
        spec_class = get_model(name)
    except UnknownNamespaceError as error:
        raise UnknownNamespaceError(
            f"{file} needs the model {name!r}, and no installed plugin has the namespace "
            f"{error.namespace!r}. It was saved by {writer}; install that with: "
            f"pip install {description['distribution']}",
            namespace=error.namespace,
            name=name,
            install=description["distribution"],
        ) from error
    try:
        spec: ModelSpec = read_spec(spec_class, options, where="options", file=file)
    except ConfigError as error:
        raise SavedModelError(
            f"{error}\n  {name} was saved by {writer}; install that version to load it.",
            path=path,
        ) from error
    _check_shapes(spec, signals, path)
    try:
        model = build_model(spec, signals)
    except ModelError as error:
        raise SavedModelError(f"{name}: {error}", path=path) from error
    state = nnx.state(model, _SAVED)
    names, arrays, structure = _named_arrays(nnx.to_pure_dict(state))
    stored = _read_arrays(path / PARAMETERS, dict(zip(names, arrays, strict=True)))
    nnx.replace_by_pure_dict(
        state, jax.tree.unflatten(structure, jax.device_put([np.asarray(stored[n]) for n in names]))
    )
    nnx.update(model, state)
    return SavedModel(model, name, spec, signals)


def _is_saved_model(path: Path) -> bool:
    """Return whether nothing but a saved model, or nothing at all, is in the directory `path`."""
    return path.is_dir() and {p.name for p in path.iterdir()} <= {DESCRIPTION, PARAMETERS}


def _named_arrays(tree: Any) -> tuple[list[str], list[Any], Any]:
    """Return names such as `layers.0.w_in`, the arrays, and the structure to build them into."""
    leaves, structure = jax.tree.flatten_with_path(tree)
    names = [parameter_name(path) for path, _ in leaves]
    return names, [leaf for _, leaf in leaves], structure


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), arrays)


def _check_shapes(spec: ModelSpec, signals: Signals, path: Path) -> None:
    """Compare stored shapes with those that `spec` asks for, before a model of them is built.

    A model whose `build` needs values, and not shapes alone, is compared when it has been built.

    Raises:
        SavedModelError: They differ, or the parameters cannot be read.
    """
    try:
        state = nnx.eval_shape(lambda: nnx.state(build_model(spec, signals), _SAVED))
        names, leaves, _ = _named_arrays(nnx.to_pure_dict(state))
    except Exception:  # noqa: BLE001 - whatever it is, building the model raises it again
        return
    _compare_shapes(path / PARAMETERS, dict(zip(names, leaves, strict=True)))


def _compare_shapes(path: Path, expected: Mapping[str, Any]) -> None:
    import orbax.checkpoint as ocp

    with quiet_orbax(), ocp.StandardCheckpointer() as checkpointer:
        try:
            metadata = checkpointer.metadata(path.absolute()).item_metadata
            if metadata is None:
                raise ValueError("there is no checkpoint")  # noqa: TRY301 - reported below as all damage
            found = {name: tuple(value.shape) for name, value in metadata.tree.items()}
        except Exception as error:
            raise _unreadable(path, error) from error
    wanted = {name: np.shape(value) for name, value in expected.items()}
    if found == wanted:
        return
    differing = ", ".join(
        f"{name}: stored {found.get(name, 'nothing')}, expected {wanted.get(name, 'nothing')}"
        for name in sorted(found | wanted)
        if found.get(name) != wanted.get(name)
    )
    raise SavedModelError(
        f"the parameters in {path} do not fit the options in {DESCRIPTION}: {differing}. "
        "Save the model again, or restore the options that it was saved with.",
        path=path.parent,
    )


def _unreadable(path: Path, error: Exception) -> SavedModelError:
    return SavedModelError(
        f"the parameters in {path} cannot be read ({type(error).__name__}: {error}); "
        "save the model again.",
        path=path.parent,
    )


def _read_arrays(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    # Asked to restore other shapes, Orbax answers in terms that no user knows.
    _compare_shapes(path, expected)

    with quiet_orbax(), ocp.StandardCheckpointer() as checkpointer:
        try:
            restored: dict[str, Any] = checkpointer.restore(path.absolute(), expected)
        except Exception as error:
            raise _unreadable(path, error) from error
    return restored


def _signals_to_json(signals: Signals) -> dict[str, Any]:
    return {
        field.name: list(getattr(signals, field.name))
        for field in fields(signals)
        if field.name not in {"stats", "dt", "further", "units"}
    } | {
        "further": {key: list(names) for key, names in signals.further.items()},
        "units": dict(signals.units),
        "dt": signals.dt,
        "stats": {
            key: {"mean": stats.mean.tolist(), "std": stats.std.tolist()}
            for key, stats in signals.stats.items()
        },
    }


def _signals_from_json(data: Mapping[str, Any]) -> Signals:
    stats = {key: NormStats(**value) for key, value in data["stats"].items()}
    signals = Signals(**{**data, "stats": stats})
    dt = signals.dt
    if dt is not None and not (is_number(dt) and 0.0 < dt < math.inf):
        raise ValueError(f"dt = {dt!r} is no sampling time in seconds")
    for key in ("u", "y", "u_scalar", "y_scalar"):
        if key not in signals.names:
            continue
        if key not in stats:
            raise ValueError(f"there are no statistics of {key!r}")
        if not (np.isfinite(stats[key].mean).all() and np.isfinite(stats[key].std).all()):
            raise ValueError(f"the statistics of {key!r} are not finite")
        if (stats[key].std < 0.0).any():
            raise ValueError(f"a standard deviation of {key!r} is below 0")
    return signals
