"""Uncertainty from the Jacobian against repeated experiments with fresh noise."""

from __future__ import annotations

import numpy as np
import pytest
from flax import nnx

from tsjax_core import Learner, Linear, create_grain_dls, model_uncertainty
from tsjax_core.errors import ModelError
from tsjax_core.models.subspace import StateSpaceMatrices

SYSTEM = StateSpaceMatrices(
    np.array([[0.8]]), np.array([[1.0]]), np.array([[2.0]]), np.zeros((1, 1)), np.array([0.3])
)
NOISE = 0.7


def make_data(seed: int, n: int = 400):
    """A record of the system from rest; the noise alone differs from seed to seed."""
    u = np.random.default_rng(100).standard_normal((n, 1))
    clean = SYSTEM.simulate(u)
    noise = NOISE * np.random.default_rng(seed).standard_normal(clean.shape)
    record = {"u": u[:, 0], "y": (clean + noise)[:, 0]}
    dataset = {"train": [record], "valid": [record], "test": [record]}
    return create_grain_dls(["u"], ["y"], dataset, win_sz=5, stp_sz=5, dt=0.1, valid="files")


def fitted(seed: int, n: int = 400) -> Learner:
    learner = Learner(Linear(order=1, direct=False), make_data(seed, n))
    learner.polish(iterations=8, keep="last", show_progress=False)
    return learner


@pytest.mark.slow
def test_bands_and_noise_are_those_of_repeated_experiments():
    """Within 15 %: the spread of the simulated outputs over 80 noises, and the noise itself."""
    u = np.random.default_rng(7).standard_normal((60, 1))
    simulated, bands, noises, poles, pole_std = [], [], [], [], []
    for seed in range(80):
        learner = fitted(seed)
        simulated.append(learner.predict(u))
        poles.append(float(learner.model.a[0, 0]))
        if seed < 10:
            found = model_uncertainty(learner)
            bands.append(found.output_std(u))
            noises.append(found.noise[0])
            pole_std.append(found.std["a[0, 0]"])
    spread = np.std(simulated, axis=0, ddof=1)
    ratio = np.mean(bands, axis=0)[5:] / spread[5:]
    print("bands / spread", ratio.mean(), ratio.min(), ratio.max())
    assert ratio.mean() == pytest.approx(1.0, abs=0.15)
    assert np.mean(noises) == pytest.approx(NOISE, rel=0.05)
    assert np.mean(pole_std) == pytest.approx(np.std(poles, ddof=1), rel=0.15)


def test_another_basis_of_the_states_changes_no_band():
    """Directions of the parameters that no output shows have no part in it."""
    u = np.random.default_rng(7).standard_normal((40, 1))
    learner = fitted(0)
    before = model_uncertainty(learner).output_std(u)
    learner.model.b[...] = 3.0 * learner.model.b[...]
    learner.model.c[...] = learner.model.c[...] / 3.0
    np.testing.assert_allclose(model_uncertainty(learner).output_std(u), before, rtol=1e-3)


def test_what_is_known_is_not_uncertain():
    """Frozen parameters take no part, and unknown initial states make the rest less sure."""
    learner = fitted(0)
    whole = model_uncertainty(learner)
    assert set(whole.std) == {"a[0, 0]", "b[0, 0]", "c[0, 0]", "offset[0]"}
    known = model_uncertainty(learner, frozen=["b", "c"])
    assert set(known.std) == {"a[0, 0]", "offset[0]"}
    assert known.std["a[0, 0]"] < whole.std["a[0, 0]"]
    short = fitted(0, 70)
    found = [model_uncertainty(short, initial_states=kind) for kind in ("trained", "fixed")]
    ratios = [each.std["offset[0]"] / each.noise[0] for each in found]
    assert ratios[0] > 1.01 * ratios[1]


def test_what_is_refused():
    """A batch in the place of a record."""
    learner = Learner(Linear(order=1), make_data(0))
    with pytest.raises(ModelError, match="give one record") as caught:
        model_uncertainty(learner).output_std(np.zeros((2, 30, 1)))
    print(caught.value)
    assert isinstance(learner.model, nnx.Module)
