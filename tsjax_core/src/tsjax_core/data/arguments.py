"""Arguments of `create_grain_dls` that are checked against each other and against the files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsjax_core.checks import nearest
from tsjax_core.data.checks import listing
from tsjax_core.data.rates import DT_TOLERANCE
from tsjax_core.data.sources import FullSequenceSource
from tsjax_core.data.stats import ChannelStats
from tsjax_core.data.store import SPLITS, Split
from tsjax_core.errors import ConfigError, DataError
from tsjax_core.protocols import LocatingStore, SampledStore, SignalStore, UnitStore

_TAKEN = ("u", "y", "u_scalar", "y_scalar", "position")


def check_names(key: str, names: Any) -> tuple[str, ...]:
    """Return the channel names `names` as a tuple.

    Raises ConfigError unless they are a list of different, non-empty strings.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConfigError(f'{key} is {names!r}; give a list of names, such as ["u"].', key=key)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{key} has {name!r}; a name is a non-empty text.", key=key)
        if list(names).count(name) > 1:
            raise ConfigError(f"{key} names {name!r} more than once.", key=key)
    return tuple(names)


def check_inputs_and_outputs(names: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError for no input, no output, or a channel that is both.

    `names` has the names of `u`, `y`, `u_scalars` and `y_scalars`.
    """
    if not names["u"]:
        raise ConfigError("u is empty; name at least one input channel.", key="u")
    if not names["y"] and not names["y_scalars"]:
        raise ConfigError(
            "y and y_scalars are empty; name at least one output channel or scalar target.", key="y"
        )
    for inputs, outputs in (("u", "y"), ("u_scalars", "y_scalars")):
        both = [name for name in names[outputs] if name in names[inputs]]
        if both:
            raise ConfigError(
                f"{both[0]!r} is in {inputs} and in {outputs}: the model would be given what it "
                "is to predict. Leave it out of one; models that feed outputs back, such as those "
                "of tsjax-ar, take them from y.",
                key=inputs,
            )


def check_further(further: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of further signals by batch key.

    Raises ConfigError unless each is a list of names under a key that batches do not have yet.
    """
    if further is None:
        return {}
    if not isinstance(further, Mapping):
        raise ConfigError(
            f'further is {further!r}; give lists of names by batch key, such as {{"mask": '
            '["movement"]}.',
            key="further",
        )
    for key in further:
        if key in _TAKEN or not str(key).isidentifier() or str(key).endswith("_scalar"):
            raise ConfigError(
                f"further has the key {key!r}; give a name of letters that is none of "
                f"{', '.join(_TAKEN)} and does not end in '_scalar'.",
                key="further",
            )
    return {key: check_names(f"further.{key}", names) for key, names in further.items()}


def warn_of_overlap(files: Mapping[Split, Sequence[Path]]) -> None:
    """Warn of training files that are also used to validate or test, or that are there twice."""
    every = [path.resolve() for path in files["train"]]
    twice = [path for n, path in enumerate(files["train"]) if path.resolve() in every[:n]]
    if twice:
        warnings.warn(
            f"{listing(twice, shown=5)}: twice in train, so that it counts twice.", stacklevel=3
        )
    train = {path.resolve() for path in files["train"]}
    for split in SPLITS[1:]:
        both = [path for path in files[split] if path.resolve() in train]
        if both:
            warnings.warn(
                f"{listing(both, shown=5)}: in train and in {split}; figures of {split} will be "
                "better than on data that the model has not seen.",
                stacklevel=3,
            )


def check_offset_names(offsets: Mapping[str, float] | None, names: Sequence[str]) -> None:
    """Raise ConfigError for an offset of something that is no signal of the data set."""
    for name in offsets or {}:
        if name not in names:
            raise ConfigError(
                f"offsets names {name!r}, which is no signal of the data set: {listing(names)}."
                f"{nearest(name, names)}",
                key="offsets",
            )


def check_same_numbers(
    stores: Mapping[Split, SignalStore], inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Raise ConfigError where two names are those of the same numbers, such as `y` and `/y`."""
    store = stores["train"]
    if not isinstance(store, LocatingStore):
        return
    path = store.paths[0]
    places: dict[object, str] = {}
    for name in (*inputs, *outputs):
        other = places.setdefault(store.locate(path, name), name)
        if other == name:
            continue
        problem = (
            "the model would be given what it is to predict"
            if other in inputs and name in outputs
            else "it would count twice"
        )
        raise ConfigError(
            f"{other!r} and {name!r} are the same numbers in {path}: {problem}. Leave one out.",
            key="u",
        )


def find_units(store: SignalStore, names: Sequence[str]) -> dict[str, str]:
    """Return the units of signals as the first file states them, only of those that have one."""
    if not isinstance(store, UnitStore):
        return {}
    path = store.paths[0]
    units = {name: store.get_unit(path, name) for name in names}
    return {name: unit for name, unit in units.items() if unit}


def warn_of_copies(scans: Mapping[Split, Mapping[str, ChannelStats]]) -> None:
    """Warn of files that hold the same samples as a training file."""
    first: dict[tuple[int, ...], Path] = {}
    for split in SPLITS:
        every = list({id(scan): scan for scan in scans[split].values()}.values())
        copies = []
        for path in every[0].checksums if every else ():
            # Records in memory are given on purpose.
            if not path.exists() and not path.parent.is_file():
                continue
            key = tuple(scan.checksums[path] for scan in every)
            same = first.get(key)
            if same is not None and same.resolve() != path.resolve():
                copies.append(f"{path} (as {same})")
            if split == "train":
                first.setdefault(key, path)
        if copies:
            meaning = (
                f"figures of {split} will be better than on data that the model has not seen"
                if split != "train"
                else "they count more than once in training"
            )
            warnings.warn(
                f"{split} has the same samples as other files of train: "
                f"{listing(copies, shown=3)}; {meaning}.",
                stacklevel=3,
            )


def check_lengths(records: Mapping[Split, FullSequenceSource]) -> None:
    """Raise DataError for a file without a sample."""
    for split, source in records.items():
        for path, length in zip(source.paths, source.lengths.tolist(), strict=True):
            if not length:
                raise DataError(
                    f"{path}: it has no sample; take it out of {split}, or record it again.",
                    path=path,
                )


def common_dt(stores: Sequence[SignalStore], given: float | None) -> float | None:
    """Return the sampling time of all files in seconds, None where neither they nor `given` say.

    Files that do not say are taken to have the sampling time of the others. Raises DataError where
    two files, or a file and `given`, differ by more than one part in a thousand.
    """
    known: tuple[str, float] | None = None if given is None else ("dt", given)
    sampled = [store for store in stores if isinstance(store, SampledStore)]
    for store in sampled:
        for path in store.paths:
            dt = store.get_dt(path)
            if dt is None:
                continue
            if known is None:
                known = (str(path), dt)
            elif abs(dt / known[1] - 1) > DT_TOLERANCE:
                advice = "Leave dt out" if known[0] == "dt" else "Bring them to one with target_fs"
                raise DataError(
                    f"sampling times differ: {known[0]} = {known[1]:.9g} s, {path} = {dt:.9g} s. "
                    f"{advice}, or correct the files.",
                    path=path,
                )
    return None if known is None else known[1]
