"""Everything that can be composed, composed: for every model of core and of tsjax-tcn."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    Checkpoints,
    EarlyStopping,
    activation_regularizer,
    add_bias,
    add_noise,
    average_weights,
    clip_gradients,
    compose_losses,
    compose_transforms,
    create_grain_dls,
    exact_batches,
    file_weights,
    hardest,
    make_learner,
    normalized_huber,
    normalized_mse,
    one_cycle,
    parameter_groups,
    random_length,
    rmse,
    skip_large,
    skip_n,
    skip_nonfinite,
    time_weighted,
    vary_length,
    weighted_source,
)

MODELS = {
    "core/rnn": {"hidden_size": 4},
    "core/gru": {"hidden_size": 4, "weight_dropout": 0.1},
    "core/lstm": {"hidden_size": 4, "input_dropout": 0.1},
    "tcn/tcn": {"hidden_size": 4, "num_layers": 2, "dropout": 0.1},
    "tcn/crnn": {
        "num_features": 3, "num_cnn_layers": 2, "num_rnn_layers": 1, "cnn_hidden_size": 4,
        "rnn_hidden_size": 4,
    },
}  # fmt: skip


def learner_of(files, model, *, resident):
    """Return a learner whose loss, transforms, sampling and optimizer all have many parts."""
    data = create_grain_dls(
        ["a", "b"], ["p", "q", "r"], files, win_sz=40, stp_sz=10, bs=8, valid="files"
    )
    weighted = weighted_source(data.train, file_weights(data.train))
    groups = parameter_groups(optax.adamw, {"head.*": 0.5})
    return make_learner(
        exact_batches(replace(data, train=weighted, resident=resident), 5),
        model,
        **MODELS[model],
        n_skip=6,
        metrics=[rmse],
        loss=compose_losses(
            fit=(time_weighted(skip_n(normalized_huber(0.5), 2)), 1.0),
            hard=(hardest(normalized_mse, 0.8), 0.5),
            short=(random_length(normalized_mse), 0.1),
            small=(activation_regularizer(), 1e-3),
        ),
        optimizer=skip_nonfinite(
            skip_large(average_weights(clip_gradients(groups, 1.0), 0.9), 1e3)
        ),
        batch_transform=compose_transforms(
            add_bias(0.01), vary_length(39), add_noise([0.01, 0.5], p=0.7)
        ),
    )


def variables(learner):
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(learner.model))]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_all_parts_work_together_and_resume_to_equal_bits(two_by_three, tmp_path, model):
    """Streamed as kept on the device; interrupted as not; with every named term in the history."""
    whole = learner_of(two_by_three, model, resident=True)
    streamed = learner_of(two_by_three, model, resident=False)
    first, second = (learner_of(two_by_three, model, resident=True) for _ in range(2))

    def followed(learner, results):
        checkpoints = Checkpoints(tmp_path / "checkpoints", monitor="rmse")
        stopping = EarlyStopping(patience=3, monitor="rmse")
        return stopping.follow(checkpoints.follow(results, learner), learner)

    plan = {"n_epochs": 4, "lr": 1e-2, "schedule": one_cycle()}
    stopping = EarlyStopping(patience=3, monitor="rmse")
    list(stopping.follow(whole.fit_iter(**plan), whole))
    for result in followed(first, first.fit_iter(**plan)):
        if result.epoch == 1:
            break
    list(followed(second, second.resume(tmp_path / "checkpoints")))
    list(streamed.fit_iter(**plan))
    assert whole.history == second.history
    for x, y in zip(variables(whole), variables(second), strict=True):
        np.testing.assert_array_equal(x, y)
    assert [r.train_loss for r in whole.history] == [r.train_loss for r in streamed.history]
    for result in whole.history:
        assert list(result.terms) == ["fit", "hard", "short", "small"]
        assert np.isfinite([result.train_loss, result.valid_loss, *result.terms.values()]).all()
        assert result.skipped == 0
    assert all(np.isfinite(x).all() for x in variables(whole))
