from __future__ import annotations

import inspect
import typing

import docstring_parser
import h5py
import numpy as np
import pytest

from tsjax_core.data.batches import GrainPipeline
from tsjax_core.data.pipeline import create_grain_dls
from tsjax_core.data.sources import FullSequenceSource, WindowedSource
from tsjax_core.errors import (
    ConfigError,
    ConstantChannelError,
    DataError,
    MissingSignalError,
    NonFiniteError,
    SplitError,
    UnequalLengthError,
    UnreadableFileError,
    UnsupportedDatasetError,
    WindowError,
)


def changed(path, name, values):
    """Replace the data set `name` of the file, or remove it if `values` is None."""
    with h5py.File(path, "r+") as file:
        del file[name]
        if values is not None:
            file[name] = values


def set_attrs(paths, **attrs):
    for path in paths:
        with h5py.File(path, "r+") as file:
            file.attrs.update(attrs)


def read(path, name):
    with h5py.File(path) as file:
        return file[name][:]


def test_splits(dataset):
    """Training and validation read windows, testing whole files; statistics are of train."""
    pipeline = create_grain_dls(["u"], ["y", "z"], dataset, win_sz=50, stp_sz=10, valid="windows")
    assert isinstance(pipeline, GrainPipeline)
    assert len(pipeline.train) == 26 + 13 + 5
    assert len(pipeline.valid) == 2
    assert [len(pipeline.test[i]["u"]) for i in range(2)] == [150, 80]
    assert pipeline.win_sz == 50
    assert pipeline.signals.inputs == ("u",)
    assert pipeline.signals.outputs == ("y", "z")
    assert pipeline.signals.dt == 0.01
    assert pipeline.resident
    train = sorted(dataset.glob("train/*"))
    for key, names in pipeline.signals.names.items():
        for row, name in enumerate(names):
            x = np.concatenate([read(path, name) for path in train]).astype(np.float64)
            stats = pipeline.signals.stats[key]
            assert stats.mean[row] == pytest.approx(x.mean(), rel=1e-6)
            assert stats.std[row] == pytest.approx(x.std(), rel=1e-6)


def test_other_splits_have_no_part_in_the_statistics(dataset):
    """Whatever validation and test files hold, the statistics stay; training files change them."""
    stats = create_grain_dls(["u"], ["y"], dataset, win_sz=20).signals.stats
    for path in [*dataset.glob("valid/*"), *dataset.glob("test/*")]:
        changed(path, "u", 1e6 * read(path, "u"))
        changed(path, "y", np.zeros(len(read(path, "y"))))
    assert create_grain_dls(["u"], ["y"], dataset, win_sz=20).signals.stats == stats
    path = dataset / "train" / "c.hdf5"
    changed(path, "u", 1.01 * read(path, "u"))
    assert create_grain_dls(["u"], ["y"], dataset, win_sz=20).signals.stats != stats


def test_validation_on_whole_files(dataset):
    """With `valid="files"` validation simulates whole files."""
    pipeline = create_grain_dls(["u"], ["y"], dataset, win_sz=20, valid="files")
    assert isinstance(pipeline.valid, FullSequenceSource)
    assert len(pipeline.valid[0]["u"]) == 120
    assert pipeline.file_names("valid") == ("a.hdf5",)
    assert pipeline.split("valid") is pipeline.valid is pipeline.records("valid")


def test_lists_of_files(dataset):
    """Lists of files give what the directory gives."""
    lists = {s: sorted(map(str, dataset.glob(f"{s}/*"))) for s in ("train", "valid", "test")}
    one, other = (create_grain_dls(["u"], ["y"], d, win_sz=20) for d in (dataset, lists))
    assert one.signals == other.signals
    np.testing.assert_array_equal(one.train[5]["y"], other.train[5]["y"])


def test_file_in_two_splits(dataset):
    """A training file that is also used to test is warned of."""
    lists = {s: sorted(dataset.glob(f"{s}/*")) for s in ("train", "valid", "test")}
    lists["test"].append(dataset / "test" / ".." / "train" / "b.hdf5")
    with pytest.warns(UserWarning, match="in train and in test; figures of test will be better"):
        create_grain_dls(["u"], ["y"], lists, win_sz=20)


