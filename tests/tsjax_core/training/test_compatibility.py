"""What does not fit together is refused when a learner is built or a fit begins."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import (
    GRU,
    GRULearner,
    Learner,
    create_grain_dls,
    make_learner,
    rmse,
)
from tsjax_core.errors import ConfigError, ModelError, SignatureError, UnknownNameError
from tsjax_core.protocols import FiniteMemory


def seconds(pred, target, y_mean, y_std):
    """Named as a column of the history."""
    return 0.0


@pytest.mark.parametrize(
    "make,error,parts",
    [
        (
            lambda d: make_learner(d, "core/gru", hiden_size=3),
            ConfigError,
            ["core/gru has no hyperparameter 'hiden_size'", "Did you mean 'hidden_size'?"],
        ),
        (lambda d: make_learner(d, "core/gro"), UnknownNameError, ["core/gru"]),
        (
            lambda d: GRULearner(d, metrics=[rmse, rmse]),
            ConfigError,
            ["two metrics are named 'rmse'"],
        ),
        (
            lambda d: GRULearner(d, n_skip=40),
            ConfigError,
            ["n_skip = 40 leaves nothing of a window", "below win_sz = 40"],
        ),
        (
            lambda d: GRULearner(d, n_skip=-1),
            ConfigError,
            ["n_skip = -1", "at least 0"],
        ),
        (
            lambda d: GRULearner(d, n_skip=1.5),
            ConfigError,
            ["n_skip = 1.5; give a whole number of samples, at least 0"],
        ),
        (lambda d: GRULearner(d, n_skip="3"), ConfigError, ["n_skip = '3'; give a whole"]),
        (lambda d: GRULearner(d, n_skip=True), ConfigError, ["n_skip = True; give a whole"]),
        (
            lambda d: Learner(Averaging(8.0), d),
            ConfigError,
            ["the receptive_field of Averaging, 8.0, is not a whole number", "or give n_skip"],
        ),
        (
            lambda d: GRULearner(
                d, batch_transform=lambda b: {**b, "y": b["y"][:, :3]}, n_skip=3
            ).fit(1),
            ConfigError,
            [
                "n_skip = 3 leaves nothing of a training batch after the transform '<lambda>'",
                "3 samples",
            ],
        ),
        (
            lambda d: GRULearner(d, metrics=[lambda pred: 0.0]),
            SignatureError,
            [
                "metric '<lambda>'",
                "takes (pred, target, y_mean, y_std), and after * any of signals.",
            ],
        ),
        (
            lambda d: GRULearner(d, loss=lambda pred, target, y_mean, y_std, batch: 0.0),
            SignatureError,
            ["(pred, target, y_mean, y_std), and after * any of aux, batch, key, model"],
        ),
        (
            lambda d: GRULearner(d, loss="core/mse"),
            SignatureError,
            ["'core/mse' is none", "tsjax_core.get_loss"],
        ),
        (lambda d: GRULearner(d, metrics=[seconds]), ConfigError, ["'seconds'", "another name"]),
        (
            lambda d: GRULearner(d, hidden_size=2).fit(1, schedule=lambda p: p * np.nan),
            ConfigError,
            ["all finite"],
        ),
        (lambda d: GRULearner(d, metrics=rmse), ConfigError, ["metrics=[rmse]"]),
        (
            lambda d: GRULearner(d, loss=lambda pred, target, y_mean, y_std: pred - target),
            SignatureError,
            ["loss '<lambda>' returns shape (8, 40, 1)", "one number"],
        ),
        (
            lambda d: GRULearner(d, batch_transform=lambda batch: None).fit(1),
            SignatureError,
            ["transform '<lambda>' returned NoneType", "['u', 'y']"],
        ),
        (
            lambda d: GRULearner(d, batch_transform=lambda batch: {"u": batch["u"]}).fit(1),
            SignatureError,
            ["returned ['u']"],
        ),
        (lambda d: GRULearner(d, hidden_size=2).fit(1.5), ConfigError, ["n_epochs = 1.5"]),
        (lambda d: GRULearner(d, hidden_size=2).fit(1, lr="x"), ConfigError, ["lr = 'x'"]),
        (
            lambda d: GRULearner(d, hidden_size=2.5),
            ConfigError,
            ["hidden_size = 2.5; give a whole number, at least 1"],
        ),
        (
            lambda d: GRULearner(d, batch_transform=lambda batch, *, kee: batch),
            SignatureError,
            ["'kee'", "'epoch', 'key', 'progress'"],
        ),
        (
            lambda d: GRULearner(d, loss=lambda pred, target, y_mean, y_std, *, bach: 0.0),
            SignatureError,
            ["'bach'", "'batch'"],
        ),
        (
            lambda d: Learner(GRU(output="last"), d),
            ModelError,
            ["'y_scalar'", "u, y"],
        ),
        (lambda d: GRULearner(d, hidden_size=2).fit(0), ConfigError, ["n_epochs = 0"]),
        (lambda d: GRULearner(d, hidden_size=2).fit(1, lr=-1.0), ConfigError, ["lr = -1.0"]),
        (
            lambda d: GRULearner(d, hidden_size=2).fit(1, schedule=lambda progress: 1.0),
            ConfigError,
            ["schedule", "one factor per value"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_when_the_learner_is_built(data, make, error, parts):
    """The error says what was got, what was expected and what to do."""
    with pytest.raises(error) as caught:
        make(data)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


class Half(nnx.Module):
    """Returns every second sample."""

    def __call__(self, u):
        return u[:, ::2]


@dataclass(frozen=True)
class NoModule:
    """Builds something that is no module."""

    reads = ("u",)

    def build(self, signals, *, rngs):
        return lambda u: u


@dataclass(frozen=True)
class ReadsMore(NoModule):
    """Reads a key that no data have."""

    reads = ("u", "torque")

    def build(self, signals, *, rngs):
        return Half()


def test_a_model_that_does_not_fit_the_data_is_refused(data, two_by_three):
    """Wrong output shape, no module, unknown batch key, scalars that nobody reads, no aux."""
    scalars = create_grain_dls(["a"], ["p"], two_by_three, win_sz=20, u_scalars=["mass"])

    def needs_aux(pred, target, y_mean, y_std, *, aux):
        return 0.0

    for make, parts in (
        (lambda: Learner(Half(), data), ["(8, 20, 1)", "(8, 40, 1)"]),
        (
            lambda: Learner(NoModule(), data),
            ["NoModule.build returned function", "flax.nnx.Module"],
        ),
        (lambda: Learner(ReadsMore(), data), ["reads torque", "have u, y"]),
        (lambda: GRULearner(scalars), ["scalar inputs (mass)", "reads only u", "scalar_inputs"]),
        (lambda: Learner(Half(), data, loss=needs_aux), ["'aux'", "Half", "call_with_aux"]),
    ):
        with pytest.raises(ModelError) as caught:
            make()
        print(caught.value)
        assert all(part in str(caught.value) for part in parts)


def test_n_skip_beyond_a_whole_file_is_refused(two_by_three):
    """The error names the file and its length."""
    pipeline = create_grain_dls(["a"], ["p"], two_by_three, win_sz=80, bs=4)
    with pytest.raises(ConfigError) as caught:
        GRULearner(pipeline, n_skip=75)
    print(caught.value)
    assert "part_1.hdf5" in str(caught.value)
    assert "75 samples" in str(caught.value)


class Average(nnx.Module):
    """Returns the mean of the newest samples."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.gain = nnx.Param(jnp.ones(()))

    def __call__(self, u):
        past = jnp.pad(u, ((0, 0), (self.n - 1, 0), (0, 0)))
        return self.gain[...] * sum(past[:, i : i + u.shape[1]] for i in range(self.n)) / self.n


