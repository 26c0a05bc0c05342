"""The demonstration: from simulated measurements to a validated model in a minute."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tsjax_core.data.simulated import SAMPLING_RATE, write_duffing
from tsjax_core.data.store import Split
from tsjax_core.directories import free_directory
from tsjax_core.errors import RunDirectoryError
from tsjax_core.experiments.experiment import load_experiment
from tsjax_core.experiments.run import train
from tsjax_core.losses.regression import fit_percent, nrmse
from tsjax_core.models.arx_coefficients import select_arx
from tsjax_core.training.evaluation import Evaluation
from tsjax_core.training.learner import Learner
from tsjax_core.types import HostArray

EXPERIMENT = """\
[data]
dataset = "data"
u = ["u"]
y = ["y"]
win_sz = 300
stp_sz = 25
bs = 16
valid = "files"

[model]
name = "core/gru"
hidden_size = 32

[train]
epochs = 40
n_skip = 100
seed = {seed}
metrics = ["core/nrmse", "core/fit_percent"]
"""


def run_demo(out: Path | None, seed: int, console: Console, *, data_only: bool = False) -> Path:
    """Write data, train on them, compare with a linear ARX model, and return the directory.

    With `data_only`, the data and the experiment are written and nothing is trained.

    Raises:
        RunDirectoryError: `out` was given and exists.
    """
    if out is not None and out.exists():
        raise RunDirectoryError(
            f"{out} exists; nothing was written. Choose another directory with --out.", path=out
        )
    out = free_directory(Path("tsjax-demo")) if out is None else out
    begin = time.perf_counter()
    write_duffing(out / "data", seed=seed)
    console.print(
        f"data: an electronic Duffing oscillator, voltage in, voltage out, {SAMPLING_RATE} Hz, "
        f"noisy, simulated\n      {out / 'data'}"
    )
    file = out / "experiment.toml"
    file.write_text(EXPERIMENT.format(seed=seed), encoding="utf-8")
    if data_only:
        console.print(f"experiment, not run: {file}")
        return out
    console.print(f"training a GRU as {file} says")
    result = train(load_experiment(file), out / "run", console)
    console.print(_compare(result.learner, result.evaluation))
    for figure in result.figures:
        console.print(f"figure: {figure}")
    console.print(f"done in {time.perf_counter() - begin:.0f} s. Try next:")
    console.print(f"  tsjax evaluate {out / 'run'} --split valid")
    console.print(f"  tsjax train {file} --set model.name=core/lstm")
    return out


def _records(learner: Learner, split: Split) -> list[tuple[HostArray, HostArray]]:
    records = learner.pipeline.records(split)
    samples = [records[index] for index in range(len(records))]
    return [(sample["u"], sample["y"]) for sample in samples]


def _compare(learner: Learner, evaluation: Evaluation) -> Table:
    linear = select_arx(_records(learner, "train"), _records(learner, "valid"))
    table = Table(title="test, simulated from the input alone", title_justify="left")
    for column in ("file", "model", "NRMSE", "fit in %"):
        table.add_column(column, justify="right" if column in ("NRMSE", "fit in %") else "left")
    order = linear.a.shape[0]
    records = _records(learner, "test")
    for (file, pred, target), (u, _) in zip(evaluation.paired_files, records, strict=True):
        simulated = linear.simulate(u)[learner.n_skip :].astype(np.float32)
        for name, y in (("GRU", pred), (f"linear ARX, order {order}", simulated)):
            scores = (f"{float(nrmse(y, target)):.4f}", f"{float(fit_percent(y, target)):.2f}")
            table.add_row(file, name, *scores)
    return table
