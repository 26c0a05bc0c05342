"""An experiment: data, model, loss and training, as a TOML file says them."""

from __future__ import annotations

import math
import os
import string
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from tsjax_core.checks import whole_number
from tsjax_core.data.pipeline import GrainPipeline, create_grain_dls
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.components import (
    decode_options,
    label_of,
    locate_error,
    make_loss,
    make_spec,
    make_transform,
    place_text,
    resolve_name,
)
from tsjax_core.inference.initial_state import InitialState, Policy
from tsjax_core.losses.compose import compose_losses
from tsjax_core.losses.regression import normalized_mae
from tsjax_core.signatures import Declared, declare
from tsjax_core.training.learner import Learner
from tsjax_core.training.monitor import Monitor
from tsjax_core.training.optimizer.averaging import average_weights
from tsjax_core.training.optimizer.rate import DEFAULT_LR, Optimizer, RateControlled, adam
from tsjax_core.training.optimizer.updates import clip_gradients, skip_large, skip_nonfinite
from tsjax_core.training.polish.options import PolishOptions
from tsjax_core.training.step.devices import count_cores_as
from tsjax_core.training.stopping import EarlyStopping
from tsjax_core.transforms.changes import Transform
from tsjax_core.transforms.compose import compose_transforms
from tsjax_core.transforms.evaluation import also_in_evaluation
from tsjax_core.types import Array

SECTIONS = ("data", "model", "loss", "transform", "train", "polish", "report")

T = TypeVar("T")


@dataclass(frozen=True)
class TrainOptions:
    """The `[train]` table.

    Args:
        epochs: Passes over the training windows, or epochs of n_batches where [data] has it. With
            0, the model stays as it begins, which is of use for linear models and before [polish].
        lr: Learning rate at its highest.
        schedule: How the learning rate changes over the fit.
        seed: Decides the initial parameters, the order of the data and all random draws.
        n_skip: Samples at the start of every sequence that count in no loss and no metric. By
            default the largest of the model's receptive field and initial window, where it has
            one, and of init_samples; else 0.
        initial_state: Where simulations of validation and test begin: zero (the model's own
            initial state), washout (the same, and init_samples do not count), window (the state
            that explains the first init_samples best), or encoder (the model's own estimate).
        init_samples: Samples at the start of a sequence that initial_state uses.
        metrics: Names of metrics, computed on the whole validation split after every epoch.
        clip_norm: Gradients whose global norm is above it are scaled down to it.
        skip_norm: Updates whose gradient has a global norm above it, before clipping, are left
            out. Those that are not finite always are.
        average: Decay of the moving average of the weights that is evaluated and saved, such as
            0.999; without it, these are the weights of the last step.
        keep: Whether the saved model is that of the best epoch or of the last.
        monitor: What makes an epoch the best: valid_loss, train_loss, or a metric or loss under
            the name that it has in the tables, such as core/fit_percent.
        mode: Whether less (min) or more (max) of the monitored value is better.
        patience: Epochs without improvement after which the training ends; without it, it goes
            on to its last epoch.
        min_delta: What an improvement of the monitored value is more than.
        checkpoints: How many of the last epochs keep their checkpoint, besides the best.
        devices: Devices that share the windows of each batch. On a processor its cores count, and
            two of them train most models faster than one device that uses both.
    """

    epochs: int = 20
    lr: float = DEFAULT_LR
    schedule: Literal["constant", "flat_cos", "one_cycle", "warmup_cosine"] = "warmup_cosine"
    seed: int = 0
    n_skip: int | None = None
    initial_state: Policy = "zero"
    init_samples: int = 0
    metrics: Sequence[str] = ("core/rmse", "core/fit_percent")
    clip_norm: float | None = None
    skip_norm: float | None = None
    average: float | None = None
    keep: Literal["best", "last"] = "best"
    monitor: str = "valid_loss"
    mode: Literal["min", "max"] = "min"
    patience: int | None = None
    min_delta: float = 0.0
    checkpoints: int = 1
    devices: int = 1

    def __post_init__(self) -> None:
        whole_number("epochs", self.epochs, "epochs")
        if not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"seed = {self.seed}; give 0 to below 2^63.", key="seed")
        if self.n_skip is not None:
            whole_number("n_skip", self.n_skip, "samples")
        RateControlled(None).check_rate(self.lr)
        # Those who use these values check them, and a wrong one is reported before data are read.
        self.optimizer()
        InitialState(self.initial_state, self.init_samples)
        EarlyStopping(1, self.min_delta, self.monitor, self.mode)
        for key, unit in (
            ("patience", "epochs"),
            ("checkpoints", "epochs"),
            ("devices", "devices"),
        ):
            if getattr(self, key) is not None:
                whole_number(key, getattr(self, key), unit, least=1)

    @property
    def monitored(self) -> str:
        """The name in the history of what is monitored."""
        return self.monitor.rpartition("/")[2]

    def check_monitor(self, learner: Learner) -> None:
        """Raise ConfigError where no epoch has what is monitored, or not under this name."""
        Monitor(self.monitored, self.mode).check(learner.metrics, learner.loss_weights)
        named = [name for name in self.metrics if name.rpartition("/")[2] == self.monitor]
        if named:
            raise ConfigError(
                f"monitor = {self.monitor!r}; name the metric as in metrics: {named[0]!r}.",
                key="monitor",
            )

    def optimizer(self) -> Optimizer:
        """Return Adam with the clipping, skipping and averaging that is asked for."""
        optimizer: Optimizer = adam
        around: dict[str, Callable[[Optimizer, float], Optimizer]] = {
            "clip_norm": clip_gradients,
            "average": average_weights,
            "skip_norm": skip_large,
        }
        for key, wrapper in around.items():
            value = getattr(self, key)
            if value is None:
                continue
            try:
                optimizer = wrapper(optimizer, value)
            except ConfigError as error:
                _, _, rest = str(error).partition(" = ")
                raise ConfigError(f"{key} = {rest}", key=key) from error
        return skip_nonfinite(optimizer)


