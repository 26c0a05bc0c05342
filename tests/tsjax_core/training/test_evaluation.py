"""Splits read in order, whole records batched, and lengths that share compiled programs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsjax_core import compose_losses, create_grain_dls, masked_loss, mse, skip_n
from tsjax_core.training.evaluation import compute_loss, padded_length, split_batches


class Records:
    """Whole records of given lengths, whose samples count up."""

    def __init__(self, lengths):
        self.lengths = lengths

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        ramp = np.arange(self.lengths[index], dtype=np.float32)[:, None]
        return {"u": ramp, "y": ramp + 1000.0 * index, "y_scalar": np.float32([index])}


@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=12), bs=st.integers(1, 5))
def test_every_record_comes_once_and_in_order(lengths, bs):
    """Padded or not, cutting to the true lengths gives the records again."""
    for pad in (False, True):
        seen = []
        for sizes, batch in split_batches(Records(lengths), bs=bs, pad=pad, fill=True):
            assert len(sizes) == len(batch["u"]) <= bs
            for row, size in enumerate(sizes):
                index = len(seen)
                assert batch["y_scalar"][row] == index
                np.testing.assert_array_equal(batch["y"][row, :size], Records(lengths)[index]["y"])
                # Padding repeats the last sample, which is in the range of the data.
                assert np.all(batch["u"][row, size:] == size - 1)
                seen.append(size)
        assert seen == lengths


def test_neighbours_of_one_length_share_a_batch():
    """Three records of 20 samples in a row are one batch, of at most `bs` records."""
    lengths = [20, 20, 20, 30, 20]
    shapes = [b["u"].shape[:2] for _, b in split_batches(Records(lengths), bs=8, pad=0, fill=0)]
    assert shapes == [(3, 20), (1, 30), (1, 20)]
    shapes = [b["u"].shape[:2] for _, b in split_batches(Records(lengths), bs=2, pad=0, fill=0)]
    assert shapes == [(2, 20), (1, 20), (1, 30), (1, 20)]


def test_long_records_do_not_share_a_batch():
    """Two records of 200 000 samples would fill the memory together."""
    batches = list(split_batches(Records([200_000, 200_000]), bs=8, pad=False, fill=False))
    assert [len(sizes) for sizes, _ in batches] == [1, 1]


@given(st.integers(1, 10**7))
def test_padded_lengths_are_few_and_close(length):
    """At most an eighth longer, never shorter, and 8 lengths for each power of two."""
    padded = padded_length(length)
    assert length <= padded <= length * 1.125
    mantissa = padded
    while mantissa > 15:
        assert mantissa % 2 == 0
        mantissa //= 2


def test_windows_come_in_batches_of_one_shape(oscillator):
    """The last batch is filled by repetition, and says how many of its windows count."""
    pipeline = create_grain_dls(
        ["u"], ["y"], oscillator, win_sz=60, valid_stp_sz=37, bs=5, valid="windows"
    )
    windows = np.stack([pipeline.valid[i]["y"] for i in range(len(pipeline.valid))])
    assert len(windows) % 5 != 0
    for fill in (True, False):
        batches = list(split_batches(pipeline.valid, bs=5, pad=False, fill=fill))
        kept = np.concatenate([batch["y"][: len(sizes)] for sizes, batch in batches])
        np.testing.assert_array_equal(kept, windows)
        assert {len(batch["y"]) for _, batch in batches} == ({5} if fill else {5, len(windows) % 5})


def test_a_term_counts_where_it_has_measurements():
    """The loss of a part of unequal files is that of the part of the whole split.

    A file without any of one channel, or only at its start, does not make it NaN.
    """
    rng = np.random.default_rng(0)
    pairs = [(rng.standard_normal((1, n, 2)), rng.standard_normal((1, n, 2))) for n in (30, 20, 12)]
    pairs[1][1][..., 1] = np.nan
    pairs[2][1][:, 5:] = np.nan
    stats = np.zeros(2), np.ones(2)
    loss = compose_losses(
        a=(masked_loss(mse, [True, False]), 1.0), b=(masked_loss(mse, [False, True]), 2.0)
    )
    errors = [(pred - target) ** 2 for pred, target in pairs]
    expected = np.nanmean(np.concatenate([e[..., 0].ravel() for e in errors]))
    expected += 2.0 * np.nanmean(np.concatenate([e[..., 1].ravel() for e in errors]))
    np.testing.assert_allclose(compute_loss(loss.terms, pairs, stats), expected)
    late = compose_losses((skip_n(mse, 6), 1.0))
    expected = np.nanmean(np.concatenate([e[:, 6:].ravel() for e in errors]))
    np.testing.assert_allclose(compute_loss(late.terms, pairs, stats), expected)
    broken = [(np.full_like(pred, np.nan), target) for pred, target in pairs]
    assert np.isnan(compute_loss(loss.terms, broken, stats))
