"""Files cut into sequences, and sequences into chunks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_tbptt.sequences import cut_files

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=6)


def spans(sequences):
    """The chunks as (file, start, stop, position)."""
    columns = sequences.place(np.arange(sequences.n_chunks))
    return list(zip(*(x.tolist() for x in columns), strict=True))


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.none() | st.integers(1, 40), st.integers(1, 20))
def test_chunks_cover_every_sample_once_and_in_order(lengths, seq_len, chunk):
    """Whatever the lengths; none reaches over the end of a sequence, and only the last is short."""
    sequences = cut_files(np.array(lengths), seq_len, chunk)
    seen = [(f, t) for f, a, b, _ in spans(sequences) for t in range(a, b)]
    assert seen == [(f, t) for f, n in enumerate(lengths) for t in range(n)]
    for file, start, stop, position in spans(sequences):
        begin = start - position
        assert begin % (seq_len or max(lengths) + 1) == 0
        assert position % chunk == 0
        end = lengths[file] if seq_len is None else min(begin + seq_len, lengths[file])
        assert stop - start == min(chunk, end - start)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 20), st.data())
def test_splitting_keeps_the_chunks_and_their_numbers(lengths, chunk, data):
    """Only where a sequence begins changes, and with it the position."""
    sequences = cut_files(np.array(lengths), None, chunk)
    n = sequences.n_chunks
    at = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    split = sequences.split(at)
    assert [s[:3] for s in spans(split)] == [s[:3] for s in spans(sequences)]
    begins = [position == 0 for *_, position in spans(split)]
    first = [position == 0 for *_, position in spans(sequences)]
    assert begins == (at | np.array(first)).tolist()
