"""What a learner shows of its data and its results."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import create_grain_dls, make_learner
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.judging.shows import find_worst, measure_gradients
from tsjax_core.training.evaluation import Evaluation, Scores


@pytest.fixture(scope="module")
def learner(oscillator):
    data = create_grain_dls(["u"], ["y"], oscillator, win_sz=80, stp_sz=80, bs=4)
    return make_learner(data, "core/gru", hidden_size=3)


def test_a_batch_and_results_are_shown(learner):
    """By the plot of core, another by name, or a function."""
    assert next(axis.get_ylabel() for axis in learner.show_batch().axes) == "inputs"
    figures = learner.show_results("test")
    assert 1 <= len(figures) <= 4
    seen = []

    def note(pred, target, *, batch, title):
        seen.append((pred.shape, target.shape, batch["u"].shape, title))
        return title

    assert learner.show_results("test", note)[0].startswith("test: ")
    assert seen[0][0] == seen[0][1]


def test_the_worst_windows_come_first():
    """Of all files, none over another, and without what was not measured."""
    pred, target = np.zeros((1, 100, 1)), np.zeros((1, 100, 1))
    pred[0, 55] = 3.0
    other = np.zeros((1, 40, 1))
    other[0, 35] = 5.0
    gap = np.full((1, 40, 1), np.nan)
    evaluation = Evaluation(
        {},
        files={"a": Scores({}), "b": Scores({}), "c": Scores({})},
        pairs=[(pred, target), (other, np.zeros((1, 40, 1))), (gap, gap)],
    )
    worst = find_worst(evaluation, 20, np.ones(1), n=3)
    assert [(window.file, window.start) for window in worst[:2]] == [("b", 20), ("a", 40)]
    assert worst[0].error == pytest.approx(5.0 / np.sqrt(20))
    assert worst[2].error == 0.0
    with pytest.raises(ConfigError):
        find_worst(evaluation, 20, np.ones(1), n=0)


def test_the_worst_windows_are_drawn(learner):
    """A column for each, with file and error above it."""
    figure = learner.show_worst("test", n=3)
    assert len(figure.axes) == 3
    assert all("% of the spread" in axis.get_title() for axis in figure.axes)


def test_gradients_are_those_of_the_loss(learner):
    """By finite differences of one parameter, and drawn for each array."""
    found = measure_gradients(learner)
    names = list(found)
    params = nnx.state(learner.model, nnx.Param)
    assert len(names) == len(jax.tree.leaves(params))
    batch = next(iter(learner.pipeline.train_batches(0)))
    weights = np.ones(1, np.float32)

    def loss():
        return float(sum(learner.engine.batch_loss(learner.model, batch, weights).values()))

    leaves, tree = jax.tree.flatten(params)
    place = next(i for i, leaf in enumerate(leaves) if leaf.ndim == 1)
    eps, numeric = 1e-2, []
    for index in range(leaves[place].size):
        values = []
        for sign in (1.0, -1.0):
            changed = list(leaves)
            changed[place] = leaves[place].at[index].add(sign * eps)
            nnx.update(learner.model, jax.tree.unflatten(tree, changed))
            values.append(loss())
        numeric.append((values[0] - values[1]) / (2 * eps))
    nnx.update(learner.model, params)
    assert found[names[place]][1] == pytest.approx(np.abs(numeric).max(), rel=0.05, abs=1e-3)
    axis = learner.show_gradients().axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == names
    assert jnp.isfinite(jnp.array(list(found.values()))).all()


def test_a_split_of_windows_has_no_files_to_show(oscillator):
    """It says which has."""
    data = create_grain_dls(["u"], ["y"], oscillator, win_sz=80, stp_sz=80, valid="windows")
    learner = make_learner(data, "core/rnn", hidden_size=2)
    for show in (learner.show_results, learner.show_worst):
        with pytest.raises(ModelError, match="has no whole files") as caught:
            show("valid")
        print(caught.value)
