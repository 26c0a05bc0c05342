"""Polishing through the learner: what it finds, what it keeps, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
import pytest
from flax import nnx

from tsjax_core import (
    GRULearner,
    Learner,
    RNNLearner,
    create_grain_dls,
    get_model,
    make_learner,
    rmse,
)
from tsjax_core.errors import CheckpointError, ConfigError, ModelError, TrainingError
from tsjax_core.models.linear import Linear
from tsjax_core.training.checkpoints.checkpoints import Checkpoints
from tsjax_core.training.polish import polish as polish_module
from tsjax_core.training.polish.options import PolishOptions

WINDOW = {"initial_state": "window", "init_samples": 20, "metrics": [rmse]}


def disturbed(data, **options) -> Learner:
    """A linear learner whose parameters are a little off."""
    learner = Learner(Linear(order=2, direct=False), data, **{**WINDOW, **options})
    rng = np.random.default_rng(0)
    params = nnx.state(learner.model, nnx.Param)
    noisy = jax.tree.map(lambda x: x * (1 + 0.05 * rng.standard_normal(x.shape)), params)
    nnx.update(learner.model, noisy)
    return learner


def costs(results) -> list[float]:
    return [result.train_loss for result in results]


@pytest.mark.parametrize("gap", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_true_system_is_found_again(make_data, system, gap):
    """From a disturbed start, with the unknown initial states of two records and with gaps."""
    learner = disturbed(make_data(gap=gap))
    results = learner.polish(iterations=12, show_progress=False)
    assert costs(results) == sorted(costs(results), reverse=True)
    assert results[-1].train_loss < 1e-10
    poles = np.sort_complex(learner.model.poles())
    np.testing.assert_allclose(poles, [0.9 - 0.2j, 0.9 + 0.2j], atol=1e-5)
    step = system.simulate(np.eye(2)[:1].repeat(40, 0)) - system.offset
    np.testing.assert_allclose(learner.model.step_response(40)[:, :, 0], step, rtol=1e-3, atol=1e-2)
    assert learner.evaluate("test").metrics["rmse"] < 1e-2


@pytest.mark.parametrize("method", ["exact", "part", "conjugate"])
def test_every_method_makes_a_recurrent_network_better(bent_data, method):
    """It is never worse on the training records, and ends with the best on validation."""
    learner = GRULearner(bent_data, hidden_size=5, n_skip=20, metrics=[rmse])
    learner.fit(3, lr=1e-2, show_progress=False)
    results = learner.polish(iterations=6, method=method, show_progress=False)
    assert costs(results) == sorted(costs(results), reverse=True)
    assert costs(results)[-1] < 0.7 * costs(results)[0]
    best = min(result.valid_loss for result in results)
    assert learner.evaluate("valid").loss == pytest.approx(best, rel=1e-5)
    assert learner.fit_in_progress.ended == "6 iterations are done"


def test_the_first_result_is_the_model_as_it_was(linear_data):
    """`train_loss` is the mean square in standard deviations, and nothing has changed yet."""
    learner = disturbed(linear_data, initial_state="zero", init_samples=0, n_skip=7)
    std = linear_data.signals.stats["y"].std
    squares = [
        np.square((learner.predict(record.inputs[0]) - record.target) / std)[7:].ravel()
        for record in learner.training_records()
    ]
    results = learner.polish_iter(iterations=1)
    first = next(results)
    assert first.train_loss == pytest.approx(np.concatenate(squares).mean(), rel=1e-5)
    assert first.epoch == 0
    assert first.valid_loss == learner.evaluate("valid").loss
    assert next(results).train_loss < first.train_loss


def test_keep_last_keeps_the_last(bent_data):
    """Whatever validation says."""
    learner = RNNLearner(bent_data, hidden_size=3, n_skip=20)
    results = learner.polish(iterations=3, keep="last", show_progress=False)
    assert learner.evaluate("valid").loss == pytest.approx(results[-1].valid_loss, rel=1e-5)


def test_frozen_parameters_stay_and_a_penalty_holds_others(linear_data):
    """By patterns of their names."""
    learner = disturbed(linear_data)
    before = {name: np.asarray(getattr(learner.model, name)[...]) for name in "abc"}
    learner.polish(
        iterations=3, frozen=["a", "of*"], penalty={"b": 1e9}, keep="last", show_progress=False
    )
    after = {name: np.asarray(getattr(learner.model, name)[...]) for name in "abc"}
    np.testing.assert_array_equal(before["a"], after["a"])
    np.testing.assert_allclose(before["b"], after["b"], rtol=1e-5)
    assert np.abs(before["c"] - after["c"]).max() > 1e-3


def test_channels_may_weigh_differently(bent_data):
    """Without weight, an output decides nothing."""
    found = []
    for weights in ({"q": 0.0}, {"p": 0.0}):
        learner = disturbed(bent_data, initial_state="zero", init_samples=0, n_skip=30)
        learner.polish(iterations=15, channel_weights=weights, keep="last", show_progress=False)
        records = list(learner.training_records())
        errors = [learner.predict(record.inputs[0]) - record.target for record in records]
        found.append(np.square(np.concatenate([error[30:] for error in errors])).mean(0))
    assert found[0][0] < found[1][0]
    assert found[1][1] < found[0][1]


def test_a_polish_goes_on_from_a_checkpoint_to_the_same_bits(bent_data, tmp_path):
    """Parameters, trained initial states, damping and penalty come back with every bit."""
    options = {"iterations": 5, "penalty": {"b": 1e-2}}
    whole = disturbed(bent_data)
    expected = whole.polish(keep="last", show_progress=False, **options)
    cut = disturbed(bent_data)
    checkpoints = Checkpoints(tmp_path / "c")
    for result in checkpoints.follow(cut.polish_iter(**options), cut):
        if result.epoch == 2:
            break
    again = disturbed(bent_data)
    rest = list(again.resume(tmp_path / "c"))
    assert again.history == expected
    assert [result.epoch for result in rest] == [3, 4, 5]
    for a, b in zip(
        *(jax.tree.leaves(nnx.state(each.model, nnx.Param)) for each in (whole, again)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ConfigError, match="of a polish") as caught:
        again.resume(tmp_path / "c", n_epochs=9)
    print(caught.value)
    other = RNNLearner(bent_data, hidden_size=3)
    with pytest.raises(CheckpointError, match="another training"):
        other.resume(tmp_path / "c")


def test_it_ends_by_itself(linear_data, bent_data):
    """At a minimum, after its time, and when validation gets no better; it says which."""
    learner = disturbed(linear_data)
    results = learner.polish(iterations=200, show_progress=False)
    assert len(results) < 60
    print(learner.fit_in_progress.ended)
    assert learner.fit_in_progress.ended.startswith("converged")
    learner = disturbed(bent_data)
    learner.polish(seconds=1e-3, show_progress=False)
    assert learner.fit_in_progress.ended == "0.001 s are over"
    # Validation records of another system: what helps on the training records does not there.
    learner = disturbed(linear_data)
    learner.evaluator.begin = _rising(learner.evaluator.begin)
    results = learner.polish(iterations=50, patience=2, show_progress=False)
    assert len(results) == 3
    print(learner.fit_in_progress.ended)
    assert "begins to overfit" in learner.fit_in_progress.ended


def _rising(begin):
    """A validation whose loss rises with every call."""
    calls = []

    class Pending:
        def __init__(self, pending):
            self._pending = pending

        def result(self, **options):
            from dataclasses import replace

            found = self._pending.result(**options)
            return replace(found, loss=found.loss + len(calls))

    def wrapped(split, model):
        calls.append(split)
        return Pending(begin(split, model))

    return wrapped


def test_an_interrupt_leaves_the_best_so_far(linear_data, monkeypatch):
    """Ctrl-C within an iteration: the model is that of the best whole one."""
    learner = disturbed(linear_data)
    kept = []
    _interrupt_fourth(monkeypatch, kept)
    with pytest.raises(KeyboardInterrupt):
        learner.polish(iterations=9, show_progress=False)
    assert len(kept) == 3
    assert learner.evaluate("valid").loss == pytest.approx(min(kept), rel=1e-5)
    assert len(learner.history) == 3


def _interrupt_fourth(monkeypatch, kept):
    """Raise as Ctrl-C does where the fourth result is made."""
    finish = polish_module._finish

    def stop(*arguments):
        if len(kept) == 3:
            raise KeyboardInterrupt
        result = finish(*arguments)
        kept.append(result.valid_loss)
        return result

    monkeypatch.setattr(polish_module, "_finish", stop)


@pytest.mark.parametrize(
    "options,text",
    [
        ({}, "give seconds, iterations, or both"),
        ({"seconds": 0.0}, "seconds = 0.0"),
        ({"iterations": 0}, "iterations = 0"),
        ({"iterations": 1, "patience": 0}, "patience = 0"),
        ({"iterations": 1, "method": "newton"}, "method = 'newton'"),
        ({"iterations": 1, "initial_states": "free"}, "initial_states = 'free'"),
        ({"iterations": 1, "penalty": {"a": -1.0}}, "penalty.a = -1.0"),
        ({"iterations": 1, "penalty": {"zz": 1.0}}, "'zz' matches no parameter"),
        ({"iterations": 1, "frozen": ["zz"]}, "'zz' matches no parameter"),
        ({"iterations": 1, "channel_weights": {"zz": 1.0}}, "the outputs are p, q"),
        ({"iterations": 1, "channel_weights": {"p": 0, "q": 0}}, "0 for every output"),
    ],
)
def test_what_is_refused(linear_data, options, text):
    """Nothing is computed, and the learner is as before."""
    learner = disturbed(linear_data)
    with pytest.raises(ConfigError, match=text) as caught:
        list(learner.polish_iter(**options))
    print(caught.value)
    assert learner.fit_in_progress is None


def test_what_needs_more_memory_than_there_is_is_refused(linear_data, monkeypatch):
    """With the figure, and what to give instead."""
    learner = GRULearner(linear_data, hidden_size=30)
    monkeypatch.setattr(polish_module, "machine_memory", lambda: 1e8)
    with pytest.raises(ConfigError, match="GB for the matrices of") as caught:
        learner.polish_iter(iterations=1, method="exact")
    print(caught.value)
    assert "method = 'conjugate'" in str(caught.value)


class Stateless(nnx.Module):
    def __init__(self, rngs):
        self.gain = nnx.Param(jax.random.normal(rngs.params(), (2, 2)))

    def __call__(self, u):
        return u @ self.gain[...]


@dataclass(frozen=True)
class Gain:
    reads: ClassVar[tuple[str, ...]] = ("u",)

    def build(self, signals, *, rngs):
        return Stateless(rngs)


def test_models_that_cannot_be_polished_are_refused(linear_data):
    """Those without a state, and those that read the measured output."""
    with pytest.raises(ModelError, match="a StatefulModel") as caught:
        Learner(Gain(), linear_data).polish_iter(iterations=1)
    print(caught.value)
    ar = get_model("ar/ar")(model=get_model("core/rnn")(hidden_size=3))
    with pytest.raises(ModelError, match="reads u, y") as caught:
        Learner(ar, linear_data).polish_iter(iterations=1)
    print(caught.value)


def test_a_model_that_diverges_is_refused(linear_data):
    """Its simulations are not finite, so that there is nothing to begin from."""
    learner = disturbed(linear_data)
    learner.model.a[...] = 1e3 * learner.model.a[...]
    with pytest.raises(TrainingError, match="leave the range of numbers") as caught:
        learner.polish(iterations=1, show_progress=False)
    print(caught.value)


def test_n_skip_that_leaves_nothing_is_refused(make_data):
    """No sample of the records would count."""
    data = make_data()
    learner = disturbed(data)
    learner.n_skip = 1000
    with pytest.raises(ConfigError, match="n_skip = 1000") as caught:
        learner.polish_iter(iterations=1)
    print(caught.value)


def test_the_method_follows_from_the_size(linear_data):
    """Few states: exact; more: a part; many parameters: conjugate gradients."""
    sizes = [(5, "exact"), (30, "part"), (80, "conjugate")]
    for hidden_size, method in sizes:
        learner = GRULearner(linear_data, hidden_size=hidden_size)
        assert polish_module.make_task(learner, PolishOptions(iterations=1)).method == method


@pytest.mark.slow
def test_convolutions_are_polished_too(bent_data):
    """A model with many states, by conjugate gradients."""
    learner = make_learner(bent_data, "tcn/tcn", hidden_size=6, num_layers=3, n_skip=20)
    learner.fit(2, show_progress=False)
    results = learner.polish(iterations=4, show_progress=False)
    assert costs(results) == sorted(costs(results), reverse=True)
    assert costs(results)[-1] < 0.9 * costs(results)[0]


def test_scalar_inputs_are_given_to_every_sample(two_by_three):
    """Files with attributes as inputs, three outputs, unequal lengths."""
    data = create_grain_dls(
        ["a", "b"], ["p", "q", "r"], two_by_three, u_scalars=["mass"], win_sz=40, stp_sz=40
    )
    learner = RNNLearner(data, hidden_size=3, scalar_inputs=True, n_skip=10)
    results = learner.polish(iterations=4, show_progress=False)
    assert costs(results)[-1] < 0.8 * costs(results)[0]
    assert costs(results) == sorted(costs(results), reverse=True)


@pytest.mark.slow
def test_the_best_of_several_starts_goes_on(bent_data):
    """Models of other seeds are tried, and validation decides; the learner's own takes part."""
    options = {"hidden_size": 3, "n_skip": 20, "metrics": [rmse]}
    learner = RNNLearner(bent_data, **options)
    results = learner.polish(iterations=3, starts=4, show_progress=False)
    assert results[1].valid_loss <= results[0].valid_loss
    alone = []
    for seed in range(4):
        own = RNNLearner(bent_data, seed=seed, **options)
        alone.append(own.polish(iterations=12, keep="last", show_progress=False)[-1].valid_loss)
    assert results[1].valid_loss == pytest.approx(min(alone), rel=1e-3)
    ready = Learner(learner.model, bent_data, n_skip=20)
    with pytest.raises(ConfigError, match="starts = 2") as caught:
        ready.polish(iterations=1, starts=2, show_progress=False)
    print(caught.value)
    with pytest.raises(ConfigError, match="starts = 0"):
        ready.polish_iter(iterations=1, starts=0)
