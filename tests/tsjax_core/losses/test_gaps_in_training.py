"""A data set whose outputs are not always measured, from files to metrics."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tsjax_core import GRU, Learner, create_grain_dls, normalized_mse, nrmse, rmse, vaf
from tsjax_core.losses.compose import named_terms
from tsjax_core.training.evaluation import compute_loss


@pytest.fixture(scope="module")
def gappy_files(tmp_path_factory):
    """Two outputs: `slow` is measured every 5th sample, and `fast` drops out now and then."""
    folder = tmp_path_factory.mktemp("gaps")
    rng = np.random.default_rng(0)
    for split, lengths in {"train": (200, 160), "valid": (130,), "test": (90, 61)}.items():
        (folder / split).mkdir()
        for number, n in enumerate(lengths):
            u = rng.standard_normal(n)
            fast, slow = np.convolve(u, [0.0, 1.0, 0.5])[:n], 30.0 * np.convolve(u, [0, 0.3])[:n]
            slow[np.arange(n) % 5 != 0] = np.nan
            fast[rng.random(n) < 0.1] = np.nan
            with h5py.File(folder / split / f"{number}.hdf5", "w") as file:
                file.update(
                    {k: v.astype("f4") for k, v in zip("ufs", (u, fast, slow), strict=True)}
                )
    return folder


@pytest.fixture(scope="module")
def learners(gappy_files):
    """Return a learner on each data path, trained for two epochs."""
    learners = []
    for resident in (True, False):
        data = create_grain_dls(
            ["u"],
            ["f", "s"],
            gappy_files,
            win_sz=40,
            stp_sz=20,
            bs=4,
            valid="files",
            allow_nan=True,
            resident=resident,
        )
        metrics = [rmse, nrmse, vaf]
        learner = Learner(GRU(hidden_size=3), data, normalized_mse, metrics, n_skip=2)
        list(learner.fit_iter(2))
        learners.append(learner)
    return learners


def test_training_goes_on_over_gaps_and_equally_on_both_data_paths(learners):
    """No step is skipped, and all losses and metrics are finite."""
    numbers = []
    for learner in learners:
        for result in learner.history:
            assert result.skipped == 0
            assert np.isfinite(result.step_losses).all()
            assert np.isfinite([result.valid_loss, *result.metrics.values()]).all()
        numbers.append([(r.train_loss, r.valid_loss) for r in learner.history])
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_loss_of_a_split_is_the_mean_over_what_is_measured(learners, split):
    """Files of unequal length and with unequal gaps, against NumPy."""
    learner = learners[0]
    pairs = learner.evaluate(split).pairs
    std = learner.signals.stats["y"].std.astype(np.float64)
    squares = np.concatenate([((p - t) / std).reshape(-1) ** 2 for p, t in pairs])
    assert 0.2 < np.isnan(squares).mean() < 0.8
    evaluation = learner.evaluate(split)
    assert evaluation.loss == pytest.approx(np.nanmean(squares), rel=1e-6)
    if split == "valid":
        assert evaluation.loss == learner.history[-1].valid_loss
    errors = np.concatenate([(p.astype(np.float64) - t)[0] for p, t in pairs])
    for i, name in enumerate(("f", "s")):
        expected = np.sqrt(np.nanmean(errors[:, i] ** 2))
        assert evaluation.channels["rmse"][name] == pytest.approx(expected, rel=1e-6)
    for scores in evaluation.files.values():
        assert np.isfinite(list(scores.metrics.values())).all()


def test_a_file_without_measurement_does_not_change_the_loss_of_a_split():
    """Files count by their measured elements; without any there is no loss."""
    rng = np.random.default_rng(0)
    stats = (np.zeros(2), np.ones(2))
    pairs = [tuple(rng.standard_normal((2, 1, n, 2))) for n in (20, 20, 9)]
    pairs[0][1][0, 3:, 1] = np.nan
    silent = (np.ones((1, 30, 2)), np.full((1, 30, 2), np.nan))
    squares = np.concatenate([((p - t) ** 2).ravel() for p, t in pairs])
    terms = named_terms(normalized_mse)
    assert compute_loss(terms, [*pairs, silent], stats) == pytest.approx(np.nanmean(squares))
    assert np.isnan(compute_loss(terms, [silent], stats))
