"""A study: an experiment and a search, as a TOML file says them."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from tsjax_core.checks import positive, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.components import (
    decode_options,
    locate_error,
    make_loss,
    make_spec,
    make_transform,
)
from tsjax_core.experiments.experiment import Experiment, drop_none, parse_experiment
from tsjax_core.training.monitor import Mode
from tsjax_tune.space import Choice, Space, apply_values, parse_space

SEARCH = "search"
TRIALS = 20
MACHINE_FAILURES = 2


@dataclass(frozen=True)
class SearchOptions:
    """The `[search]` table, without `[search.space]`.

    Args:
        trials: Trials to train, 20 if not given; a grid has all its combinations.
        epochs: Epochs of a trial; train.epochs if not given.
        time_budget: Seconds after which no further epochs are trained.
        seed: Decides what is drawn.
        metric: What is compared, under the name that train.monitor would have; that if not given.
        mode: Whether less (min) or more (max) of it is better; train.mode if not given.
        algorithm: random, grid (all combinations of choices), or optuna (pip install optuna).
        scheduler: none, asha (stops the trials that are behind), or pbt (lets them go on from the
            checkpoints of better ones, with another learning rate).
        cpus_per_trial: Processors of a trial or pack, which decide how many run at once.
        max_concurrent: Trials or packs that run at once at most.
        max_failures: How many times a trial is tried again whose machine or process was lost.
        pack: Small trials of one shape that one process trains together, at most.
    """

    trials: int | None = None
    epochs: int | None = None
    time_budget: float | None = None
    seed: int = 0
    metric: str | None = None
    mode: Mode | None = None
    algorithm: Literal["random", "grid", "optuna"] = "random"
    scheduler: Literal["none", "asha", "pbt"] = "none"
    cpus_per_trial: float = 1.0
    max_concurrent: int | None = None
    max_failures: int = MACHINE_FAILURES
    pack: int = 1

    def __post_init__(self) -> None:
        for key, unit in (
            ("trials", "trials"),
            ("epochs", "epochs"),
            ("max_concurrent", "trials"),
            ("pack", "trials"),
        ):
            if getattr(self, key) is not None:
                whole_number(key, getattr(self, key), unit, least=1)
        whole_number("seed", self.seed)
        whole_number("max_failures", self.max_failures, "failures")
        positive("cpus_per_trial", self.cpus_per_trial)
        if self.time_budget is not None:
            positive("time_budget", self.time_budget)
        if self.algorithm == "grid" and self.trials is not None:
            raise ConfigError(
                f"trials = {self.trials}, and algorithm = 'grid' trains all combinations; leave "
                "trials out.",
                key="trials",
            )
        if self.pack > 1 and (self.scheduler != "none" or self.algorithm == "optuna"):
            raise ConfigError(
                f"pack = {self.pack} trains trials together from their beginning to their end; "
                "leave out the scheduler, and use the algorithm random or grid.",
                key="pack",
            )
        if self.scheduler == "pbt" and self.max_concurrent is not None:
            raise ConfigError(
                f"max_concurrent = {self.max_concurrent}, and scheduler = 'pbt' lets all trials "
                "take turns; leave max_concurrent out.",
                key="max_concurrent",
            )


@dataclass(frozen=True)
class Study:
    """A decoded study file: the tables of its experiment, how to search, and where."""

    tables: Mapping[str, Any]
    search: SearchOptions
    space: Space
    file: Path
    space_table: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The name in the history of what is compared."""
        return self.experiment().train.monitored

    @property
    def mode(self) -> Mode:
        """Whether less or more of it is better."""
        return self.experiment().train.mode

    def experiment(self, values: Mapping[str, Any] | None = None) -> Experiment:
        """Return the experiment with the drawn `values`, or the first that can be drawn."""
        if values is None:
            values, _ = next(self.space.probes())
        tables = apply_values(self.tables, self.space.assign(values))
        return parse_experiment(tables, file=self.file)

    def to_toml(self) -> str:
        """Return the text of a study file with this study, which can be read from anywhere."""
        tables = copy.deepcopy(dict(self.tables))
        options = {key: getattr(self.search, key) for key in self.search.__dataclass_fields__}
        tables[SEARCH] = {**options, "space": self.space_table}
        plain: dict[str, Any] = drop_none(tables)
        return tomli_w.dumps(plain)


