"""Data that the tests of training share."""

from __future__ import annotations

import pytest

from tsjax_core import create_grain_dls


@pytest.fixture(scope="module")
def data(oscillator):
    return create_grain_dls(
        ["u"], ["y"], oscillator, win_sz=40, stp_sz=20, bs=8, seed=3, valid="windows"
    )