@dataclass(frozen=True)
class ReportOptions:
    """The `[report]` table.

    Args:
        plot: The plot of each test file, or several of them.
        linear: Whether a linear model of the same files stands beside the model: an ARX model whose
            order validation chooses.
    """

    plot: str | Sequence[str] = "core/results"
    linear: bool = True

    @property
    def plots(self) -> tuple[str, ...]:
        """The names of the plots."""
        return (self.plot,) if isinstance(self.plot, str) else tuple(self.plot)


@dataclass(frozen=True)
class Experiment:
    """Decoded tables of an experiment file. Components are named, and resolved when built."""

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    loss: Sequence[Mapping[str, Any]] = ()
    transform: Sequence[Mapping[str, Any]] = ()
    train: TrainOptions = field(default_factory=TrainOptions)
    report: ReportOptions = field(default_factory=ReportOptions)
    polish: PolishOptions | None = None
    file: Path | None = None

    def build(self, pipeline: GrainPipeline | None = None, *, identify: bool = True) -> Learner:
        """Return the learner of this experiment, with its data checked and its model drawn.

        With `pipeline`, that takes the place of the data that the experiment names: they are not
        read again for a second learner. `identify` is that of `Learner`.

        Raises:
            ConfigError: A table, an option or the name of a component is wrong.
            DataError: The measured data cannot be used.
        """
        if self.train.devices > 1:
            count_cores_as(self.train.devices)
        spec = make_spec(self.model, where="model", file=self.file)
        loss = self._loss()
        transform = self._transform()
        metrics = [
            resolve_name("metric", name, where="train", key="metrics", file=self.file)
            for name in self.train.metrics
        ]
        self.plots()
        pipeline = self.pipeline() if pipeline is None else pipeline
        try:
            learner = Learner(
                spec,
                pipeline,
                loss,
                metrics,
                self.train.optimizer(),
                batch_transform=transform,
                n_skip=self.train.n_skip,
                seed=self.train.seed,
                devices=self.train.devices,
                initial_state=self.train.initial_state,
                init_samples=self.train.init_samples,
                identify=identify,
            )
            self.train.check_monitor(learner)
            if self.polish and self.train.monitored in learner.loss_weights:
                raise ConfigError(  # noqa: TRY301 - located as all others
                    f"monitor = {self.train.monitor!r} is a term of the loss, which a polish does "
                    "not have; monitor valid_loss, train_loss or a metric.",
                    key="monitor",
                )
        except ConfigError as error:
            # What a loss refuses first shows where it meets model and data.
            where = "loss" if error.key == "loss" else "train"
            raise locate_error(error, where, self.file) from error
        return learner

    def pipeline(self) -> GrainPipeline:
        """Return the data of this experiment."""
        options = {"seed": self.train.seed, **self.data}
        try:
            return create_grain_dls(**options)
        except ConfigError as error:
            raise locate_error(error, "data", self.file) from error

    def plots(self) -> dict[str, Declared]:
        """Return the plots of the report by name, with what they declare."""
        return {
            name: declare(
                "plot", resolve_name("plot", name, where="report", key="plot", file=self.file)
            )
            for name in self.report.plots
        }

    def to_tables(self) -> dict[str, Any]:
        """Return the experiment as TOML tables that describe it completely."""
        train = {name: getattr(self.train, name) for name in self.train.__dataclass_fields__}
        train["metrics"] = list(self.train.metrics)
        tables: dict[str, Any] = {"data": dict(self.data), "model": dict(self.model)}
        for name in ("loss", "transform"):
            if getattr(self, name):
                tables[name] = [dict(table) for table in getattr(self, name)]
        report = {"plot": list(self.report.plots), "linear": self.report.linear}
        if self.polish is not None:
            tables["polish"] = self.polish.to_json()
        plain: dict[str, Any] = drop_none({**tables, "train": train, "report": report})
        return plain

    def _loss(self) -> Callable[..., Array]:
        pairs: dict[str, tuple[Callable[..., Array], float]] = {}
        for table in self.loss:
            name = str(table.get("name"))
            options = dict(table)
            weight = options.pop("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise self._error(f"weight: expected a number, got {weight!r}", "loss")
            if not 0.0 <= weight < math.inf:
                raise self._error(
                    f"{name} has weight = {weight!r}; give a finite number, at least 0.", "loss"
                )
            loss = make_loss(options, where="loss", file=self.file)
            label = label_of(options)
            if label in pairs:
                raise self._error(f"{name} stands twice; give one [[loss]] per loss.", "loss")
            pairs[label] = (loss, float(weight))
        if not pairs:
            return normalized_mae
        if not any(weight for _, weight in pairs.values()):
            raise self._error("every weight is 0, so that nothing is trained.", "loss")
        return compose_losses(**pairs)

    def _transform(self) -> Transform | None:
        transforms = []
        for table in self.transform:
            options = dict(table)
            evaluation = options.pop("evaluation", False)
            if not isinstance(evaluation, bool):
                raise self._error(
                    f"evaluation: expected true or false, got {evaluation!r}", "transform"
                )
            transform: Transform = make_transform(options, where="transform", file=self.file)
            if evaluation:
                try:
                    transform = also_in_evaluation(transform)
                except ConfigError as error:
                    raise locate_error(error, "transform", self.file) from error
            transforms.append(transform)
        if len(transforms) > 1:
            return compose_transforms(*transforms)
        return transforms[0] if transforms else None

    def _error(self, text: str, where: str) -> ConfigError:
        return ConfigError(f"{place_text(where, self.file)}{text}", key=where, file=self.file)


_BACKSLASHES = (
    " A backslash begins a special character in double quotes: write the path in single quotes, "
    "such as 'C:\\data\\motor.csv', or with slashes, \"C:/data/motor.csv\"."
)


def load_experiment(file: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment in a TOML file; `overrides` are like `train.lr=1e-3`.

    A relative `dataset` is taken from the folder of the file; `~` and `$VARIABLES` are expanded.

    Raises:
        ConfigError: The file cannot be read, or a table or option is unknown or of a wrong type.
    """
    return parse_experiment(load_tables(file, overrides), file=Path(file))


def load_tables(file: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the tables of a TOML file, changed by `overrides`, before they are checked.

    Raises:
        ConfigError: The file cannot be read, or an override is none.
    """
    file = Path(file)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}).", file=file) from error
    except tomllib.TOMLDecodeError as error:
        text = file.read_text(encoding="utf-8-sig")
        advice = _BACKSLASHES if "\\" in text else ""
        raise ConfigError(f"{file}: is not valid TOML: {error}.{advice}", file=file) from error
    except RecursionError as error:
        raise ConfigError(f"{file}: its brackets are nested too deeply.", file=file) from error
    for override in overrides:
        _apply_override(tables, override)
    return tables


