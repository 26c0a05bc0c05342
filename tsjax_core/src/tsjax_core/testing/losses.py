"""The contract of a loss term."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.losses.wrapping import has_residuals
from tsjax_core.signatures import declare
from tsjax_core.testing.contract import Conformance, check_close, clause, wanted
from tsjax_core.testing.samples import sample_batch, sample_signals
from tsjax_core.types import Array, Signals


class LossConformance(Conformance):
    """What every loss term keeps.

    The term is called with a prediction and a target of `n_outputs` channels, (batch, time, n_y)
    in raw units, and with the arguments that it declares.

    Facts:
        loss: The loss term under test; of a registered factory, what it returns.
        minimum: Its value at a perfect prediction, which no other prediction goes below; 0 unless
            set, and None for a term that does not aim at the target.
        model: The model, for a term that declares `model`.
        aux: Intermediate values, for a term that declares `aux`: each (3, ...) for a batch of 3.
        n_outputs: Channels of the target, 3 unless set.
        further: Names of further signals by batch key, for a term that reads them of `batch`.
    """

    facts = ("loss",)

    loss: Callable[..., Array]
    minimum: float | None = 0.0
    model: Any = None
    aux: Mapping[str, Array] = {}
    n_outputs: int = 3
    further: Mapping[str, Sequence[str]] = {}

    @clause
    def test_arguments_are_known(self) -> None:
        """It takes `pred`, `target`, `y_mean`, `y_std`, and by keyword only what tsjax offers."""
        declare("loss", self._loss)

    @clause
    def test_value_is_a_scalar(self) -> None:
        """The value is a floating-point scalar."""
        value = jnp.asarray(self._value())
        assert value.shape == (), f"the value has shape {value.shape}; reduce it to a scalar"
        assert jnp.issubdtype(value.dtype, jnp.floating), f"the value is of type {value.dtype}"

    @clause
    def test_value_is_finite(self) -> None:
        """Finite predictions give a finite value, a perfect one and a constant one too."""
        for what, pred in self._predictions().items():
            value = self._value(pred)
            assert jnp.isfinite(value).all(), f"for a {what} prediction, the value is {value}"

    @clause
    def test_gradient_is_finite(self) -> None:
        """The gradient for the prediction is finite, for a constant prediction too."""
        for what in ("wrong", "constant"):
            self._check_gradient(self._predictions()[what])

    @clause
    def test_gradient_is_finite_at_a_perfect_prediction(self) -> None:
        """The gradient for the prediction is finite where it equals the target."""
        self._check_gradient(self._batch()["y"])

    @clause
    def test_compiled_equals_eager(self) -> None:
        """The compiled term gives what the term gives without compilation."""
        pred = self._batch(seed=1)["y"]
        compiled = jax.jit(self._value)(pred)
        check_close("the compiled value", compiled, self._value(pred), "use jax.numpy alone")

    @clause
    def test_order_of_the_batch_does_not_matter(self) -> None:
        """With its rows in another order, a batch has the same value, unless it takes a `key`."""
        if wanted(self._loss, {"key": None}):
            # It may draw numbers for each row.
            return
        order = np.array([2, 0, 1])
        pred, target = self._batch(seed=1)["y"], self._batch()["y"]
        given = {
            name: jax.tree.map(lambda x: x[order], value) if name in {"batch", "aux"} else value
            for name, value in self._given().items()
        }
        stats = self._stats()
        moved = self._loss(pred[order], target[order], *stats, **given)
        expected = self._value(pred)
        check_close("in another order, the value", moved, expected, "treat all rows alike")

    @clause
    def test_minimum_is_at_a_perfect_prediction(self) -> None:
        """At a perfect prediction the value is the declared minimum, and nowhere lower."""
        if self.minimum is None:
            return
        best = float(np.mean(self._value(self._batch()["y"])))
        check_close(
            "at a perfect prediction, the value", best, self.minimum, "declare another `minimum`"
        )
        for seed in range(1, 9):
            near = self._batch()["y"] * 0.9 + self._batch(seed=seed)["y"] * 0.1
            downhill = self._batch()["y"] - self._downhill(share=0.1**seed)
            for pred in (near, downhill, self._batch(seed=seed)["y"]):
                value = float(np.mean(self._value(pred)))
                assert not value < self.minimum - 1e-6 * abs(self.minimum), (
                    f"a wrong prediction has the value {value}, below the minimum {self.minimum}"
                )

    @clause
    def test_residuals_are_those_of_the_loss(self) -> None:
        """The loss is the sum of the squares of `residuals` times a factor of the data alone."""
        loss: Any = self._loss
        if not has_residuals(loss):
            return
        given, target = self._given(), self._batch()["y"]
        factors = []
        for seed in range(1, 5):
            pred = self._batch(seed=seed)["y"]
            residuals = loss.residuals(pred, target, *self._stats(), **given)
            assert residuals.shape[0] == len(target), (
                f"residuals have the shape {residuals.shape} for {len(target)} sequences; the "
                "batch comes first"
            )
            factors.append(float(self._value(pred)) / float(jnp.sum(jnp.square(residuals))))
        check_close(
            "the loss over the sum of the squares of its residuals",
            factors,
            [factors[0]] * len(factors),
            "return residuals whose squares sum up to the loss, or none",
        )

    @property
    def _loss(self) -> Callable[..., Array]:
        loss: Callable[..., Array] = self._fact("loss")
        return loss

    def _batch(self, seed: int = 0) -> dict[str, Array]:
        return sample_batch(self._signals(), seed=seed)

    def _predictions(self) -> dict[str, Array]:
        target, mean = self._batch()["y"], self._stats()[0]
        return {
            "wrong": self._batch(seed=1)["y"],
            "perfect": target,
            "constant": jnp.broadcast_to(mean, target.shape),
        }

    def _downhill(self, share: float) -> Array:
        """Return the step against the gradient at a perfect prediction, `share` of the std long."""
        target = self._batch()["y"]
        gradient = jax.grad(lambda p: jnp.mean(self._value(p)))(target)
        return share * self._stats()[1] * jnp.sign(jnp.nan_to_num(gradient))

    def _signals(self) -> Signals:
        return sample_signals(2, self.n_outputs, further=self.further)

    def _stats(self) -> tuple[Array, Array]:
        stats = self._signals().stats["y"]
        return jnp.asarray(stats.mean), jnp.asarray(stats.std)

    def _given(self) -> dict[str, Any]:
        offered = {
            "batch": self._batch(),
            "model": self._fact("model"),
            "aux": self.aux,
            "key": jax.random.key(0),
            "progress": jnp.float32(0.5),
            "signals": self._signals(),
        }
        return wanted(self._loss, offered)

    def _value(self, pred: Array | None = None) -> Array:
        pred = self._batch(seed=1)["y"] if pred is None else pred
        return self._loss(pred, self._batch()["y"], *self._stats(), **self._given())

    def _check_gradient(self, pred: Array) -> None:
        gradient = jax.grad(lambda p: jnp.mean(self._value(p)))(pred)
        bad = int((~jnp.isfinite(gradient)).sum())
        assert not bad, (
            f"{bad} of {gradient.size} gradients are NaN or infinite; roots and divisions want a "
            "safe argument where the error is zero"
        )
