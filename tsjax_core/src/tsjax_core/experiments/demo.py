"""The demonstration: from simulated measurements to a validated model in a minute."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from tsjax_core.data.simulated import SAMPLING_RATE, write_duffing
from tsjax_core.directories import free_directory
from tsjax_core.errors import RunDirectoryError
from tsjax_core.experiments.experiment import load_experiment
from tsjax_core.experiments.report import score_table
from tsjax_core.experiments.run import train

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
    console.print(score_table(result.evaluation, reference=result.reference))
    for figure in result.figures:
        console.print(f"figure: {figure}")
    console.print(f"done in {time.perf_counter() - begin:.0f} s. Try next:")
    console.print(f"  tsjax evaluate {out / 'run'} --split valid")
    console.print(f"  tsjax train {file} --set model.name=core/lstm")
    return out
