"""The contract of a batch transform."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.signatures import declare
from tsjax_core.testing.contract import Conformance, check_close, clause, wanted
from tsjax_core.testing.samples import sample_batch, sample_signals
from tsjax_core.types import Array, Signals


class TransformConformance(Conformance):
    """What every batch transform keeps.

    The transform is called with a batch of 4 sequences, with two scalars each, and with the
    arguments that it declares.

    Facts:
        transform: The transform under test: what the registered factory returns.
        changes_targets: Whether it may change `y` and `y_scalar`, false unless set. A shorter
            sequence is unchanged if it is the beginning of the longer one.
        n_inputs: Channels of `u`, 3 unless set.
        n_outputs: Channels of `y`, 3 unless set.
        further: Names of further signals by batch key, for a transform that reads them.
    """

    facts = ("transform",)

    transform: Callable[..., Mapping[str, Array]]
    changes_targets: bool = False
    n_inputs: int = 3
    n_outputs: int = 3
    further: Mapping[str, Sequence[str]] = {}

    @clause
    def test_arguments_are_known(self) -> None:
        """It takes the batch, and by keyword only what tsjax offers."""
        declare("transform", self._transform)

    @clause
    def test_equal_keys_give_equal_results(self) -> None:
        """With equal arguments, its key among them, the result is equal."""
        differing = _differing(self._changed(), self._changed())
        assert not differing, (
            f"{', '.join(differing)} differ between two calls with equal arguments; draw random "
            "numbers from the argument `key` alone"
        )

    @clause
    def test_other_keys_give_other_results(self) -> None:
        """If it declares `key`, some other key gives another result."""
        if "key" not in wanted(self._transform, {"key": None}):
            return
        first = self._changed()
        assert any(_differing(first, self._changed(key)) for key in range(1, 65)), (
            "65 keys give equal results; use the argument `key`, or do not declare it"
        )

    @clause
    def test_input_is_not_changed(self) -> None:
        """The batch that it is given is the same after the call."""
        batch: dict[str, Any] = self._batch()
        if getattr(self._transform, "changes_shape", False):
            # On the host, where an array can be changed in place.
            batch = {key: np.array(value) for key, value in batch.items()}
        self._transform(batch, **self._given())
        assert batch.keys() == self._batch().keys(), "the transform changes the keys of its input"
        differing = _differing(batch, self._batch())
        assert not differing, (
            f"the transform changes {', '.join(differing)} of its input; return a new batch, such "
            "as {**batch, 'u': ...}"
        )

    @clause
    def test_keys_are_kept(self) -> None:
        """The result has every key of the batch."""
        lost = sorted(self._batch().keys() - self._changed().keys())
        assert not lost, f"the result lacks {', '.join(lost)}; begin it with **batch"

    @clause
    def test_dtypes_are_kept(self) -> None:
        """Every array keeps its dtype."""
        batch, changed = self._batch(), self._changed()
        other = [k for k in batch if k in changed and changed[k].dtype != batch[k].dtype]
        assert not other, f"{', '.join(f'{k} becomes {changed[k].dtype}' for k in other)}"

    @clause
    def test_shapes_are_kept(self) -> None:
        """Every array keeps its shape; with `changes_shape = True`, all times may change alike."""
        batch, changed = self._batch(), self._changed()
        if getattr(self._transform, "changes_shape", False):
            sequences = [k for k in batch if k in changed and batch[k].ndim == 3]
            lengths = {k: changed[k].shape[1] for k in sequences}
            assert len(set(lengths.values())) == 1, f"the sequences get the lengths {lengths}"
            batch = {k: _cut(batch[k], changed[k]) for k in batch if k in changed}
        other = [k for k in batch if k in changed and changed[k].shape != batch[k].shape]
        assert not other, (
            f"{', '.join(f'{k} {batch[k].shape} becomes {changed[k].shape}' for k in other)}; a "
            "transform that changes shapes carries the attribute changes_shape = True"
        )

    @clause
    def test_targets_are_not_changed(self) -> None:
        """`y` and `y_scalar` are the same in the result, unless declared otherwise."""
        if self.changes_targets:
            return
        changed, batch = self._changed(), self._batch()
        both = [key for key in ("y", "y_scalar") if key in changed]
        if getattr(self._transform, "changes_shape", False):
            # A shorter sequence has the samples of the longer one.
            batch = {key: _cut(batch[key], changed[key]) for key in both}
        differing = _differing({k: batch[k] for k in both}, {k: changed[k] for k in both})
        assert not differing, (
            f"the transform changes {', '.join(differing)}; declare changes_targets = True in the "
            "test if that is meant"
        )

    @clause
    def test_compiled_equals_eager(self) -> None:
        """It can be compiled, and then gives the same; not asked of one that changes shapes."""
        if getattr(self._transform, "changes_shape", False):
            return
        eager, again = self._changed(), self._changed()
        given = self._given()
        # Signals are facts and no arrays.
        facts = {name: given.pop(name) for name in ("signals",) if name in given}
        apply = jax.jit(lambda batch, given: self._transform(batch, **facts, **given))
        compiled = apply(self._batch(), given)
        for key in eager.keys() & compiled.keys():
            if np.array_equal(eager[key], again[key]):
                check_close(f"compiled, {key}", compiled[key], eager[key], "use jax.numpy alone")

    @property
    def _transform(self) -> Callable[..., Mapping[str, Array]]:
        transform: Callable[..., Mapping[str, Array]] = self._fact("transform")
        return transform

    def _batch(self) -> dict[str, Array]:
        return sample_batch(self._signals(), batch=4)

    def _signals(self) -> Signals:
        return sample_signals(
            self.n_inputs, self.n_outputs, n_u_scalar=2, n_y_scalar=2, further=self.further
        )

    def _given(self, key: int = 0) -> dict[str, Any]:
        offered = {
            "key": jax.random.key(key),
            "progress": jnp.float32(0.5),
            "epoch": jnp.int32(1),
            "signals": self._signals(),
        }
        return wanted(self._transform, offered)

    def _changed(self, key: int = 0) -> Mapping[str, Array]:
        return self._transform(self._batch(), **self._given(key))


def _differing(first: Mapping[str, Array], second: Mapping[str, Array]) -> list[str]:
    return [
        key
        for key in sorted(first.keys() & second.keys())
        if not np.array_equal(np.asarray(first[key]), np.asarray(second[key]), equal_nan=True)
    ]


def _cut(whole: Array, part: Array) -> Array:
    return whole[:, : part.shape[1]] if whole.ndim == 3 else whole
