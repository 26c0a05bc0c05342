"""The contract of a metric."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tsjax_core.signatures import declare
from tsjax_core.testing.contract import Conformance, check_close, clause, wanted
from tsjax_core.testing.samples import sample_batch, sample_signals
from tsjax_core.types import HostArray


class MetricConformance(Conformance):
    """What every metric keeps.

    The metric is called as an evaluation calls it: with NumPy arrays of `n_outputs` channels,
    (batch, time, n_y), in raw units.

    Facts:
        metric: The metric under test; of a registered factory, what it returns.
        best: Its value at a perfect prediction, which no other prediction surpasses.
        higher_is_better: Whether larger values are better, false unless set.
        n_outputs: Channels of the target, 3 unless set.
    """

    facts = ("metric", "best")

    metric: Callable[..., Any]
    best: float
    higher_is_better: bool = False
    n_outputs: int = 3

    @clause
    def test_arguments_are_known(self) -> None:
        """It takes `pred`, `target`, `y_mean`, `y_std`, and by keyword only what tsjax offers."""
        declare("metric", self._metric)

    @clause
    def test_value_is_a_scalar(self) -> None:
        """The value is a scalar."""
        shape = np.shape(self._value(self._y(1)))
        assert shape == (), f"the value has shape {shape}; reduce it to a scalar"

    @clause
    def test_value_is_finite(self) -> None:
        """Finite predictions and targets give a finite value."""
        value = np.asarray(self._value(self._y(1)))
        assert np.isfinite(value).all(), f"the value is {value}"

    @clause
    def test_inputs_are_not_changed(self) -> None:
        """Prediction and target are the same after the call."""
        pred, target = self._y(1), self._y()
        self._value(pred, target)
        assert np.array_equal(pred, self._y(1)), "the metric changes the prediction in place"
        assert np.array_equal(target, self._y()), "the metric changes the target in place"

    @clause
    def test_samples_count_alike_however_they_are_batched(self) -> None:
        """Sequences joined along time, in any order, have the value that they have as a batch."""
        pred, target = self._y(1), self._y()
        joined = [np.concatenate(list(y[::-1]))[None] for y in (pred, target)]
        check_close(
            "of the joined sequences, the value",
            self._value(*joined),
            self._value(pred, target),
            "reduce over batch and time at once",
        )

    @clause
    def test_perfect_prediction_is_best(self) -> None:
        """At a perfect prediction the value is the declared best, and nowhere better."""
        best = float(np.mean(self._value(self._y())))
        check_close("at a perfect prediction, the value", best, self.best, "declare another `best`")
        sign = -1.0 if self.higher_is_better else 1.0
        for seed in range(1, 9):
            for share in (0.1, 1.0):
                pred = (1.0 - share) * self._y() + share * self._y(seed)
                value = float(np.mean(self._value(pred)))
                assert not sign * value < sign * self.best, (
                    f"a wrong prediction has the value {value}, better than {self.best}"
                )

    @clause
    def test_one_channel_has_a_value_of_its_own(self) -> None:
        """A metric marked `channelwise` has a finite scalar value for each channel alone."""
        if not getattr(self._fact("metric"), "channelwise", False):
            return
        stats = sample_signals(2, self.n_outputs).stats["y"]
        for i in range(self.n_outputs):
            value = np.asarray(
                self._metric(
                    self._y(1)[..., [i]], self._y()[..., [i]], stats.mean[[i]], stats.std[[i]]
                )
            )
            assert np.isfinite(value).all(), (
                f"channel {i} alone has the value {value}; remove the mark @channelwise from a "
                "metric that needs several channels"
            )

    @property
    def _metric(self) -> Callable[..., Any]:
        metric: Callable[..., Any] = self._fact("metric")
        given = wanted(metric, {"signals": sample_signals(2, self.n_outputs)})
        return partial(metric, **given) if given else metric

    def _y(self, seed: int = 0) -> HostArray:
        return np.array(sample_batch(sample_signals(2, self.n_outputs), seed=seed)["y"])

    def _value(self, pred: HostArray, target: HostArray | None = None) -> Any:
        stats = sample_signals(2, self.n_outputs).stats["y"]
        return self._metric(pred, self._y() if target is None else target, stats.mean, stats.std)