def parse_experiment(tables: Mapping[str, Any], *, file: Path | None = None) -> Experiment:
    """Return the experiment that `tables` say; see `load_experiment`."""
    place = f"{file}: " if file is not None else ""
    for name, table in tables.items():
        if name not in SECTIONS:
            raise ConfigError(
                f"{place}unknown table [{name}]. Tables: {', '.join(SECTIONS)}.",
                key=name,
                file=file,
            )
        wanted = list if name in ("loss", "transform") else dict
        if not isinstance(table, wanted):
            form = f'[[{name}]] with name = "..."' if wanted is list else f"[{name}]"
            raise ConfigError(f"{place}{name} is a table: write {form}.", key=name, file=file)
    for name in ("data", "model"):
        if name not in tables:
            raise ConfigError(f"{place}the table [{name}] is missing.", key=name, file=file)
    data = dict(tables["data"])
    data = decode_options(create_grain_dls, data, where="data", file=file)
    data["dataset"] = _expand_paths(data["dataset"], file)
    return Experiment(
        data=data,
        model=tables["model"],
        loss=tables.get("loss", ()),
        transform=tables.get("transform", ()),
        train=_options(TrainOptions, tables.get("train", {}), "train", file),
        polish=_options(PolishOptions, tables["polish"], "polish", file)
        if "polish" in tables
        else None,
        report=ReportOptions(
            **decode_options(ReportOptions, tables.get("report", {}), where="report", file=file)
        ),
        file=file,
    )


