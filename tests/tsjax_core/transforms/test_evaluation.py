"""The mark of transforms that act in evaluation too."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tsjax_core import add_bias, add_noise, also_in_evaluation, compose_transforms, vary_length
from tsjax_core.errors import ConfigError, SignatureError
from tsjax_core.signatures import wants_of

BATCH = {"u": np.zeros((2, 12, 1), np.float32), "y": np.ones((2, 12, 1), np.float32)}


class Gain:
    def __call__(self, batch, *, progress):
        return {**batch, "u": batch["u"] * progress}


@pytest.mark.parametrize("transform", [add_noise(), Gain()])
def test_a_marked_transform_is_the_same_with_a_mark(transform):
    """Same name, signature and result; the original has no mark."""
    marked = also_in_evaluation(transform)
    assert marked.in_evaluation
    assert not hasattr(transform, "in_evaluation")
    assert marked.__name__ == getattr(transform, "__name__", "Gain")
    assert wants_of(marked) == wants_of(transform)
    given = {"key": jax.random.key(0)} if marked.__name__ == "add_noise" else {"progress": 0.5}
    np.testing.assert_array_equal(marked(BATCH, **given)["u"], transform(BATCH, **given)["u"])


def test_of_a_composition_every_part_is_marked():
    """Alone and within another."""
    marked = also_in_evaluation(compose_transforms(add_noise(), add_bias()))
    assert marked.in_evaluation.names == ("add_noise", "add_bias")
    outer = compose_transforms(vary_length(5), marked, Gain())
    assert outer.in_evaluation.names == ("add_noise", "add_bias")


@pytest.mark.parametrize(
    "transform,error,told",
    [
        (
            vary_length(5),
            ConfigError,
            "transform 'vary_length' changes shapes and cannot act in ev",
        ),
        (
            compose_transforms(vary_length(5), add_noise()),
            ConfigError,
            "'compose_transforms(vary_length, add_noise)' changes shapes",
        ),
        ("core/noise", SignatureError, "a transform is a function, and 'core/noise' is none"),
        (lambda batch, *, lr: batch, SignatureError, "declares the keyword-only argument 'lr'"),
    ],
)
def test_what_cannot_act_in_evaluation_is_refused(transform, error, told):
    """Metrics count every sample of a split."""
    with pytest.raises(error) as caught:
        also_in_evaluation(transform)
    print(caught.value)
    assert told in str(caught.value)
