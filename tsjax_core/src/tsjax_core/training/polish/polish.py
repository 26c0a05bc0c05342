"""Polishing a learner's model: Gauss-Newton steps on whole training records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from tsjax_core.errors import ConfigError, ModelError, TrainingError
from tsjax_core.models.layers import machine_memory
from tsjax_core.protocols import StatefulModel
from tsjax_core.signatures import name_of
from tsjax_core.training.optimizer.parameter_names import (
    check_patterns,
    first_match,
    parameter_name,
)
from tsjax_core.training.polish.further_terms import find_further_terms
from tsjax_core.training.polish.levenberg_marquardt import LevenbergMarquardt, PolishState
from tsjax_core.training.polish.options import (
    PolishFit,
    PolishOptions,
    state_from_arrays,
    state_to_arrays,
)
from tsjax_core.training.polish.problem import SimulationProblem
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.quantities import measure
from tsjax_core.training.records import begin_model
from tsjax_core.types import HostArray

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner

_MOST_STATES = 24
"""States up to which the Jacobian of all records is worth its time."""

_MOST_PARAMETERS = 4000
"""Parameters up to which normal equations are solved."""

_ROWS_OF_A_PART = 12000
"""Outputs whose Jacobian the first steps of the method `part` use, at least."""

_CHUNK = 128
"""Samples in a chunk of a record."""

_START_ITERATIONS = 12
"""Iterations of each of several starts."""

_MOST_FAILURES = 4
"""Steps in a row without gain after which a minimum is taken to be reached."""


def begin_polish(options: PolishOptions) -> PolishFit:
    """Return a polish before its first iteration."""
    bound = 1_000_000 if options.iterations is None else options.iterations + 1
    return PolishFit(bound, np.empty(0, np.float32), 0.0, options=options)


class PolishTask(NamedTuple):
    """The least squares of a polish, how it is solved, and the penalty of each parameter (P,)."""

    problem: SimulationProblem
    method: str
    penalty: HostArray | None


def make_task(learner: Learner, options: PolishOptions) -> PolishTask:
    """Return what `options` ask for; the method is never `auto`.

    Raises:
        ModelError: The model is no `StatefulModel`, or reads more than inputs and scalars.
        ConfigError: A pattern matches no parameter, a channel is unknown, or the matrices of the
            method do not fit into memory.
    """
    model, signals = learner.model, learner.signals
    if not isinstance(model, StatefulModel) or signals.target != "y":
        raise ModelError(
            f"polish got a {name_of(type(model))} for {signals.target!r}; it trains models that "
            "are a StatefulModel (initial_state and advance) with output sequences. Train others "
            "with fit."
        )
    if set(learner.reads) - {"u", "u_scalar"}:
        raise ModelError(
            f"polish got a model that reads {', '.join(learner.reads)}; it simulates whole records "
            "from 'u' and 'u_scalar' alone. Train models with measured outputs as input with fit."
        )
    params = nnx.state(model, nnx.Param)
    check_patterns(list(options.frozen), params, key="frozen") if options.frozen else None
    unknown = [name for name in options.channel_weights if name not in signals.outputs]
    if unknown:
        raise ConfigError(
            f"channel_weights names {', '.join(unknown)}, and the outputs are "
            f"{', '.join(signals.outputs)}.",
            key="channel_weights",
        )
    weights = np.array([float(options.channel_weights.get(name, 1.0)) for name in signals.outputs])
    if not weights.any():
        raise ConfigError(
            "channel_weights are 0 for every output; give one of them more.", key="channel_weights"
        )
    penalty = penalty_of(learner, options)
    method = _method_of(model, params, options)
    problem = SimulationProblem(
        model,
        learner.training_records(),
        np.asarray(signals.stats["y"].std, np.float64),
        weights,
        trained_filter(options.frozen),
        np.float64 if method == "exact" else np.float32,
        _CHUNK,
        find_further_terms(learner.terms, learner.reads, signals),
    )
    if not problem.count:
        raise ConfigError(
            f"no sample of the training records counts: n_skip = {learner.n_skip}, and the longest "
            f"record has {problem.longest} samples. Give a smaller n_skip.",
            key="n_skip",
        )
    return PolishTask(problem, method, penalty)


def trained_filter(frozen: Any) -> Callable[[Any, Any], bool]:
    """Return the filter of flax for parameters that no pattern of `frozen` names."""
    patterns = tuple(frozen)

    def is_trained(path: Any, variable: Any) -> bool:
        if not issubclass(getattr(variable, "type", type(variable)), nnx.Param):
            return False
        return first_match(".".join(map(str, path)), patterns) is None

    return is_trained


def trains_starts(learner: Learner, options: PolishOptions) -> bool:
    """Return whether the initial state of each record is trained along."""
    if options.initial_states == "auto":
        return learner.initial_state.needs_outputs
    return options.initial_states == "trained"


def _method_of(model: Any, params: Any, options: PolishOptions) -> str:
    n_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    n_states = sum(
        int(np.prod(np.shape(leaf)[1:])) for leaf in jax.tree.leaves(model.initial_state(1))
    )
    method: str = options.method
    if method == "auto":
        method = "exact" if n_states <= _MOST_STATES else "part"
        if n_params > _MOST_PARAMETERS or n_states * n_params > 1 << 19:
            method = "conjugate"
    needed = 8 * 8 * n_params**2
    if method != "conjugate" and needed > machine_memory():
        raise ConfigError(
            f"method = {method!r} needs {needed / 1e9:.1f} GB for the matrices of {n_params} "
            f"parameters, and this machine has {machine_memory() / 1e9:.1f} GB; give "
            "method = 'conjugate'.",
            key="method",
        )
    return method


def penalty_of(learner: Learner, options: PolishOptions) -> HostArray | None:
    """Return the penalty of each trained parameter, (P,), None where there is none."""
    if not options.penalty:
        return None
    patterns = list(options.penalty)
    params = nnx.state(learner.model, trained_filter(options.frozen))
    check_patterns(patterns, params, key="penalty")
    parts = []
    for path, leaf in jax.tree.leaves_with_path(params):
        match = first_match(parameter_name(path), patterns)
        weight = 0.0 if match is None else float(options.penalty[patterns[match]])
        parts.append(np.full(leaf.size, weight))
    return np.concatenate(parts)


def run_polish(
    learner: Learner, fit: PolishFit, task: PolishTask | None = None
) -> Iterator[EpochResult]:
    """Yield the results of a polish of `learner`, as `Learner.polish_iter`.

    `task` is what `make_task` returned, where it was called before.
    """
    options = fit.options
    problem, method, penalty = task or make_task(learner, options)
    solver: Any
    if method == "conjugate":
        from tsjax_core.training.polish.conjugate import ConjugateGaussNewton

        solver = ConjugateGaussNewton(problem, penalty=penalty)
    else:
        rows = _ROWS_OF_A_PART if method == "part" else np.inf
        solver = LevenbergMarquardt(
            problem,
            train_starts=trains_starts(learner, options),
            penalty=penalty,
            share=float(max(rows, 4.0 * problem.n_params) / max(problem.count, 1.0)),
        )
    begin = time.perf_counter()
    if fit.opt_state is None:
        starts = np.zeros((problem.n_records, problem.n_states))
        state = solver.begin(problem.theta, starts)
        if not np.isfinite(state.cost):
            raise TrainingError(
                "the simulations of the training records leave the range of numbers, so that there "
                "is nothing to polish; train with fit first, or begin from a linear model."
            )
        yield _finish(learner, fit, solver, state, begin)
        if options.starts > 1:
            begin = time.perf_counter()
            state = _choose_start(learner, options, solver, state)
            yield _finish(learner, fit, solver, state, begin)
    else:
        state = solver.resume(state_from_arrays(fit.opt_state, problem.n_records))
    while not (ended := _reason_to_end(learner, fit, state)):
        begin = time.perf_counter()
        state = solver.step(state)
        yield _finish(learner, fit, solver, state, begin)
    fit.ended = ended


def _choose_start(
    learner: Learner, options: PolishOptions, solver: LevenbergMarquardt, own: PolishState
) -> PolishState:
    """Return the best on validation of several models after a few iterations each.

    The learner's own model is one of them, as it is and after its iterations.

    Raises:
        ConfigError: The model was given ready-made, so that it cannot be begun from other seeds.
    """
    if learner.spec is None:
        raise ConfigError(
            f"starts = {options.starts} begins models from other seeds, and the learner was given "
            "a model; give it a specification, or starts = 1.",
            key="starts",
        )
    problem = solver.problem
    before = nnx.state(learner.model)
    best, least = own, learner.evaluator.begin("valid", learner.model).result().loss
    try:
        for number in range(options.starts):
            theta = problem.theta
            if number:
                other = begin_model(learner.spec, learner.pipeline, seed=learner.seed + number)
                theta = problem.parameters_of(other)
            state = solver.begin(theta, np.zeros_like(own.starts))
            while state.iteration < _START_ITERATIONS and state.failures < _MOST_FAILURES:
                state = solver.step(state)
            problem.update(learner.model, state.theta)
            loss = learner.evaluator.begin("valid", learner.model).result().loss
            if np.isfinite(loss) and not loss >= least:
                best, least = state, loss
    finally:
        nnx.update(learner.model, before)
    # The solver goes on from there.
    return solver.resume(best)


def _finish(learner: Learner, fit: PolishFit, solver: Any, state: Any, begin: float) -> EpochResult:
    """Give the learner what an iteration found, and return its result."""
    problem = solver.problem
    before = learner.snapshot()
    try:
        if fit.done:
            problem.update(learner.model, state.theta)
        validation = learner.evaluator.begin("valid", learner.model).result()
    except BaseException:
        learner.restore(before)
        raise
    seconds = time.perf_counter() - begin
    result = EpochResult(
        fit.done,
        state.cost / problem.count,
        validation.loss,
        validation.metrics,
        seconds=seconds,
        quantities=measure(learner.model),
    )
    fit.opt_state = state_to_arrays(state)
    fit.seconds += seconds
    fit.done += 1
    learner.history.append(result)
    budget = fit.options.seconds
    learner.progress = min(
        1.0, max(fit.done / fit.n_epochs, fit.seconds / budget if budget else 0.0)
    )
    return result


def _reason_to_end(learner: Learner, fit: PolishFit, state: Any) -> str:
    options = fit.options
    if state.failures >= _MOST_FAILURES:
        return "converged: no step makes the error on the training records smaller"
    if options.iterations is not None and fit.done > options.iterations:
        return f"{options.iterations} iterations are done"
    if options.seconds is not None and fit.seconds >= options.seconds:
        return f"{options.seconds:g} s are over"
    if options.patience is not None:
        losses = [result.valid_loss for result in learner.history[-fit.done :]]
        best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else 0
        if len(losses) - 1 - best >= options.patience:
            return (
                f"validation has not been better for {options.patience} iterations, while the "
                "error on the training records falls: the model begins to overfit"
            )
    return ""
