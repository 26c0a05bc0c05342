"""Files that are not of a run's data set, read as the run reads its own, and scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flax import nnx

from tsjax_core.data.batches import GrainPipeline
from tsjax_core.data.opening import open_signals
from tsjax_core.data.rates import DT_TOLERANCE
from tsjax_core.data.sources import FullSequenceSource, StackedSource
from tsjax_core.data.stats import require_finite, scan_signals
from tsjax_core.errors import DataError
from tsjax_core.experiments.experiment import Experiment
from tsjax_core.experiments.run import load_run
from tsjax_core.protocols import SampledStore, SignalStore
from tsjax_core.training.evaluation import Evaluation
from tsjax_core.training.learner import Learner


def score_files(run: Path, files: Sequence[Path]) -> Evaluation:
    """Return loss and metrics of the model in `run` on `files`; see `learner_on`."""
    return learner_on(run, files).evaluate("test")


def learner_on(run: Path, files: Sequence[Path]) -> Learner:
    """Return a learner with the model in `run`, whose splits are `files`, each as a whole.

    They need inputs and measured outputs by the names of the experiment, and are read as it reads
    its own files. The data that the model was trained on are not needed.

    Raises:
        RunDirectoryError: `run` holds no finished run.
        DataError: A file lacks a signal, has another sampling time than the model, no sample, or
            samples that are not finite where the experiment does not allow them.
    """
    experiment, saved = load_run(run)
    signals, allow_nan = saved.signals, bool(experiment.data.get("allow_nan", False))
    store = open_as_trained(experiment, files, signals.dt, allow_empty=allow_nan)
    source = FullSequenceSource(
        store,
        signals.inputs,
        signals.outputs,
        u_scalars=signals.scalar_inputs,
        y_scalars=signals.scalar_outputs,
        further=signals.further,
    )
    for path, length in zip(source.paths, source.lengths.tolist(), strict=True):
        if not length:
            raise DataError(f"{path}: there is no sample to simulate.", path=path)
    if not allow_nan:
        require_finite([scan_signals(store, [*signals.inputs, *signals.outputs])])
    pipeline = GrainPipeline(
        StackedSource(source),
        source,
        source,
        signals,
        {"train": source, "valid": source, "test": source},
    )
    learner = experiment.build(pipeline, identify=False)
    nnx.update(learner.model, nnx.state(saved.model))
    return learner


def is_hdf5(path: Path) -> bool:
    """Return whether a file is read as HDF5 by its ending."""
    return path.suffix.lower() in (".hdf5", ".h5", ".hdf")


def open_as_trained(
    experiment: Experiment, files: Sequence[Path], dt: float | None, *, allow_empty: bool = False
) -> SignalStore:
    """Return the store of `files`, read as `experiment` reads its own.

    Raises:
        DataError: A file has another sampling time than `dt`, that of the model.
    """
    names = (
        "store",
        "preload",
        "delimiter",
        "decimal",
        "skip_rows",
        "time",
        "time_unit",
        "gaps",
        "groups",
        "offsets",
        "target_fs",
        "resample",
        "dt",
    )
    options = {name: experiment.data[name] for name in names if name in experiment.data}
    if "groups" in options and not any(is_hdf5(path) for path in files):
        del options["groups"]
    store = open_signals(files, **options, allow_empty=allow_empty)
    for path in store.paths:
        found = store.get_dt(path) if isinstance(store, SampledStore) else None
        if dt is not None and found is not None and abs(found / dt - 1.0) > DT_TOLERANCE:
            raise DataError(
                f"{path}: the sampling time is {found:.9g} s, and the model's is {dt:.9g} s. "
                "Resample the file, or train with target_fs, which resamples every file.",
                path=path,
            )
    return store
