"""The contract of a source of samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tsjax_core.protocols import (
    BatchedSource,
    DrawnSource,
    PlannedSource,
    ResidentSource,
    Source,
    WeighableSource,
)
from tsjax_core.testing.contract import Conformance, clause
from tsjax_core.testing.other_process import call_there, equal_values
from tsjax_core.types import HostArray, Sample, is_sequence


class SourceConformance(Conformance):
    """What every source of samples keeps.

    A source that reads files is made in `setup_class`, which pytest calls once:

        @classmethod
        def setup_class(cls):
            cls.source = MySource(...)

    Facts:
        source: The source under test.
        length: Number of its samples.
    """

    facts = ("source", "length")

    source: Source
    length: int

    @clause
    def test_length_is_as_declared(self) -> None:
        """`len` gives the number of samples."""
        got = len(self.source)
        assert got == self.length, f"len gives {got}, the test declares {self.length}"

    @clause
    def test_indices_out_of_range_are_refused(self) -> None:
        """An index below 0, or not below the length, raises IndexError."""
        for index in (-1, self.length, self.length + 7):
            try:
                self.source[index]
            except IndexError:
                continue
            raise AssertionError(
                f"index {index} of {self.length} samples gives a sample; raise IndexError, or a "
                "loop over the source does not end"
            )

    @clause
    def test_samples_are_float32_arrays(self) -> None:
        """A sample has `u`, and `y` or `y_scalar`: float32 (time, n), scalars (n,)."""
        for index in self._indices():
            sample = self.source[index]
            assert "u" in sample, f"sample {index} has the keys {', '.join(sample)}, and no u"
            assert {"y", "y_scalar"} & sample.keys(), f"sample {index} has neither y nor y_scalar"
            for key, value in sample.items():
                axes = 2 if is_sequence(key) and key != "position" else 1
                dtype = "int32" if key == "position" else "float32"
                assert (value.ndim, str(value.dtype)) == (axes, dtype), (
                    f"{key} of sample {index} has shape {value.shape} and dtype {value.dtype}; "
                    f"expected {axes} axes of {dtype}"
                )

    @clause
    def test_positions_number_the_samples_of_a_sequence(self) -> None:
        """`position`, int32 (time,), grows by one, and is negative where the end is filled up."""
        for index in self._indices():
            sample = self.source[index]
            if "position" not in sample:
                continue
            position = sample["position"]
            real = position[position >= 0]
            numbered = (position[: len(real)] >= 0).all() and (np.diff(real) == 1).all()
            assert numbered, (
                f"position of sample {index} is {position[:8]}...; number the samples of a "
                "sequence one by one, and give what fills up the end a negative number"
            )

    @clause
    def test_sequences_of_a_sample_are_equally_long(self) -> None:
        """All sequences of one sample have the same number of time steps."""
        for index in self._indices():
            lengths = {
                key: len(value) for key, value in self.source[index].items() if is_sequence(key)
            }
            assert len(set(lengths.values())) == 1, f"sample {index} has the lengths {lengths}"

    @clause
    def test_samples_have_equal_channels(self) -> None:
        """All samples have the same keys, with the same number of channels."""
        channels = [
            {key: value.shape[-1] for key, value in self.source[index].items() if key != "position"}
            for index in self._indices()
        ]
        for index, found in zip(self._indices(), channels, strict=True):
            assert found == channels[0], (
                f"sample {index} has the channels {found}, the first has {channels[0]}"
            )

    @clause
    def test_equal_indices_give_equal_samples(self) -> None:
        """An index gives the same sample every time, even if the caller changed the last one."""
        got = [self.source[index] for index in self._indices()]
        first = [{key: np.array(value) for key, value in sample.items()} for sample in got]
        with _zeroed(got):
            again = [
                {key: np.array(value) for key, value in self.source[index].items()}
                for index in reversed(self._indices())
            ]
        for index, a, b in zip(self._indices(), first, reversed(again), strict=True):
            assert equal_values(a, b), (
                f"sample {index} differs between two readings, or after the caller changed what it "
                "got; return copies and no views, and leave augmentation to a batch transform"
            )

    @clause
    def test_other_processes_read_the_same(self) -> None:
        """The source can be pickled, and gives the same samples in another process."""
        index = self.length - 1
        here = self.source[index]
        if not equal_values(here, self.source[index]):
            return
        there = call_there(self.source, "__getitem__", index)
        assert equal_values(here, there), f"sample {index} differs in another process"

    @clause
    def test_batches_are_stacked_samples(self) -> None:
        """`read_batch`, where there is one, stacks the samples along a new first axis."""
        if not isinstance(self.source, BatchedSource):
            return
        indices = np.array([*reversed(self._indices()), 0])
        stacked = _stack([self.source[int(index)] for index in indices])
        assert equal_values(stacked, dict(self.source.read_batch(indices))), (
            f"read_batch({indices}) differs from the samples one by one"
        )
        for index in (-1, self.length):
            try:
                self.source.read_batch(np.array([0, index]))
            except IndexError:
                continue
            raise AssertionError(f"read_batch reads index {index} of {self.length} samples")

    @clause
    def test_windows_are_parts_of_the_resident_signals(self) -> None:
        """`locate`, where there is one, says where each sample lies in `read_resident`."""
        if not isinstance(self.source, ResidentSource):
            return
        signals, size = self.source.read_resident(), self.source.win_sz
        indices = np.array(self._indices())
        starts, files = self.source.locate(indices)
        cut = [
            {key: _part(value, key, int(start), int(file), size) for key, value in signals.items()}
            for start, file in zip(starts, files, strict=True)
        ]
        for index, found in zip(indices, cut, strict=True):
            assert equal_values(found, dict(self.source[int(index)])), (
                f"sample {index} is not what locate and read_resident give"
            )

    @clause
    def test_epochs_are_drawn_alike(self) -> None:
        """`draw`, where there is one, follows seed and epoch, and more samples begin with fewer."""
        if not isinstance(self.source, DrawnSource):
            return
        n = 3 * self.length
        drawn = self.source.draw(n, seed=1, epoch=2)
        assert (drawn.shape, str(drawn.dtype)) == ((n,), "int64"), (
            f"draw({n}) gives {drawn.dtype} of shape {drawn.shape}; expected int64 ({n},)"
        )
        in_range = (drawn >= 0).all() and (drawn < self.length).all()
        assert in_range, (
            f"draw gives indices from {drawn.min()} to {drawn.max()} of {self.length} samples"
        )
        again = self.source.draw(n, seed=1, epoch=2)
        assert np.array_equal(drawn, again), "draw differs between two calls with equal arguments"
        fewer = self.source.draw(n // 2, seed=1, epoch=2)
        assert np.array_equal(drawn[: n // 2], fewer), "fewer samples are not the first of more"
        if self.length > 4:
            others = [
                self.source.draw(n, seed=seed, epoch=epoch) for seed, epoch in ((1, 3), (2, 2))
            ]
            assert not all(np.array_equal(drawn, other) for other in others), (
                "draw gives the same order for every seed and epoch"
            )

    @clause
    def test_planned_batches_show_every_sample(self) -> None:
        """`count_batches`, where there is one, is as many batches as show every sample once."""
        if not isinstance(self.source, PlannedSource):
            return
        for bs in (1, 3):
            n = self.source.count_batches(bs)
            shown = set(self.source.draw(n * bs, seed=0, epoch=0).tolist())
            missing = sorted(set(range(self.length)) - shown)
            real = [i for i in missing if (self.source[i].get("position", np.zeros(1)) >= 0).any()]
            assert not real, (
                f"an epoch of {n} batches of {bs} does not show sample {real[0]} and "
                f"{len(real) - 1} others"
            )

    @clause
    def test_samples_of_weight_zero_are_not_drawn(self) -> None:
        """`with_weights`, where there is one, never draws a sample whose weight is 0."""
        if not isinstance(self.source, WeighableSource):
            return
        weights = np.ones(self.length)
        first = int(self.source.draw(1, seed=0, epoch=0)[0])
        weights[first] = 0.0
        weighted = self.source.with_weights(weights)
        assert isinstance(weighted, DrawnSource), "with_weights gives a source without draw"
        drawn = weighted.draw(2 * self.length, seed=0, epoch=0)
        assert first not in drawn.tolist(), f"sample {first} has the weight 0 and is drawn"

    def _indices(self) -> list[int]:
        """Return at most 16 indices, the first and the last among them."""
        return sorted({int(i) for i in np.linspace(0, self.length - 1, min(self.length, 16))})


@contextmanager
def _zeroed(samples: list[Sample]) -> Iterator[None]:
    """Set what can be written to zero for a while; the source may be that of all clauses."""
    values = [value for sample in samples for value in sample.values() if value.flags.writeable]
    kept = [np.array(value) for value in values]
    for value in values:
        value[...] = 0.0
    yield
    for value, before in zip(values, kept, strict=True):
        value[...] = before


def _stack(samples: list[Sample]) -> Sample:
    return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}


def _part(value: HostArray, key: str, start: int, file: int, size: int) -> HostArray:
    part: HostArray = value[start : start + size] if is_sequence(key) else value[file]
    return part
