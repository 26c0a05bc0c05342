"""What does not fit together is refused when a learner is built or a fit begins."""

from __future__ import annotations

from dataclasses import dataclass

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
            ["n_skip = 40", "below win_sz = 40"],
        ),
        (
            lambda d: GRULearner(d, metrics=[lambda pred: 0.0]),
            SignatureError,
            ["metric '<lambda>'", "takes (pred, target, y_mean, y_std)."],
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
            ["hidden_size = 2.5 is not a whole number"],
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
