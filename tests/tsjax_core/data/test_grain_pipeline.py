from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core.data.pipeline import create_grain_dls
from tsjax_core.errors import (
    ConfigError,
    UnreadableFileError,
)


@given(bs=st.integers(1, 300), seed=st.integers(0, 3), epoch=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_batches_of_an_epoch(shared, bs, seed, epoch):
    """Each window is in one batch at most, and only those that fill no batch are in none."""
    pipeline = dataclasses.replace(shared, bs=bs, seed=seed)
    batches = list(pipeline.batch_indices(epoch))
    n = len(pipeline.train)
    size = min(bs, n)
    assert len(batches) == pipeline.steps_per_epoch == max(1, n // bs)
    assert all(batch.shape == (size,) for batch in batches)
    used = np.concatenate(batches)
    assert len(set(used.tolist())) == len(used) > n - size
    again = list(pipeline.batch_indices(epoch))
    np.testing.assert_array_equal(again, batches)


@given(bs=st.integers(1, 70), size=st.integers(1, 12), n_batches=st.sampled_from([None, 1, 40]))
@settings(max_examples=30, deadline=None)
def test_blocks_of_batches(shared, bs, size, n_batches):
    """Blocks hold the batches in their order, all of one size but the last one."""
    pipeline = dataclasses.replace(shared, bs=bs, n_batches=n_batches)
    blocks = list(pipeline.index_blocks(2, size))
    assert {block.dtype for block in blocks} == {np.dtype(np.int64)}
    assert {len(block) for block in blocks[:-1]} <= {size}
    np.testing.assert_array_equal(np.concatenate(blocks), list(pipeline.batch_indices(2)))


def test_blocks_of_no_batch(shared, told):
    """A block holds at least one batch."""
    error = told(ConfigError, lambda: list(shared.index_blocks(0, 0)))
    assert error.key == "size"


@pytest.fixture(scope="module")
def shared(tmp_path_factory, write_hdf5):
    root = tmp_path_factory.mktemp("shared")
    rng = np.random.default_rng(0)
    for name, n in (("train/a", 150), ("train/b", 60), ("valid/a", 70), ("test/a", 60)):
        signals = {key: rng.standard_normal(n) for key in "uy"}
        write_hdf5(root / f"{name}.hdf5", signals, {"mass": n})
    return create_grain_dls(["u"], ["y"], root, win_sz=20, bs=16, u_scalars=["mass"], resident=True)


@pytest.mark.parametrize("bs", [1, 16, 1000])
def test_streamed_batches_are_those_of_the_indices(shared, bs):
    """The streaming path gives the batches of `batch_indices`, in that order."""
    pipeline = dataclasses.replace(shared, bs=bs)
    joined = pipeline.train.read_resident()
    streamed = list(pipeline.train_batches(3))
    assert len(streamed) == pipeline.steps_per_epoch
    for indices, batch in zip(pipeline.batch_indices(3), streamed, strict=True):
        starts, files = pipeline.train.locate(indices)
        windows = starts[:, None] + np.arange(20)
        assert set(batch) == {"u", "y", "u_scalar"}
        np.testing.assert_array_equal(batch["u"], joined["u"][windows])
        np.testing.assert_array_equal(batch["y"], joined["y"][windows])
        np.testing.assert_array_equal(batch["u_scalar"], joined["u_scalar"][files])


def test_source_that_maps_indices(shared):
    """A source that passes on other indices of another one changes what both paths train on."""

    class Last:
        def __init__(self, source, n):
            self.source, self.offset, self.n = source, len(source) - n, n
            self.win_sz, self.resident_bytes = source.win_sz, source.resident_bytes
            self.read_resident = source.read_resident

        def __len__(self):
            return self.n

        def __getitem__(self, index):
            return self.source[index + self.offset]

        def read_batch(self, indices):
            return self.source.read_batch(indices + self.offset)

        def locate(self, indices):
            return self.source.locate(indices + self.offset)

    pipeline = dataclasses.replace(shared, train=Last(shared.train, 30), bs=10)
    assert (pipeline.steps_per_epoch, pipeline.win_sz) == (3, 20)
    joined = pipeline.train.read_resident()["u"]
    for indices, batch in zip(pipeline.batch_indices(0), pipeline.train_batches(0), strict=True):
        starts, files = pipeline.train.locate(indices)
        assert set(files) == {1}
        np.testing.assert_array_equal(batch["u"], joined[starts[:, None] + np.arange(20)])


def test_epochs_differ(shared):
    """Another epoch and another seed give another order."""
    first = next(iter(shared.batch_indices(0)))
    assert not np.array_equal(first, next(iter(shared.batch_indices(1))))
    other = dataclasses.replace(shared, seed=1)
    assert not np.array_equal(first, next(iter(other.batch_indices(0))))
    assert not np.array_equal(
        next(iter(shared.batch_indices(1))), next(iter(other.batch_indices(0)))
    )


def test_stopping_early_leaves_no_thread(shared):
    """An epoch that is left after a batch ends the threads that read ahead."""
    before = set(threading.enumerate())
    batches = shared.train_batches(0)
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    batches.close()
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def test_error_of_a_read_ahead_is_told(shared, told):
    """What goes wrong in a reading thread arrives as the error that it is."""

    class Failing:
        def __len__(self):
            return 40

        def __getitem__(self, index):
            raise AssertionError("batches are read whole")

        def read_batch(self, indices):
            raise UnreadableFileError("gone.hdf5: there is no such file.")

    pipeline = dataclasses.replace(shared, train=Failing(), resident=False)
    error = told(UnreadableFileError, lambda: list(pipeline.train_batches(0)))
    assert "gone.hdf5: there is no such file." in str(error)


def test_names_and_lengths_of_files(dataset):
    """Splits of whole files name their samples; splits of windows have whole files behind them."""
    pipeline = create_grain_dls(["u"], ["y"], dataset, win_sz=20)
    assert pipeline.file_names("test") == ("a.hdf5", "b.hdf5")
    assert pipeline.file_lengths("test") == {"a.hdf5": 150, "b.hdf5": 80}
    assert pipeline.file_names("train") == ()
    assert pipeline.file_lengths("train") == {}
    assert [len(record["u"]) for record in pipeline.records("train")] == [300, 170, 90]
    assert [len(record["u"]) for record in pipeline.records("valid")] == [120]
    with pytest.raises(ConfigError, match="there is no split 'trian'; give train, valid, test"):
        pipeline.split("trian")


def test_equal_file_names_in_different_directories(dataset):
    """Files of one name are told apart by the directories in which they differ."""
    files = {
        "train": [dataset / "train/a.hdf5"],
        "valid": [dataset / "valid/a.hdf5"],
        "test": [dataset / "test/a.hdf5", dataset / "test/b.hdf5", dataset / "valid/a.hdf5"],
    }
    pipeline = create_grain_dls(["u"], ["y"], files)
    assert pipeline.file_names("test") == ("test/a.hdf5", "test/b.hdf5", "valid/a.hdf5")


def test_resident(dataset, monkeypatch, told):
    """Small training sets are resident, large ones not, unless it is said."""
    from tsjax_core.data import pipeline as module

    assert create_grain_dls(["u"], ["y"], dataset, win_sz=20).resident
    assert not create_grain_dls(["u"], ["y"], dataset, win_sz=20, resident=False).resident
    monkeypatch.setattr(module, "_RESIDENT_BYTES", 1000)
    large = create_grain_dls(["u"], ["y"], dataset, win_sz=20)
    assert not large.resident
    assert create_grain_dls(["u"], ["y"], dataset, win_sz=20, resident=True).resident
    error = told(ConfigError, dataclasses.replace, large, train=large.test, resident=True)
    assert "FullSequenceSource cannot be kept on the device" in str(error)


def test_summary(dataset):
    """A person is told names, rate, sizes and batches."""
    pipeline = create_grain_dls(["u"], ["y"], dataset, win_sz=50, stp_sz=10, bs=8)
    print(pipeline.summary())
    print(pipeline)
    for text in ("u = u; y = y", "0.01 s (100 Hz)", "3 files", "560 samples", "44 windows of 50"):
        assert text in pipeline.summary()
    assert "5 batches of 8 windows" in pipeline.summary()
    assert repr(pipeline).startswith("GrainPipeline(u=['u'], y=['y'], train: 44 windows of 50,")


def test_pipeline_in_another_process(shared):
    """A started process reads the same batch from the pickled pipeline."""
    indices = np.array([3, 0, 100])
    wanted = shared.train.read_batch(indices)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        got = pool.submit(pickle.loads(pickle.dumps(shared)).train.read_batch, indices).result()
    for key, values in wanted.items():
        np.testing.assert_array_equal(got[key], values)


def test_import_is_cheap():
    """Grain and h5py are imported where they are used, and not before."""
    code = (
        "import sys, tsjax_core.data.pipeline, tsjax_core.data.sampling as s;"
        "s.epoch_order(3, seed=0, epoch=0)[:];"
        "print([m for m in ('grain', 'h5py', 'scipy.signal') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[]"]
