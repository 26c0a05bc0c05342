"""Training on drawn, limited and repeated windows: the same bits on both data paths."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import (
    Checkpoints,
    Learner,
    create_grain_dls,
    exact_batches,
    file_weights,
    limit_batches,
    weighted_source,
)
from tsjax_core.errors import CheckpointError


class Static(nnx.Module):
    """A gain and an offset, which compile in no time."""

    def __init__(self):
        self.gain, self.offset = nnx.Param(jnp.float32(0.5)), nnx.Param(jnp.float32(0.1))

    def __call__(self, u):
        return self.gain[...] * u + self.offset[...]


@pytest.fixture(scope="module")
def data(two_by_three):
    return create_grain_dls(["a"], ["p"], two_by_three, win_sz=50, stp_sz=27, bs=4, seed=1)


def balanced(data):
    """Return the pipeline with files that are drawn equally often."""
    return dataclasses.replace(data, train=weighted_source(data.train, file_weights(data.train)))


def trained(pipeline, n_epochs=3):
    """Return the losses of all steps, the figures of the epochs, and the parameters."""
    learner = Learner(Static(), pipeline)
    results = learner.fit(n_epochs, lr=1e-2, keep="last", show_progress=False)
    losses = np.concatenate([result.step_losses for result in results])
    params = jax.tree.leaves(nnx.state(learner.model, nnx.Param))
    return losses, [result.valid_loss for result in results], [float(each) for each in params]


SAMPLINGS = {
    "weighted": balanced,
    "limited": lambda data: limit_batches(data, 2),
    "exact": lambda data: exact_batches(data, 8),
    "weighted and limited": lambda data: limit_batches(balanced(data), 3),
    "weighted and exact": lambda data: balanced(exact_batches(data, 8)),
    "a batch larger than the data": lambda data: exact_batches(dataclasses.replace(data, bs=30), 2),
}


@pytest.mark.parametrize("name", SAMPLINGS)
def test_both_data_paths_train_alike(data, name):
    """Losses, figures and parameters are equal to the bit, kept on the device or streamed."""
    pipeline = SAMPLINGS[name](data)
    assert pipeline.resident
    resident, streamed = trained(pipeline), trained(dataclasses.replace(pipeline, resident=False))
    np.testing.assert_array_equal(resident[0], streamed[0])
    assert len(resident[0]) == 3 * pipeline.steps_per_epoch
    assert resident[1:] == streamed[1:]


@pytest.mark.parametrize("resident", [True, False])
def test_resumed_training_draws_what_it_would_have_drawn(data, tmp_path, resident):
    """A fit that goes on after two of four epochs has the losses of an undisturbed one."""
    pipeline = exact_batches(dataclasses.replace(balanced(data), resident=resident), 7)
    whole, _, params = trained(pipeline, 4)
    begun = Learner(Static(), pipeline)
    for result in Checkpoints(tmp_path, keep_last=4).follow(begun.fit_iter(4, lr=1e-2), begun):
        if result.epoch == 2:
            break
    resumed = Learner(Static(), pipeline)
    results = list(resumed.resume(tmp_path, epoch=2))
    losses = np.concatenate([result.step_losses for result in results])
    np.testing.assert_array_equal(losses, whole[14:])
    found = [float(each) for each in jax.tree.leaves(nnx.state(resumed.model, nnx.Param))]
    assert found == params
    with pytest.raises(CheckpointError, match="order of the windows"):
        Learner(Static(), exact_batches(data, 7)).resume(tmp_path)