def test_scalars(dataset):
    """Scalars have statistics over files, each file counting once whatever its length."""
    pipeline = create_grain_dls(
        ["u"], [], dataset, win_sz=30, u_scalars=["mass"], y_scalars=["x0:1", "x0:0"]
    )
    assert pipeline.signals.scalar_inputs == ("mass",)
    assert pipeline.signals.scalar_outputs == ("x0:1", "x0:0")
    assert pipeline.signals.target == "y_scalar"
    assert pipeline.signals.stats["u_scalar"].mean.tolist() == [2.0]
    assert pipeline.signals.stats["y_scalar"].mean.tolist() == [1.0, 0.5]
    assert pipeline.signals.stats["y_scalar"].std[0] == pytest.approx(np.std([0, 1, 2]))
    batch = next(iter(pipeline.train_batches(0)))
    assert {k: v.shape[1:] for k, v in batch.items()} == {
        "u": (30, 1),
        "u_scalar": (1,),
        "y_scalar": (2,),
    }


def test_signal_and_scalar_of_one_name(dataset):
    """A channel and a file attribute may have the same name and keep their own statistics."""
    for number, path in enumerate(sorted(dataset.rglob("*.hdf5"))):
        set_attrs([path], u=100.0 * number)
    pipeline = create_grain_dls(["u"], ["y"], dataset, win_sz=30, u_scalars=["u"])
    assert abs(pipeline.signals.stats["u"].mean[0]) < 1
    assert pipeline.signals.stats["u_scalar"].mean[0] > 50


@pytest.mark.parametrize("method", ["antialias", "linear"])
def test_files_of_different_rates(dataset, told, method):
    """Files of different rates are refused, and accepted once they are brought to one rate."""
    path = dataset / "test" / "b.hdf5"
    set_attrs([path], fs=50.0)
    error = told(DataError, create_grain_dls, ["u"], ["y"], dataset, win_sz=20)
    assert f"{dataset / 'train/a.hdf5'} = 0.01 s, {path} = 0.02 s" in str(error)
    assert "Bring them to one with target_fs" in str(error)
    pipeline = create_grain_dls(["u"], ["y"], dataset, win_sz=20, target_fs=25.0, resample=method)
    assert pipeline.signals.dt == 0.04
    assert [len(record["u"]) for record in pipeline.test] == [38, 40]
    assert [len(record["u"]) for record in pipeline.records("train")] == [75, 43, 23]


def test_sampling_time_that_is_given(tmp_path, dataset, write_csv, told):
    """`dt` stands in for files that do not tell, and may not contradict those that do."""
    assert create_grain_dls(["u"], ["y"], dataset, win_sz=20, dt=0.010001).signals.dt == 0.010001
    error = told(DataError, create_grain_dls, ["u"], ["y"], dataset, win_sz=20, dt=0.02)
    assert "sampling times differ: dt = 0.02 s" in str(error)
    assert "Leave dt out" in str(error)
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        time = 0.5 * np.arange(30)
        columns = {"t": time, "u": rng.standard_normal(30), "y": rng.standard_normal(30)}
        write_csv(tmp_path / "csv" / split / "a.csv", columns, ";")
    options = {"win_sz": 10, "delimiter": ";"}
    folder = tmp_path / "csv"
    assert create_grain_dls(["u"], ["y"], folder, **options).signals.dt == 0.5
    error = told(DataError, create_grain_dls, ["u"], ["y"], folder, **options, dt=0.1)
    assert "sampling times differ: dt = 0.1 s" in str(error)
    assert create_grain_dls(["u"], ["y"], folder, **options, time="t").signals.dt == 0.5
    options["time"] = ""
    assert create_grain_dls(["u"], ["y"], folder, **options).signals.dt is None
    assert create_grain_dls(["u"], ["y"], folder, **options, dt=0.1).signals.dt == 0.1
    error = told(DataError, create_grain_dls, ["u"], ["y"], folder, **options, target_fs=1.0)
    assert "does not say how it was sampled" in str(error)
    for tells in ({"dt": 0.5}, {"time": "t"}):
        pipeline = create_grain_dls(["u"], ["y"], folder, **{**options, **tells}, target_fs=1.0)
        assert pipeline.signals.dt == 1.0
        assert len(pipeline.test[0]["u"]) == 15


