"""tsjax: its learner on its pipeline, by public names only."""

from __future__ import annotations

import sys
import time
from collections import deque
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from benchmarks.cases import TCN_LEVELS
from benchmarks.workers.serving import Measure, Missing, peak_memory, rate, serve
from tsjax_core import (
    GRU,
    LSTM,
    RNN,
    GrainPipeline,
    Learner,
    NormStats,
    Signals,
    Simulator,
    create_grain_dls,
    fit_population,
    predict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCHS = 100
"""Epochs of each fit; when they are over, the next fit begins."""


def pipeline_of(data: str, **options: Any) -> GrainPipeline:
    return create_grain_dls(["u"], ["y"], data, **options)


def learner_of(
    cell: str, hidden: int, pipeline: GrainPipeline, *, seed: int = 0, devices: int = 1
) -> Learner:
    """Return a learner whose model is of the same form as the peers'."""
    if cell == "tcn":
        from tsjax_tcn import TCN

        spec: Any = TCN(num_layers=TCN_LEVELS, hidden_size=hidden)
    else:
        spec = {"rnn": RNN, "gru": GRU, "lstm": LSTM}[cell](hidden_size=hidden)
    return Learner(spec, pipeline, n_skip=0, seed=seed, devices=devices)


def epochs_of(learner: Learner) -> Iterator[Any]:
    """Train on and on, fit after fit."""
    while True:
        yield from learner.fit_iter(EPOCHS, lr=1e-3)


def training(
    cell: str,
    data: str,
    batch: int,
    window: int,
    hidden: int,
    steps: int,
    seconds: float,
    devices: int = 1,
    *,
    resident: bool | None = None,
) -> Measure:
    options = {"win_sz": window, "bs": batch, "n_batches": steps, "resident": resident}
    learner = learner_of(cell, hidden, pipeline_of(data, **options), devices=devices)
    epochs = epochs_of(learner)

    def epoch() -> int:
        next(epochs)
        return steps * batch

    for _ in range(2):
        epoch()
    return lambda: rate(epoch, seconds)


def memory(**options: Any) -> Measure:
    run = training(**options)

    def measure() -> float:
        run()
        return peak_memory()

    return measure


def scaling(**options: Any) -> Measure:
    """Throughput and peak memory together."""
    run = training(**options)
    return lambda: (run(), peak_memory())


def data_path(
    data: str, batch: int, window: int, steps: int, seconds: float, *, resident: bool
) -> Measure:
    options = {"win_sz": window, "bs": batch, "n_batches": steps, "resident": resident}
    pipeline = pipeline_of(data, **options)
    numbers = iter(range(1 << 30))

    def streamed() -> int:
        for read in pipeline.train_batches(next(numbers)):
            arrays = jax.device_put(read)
        jax.block_until_ready(arrays)
        return steps

    if not resident:
        streamed()
        return lambda: rate(streamed, seconds)

    # The training step cuts its windows in the same way, as a part of its program.
    signals = jax.device_put(pipeline.train.read_resident())

    @jax.jit
    def cut(signals: Any, starts: Any) -> Any:
        def one(start: Any) -> Any:
            return {
                key: jax.lax.dynamic_slice_in_dim(x, start, window) for key, x in signals.items()
            }

        return jax.vmap(one)(starts)

    def on_device() -> int:
        for indices in pipeline.batch_indices(next(numbers)):
            starts, _ = pipeline.train.locate(indices)
            arrays = cut(signals, starts)
        jax.block_until_ready(arrays)
        return steps

    on_device()
    return lambda: rate(on_device, seconds)


def simulation(hidden: int, samples: int, seconds: float, **others: Any) -> Measure:
    model = GRU(hidden_size=hidden).build(_signals(), rngs=nnx.Rngs(0))
    u = np.random.default_rng(0).standard_normal(samples).astype(np.float32)

    def whole() -> int:
        return len(predict(model, u))

    whole()
    return lambda: rate(whole, seconds)


def streaming_step(hidden: int, seconds: float) -> Measure:
    model = GRU(hidden_size=hidden).build(_signals(), rngs=nnx.Rngs(0))
    simulator = Simulator(model)
    samples = cycle(np.random.default_rng(0).standard_normal((1000, 1)).astype(np.float32))

    def steps() -> int:
        for _ in range(200):
            simulator.step(next(samples))
        return 200

    steps()
    return lambda: 1e6 / rate(steps, seconds)


def population(
    data: str,
    batch: int,
    window: int,
    hidden: int,
    steps: int,
    members: int,
    *,
    epochs: int,
    together: bool,
    devices: int,
    fresh: bool,
) -> Measure:
    """Windows per second of all members, which take the same batches.

    They are trained on and on, or, with `fresh`, built anew each time.
    """
    pipeline = pipeline_of(data, win_sz=window, bs=batch, n_batches=steps)

    def made() -> list[Learner]:
        return [
            learner_of("gru", hidden, pipeline, seed=seed, devices=devices)
            for seed in range(members)
        ]

    def train(learners: list[Learner], epochs: int) -> None:
        if together:
            fit_population(learners, epochs, lr=1e-3, show_progress=False)
            return
        for learner in learners:
            learner.fit(epochs, lr=1e-3, show_progress=False)

    learners = made()
    train(learners, 1)

    def measure() -> float:
        begin = time.perf_counter()
        train(made() if fresh else learners, epochs)
        return members * epochs * steps * batch / (time.perf_counter() - begin)

    return measure


def _signals() -> Signals:
    stats = {key: NormStats([0.0], [1.0]) for key in "uy"}
    return Signals(("u",), ("y",), stats)


def startup(cell: str, data: str, batch: int, window: int, hidden: int, steps: int) -> Measure:
    """Be ready when the first epoch is done."""
    learner = learner_of(cell, hidden, pipeline_of(data, win_sz=window, bs=batch, n_batches=steps))
    learner.fit(1, lr=1e-3, show_progress=False)
    return lambda: None


def accuracy(
    file: str, overrides: list[str], skip: int, budget: float, steps: int | None, seed: int
) -> Measure:
    """Train the experiment for `budget` seconds, or so many steps; the schedule ends with them."""
    from tsjax_core.errors import DivergenceError
    from tsjax_core.experiments.experiment import load_experiment
    from tsjax_core.training.schedules import SCHEDULES
    from tsjax_core.training.stopping import EarlyStopping

    overrides = [*overrides, f"train.seed={seed}"]
    experiment = load_experiment(file, overrides)
    train, learner = experiment.train, experiment.build()
    epochs = 1
    if steps:
        # In equal epochs, none longer than those of the experiment.
        epochs = -(-steps // learner.pipeline.steps_per_epoch)
        learner = load_experiment(file, [*overrides, f"data.n_batches={steps // epochs}"]).build()
    if learner.signals.target != "y":
        raise Missing("its outputs are scalars, and there is nothing to simulate")
    before = learner.snapshot()
    begin, taken = time.perf_counter(), []
    for result in learner.fit_iter(1000, train.lr):
        taken.append(result.seconds)
        # The first epoch compiles, and is not counted.
        if len(taken) > 1 and (steps or time.perf_counter() - begin > 0.1 * budget):
            break
    learner.restore(before)
    seconds_each = sum(taken[1:]) / len(taken[1:])
    if not steps:
        epochs = max(1, int(budget / seconds_each))

    def measure() -> dict[str, Any]:
        begin, made = time.perf_counter(), learner.steps
        best = EarlyStopping(
            epochs, 0.0, train.monitored, train.mode, restore_best=train.keep == "best"
        )
        results = learner.fit_iter(epochs, train.lr, SCHEDULES[train.schedule]())
        try:
            deque(best.follow(results, learner), maxlen=0)
        except DivergenceError as error:
            # What was reached before is what the user has.
            print(f"seed {seed}: {error}", file=sys.stderr)
        seconds, made = time.perf_counter() - begin, learner.steps - made
        return {"rmse": _errors(learner, skip), "steps": made, "seconds": seconds}

    return measure


def _errors(learner: Learner, skip: int) -> dict[str, float]:
    """Return the RMSE over all outputs of each test file without its first samples."""
    test, errors = learner.pipeline.test, {}
    for number, name in enumerate(learner.pipeline.file_names("test")):
        record = test[number]
        wrong = learner.predict(*(record[key] for key in learner.reads)) - record["y"]
        errors[Path(name).stem] = float(np.sqrt(np.mean(wrong[skip:] ** 2)))
    return errors


if __name__ == "__main__":
    tasks = (
        training, memory, scaling, data_path, simulation, streaming_step, population, startup,
        accuracy,
    )  # fmt: skip
    serve({task.__name__: task for task in tasks}, ("tsjax-core", "jax", "flax"))
