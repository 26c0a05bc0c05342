"""Saved models: equal outputs after loading, and every way in which it can go wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from tsjax_core import (
    GRULearner,
    Learner,
    create_grain_dls,
    load_model,
    make_learner,
    predict,
)
from tsjax_core.errors import SavedModelError, UnknownNamespaceError
from tsjax_core.inference import saved_model as saved
from tsjax_core.models.recurrent import GRU
from tsjax_core.registry import registry


@pytest.fixture(scope="module")
def learner(two_by_three) -> Learner:
    data = create_grain_dls(["a", "b"], ["p", "q", "r"], two_by_three, win_sz=40, stp_sz=20, bs=8)
    learner = GRULearner(data, hidden_size=4, num_layers=2)
    learner.fit(1, show_progress=False)
    return learner


@pytest.fixture
def stored(learner, tmp_path) -> Path:
    return learner.save(tmp_path / "model")


def test_a_loaded_model_gives_the_same_bits(learner, stored):
    """Outputs, specification and signals are those that were saved."""
    u = np.random.default_rng(0).standard_normal((50, 2))
    np.testing.assert_array_equal(predict(load_model(stored), u), learner.predict(u))
    loaded = saved.load_saved(stored)
    assert loaded.spec == learner.spec
    assert loaded.signals == learner.signals
    assert loaded.name == "core/gru"


def test_the_description_is_readable(stored):
    """A person finds name, options, distribution, version and signals in model.json."""
    description = json.loads((stored / "model.json").read_text())
    assert description["name"] == "core/gru"
    assert description["options"]["num_layers"] == 2
    assert description["distribution"] == "tsjax-core"
    assert description["version"]
    assert description["signals"]["outputs"] == ["p", "q", "r"]
    assert description["signals"]["dt"] == pytest.approx(0.1)


def test_saving_again_replaces_the_model_as_a_whole(learner, stored):
    """The second save leaves one model, and no other file beside it."""
    learner.fit(1, lr=0.05, show_progress=False)
    assert learner.save(stored, overwrite=True) == stored
    u = np.ones((20, 2))
    np.testing.assert_array_equal(predict(load_model(stored), u), learner.predict(u))
    assert [path.name for path in stored.parent.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_earlier_model(learner, stored, monkeypatch):
    """When writing the parameters fails, nothing of the earlier model is touched."""

    def fail(path, tree):
        path.mkdir()
        raise OSError("no space left on device")

    before = learner.predict(np.ones((9, 2)))
    monkeypatch.setattr(saved, "_write_arrays", fail)
    with pytest.raises(OSError, match="no space left"):
        learner.save(stored, overwrite=True)
    np.testing.assert_array_equal(predict(load_model(stored), np.ones((9, 2))), before)
    assert [path.name for path in stored.parent.iterdir()] == ["model"]


def refused(act, *parts) -> str:
    with pytest.raises(SavedModelError) as caught:
        act()
    print(caught.value)
    assert all(str(part) in str(caught.value) for part in parts), parts
    return str(caught.value)


def test_a_directory_with_something_else_is_left_alone(learner, tmp_path):
    """The error names it, and nothing in it changes."""
    (tmp_path / "notes.txt").write_text("mine")
    refused(lambda: learner.save(tmp_path), tmp_path, "something other than a saved model")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    file = tmp_path / "notes.txt"
    refused(lambda: learner.save(file), file, "something other")


def test_a_foreign_directory_with_a_model_json_is_left_alone(learner, tmp_path):
    """Other programs call a file model.json too."""
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    refused(lambda: learner.save(tmp_path), "something other than a saved model")
    assert (tmp_path / "notes.txt").exists()


def test_a_failed_rename_puts_the_earlier_model_back(learner, stored, monkeypatch):
    """The new directory cannot take the name: the earlier model is there as before."""
    rename = Path.rename

    def fail(self, target):
        if Path(target) == stored and self.name != "old":
            raise OSError("device gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="device gone"):
        learner.save(stored, overwrite=True)
    monkeypatch.undo()
    assert load_model(stored)(np.zeros((1, 4, 2), np.float32)).shape == (1, 4, 3)
    assert [path.name for path in stored.parent.iterdir()] == ["model"]


@dataclass(frozen=True)
class Unregistered(GRU):
    """A specification that no plugin offers."""


def test_what_cannot_be_found_again_is_not_saved(learner, tmp_path):
    """A ready-made model, and a specification of a script."""
    ready = Learner(learner.model, learner.pipeline)
    refused(lambda: ready.save(tmp_path / "a"), "ready-made model", "specification")
    scripted = Learner(Unregistered(hidden_size=2), learner.pipeline)
    refused(lambda: scripted.save(tmp_path / "b"), "Unregistered", "tsjax_models")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_model_is_told(tmp_path):
    """The error says what is missing and what to give."""
    refused(lambda: load_model(tmp_path), tmp_path, "no model.json", "RUN/model")


def rewrite(stored: Path, **changes) -> None:
    file = stored / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_damaged_files_are_told(stored):
    """Broken JSON, missing keys, a newer format, parameters of another shape, or none."""
    text = (stored / "model.json").read_text()
    (stored / "model.json").write_text(text[:100])
    refused(lambda: load_model(stored), "model.json is damaged")
    (stored / "model.json").write_text("{}")
    refused(lambda: load_model(stored), "model.json is damaged", "'name'")
    (stored / "model.json").write_text(text)
    rewrite(stored, options=None)
    refused(lambda: load_model(stored), "model.json is damaged", "options are a table")
    (stored / "model.json").write_text(text)
    rewrite(stored, format=99)
    refused(lambda: load_model(stored), "format 99", "reads format 1")
    (stored / "model.json").write_text(text)
    rewrite(stored, options={"hidden_size": 5, "num_layers": 2})
    refused(
        lambda: load_model(stored),
        "do not fit the options",
        "layers.0.w_rec: stored (4, 12), expected (5, 15)",
    )
    rewrite(stored, options={"hidden_sice": 5})
    refused(lambda: load_model(stored), "'hidden_sice'", "saved by tsjax-core")
    (stored / "model.json").write_text(text)
    shutil.rmtree(stored / "parameters")
    refused(lambda: load_model(stored), "parameters", "cannot be read")


def test_a_missing_plugin_is_told_with_what_to_install(stored):
    """A model of a plugin that is not installed names the distribution that saved it."""
    rewrite(stored, name="acme/wiener", distribution="acme-models", version="1.2")
    with pytest.raises(UnknownNamespaceError) as caught:
        load_model(stored)
    print(caught.value)
    for part in (str(stored), "'acme/wiener'", "'acme'", "acme-models 1.2"):
        assert part in str(caught.value)
    assert str(caught.value).endswith("pip install acme-models")
    assert (caught.value.name, caught.value.install) == ("acme/wiener", "acme-models")


def test_a_specification_that_builds_no_module_is_told(stored, monkeypatch):
    """The loader needs a flax.nnx.Module to put the parameters into."""
    monkeypatch.setattr(GRU, "build", lambda self, signals, *, rngs: len)
    refused(lambda: load_model(stored), "returned builtin_function_or_method", "nnx.Module")


MIXER = """
from dataclasses import dataclass
from flax import nnx
from tsjax_core import hookimpl
from tsjax_core.models.scaling import Standardize

