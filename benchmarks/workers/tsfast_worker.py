"""TSFast: its learners on its data loaders, as its documentation calls them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

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
    data: Mapping[str, Sequence[str]] | str,
    u: list[str],
    y: list[str],
    skip: int,
    budget: float,
    steps: int | None,
    seed: int,
) -> Measure:
    """Its recipe: GRU 100, windows of 200, batches of 64, L1, Adam 3e-3, flat-cosine."""
    import h5py

    torch.manual_seed(seed)
    in_epoch = 50
    dls = create_dls(
        u=u,
        y=y,
        dataset=Path(data) if isinstance(data, str) else dict(data),
        win_sz=200,
        stp_sz=1,
        bs=64,
        n_batches_train=in_epoch,
    )
    learner = RNNLearner(dls, rnn_type="gru", hidden_size=100, n_skip=50, show_bar=False)
    before = deepcopy(learner.model.state_dict())
    begin, taken = time.perf_counter(), []
    while len(taken) < 2 or not (steps or time.perf_counter() - begin > 0.1 * budget):
        start = time.perf_counter()
        learner.fit(1)
        taken.append(time.perf_counter() - start)
    learner.model.load_state_dict(before)
    epochs = int(budget / (sum(taken[1:]) / len(taken[1:])))
    epochs = max(1, round(steps / in_epoch) if steps else epochs)

    def measure() -> dict[str, Any]:
        begin = time.perf_counter()
        learner.fit_flat_cos(epochs, 3e-3)
        seconds = time.perf_counter() - begin
        wrapped = InferenceWrapper(learner)
        errors = {}
        for path in _test_files(data):
            with h5py.File(path) as file:
                inputs, measured = (
                    np.stack([file[name][:] for name in names], -1).astype(np.float32)
                    for names in (u, y)
                )
            wrong = wrapped(inputs) - measured
            errors[path.stem] = float(np.sqrt(np.mean(wrong[skip:] ** 2)))
        return {"rmse": errors, "steps": epochs * in_epoch, "seconds": seconds}

    return measure


def _test_files(data: Mapping[str, Sequence[str]] | str) -> list[Path]:
    if isinstance(data, str):
        return sorted((Path(data) / "test").glob("*.hdf5"))
    return [Path(path) for path in data["test"]]


if __name__ == "__main__":
    torch.set_num_threads(2)
    tasks = (training, startup, memory, data_path, simulation, accuracy)
    serve({task.__name__: task for task in tasks}, ("tsfast", "torch"))
