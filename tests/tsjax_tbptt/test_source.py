"""The source of chunks: what it reads, what it states of itself, and what it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tsjax_core import create_grain_dls, exact_batches, file_weights, weighted_source
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import PlannedSource, ResidentSource, WeighableSource
from tsjax_tbptt import TBPTTSource


def chunks_of(source, epoch=0, n=None):
    """The batches of an epoch, (steps, rows) per key."""
    steps = source.count_batches(source.bs) if n is None else n
    drawn = source.draw(steps * source.bs, seed=0, epoch=epoch)
    return [source.read_batch(part) for part in drawn.reshape(steps, source.bs)]


def test_rows_show_whole_files_sample_by_sample(open_records):
    """Joined along a row, what counts is each file once; padding repeats the last sample."""
    records = open_records(50, 23, 41, 7, 30)
    source = TBPTTSource(records, win_sz=10, bs=2)
    assert isinstance(source, ResidentSource)
    assert isinstance(source, PlannedSource)
    assert isinstance(source, WeighableSource)
    shown = []
    batches = chunks_of(source)
    for row in range(2):
        joined = {k: np.concatenate([b[k][row] for b in batches]) for k in batches[0]}
        position = joined["position"]
        begins = np.flatnonzero(position == 0).tolist()
        for begin, end in zip(begins, [*begins[1:], len(position)], strict=True):
            n = int((position[begin:end] >= 0).sum())
            assert position[begin : begin + n].tolist() == list(range(n))
            for key in ("u", "y", "mask"):
                part = joined[key][begin : begin + -(-n // 10) * 10]
                (file,) = np.flatnonzero(records.lengths == n)
                np.testing.assert_array_equal(part[:n], records[file][key])
                np.testing.assert_array_equal(part[n:], np.tile(part[n - 1], (len(part) - n, 1)))
            shown.append(n)
    assert sorted(shown) == sorted(records.lengths.tolist())


def test_sequences_may_be_shorter_than_files(open_records):
    """Cut every seq_len samples, and numbered from their own beginning."""
    records = open_records(50, 23)
    source = TBPTTSource(records, win_sz=8, bs=2, seq_len=20)
    lengths, total = [], 0
    for batch in chunks_of(source):
        total += (batch["position"] >= 0).sum()
        lengths += batch["position"].max(1).tolist()
    assert total == 73
    assert max(lengths) == 19


@pytest.mark.parametrize("resident", [True, False])
def test_files_give_the_batches_of_the_device(unequal_files, resident):
    """Scalars, a mask and two channels each, read from files and from the joined signals."""
    data = create_grain_dls(
        ["u_a", "u_b"],
        ["y_a", "y_b"],
        unequal_files,
        u_scalars=["load"],
        further={"moves": ["moves"]},
        win_sz=16,
        bs=3,
        source="tbptt/chunks",
        resident=resident,
    )
    assert data.has_position
    assert data.steps_per_epoch == 9
    batches = list(data.train_batches(1))
    source, signals = data.train, data.train.read_resident()
    assert source.resident_bytes == sum(x.nbytes for x in signals.values())
    for indices, batch in zip(data.batch_indices(1), batches, strict=True):
        starts, files = source.locate(indices)
        for key, x in signals.items():
            cut = [x[s : s + 16] for s in starts] if not key.endswith("scalar") else x[files]
            np.testing.assert_array_equal(np.stack(list(cut)), batch[key])


def test_equal_sources_are_equal_and_travel(open_records):
    """By options, files and weights; a pickled one draws the same."""
    records = open_records(50, 23, 41)
    source = TBPTTSource(records, win_sz=10, bs=2)
    again = pickle.loads(pickle.dumps(source))
    assert again == source
    assert hash(again) == hash(source)
    np.testing.assert_array_equal(again.draw(30, seed=1, epoch=2), source.draw(30, seed=1, epoch=2))
    weighted = source.with_weights(np.ones(len(source)))
    assert weighted == source.with_weights(np.ones(len(source)))
    for other in (
        TBPTTSource(records, win_sz=9, bs=2),
        TBPTTSource(records, win_sz=10, bs=3),
        TBPTTSource(records, win_sz=10, bs=2, seq_len=20),
        TBPTTSource(records, win_sz=10, bs=2, epoch_batches=4),
        weighted,
        source.with_weights(np.arange(len(source))),
    ):
        assert other != source
    assert weighted != source.with_weights(np.arange(len(source)))
    assert source != "source"
    assert repr(source) == "TBPTTSource(3 sequences in chunks of 10, 2 rows, 3 files)"
    assert "weighted" in repr(weighted)


def test_rows_without_a_sequence_are_told(open_records):
    """With what to do about it; they are blank, and count nowhere."""
    with pytest.warns(UserWarning, match="1 sequence is fewer than the 4 rows") as caught:
        source = TBPTTSource(open_records(50), win_sz=10, bs=4)
    print(caught[0].message)
    assert "seq_len below 50" in str(caught[0].message)
    for batch in chunks_of(source):
        assert (batch["position"] < 0).all(1).sum() == 3
        assert all(np.isfinite(x).all() for x in batch.values())


@pytest.mark.parametrize(
    "options,text",
    [
        ({"seq_len": 0}, "tbptt/chunks got seq_len = 0; give a whole number of samples"),
        ({"seq_len": 2.5}, "got seq_len = 2.5"),
        ({"epoch_batches": 0}, "got epoch_batches = 0; give a whole number of batches, at least 1"),
        ({"bs": 0}, "bs = 0; give a whole number of rows, at least 1"),
        ({"win_sz": -1}, "win_sz = -1"),
    ],
)
def test_options_that_are_no_counts_are_told(open_records, options, text):
    """With the option and its value."""
    with pytest.raises(ConfigError) as caught:
        TBPTTSource(open_records(50, 40), **{"win_sz": 10, "bs": 2, **options})
    print(caught.value)
    assert text in str(caught.value)


def test_indices_out_of_range_are_told(open_records):
    """With the number of chunks."""
    source = TBPTTSource(open_records(50, 40), win_sz=10, bs=2)
    for read in (source.__getitem__, lambda i: source.locate(np.array([i]))):
        with pytest.raises(IndexError, match="chunk 10 of 10; count from 0 to 9"):
            read(10)


def test_a_chunk_of_weight_zero_cuts_its_sequence(open_records):
    """What follows it begins anew, at position 0, and keeps its number and samples."""
    source = TBPTTSource(open_records(50, 23), win_sz=10, bs=2)
    weights = np.ones(len(source))
    weights[2] = 0.0
    weighted = source.with_weights(weights)
    assert len(weighted) == len(source)
    for index in range(len(source)):
        a, b = source[index], weighted[index]
        np.testing.assert_array_equal(a["u"], b["u"])
        expected = a["position"] - np.where(a["position"] < 0, 0, 30 if index in (3, 4) else 0)
        if index != 2:
            np.testing.assert_array_equal(b["position"], expected)
    drawn = weighted.draw(2000, seed=0, epoch=0)
    assert set(drawn.tolist()) == {0, 1, 3, 4, 5, 6, 7}


def test_weights_multiply(open_records):
    """A sequence whose weight is 0 in either is not drawn, and none at all is told."""
    source = TBPTTSource(open_records(20, 20, 20), win_sz=10, bs=2)
    first, second = np.repeat([1.0, 1.0, 0.0], 2), np.repeat([0.0, 1.0, 1.0], 2)
    weighted = weighted_source(source, [*first, 0.0])
    assert isinstance(weighted, TBPTTSource)
    both = weighted_source(weighted, [*second, 0.0])
    assert set(both.draw(100, seed=0, epoch=0).tolist()) == {2, 3}
    with pytest.raises(ConfigError) as caught:
        both.with_weights(np.append(first * (1.0 - second), 0.0))
    print(caught.value)
    assert "weights are all zero" in str(caught.value)
    with pytest.raises(ConfigError, match="give one number for each of the 7 windows"):
        source.with_weights(np.ones(3))


def test_files_get_equal_shares(make_records):
    """By `balance`, however long they are, with whole sequences in their order."""
    records = make_records(200, 40, 60)
    data = create_grain_dls(
        ["u:0"],
        ["y:0"],
        {"train": records, "valid": records[:1], "test": records[:1]},
        win_sz=10,
        bs=2,
        source="tbptt/chunks",
        balance="files",
    )
    source = data.train
    assert isinstance(source, TBPTTSource)
    plain = TBPTTSource(source.records, win_sz=10, bs=2)
    assert source == plain.with_weights(file_weights(plain))
    assert data.steps_per_epoch == 20
    data = exact_batches(data, 3000)
    assert data.steps_per_epoch == 3000
    indices = np.concatenate(list(data.batch_indices(0)))
    shares = np.bincount(source.locate(indices)[1]) / len(indices)
    print(shares)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)
    assert (np.diff(indices.reshape(-1, 2), axis=0) == 1).mean() > 0.75


def test_exact_batches_are_further_rounds(open_records):
    """Each sequence comes once in every round."""
    source = TBPTTSource(open_records(40, 20, 30), win_sz=10, bs=2)
    steps = source.count_batches(2)
    assert source.count_batches(1) == 2 * steps
    drawn = source.draw(3 * steps * 2, seed=0, epoch=0)
    counts = np.bincount(drawn, minlength=10)
    assert (counts[:9] == 3).all()


def test_files_may_be_shorter_than_a_chunk():
    """No ordinary window has to fit in them, with no warning of one that does not."""
    rng = np.random.default_rng(0)
    records = [{"u": rng.standard_normal(n), "y": rng.standard_normal(n)} for n in (7, 30)]
    dataset = {"train": records, "valid": records[1:], "test": records[1:]}
    data = create_grain_dls(["u"], ["y"], dataset, win_sz=20, bs=2, source="tbptt/chunks")
    counted = sum((b["position"] >= 0).sum() for b in chunks_of(data.train))
    assert counted == 37