@dataclass(frozen=True)
class Mixer:
    width: int = 4
    reads = ("u",)

    def build(self, signals, *, rngs):
        return Layers(self, signals, rngs)

class Layers(nnx.Module):
    def __init__(self, spec, signals, rngs):
        self.u_scale = Standardize(signals.stats["u"])
        self.y_scale = Standardize(signals.stats["y"])
        self.hidden = nnx.Linear(len(signals.inputs), spec.width, rngs=rngs)
        self.norm = nnx.BatchNorm(spec.width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(spec.width, len(signals.outputs), rngs=rngs)

    def __call__(self, u):
        x = nnx.tanh(self.hidden(self.u_scale.normalize(u)))
        return self.y_scale.denormalize(self.out(self.dropout(self.norm(x))))

@hookimpl
def tsjax_models():
    return {"mixer": Mixer}
"""


@pytest.fixture
def acme(site):
    """Install a plugin of flax's own layers, with random state and running statistics."""
    site.install("acme", MIXER)
    registry._installed.cache_clear()
    yield "acme/mixer"
    registry._installed.cache_clear()


def test_a_model_of_a_third_party_is_saved_and_loaded(learner, acme, tmp_path):
    """Its batch statistics come back; the state of its dropout is not part of a model."""
    other = make_learner(learner.pipeline, acme, width=3)
    other.fit(2, lr=1e-2, show_progress=False)
    other.save(tmp_path / "m")
    loaded = saved.load_saved(tmp_path / "m")
    assert (loaded.name, loaded.spec.width) == ("acme/mixer", 3)
    u = np.random.default_rng(0).standard_normal((30, 2))
    np.testing.assert_array_equal(predict(loaded.model, u), other.predict(u))
    np.testing.assert_array_equal(loaded.model.norm.mean[...], other.model.norm.mean[...])
    assert json.loads((tmp_path / "m/model.json").read_text())["distribution"] == "fake-acme"


def test_the_model_in_memory_is_a_module(stored):
    """`load_model` returns the module itself, ready to be called on raw units."""
    model = load_model(stored)
    assert isinstance(model, nnx.Module)
    assert model(np.zeros((2, 7, 2), np.float32)).shape == (2, 7, 3)