@dataclass(frozen=True)
class Averaging:
    """Has a finite memory of `n` samples."""

    n: int = 4
    reads = ("u",)

    @property
    def receptive_field(self) -> int:
        return self.n

    def build(self, signals, *, rngs):
        return Average(self.n)


def test_n_skip_is_by_default_the_receptive_field_of_a_finite_memory(data):
    """A model that remembers without end skips nothing; what is given holds, 0 included."""
    assert isinstance(Averaging(), FiniteMemory)
    assert not isinstance(GRU(), FiniteMemory)
    assert Learner(Averaging(), data).n_skip == 4
    assert Learner(Averaging(), data, n_skip=0).n_skip == 0
    assert GRULearner(data, hidden_size=2).n_skip == 0
    given = Learner(Averaging(), data, n_skip=np.int64(3)).n_skip
    assert (given, type(given)) == (3, int)
    pairs = Learner(Averaging(7), data).evaluate("valid").pairs
    assert {pred.shape[1] for pred, _ in pairs} == {data.win_sz - 7}


def test_a_receptive_field_that_leaves_nothing_is_told_as_such(data, two_by_three):
    """The text tells where the number came from, for a window and for a whole file."""
    with pytest.raises(ConfigError) as caught:
        Learner(Averaging(40), data)
    print(caught.value)
    for part in ("n_skip = 40 is the receptive field of Averaging", "win_sz = 40", "fewer layers"):
        assert part in str(caught.value)
    assert caught.value.key == "n_skip"
    with pytest.raises(ConfigError) as caught:
        Learner(Averaging(75), create_grain_dls(["a"], ["p"], two_by_three, win_sz=80, bs=4))
    print(caught.value)
    for part in ("is the receptive field of Averaging", "75 samples", "give an n_skip"):
        assert part in str(caught.value)
