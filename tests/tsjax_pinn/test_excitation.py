"""Excitation signals by their defining properties."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from tsjax_core.errors import ConfigError
from tsjax_pinn import excitation_signals
from tsjax_pinn.excitation import KINDS

DT, TIME = 0.02, 251


def draw(kind, seed=0, **options):
    options = {"kinds": [kind], "dt": DT, **options}
    return np.asarray(excitation_signals(jax.random.key(seed), 16, TIME, 2, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_what_its_name_says(kind):
    """Within the amplitudes, from sequence to sequence another one."""
    u = draw(kind)
    assert u.shape == (16, TIME, 2)
    assert np.isfinite(u).all()
    peaks = np.abs(u).max(1)
    assert peaks.max() <= 2.0 + 1e-5
    assert len(np.unique(u[:, 100])) > 4
    sequences = u.transpose(0, 2, 1).reshape(-1, TIME)
    levels = [np.unique(np.round(s, 4)) for s in sequences]
    if kind in ("prbs", "square"):
        assert all(len(each) <= 2 for each in levels)
        assert all(np.isclose(np.abs(each).max(), np.abs(each).min()) for each in levels)
    if kind == "step":
        assert all(len(each) <= 2 for each in levels)
        assert all(len(each) == 1 or 0.0 in each for each in levels)
    if kind == "doublet":
        assert all(len(each) == 3 for each in levels)
        np.testing.assert_allclose(sequences.sum(1), 0.0, atol=1e-3)
    if kind == "ramp":
        # Up to the amplitude in a straight line, and constant from there on.
        ends = np.abs(sequences[:, -1:])
        assert (ends >= 0.5).all()
        rising = np.abs(sequences) < 0.999 * ends
        bent = np.abs(np.diff(np.abs(sequences), 2))
        assert bent[rising[:, 2:]].max() < 1e-5
        assert (np.diff(rising.astype(int)) <= 0).all()
    if kind == "sine":
        # s[k+1] + s[k-1] = 2 cos(w dt) s[k] with one frequency for each.
        large = np.where(np.abs(sequences) > 0.3, sequences, np.nan)[:, 1:-1]
        ratio = (sequences[:, 2:] + sequences[:, :-2]) / large
        assert np.nanmax(np.nanstd(ratio, axis=1)) < 1e-4
    if kind == "noise":
        shifted = np.mean(sequences[:, 1:] * sequences[:, :-1])
        assert abs(shifted) < 0.05 * np.mean(sequences**2)
    if kind in ("multisine", "chirp"):
        spectrum = np.abs(np.fft.rfft(sequences)) ** 2
        at = np.fft.rfftfreq(TIME, DT)
        assert spectrum[:, at < 4.0].sum() > 0.97 * spectrum.sum()


def test_equal_keys_give_equal_signals():
    """Compiled or not, and other keys give others."""
    plain = draw("multisine")
    compiled = jax.jit(
        partial(excitation_signals, batch=16, time=TIME, n_inputs=2, dt=DT, kinds=["multisine"])
    )
    np.testing.assert_allclose(compiled(jax.random.key(0)), plain, atol=1e-4)
    assert np.abs(draw("multisine", seed=1) - plain).max() > 0.1


def test_mixtures_noise_and_offsets():
    """Means of several kinds, and what is added to them."""
    mixed = draw("square", components=3)
    assert len(np.unique(np.round(mixed[0, :, 0], 4))) > 2
    assert np.abs(mixed).max() <= 2.0 + 1e-5
    same = draw("noise", synchronized=True)
    np.testing.assert_array_equal(same[..., 0], same[..., 1])
    quiet = draw("step")
    added = draw("step", noise_probability=1.0, noise_std=0.1) - quiet
    assert np.std(added) == pytest.approx(0.1, rel=0.05)
    offset = draw("step", bias_probability=0.5, bias=0.3) - quiet
    np.testing.assert_allclose(offset, np.broadcast_to(offset[:, :1], offset.shape), atol=1e-6)
    assert 0.0 < np.abs(offset).max() <= 0.3
    assert 0 < (np.abs(offset[:, 0]) < 1e-6).sum() < 32


@pytest.mark.parametrize(
    "options,part",
    [
        ({"kinds": []}, "kinds = []; give a list of one or more of"),
        ({"kinds": ["sinus"]}, "kinds = 'sinus'; give one of"),
        ({"amplitude": (2.0, 0.5)}, "amplitude = (2.0, 0.5); give the ends of its range"),
        ({"frequency": (0.0, 0.5)}, "frequency = (0.0, 0.5)"),
        ({"components": 0}, "components = 0"),
        ({"noise_probability": 2.0}, "noise_probability = 2.0"),
        ({"dt": -1.0}, "dt = -1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, part):
    """With what was got and what to give."""
    with pytest.raises(ConfigError) as caught:
        draw("sine", **options)
    print(caught.value)
    assert part in str(caught.value)