@pytest.mark.parametrize("preload", [False, True])
def test_preload(dataset, preload):
    """Preloaded signals give the same batches."""
    pipeline = create_grain_dls(["u"], ["y"], dataset, win_sz=20, preload=preload)
    plain = create_grain_dls(["u"], ["y"], dataset, win_sz=20)
    for got, wanted in zip(pipeline.train_batches(0), plain.train_batches(0), strict=True):
        np.testing.assert_array_equal(got["u"], wanted["u"])


def test_arguments_can_be_decoded_and_shown():
    """Every argument has a type that resolves and a line in the docstring."""
    hints = typing.get_type_hints(create_grain_dls)
    lines = {each.arg_name for each in docstring_parser.parse(create_grain_dls.__doc__).params}
    assert set(inspect.signature(create_grain_dls).parameters) == lines == set(hints) - {"return"}


@pytest.mark.parametrize(
    "change, key, says",
    [
        ({"u": "torque"}, "u", "u is 'torque'; give a list of names, such as [\"u\"]"),
        ({"u": []}, "u", "u is empty; name at least one input channel"),
        ({"u": ["u", "u"]}, "u", "u names 'u' more than once"),
        ({"u": [3]}, "u", "u has 3; a name is a non-empty text"),
        ({"u": [""]}, "u", "u has ''"),
        ({"y": []}, "y", "y and y_scalars are empty"),
        ({"y": ["y", "u"]}, "u", "'u' is in u and in y: the model would be given what it is to"),
        ({"u_scalars": ["m"], "y_scalars": ["m"]}, "u_scalars", "'m' is in u_scalars and in"),
        ({"win_sz": 0}, "win_sz", "win_sz = 0; give a whole number of samples, at least 1"),
        ({"win_sz": 10.0}, "win_sz", "win_sz = 10.0"),
        ({"win_sz": True}, "win_sz", "win_sz = True"),
        ({"stp_sz": -1}, "stp_sz", "stp_sz = -1"),
        ({"valid_stp_sz": 0}, "valid_stp_sz", "valid_stp_sz = 0"),
        ({"bs": 0}, "bs", "bs = 0"),
        ({"seed": -1}, "seed", "seed = -1; give a whole number, at least 0"),
        ({"valid": "both"}, "valid", "valid = 'both'; give one of 'windows', 'files'"),
        ({"resample": "fft"}, "resample", "resample = 'fft'"),
        ({"target_fs": 0}, "target_fs", "target_fs = 0; give a finite number above 0"),
        ({"target_fs": float("nan")}, "target_fs", "target_fs = nan"),
        ({"dt": "0.1"}, "dt", "dt = '0.1'"),
        ({"gaps": "join"}, "gaps", "gaps = 'join'; give one of 'refuse', 'split'"),
        ({"offsets": {"u": "high"}}, "offsets", "offsets has 'high' for 'u'; give a finite number"),
        ({"offsets": {"v": 1.0}}, "offsets", "offsets names 'v', which is no signal of the data"),
        ({"decimal": "x"}, "decimal", "decimal = 'x'"),
        ({"target_fs": 1e7}, "target_fs", "target_fs asks for 100000 times the rate"),
    ],
)
def test_wrong_arguments(dataset, told, change, key, says):
    """A wrong argument is refused by its name, with what it may be."""
    error = told(
        ConfigError, create_grain_dls, **{"u": ["u"], "y": ["y"], "dataset": dataset} | change
    )
    assert error.key == key
    assert says in str(error)


def spoil_with_nan(dataset):
    for split, count in (("train/b", 2), ("test/a", 1)):
        path = dataset / f"{split}.hdf5"
        values = read(path, "y")
        values[:count] = np.nan
        changed(path, "y", values)


