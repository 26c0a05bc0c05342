"""Commands that plugins add to `tsjax`."""

from __future__ import annotations

import inspect

import pytest

from tsjax_core import cli, get_command
from tsjax_core.registry import registry


def test_a_command_of_a_plugin_stands_beside_those_of_core(families, write_experiment, tsjax):
    """It takes arguments and options, by its short name and by its full one."""
    file = write_experiment()
    for name in ("count", "families/count"):
        status, out, _ = tsjax(name, file)
        assert (status, out.endswith("2 files in test\n")) == (0, True)
        assert tsjax(name, file, "--split", "valid")[1].endswith("2 files in valid\n")
    status, out, _ = tsjax("count", "--help")
    assert (status, "Count the files of a split." in out) == (0, True)
    assert "Usage: tsjax count" in out
    out = tsjax("--help")[1]
    assert "count " in out
    assert "Count the files of a split." in out
    assert inspect.unwrap(get_command("families/count")).__name__ == "count_files"


def test_what_a_user_does_wrong_is_a_sentence(families, tsjax, tmp_path):
    """An error of the work, and arguments that are missing or unknown."""
    status, _, err = tsjax("count", tmp_path / "none.toml")
    assert (status, "none.toml: cannot be read" in err) == (2, True)
    assert tsjax("count")[0] == 2
    assert tsjax("count", "e.toml", "--files")[0] == 2


def test_core_keeps_its_commands(families, tsjax, write_experiment):
    """A command of a plugin that is called as one of core's is reached by its full name."""
    assert "Train the model of an experiment" in tsjax("train", "--help")[1]
    assert tsjax("families/train", write_experiment())[1].endswith("2 files in test\n")


def test_commands_are_listed(families, tsjax):
    """By `plugins`, `list` and `show`."""
    assert "2 commands" in tsjax("plugins")[1]
    assert "families/count" in tsjax("list", "command")[1]
    out = tsjax("show", "families/count")[1]
    assert "families/count, a command: Count the files of a split." in out
    assert "tsjax families/count --help" in out


@pytest.fixture
def two_plugins(site):
    """Two plugins with a command of one name, and one whose hook fails."""
    for name in ("left", "right"):
        site.install(
            name, site.hook("command", f"{{'go': go_{name}}}", f"def go_{name}(): print('{name}')")
        )
    site.install("faulty", site.hook("command", "1 / 0"))
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


def test_a_name_that_two_plugins_use_is_called_in_full(two_plugins, tsjax):
    """Neither hides the other, and a plugin that fails hides none."""
    assert tsjax("left/go")[1].endswith("left\n")
    assert tsjax("right/go")[1].endswith("right\n")
    status, _, err = tsjax("go")
    assert (status, "left/go, right/go" in err) == (2, True)
    out = tsjax("--help")[1]
    assert "left/go" in out
    assert "right/go" in out


def test_a_command_that_is_not_there(two_plugins, tsjax):
    """A name that nobody has, one of a plugin to install, and one whose hook fails."""
    status, _, err = tsjax("compute")
    assert (status, "No such command" in err) == (2, True)
    status, _, err = tsjax("nowhere/compute")
    assert (status, "no installed plugin has the namespace 'nowhere'" in err) == (2, True)
    status, _, err = tsjax("faulty/go")
    assert (status, "fails in tsjax_commands(): ZeroDivisionError" in err) == (1, True)
    status, _, err = tsjax("core")
    assert (status, "plugin 'core'" in err) == (2, True)


def test_core_commands_import_no_plugin(monkeypatch):
    """Looking up a command of core asks no plugin."""
    monkeypatch.setattr(registry.Registry, "installed", lambda: 1 / 0)
    group = cli._Commands(commands={"train": object()})
    assert group.get_command(None, "train") is not None