def _options(cls: type[T], table: Mapping[str, Any], where: str, file: Path | None) -> T:
    try:
        return cls(**decode_options(cls, table, where=where, file=file))
    except ConfigError as error:
        raise locate_error(error, where, file) from error


def _expand_paths(dataset: Any, file: Path | None) -> Any:
    if isinstance(dataset, str) and not dataset.strip():
        raise ConfigError(
            f"{place_text('data', file)}dataset is empty; give the path of a file or a folder.",
            key="data.dataset",
            file=file,
        )
    if isinstance(dataset, list | tuple):
        return [_expand_paths(path, file) for path in dataset]
    if isinstance(dataset, Mapping):
        return {
            split: [_expand_paths(path, file) for path in paths]
            if isinstance(paths, list | tuple)
            else paths
            for split, paths in dataset.items()
        }
    try:
        text = string.Template(str(dataset)).substitute(os.environ)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{file}: [data] dataset = {dataset!r} names an environment variable that is not set "
            f"({error}). Set it, or write the path; a dollar sign of the path itself is written "
            "$$.",
            key="data.dataset",
            file=file,
        ) from error
    path = Path(text).expanduser()
    return str(path if file is None else file.parent / path)


def blame_override(error: ConfigError, overrides: Sequence[str], file: Path) -> ConfigError:
    """Return `error` as one of the `--set` that gave its value, where one did."""
    key = error.key or ""
    for override in reversed(overrides):
        path = override.partition("=")[0].strip()
        if key and (path == key or path.startswith(f"{key}.")) and str(file) in str(error):
            text = str(error).replace(f"{file}: ", "", 1)
            return ConfigError(f"--set {override}: {text}", key=error.key)
    return error


def _apply_override(tables: dict[str, Any], override: str) -> None:
    """Set the value that `override`, such as `model.model.hidden_size=4`, names in `tables`."""
    if "\n" in override or "\r" in override:
        raise ConfigError(
            f"--set {override!r} has a line break; give each --set one value in one line.",
            key=override.partition("=")[0],
        )
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(
            f"--set {override!r}: write SECTION.KEY=VALUE, such as train.lr=1e-3.", key=path
        )
    place: Any = tables
    for depth, key in enumerate(keys[:-1]):
        if isinstance(place, list):
            place = place[_list_place(place, key, override, keys[:depth])]
            continue
        inner = place.setdefault(key, {})
        if isinstance(inner, str) and depth:
            # A component by its name alone gets options beside it.
            inner = place[key] = {"name": inner}
        if not isinstance(inner, dict | list):
            raise ConfigError(
                f"--set {override!r}: {'.'.join(keys[: depth + 1])} is {inner!r} and has no "
                f"{keys[depth + 1]!r}.",
                key=path,
            )
        place = inner
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except RecursionError as error:
        raise ConfigError(f"--set {path}: its brackets are nested too deeply.", key=path) from error
    if isinstance(place, list):
        place[_list_place(place, keys[-1], override, keys[:-1])] = value
    else:
        place[keys[-1]] = value


def _list_place(tables: Sequence[Any], key: str, override: str, above: Sequence[str]) -> int:
    if not key.isdecimal() or int(key) >= len(tables):
        have = f"0 to {len(tables) - 1}" if tables else "none"
        raise ConfigError(
            f"--set {override!r}: {'.'.join(above)} is a list of tables; name one of them by its "
            f"number, {have}, such as {'.'.join(above)}.0.weight=2.",
            key=override.partition("=")[0],
        )
    return int(key)


def drop_none(value: Any) -> Any:
    """Return `value` in the types that TOML has; None has no form there and is left out."""
    if isinstance(value, Mapping):
        return {key: drop_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [drop_none(item) for item in value]
    return str(value) if isinstance(value, Path) else value
