"""The contract of a signal store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsjax_core.errors import DataError
from tsjax_core.protocols import AttributeStore, SampledStore, SignalStore, WindowStore
from tsjax_core.testing.contract import Conformance, clause
from tsjax_core.testing.other_process import call_there, equal_values
from tsjax_core.types import HostArray


class StoreConformance(Conformance):
    """What every signal store keeps.

    The store is made in `setup_class`, which pytest calls once, over files of at least 4 samples.

    Facts:
        store: The store under test.
        signals: Names of signals that are in every file.
        attributes: Names of scalars that are in every file, for a store that has them.
    """

    facts = ("store", "signals")

    store: SignalStore
    signals: Sequence[str]
    attributes: Sequence[str] = ()

    @clause
    def test_paths_are_fixed(self) -> None:
        """`paths` gives the same files in the same order every time, at least one."""
        first, again = list(self.store.paths), list(self.store.paths)
        assert first, "the store has no file"
        assert first == again, f"paths gives {first} and then {again}"

    @clause
    def test_lengths_are_those_of_the_signals(self) -> None:
        """`get_seq_len` gives the number of samples that `read_signals` reads."""
        for path in self.store.paths:
            first = self.store.get_seq_len(path)
            assert first > 0, f"get_seq_len without a signal gives {first!r} for {path}"
            for name in self.signals:
                stated, read = self.store.get_seq_len(path, name), len(self._read(path, [name]))
                assert stated == read, (
                    f"get_seq_len gives {stated} for {name} in {path}, and read_signals {read}"
                )

    @clause
    def test_signals_are_columns_of_float32(self) -> None:
        """`read_signals` gives float32, (time, number of signals), in the order asked for."""
        for path in self.store.paths:
            for names in (list(self.signals), list(reversed(self.signals))):
                values = self._read(path, names)
                assert values.ndim == 2, f"read_signals gives shape {values.shape}"
                assert values.dtype == np.float32, f"read_signals gives {values.dtype}"
                for i, name in enumerate(names):
                    assert equal_values(values[:, [i]], self._read(path, [name])), (
                        f"column {i} of {names} is not {name}"
                    )

    @clause
    def test_part_equals_part_of_the_whole(self) -> None:
        """Samples `start` to `stop` are those of the whole signal."""
        for path in self.store.paths:
            whole = self._read(path)
            n = len(whole)
            for start, stop in ((0, 1), (1, n - 1), (n // 2, n), (0, n), (n // 3, n // 2)):
                part = self.store.read_signals(path, self.signals, start, stop)
                assert equal_values(part, whole[start:stop]), (
                    f"samples {start} to {stop} of {path} differ from those of the whole signal"
                )

    @clause
    def test_ranges_outside_the_signal_are_refused(self) -> None:
        """A range that leaves the signal, or ends before it begins, raises a DataError."""
        for path in self.store.paths:
            n = self.store.get_seq_len(path, self.signals[0])
            for start, stop in ((0, n + 1), (-1, 2), (3, 2), (n + 1, n + 2)):
                refusal = _refusal(self.store.read_signals, path, self.signals, start, stop)
                assert refusal, f"samples {start} to {stop} of {n} are read; raise a WindowError"
                assert str(path) in refusal, f"the error does not name the file: {refusal}"

    @clause
    def test_unknown_signal_is_refused(self) -> None:
        """A name that the file does not have raises a DataError that names it."""
        path, name = self.store.paths[0], "no_such_signal"
        for method in (self.store.get_seq_len, self._read_one):
            refusal = _refusal(method, path, name)
            assert refusal, f"{name!r} is read; raise a MissingSignalError"
            for fact in (str(path), name):
                assert fact in refusal, f"the error does not have {fact!r}: {refusal}"

    @clause
    def test_reading_again_gives_the_same(self) -> None:
        """A signal is the same every time, even if the caller has changed what it got."""
        path = self.store.paths[0]
        first = np.array(self._read(path))
        got = self._read(path)
        if got.flags.writeable:
            got[...] = 0.0
        again = np.array(self._read(path))
        if got.flags.writeable:
            # The store may be that of all clauses, and only this one is about what it keeps.
            got[...] = first
        assert equal_values(first, again), f"the signals of {path} differ between two readings"

    @clause
    def test_other_processes_read_the_same(self) -> None:
        """The store can be pickled, and reads the same in another process."""
        path = self.store.paths[0]
        here = self._read(path)
        if not equal_values(here, self._read(path)):
            return
        there = call_there(self.store, "read_signals", path, list(self.signals))
        assert equal_values(here, there), f"the signals of {path} differ in another process"

    @clause
    def test_windows_are_parts_of_the_signals(self) -> None:
        """`read_windows`, where there is one, stacks the parts that `read_signals` gives."""
        if not isinstance(self.store, WindowStore):
            return
        for path in self.store.paths:
            whole = self._read(path)
            size = len(whole) // 2
            starts = np.array([len(whole) - size, 0, 1, 0])
            windows = self.store.read_windows(path, self.signals, starts, size)
            expected = np.stack([whole[start : start + size] for start in starts])
            assert equal_values(windows, expected), (
                f"windows of {size} samples at {starts} differ from the signals of {path}"
            )
            for outside in (-1, len(whole) - size + 1):
                refusal = _refusal(
                    self.store.read_windows, path, self.signals, np.array([0, outside]), size
                )
                assert refusal, f"a window of {size} samples at {outside} of {len(whole)} is read"

    @clause
    def test_attributes_are_one_number_each(self) -> None:
        """`read_attributes`, where there is one, gives float32, one value for each name."""
        if not isinstance(self.store, AttributeStore):
            return
        for path in self.store.paths:
            values = self.store.read_attributes(path, self.attributes)
            assert (values.shape, str(values.dtype)) == ((len(self.attributes),), "float32"), (
                f"read_attributes gives shape {values.shape} and {values.dtype} for "
                f"{len(self.attributes)} names"
            )
            again = self.store.read_attributes(path, self.attributes)
            assert equal_values(values, again), f"the attributes of {path} differ between readings"

    @clause
    def test_sampling_time_is_positive(self) -> None:
        """`get_dt`, where there is one, gives seconds above 0, or None where it is not known."""
        if not isinstance(self.store, SampledStore):
            return
        for path in self.store.paths:
            dt = self.store.get_dt(path)
            assert dt is None or 0.0 < dt < float("inf"), f"get_dt gives {dt!r} for {path}"

    def _read(self, path: Path, names: Sequence[str] | None = None) -> HostArray:
        return self.store.read_signals(path, list(names or self.signals))

    def _read_one(self, path: Path, name: str) -> HostArray:
        return self._read(path, [name])


def _refusal(method: Callable[..., Any], *arguments: Any) -> str | None:
    """Return the text of the DataError that a call raises, None if it raises none."""
    try:
        method(*arguments)
    except DataError as error:
        return str(error)
    return None