SPOILT = {
    "missing split": (
        lambda d: [p.unlink() for p in d.glob("valid/*")] + [(d / "valid").rmdir()],
        SplitError,
        "there is no directory 'valid'",
    ),
    "empty split": (
        lambda d: [p.unlink() for p in d.glob("test/*")],
        SplitError,
        "no file of the split 'test'",
    ),
    "signal absent from a file": (
        lambda d: changed(d / "train/b.hdf5", "y", None),
        MissingSignalError,
        "train/b.hdf5: no signal 'y'. It has: u, z.",
    ),
    "signal absent from a test file": (
        lambda d: changed(d / "test/b.hdf5", "u", None),
        MissingSignalError,
        "test/b.hdf5: no signal 'u'",
    ),
    "unequal lengths": (
        lambda d: changed(d / "valid/a.hdf5", "y", np.zeros(119)),
        UnequalLengthError,
        "valid/a.hdf5: signals that are read together differ in length",
    ),
    "window too long": (
        lambda d: [changed(p, n, np.ones(9)) for p in d.glob("train/*") for n in "uyz"],
        WindowError,
        "no window of win_sz = 20 samples fits any of 3 files",
    ),
    "nan": (
        spoil_with_nan,
        NonFiniteError,
        "b.hdf5: 2 in 'y', ",
    ),
    "constant input": (
        lambda d: [changed(p, "u", np.full(len(read(p, "u")), 2.5)) for p in d.glob("train/*")],
        ConstantChannelError,
        "'u' has the value 2.5 in all of train (3 files)",
    ),
    "constant scalar": (
        lambda d: set_attrs(d.glob("train/*"), mass=4.0),
        ConstantChannelError,
        "'mass' has the value 4 in all of train (3 files)",
    ),
    "scalar that is not finite": (
        lambda d: set_attrs([d / "test/b.hdf5"], mass=np.inf),
        NonFiniteError,
        "test/b.hdf5: 1 in 'mass'",
    ),
    "strings": (
        lambda d: changed(d / "train/c.hdf5", "u", [b"a"] * 90),
        UnsupportedDatasetError,
        "train/c.hdf5: 'u' holds strings",
    ),
    "truncated": (
        lambda d: (d / "train/c.hdf5").write_bytes((d / "train/c.hdf5").read_bytes()[:2500]),
        UnreadableFileError,
        "truncated file",
    ),
    "not HDF5": (
        lambda d: (d / "valid/a.hdf5").write_text("u,y\n"),
        UnreadableFileError,
        "valid/a.hdf5: cannot be read as HDF5",
    ),
    "mixed formats": (
        lambda d: (d / "valid/b.csv").write_text("u,y\n1,2\n"),
        DataError,
        "the data set mixes HDF5",
    ),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_data_that_cannot_be_used(dataset, told, spoil):
    """What is wrong with a data set is told before training, with file and signal."""
    change, kind, says = SPOILT[spoil]
    options = {"win_sz": 20, "u_scalars": ["mass"]}
    create_grain_dls(["u"], ["y"], dataset, **options)
    change(dataset)
    error = told(kind, create_grain_dls, ["u"], ["y"], dataset, **options)
    assert says in str(error)


def test_samples_that_are_not_finite_are_allowed_on_request(dataset):
    """With `allow_nan` the statistics leave out NaN, and the batches have it."""
    spoil_with_nan(dataset)
    pipeline = create_grain_dls(["u"], ["y"], dataset, win_sz=20, allow_nan=True)
    y = np.concatenate([read(path, "y") for path in sorted(dataset.glob("train/*"))])
    assert pipeline.signals.stats["y"].mean[0] == pytest.approx(np.nanmean(y, dtype="f8"), rel=1e-5)
    assert np.isnan(pipeline.test[0]["y"]).sum() == 1


def test_constant_channel_in_validation_is_no_error(dataset):
    """Only what is learned from has to change."""
    for path in [*dataset.glob("valid/*"), *dataset.glob("test/*")]:
        changed(path, "u", np.zeros(len(read(path, "u"))))
    assert isinstance(create_grain_dls(["u"], ["y"], dataset, win_sz=20).train, WindowedSource)


def test_short_files_are_warned_of(dataset):
    """A training file shorter than a window is named."""
    with pytest.warns(UserWarning, match="1 of 3 files are shorter than win_sz = 100.*c.hdf5"):
        create_grain_dls(["u"], ["y"], dataset, win_sz=100)