def load_study(file: Path, *, trials: int | None = None) -> Study:
    """Return the study in a TOML file; `trials` takes the place of its number of trials.

    Every draw is checked: each option of a choice, and both ends of each range, in an experiment
    whose other values are the first that can be drawn.

    Raises:
        ConfigError: The file cannot be read, or a table, an option or a draw is wrong.
    """
    file = file.absolute()
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}).", file=file) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}.", file=file) from error
    table = tables.pop(SEARCH, None)
    if not isinstance(table, dict):
        raise ConfigError(
            f"{file}: the table [search] is missing, with [search.space] that names what is "
            "searched. Without a search, train the experiment: tsjax train.",
            key=SEARCH,
            file=file,
        )
    table = dict(table)
    space_table = table.pop("space", None)
    if trials is not None:
        table["trials"] = trials
    try:
        search = SearchOptions(**decode_options(SearchOptions, table, where=SEARCH, file=file))
    except ConfigError as error:
        raise locate_error(error, SEARCH, file) from error
    space = parse_space(space_table, file)
    _change_training(tables, search)
    # Before values are drawn, so that a mistake elsewhere is reported as one of the experiment.
    first = {draw.key: None for draw in space.draws}
    if isinstance(tables.get("model"), dict) or not any(key.startswith("model") for key in first):
        _check_tables(tables, file)
    else:
        tables.setdefault("model", {})
    study = Study(tables, search, space, file, space_table)
    _check_draws(study)
    _check_search(study)
    # Workers have other working directories, and on other machines another environment.
    data = {**tables["data"], "dataset": _absolute(study.experiment().data["dataset"])}
    return replace(study, tables={**tables, "data": data})


def _change_training(tables: dict[str, Any], search: SearchOptions) -> None:
    """Let the experiment train as the search says, so that the best one does too."""
    train = tables.setdefault("train", {})
    if not isinstance(train, dict):
        return
    changes = {"epochs": search.epochs, "monitor": search.metric, "mode": search.mode}
    train |= {key: value for key, value in changes.items() if value is not None}


def _check_tables(tables: Mapping[str, Any], file: Path) -> None:
    experiment = parse_experiment(tables, file=file)
    _check_components(experiment, file)


def _check_components(experiment: Experiment, file: Path | None) -> None:
    make_spec(experiment.model, where="model", file=file)
    for table in experiment.loss:
        options = {key: value for key, value in table.items() if key != "weight"}
        make_loss(options, where="loss", file=file)
        weight = table.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(f"[loss] weight: expected a number, got {weight!r}", key="loss")
    for table in experiment.transform:
        options = {key: value for key, value in table.items() if key != "evaluation"}
        make_transform(options, where="transform", file=file)


def _check_draws(study: Study) -> None:
    for values, key in study.space.probes():
        assigned = study.space.assign(values)
        place = f"{study.file}: [search.space] {key} = {assigned[key]!r}: "
        try:
            tables = apply_values(study.tables, assigned)
            # Without the file: its name is in the text already.
            _check_components(parse_experiment(tables), None)
        except ConfigError as error:
            raise ConfigError(
                f"{place}{error}", key=f"search.space.{key}", file=study.file
            ) from error


def _check_search(study: Study) -> None:
    search, space, file = study.search, study.space, study.file
    if search.algorithm == "grid":
        try:
            space.grid()
        except ConfigError as error:
            raise locate_error(error, SEARCH, file) from error
    if search.scheduler == "pbt" and space.draw_of("train.lr") is None:
        raise ConfigError(
            f"{file}: [search] scheduler = 'pbt' changes the learning rate while trials run; add "
            '"train.lr" = { loguniform = [1e-4, 1e-2] } to [search.space].',
            key="search.scheduler",
            file=file,
        )
    fixed = [draw.key for draw in space.draws if draw.key in ("train.monitor", "train.mode")]
    if fixed:
        raise ConfigError(
            f"{file}: [search.space] {fixed[0]} says what is compared, which all trials have in "
            "common; give metric and mode in [search].",
            key=f"search.space.{fixed[0]}",
            file=file,
        )


def _absolute(dataset: Any) -> Any:
    if isinstance(dataset, list | tuple):
        return [_absolute(path) for path in dataset]
    if isinstance(dataset, Mapping):
        return {split: _absolute(paths) for split, paths in dataset.items()}
    return str(Path(dataset).absolute()).replace("$", "$$")


def mutations_of(space: Space) -> dict[str, Any]:
    """Return what population-based training may change, as Ray draws it: the learning rate."""
    from ray import tune

    draw = space.draw_of("train.lr")
    if draw is None:
        return {}
    if isinstance(draw, Choice):
        return {draw.key: list(range(len(draw.options)))}
    return {draw.key: getattr(tune, draw.kind)(draw.low, draw.high)}
