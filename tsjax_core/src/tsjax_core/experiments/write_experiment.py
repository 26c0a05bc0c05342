"""Writing an experiment completely, with every default and with paths that hold from anywhere."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from tsjax_core.data.pipeline import create_grain_dls
from tsjax_core.errors import RunDirectoryError
from tsjax_core.experiments.components import write_spec
from tsjax_core.experiments.experiment import Experiment, drop_none
from tsjax_core.training.learner import Learner


def write_experiment(file: Path, experiment: Experiment, learner: Learner) -> None:
    """Write `experiment`, from which `learner` was built, as a new TOML file.

    Raises:
        RunDirectoryError: The file exists.
    """
    if file.exists():
        raise RunDirectoryError(
            f"{file.parent} was taken by another run; nothing was written. "
            "Choose another directory with --out.",
            path=file.parent,
        )
    write_whole(file, tomli_w.dumps(complete_tables(experiment, learner)))


def complete_tables(experiment: Experiment, learner: Learner) -> dict[str, Any]:
    """Return the tables of `experiment` with every default that data, model and training have."""
    tables = {"loss": [{"name": "core/normalized_mae"}], **experiment.to_tables()}
    options: Mapping[str, Any] = write_spec(learner.spec) if learner.spec else {}
    tables["model"] |= drop_none(options)
    tables["train"]["n_skip"] = learner.n_skip
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(create_grain_dls).parameters.items()
        if parameter.default not in (parameter.empty, None)
    }
    data = {**defaults, "seed": experiment.train.seed, **tables["data"]}
    data["dataset"] = _absolute_paths(data["dataset"])
    if (division := learner.pipeline.division) is not None:
        data |= {"split": list(division.shares), "split_by": division.by}
    tables["data"] = drop_none(data)
    return tables


def describe_training(file: Path) -> str:
    """Return what an experiment trains, however long: resuming compares it."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    tables.get("train", {}).pop("epochs", None)
    return tomli_w.dumps(tables)


def write_whole(file: Path, text: str) -> None:
    """Write `file` whole or not at all, because a run that is killed is resumed from it."""
    fresh = file.with_name(f".{file.name}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)


def _absolute_paths(dataset: Any) -> Any:
    if isinstance(dataset, list | tuple):
        return [_absolute_paths(path) for path in dataset]
    if isinstance(dataset, Mapping):
        return {
            split: [_absolute_paths(path) for path in paths] for split, paths in dataset.items()
        }
    return str(Path(dataset).absolute()).replace("$", "$$")
