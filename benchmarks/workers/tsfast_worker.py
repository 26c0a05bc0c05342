"""TSFast: its learners on its data loaders, as its documentation calls them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from tsfast.basics import InferenceWrapper, RNNLearner, TCNLearner, create_dls

from benchmarks.cases import TCN_LEVELS
from benchmarks.workers.serving import Measure, peak_memory, rate, serve


def learner_of(cell: str, hidden: int, dls: Any) -> Any:
    if cell == "tcn":
        return TCNLearner(dls, TCN_LEVELS, hidden, n_skip=0, show_bar=False)
    return RNNLearner(dls, rnn_type=cell, hidden_size=hidden, show_bar=False)


def loaders_of(data: str, window: int, batch: int, steps: int, **options: Any) -> Any:
    sizes = {"win_sz": window, "bs": batch, "n_batches_train": steps}
    return create_dls(u=["u"], y=["y"], dataset=Path(data), stp_sz=1, **sizes, **options)


def training(
    cell: str, data: str, batch: int, window: int, hidden: int, steps: int, seconds: float
) -> Measure:
    learner = learner_of(cell, hidden, loaders_of(data, window, batch, steps))

    def epoch() -> int:
        learner.fit(1, lr=1e-3)
        return steps * batch

    epoch()
    return lambda: rate(epoch, seconds)


def startup(cell: str, data: str, batch: int, window: int, hidden: int, steps: int) -> Measure:
    """Be ready when the first epoch is done."""
    learner = learner_of(cell, hidden, loaders_of(data, window, batch, steps))
    learner.fit(1, lr=1e-3)
    return lambda: None


def memory(**options: Any) -> Measure:
    run = training(**options)

    def measure() -> float:
        run()
        return peak_memory()

    return measure


def data_path(
    data: str, batch: int, window: int, steps: int, seconds: float, *, resident: bool
) -> Measure:
    """Its own way to keep data in memory is `cache`."""
    dls = loaders_of(data, window, batch, steps, cache=resident)

    def epoch() -> int:
        return sum(1 for _ in dls.train)

    epoch()
    return lambda: rate(epoch, seconds)


def simulation(data: str, hidden: int, samples: int, seconds: float) -> Measure:
    wrapped = InferenceWrapper(learner_of("gru", hidden, loaders_of(data, 200, 64, 1)))
    u = np.random.default_rng(0).standard_normal(samples).astype(np.float32)

    def whole() -> int:
        return len(wrapped(u))

    whole()
    return lambda: rate(whole, seconds)


def accuracy(
    data: Mapping[str, Sequence[str]],
    u: list[str],
    y: list[str],
    skip: int,
    budget: float,
    steps: int | None,
    seed: int,
) -> Measure:
    """Its recipe: GRU 100, windows of 200, batches of 64, L1, Adam 3e-3, flat-cosine.

    Where a file is shorter than a window, windows are as long as the shortest one: its loaders
    would have none of that file.
    """
    in_epoch = 50
    shortest = min(len(_read(path, u[:1])) for path in (*data["train"], *data["valid"]))
    dls = create_dls(
        u=u,
        y=y,
        dataset={split: list(paths) for split, paths in data.items()},
        win_sz=min(200, shortest),
        stp_sz=1,
        bs=64,
        n_batches_train=in_epoch,
    )

    def new_learner() -> Any:
        torch.manual_seed(seed)
        return RNNLearner(dls, rnn_type="gru", hidden_size=100, n_skip=50, show_bar=False)

    learner = new_learner()
    begin = time.perf_counter()
    taken: list[float] = []
    while len(taken) < 2 or not (steps or time.perf_counter() - begin > 0.1 * budget):
        start = time.perf_counter()
        learner.fit(1)
        taken.append(time.perf_counter() - start)
    seconds_each = sum(taken[1:]) / len(taken[1:])
    epochs = max(1, round(steps / in_epoch) if steps else int(budget / seconds_each))
    learner = new_learner()

    def measure() -> dict[str, Any]:
        begin = time.perf_counter()
        learner.fit_flat_cos(epochs, 3e-3)
        seconds = time.perf_counter() - begin
        wrapped = InferenceWrapper(learner)
        errors = {}
        for path in data["test"]:
            wrong = wrapped(_read(path, u)) - _read(path, y)
            errors[Path(path).stem] = float(np.sqrt(np.mean(wrong[skip:] ** 2)))
        return {"rmse": errors, "steps": epochs * in_epoch, "seconds": seconds}

    return measure


def _read(path: str, names: list[str]) -> Any:
    """Return signals of a file, (time, channels)."""
    with h5py.File(path) as file:
        return np.stack([file[name][:] for name in names], -1).astype(np.float32)


if __name__ == "__main__":
    torch.set_num_threads(2)
    tasks = (training, startup, memory, data_path, simulation, accuracy)
    serve({task.__name__: task for task in tasks}, ("tsfast", "torch"))
