"""Plugins that break the contract, each as a real distribution (see the fixture `site`)."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from tsjax_core.errors import BrokenPluginError
from tsjax_core.registry import watched_import
from tsjax_core.registry.hookspecs import HOOKS, KINDS


class TestBrokenPlugins:
    def test_import_failure_is_told_only_where_the_namespace_is_used(self, site):
        """A plugin that fails to import leaves the others usable, and keeps its first error."""
        site.install("core", site.CORE)
        log = site.path / "imports"
        site.install(
            "bad",
            f"with open({str(log)!r}, 'a') as log:\n    log.write('x')\nimport no_such_module",
            version="7",
        )
        registry = site.registry
        assert registry.resolve("model", "core/gru").__name__ == "GRU"
        assert not log.exists()
        error = site.told(BrokenPluginError, registry, "model", "bad/x")
        assert "plugin 'bad' (fake-bad 7) fails to import 'fake_bad._plugin'" in str(error)
        assert "ModuleNotFoundError: No module named 'no_such_module'" in str(error)
        assert "Fix, update or uninstall fake-bad; the other plugins are not aff" in str(error)
        assert isinstance(error.__cause__, ModuleNotFoundError)
        assert (error.namespace, error.distribution, error.version) == ("bad", "fake-bad", "7")
        again = site.told(BrokenPluginError, registry, "loss", "bad/x")
        assert str(again) == str(error)
        assert log.read_text() == "x"
        core, bad = registry.plugins()
        assert core.status == "ok"
        assert (bad.offers, bad.status) == ({}, str(error))

    def test_plugin_that_exits_the_interpreter(self, site):
        """A plugin that calls `sys.exit` when imported is a broken plugin like any other."""
        site.install("bad", "import sys; sys.exit(3)")
        assert "SystemExit: 3" in str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))

    def test_plugin_that_ends_the_process(self, site):
        """One that calls `os._exit` too, which would give no word."""
        site.install("bad", "import os; os._exit(3)")
        error = site.told(BrokenPluginError, site.registry, "model", "bad/x")
        assert "it calls os._exit(3)" in str(error)

    def test_interrupt_is_not_held(self, site, capsys):
        """An interrupt while a plugin is imported ends the work, and names the plugin."""
        site.install("bad", "raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            site.registry.plugins()
        err = capsys.readouterr().err
        assert "interrupted while importing 'fake_bad._plugin' of plugin 'bad'" in err

    def test_an_import_that_does_not_return_is_named(self, site, capsys, monkeypatch):
        """After some time, while it goes on."""
        monkeypatch.setattr(watched_import, "PATIENCE", 0.01)
        site.install("slow", f"import time\ntime.sleep(0.5)\n{site.CORE}")
        assert site.registry.resolve("metric", "slow/rmse")
        text = capsys.readouterr().err
        assert "still importing 'fake_slow._plugin' of plugin 'slow'" in text
        assert "Ctrl-C ends it" in text

    def test_what_a_plugin_prints_at_import_is_no_output(self, site, capsys):
        """It goes to standard error, so that a list can be read by a program."""
        site.install("loud", f"print('hello')\n{site.CORE}")
        assert site.registry.resolve("metric", "loud/rmse")
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "hello\n")

    def test_entry_point_to_a_missing_attribute(self, site):
        """An entry point that names an attribute which is not there is a broken plugin."""
        site.install("bad", "", target="fake_bad._plugin:plugin")
        text = str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))
        assert "fails to import 'fake_bad._plugin:plugin': AttributeError" in text

    def test_namespace_outside_the_grammar(self, site):
        """An entry-point name that no component name can contain is told in the listing."""
        site.install("Big-Name", site.CORE, distribution="fake-big")
        (info,) = site.registry.plugins()
        print(info.status)
        assert "plugin 'Big-Name' (fake-big 1.2) has a namespace that no name can have" in (
            info.status
        )
        assert "fake_big" not in sys.modules

    def test_plugin_of_a_newer_core(self, site):
        """A hook that this core does not have is told with the versions asked for and in use."""
        site.install(
            "new",
            site.HOOKIMPL + "@hookimpl\ndef tsjax_optimizers():\n    return {}\n",
            requires=("tsjax-core-extras>=1", "jax", "tsjax_core>=9.1"),
        )
        text = str(site.told(BrokenPluginError, site.registry, "model", "new/x"))
        in_use = metadata.version("tsjax-core")
        assert "defines tsjax_optimizers(), which is not a hook\n  The hooks are" in text
        assert f"tsjax-core {in_use} is in use; the plugin asks for tsjax_core>=9.1." in text

    def test_plugin_of_a_newer_core_that_can_be_used(self, site):
        """A requirement that the core in use does not meet is a row, and no error."""
        site.install("new", site.CORE, requires=("tsjax-core>=9.1",))
        registry = site.registry
        assert registry.resolve("model", "new/gru").__name__ == "GRU"
        (info,) = registry.plugins()
        print(info.status)
        in_use = metadata.version("tsjax-core")
        assert "plugin 'new' (fake-new 1.2) can be used, but was made for another" in info.status
        assert f"tsjax-core {in_use} is in use; the plugin asks for tsjax-core>=9.1." in info.status
        assert info.status.endswith("pip install --upgrade tsjax-core fake-new")
        assert registry.names("model") == ("new/gru", "new/lstm")

    def test_plugin_whose_requirement_is_met(self, site):
        """The same plugin, asking for what is installed, is ok."""
        site.install("new", site.CORE, requires=(f"tsjax-core=={metadata.version('tsjax-core')}",))
        assert [info.status for info in site.registry.plugins()] == ["ok"]

    def test_import_of_what_a_newer_core_has(self, site):
        """A failed import from core names the core in use."""
        site.install("new", "from tsjax_core.registry.hookspecs import from_the_future")
        text = str(site.told(BrokenPluginError, site.registry, "model", "new/x"))
        assert f"tsjax-core {metadata.version('tsjax-core')} is in use." in text


class TestBrokenHooks:
    def test_misspelt_hook(self, site):
        """A marked function whose name is no hook is named with plugin and version."""
        site.install("bad", site.HOOKIMPL + "@hookimpl\ndef tsjax_model():\n    return {}\n")
        text = str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))
        assert "plugin 'bad' (fake-bad 1.2) defines tsjax_model(), which is not a hook" in text
        assert "Did you mean tsjax_models()? The hooks are tsjax_models, tsjax_losses," in text

    def test_misspelt_hook_without_mark(self, site):
        """A function named like a hook but misspelt is found though it is not marked."""
        site.install("bad", "def tsjax_modles():\n    return {}\n")
        text = str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))
        assert "defines tsjax_modles(), which is not a hook" in text
        assert "Did you mean tsjax_models()?" in text

    def test_hook_without_prefix(self, site):
        """A marked function of any other name is no hook either."""
        site.install("bad", site.HOOKIMPL + "@hookimpl\ndef offer():\n    return {}\n")
        text = str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))
        assert "defines offer(), which is not a hook\n  The hooks are tsjax_models," in text

    def test_hook_without_mark(self, site):
        """A function that has a hook's name and is not marked is told, not passed over."""
        site.install("bad", "def tsjax_models():\n    return {}\n")
        text = str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))
        assert "defines tsjax_models() without marking it as a hook" in text
        assert "Put @hookimpl on the line above it (from tsjax_core import hookimpl)." in text

    def test_hook_with_an_argument(self, site):
        """A hook that takes an argument is refused when the plugin is registered."""
        site.install("bad", site.HOOKIMPL + "@hookimpl\ndef tsjax_models(config):\n    return {}\n")
        text = str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))
        assert "plugin 'bad' (fake-bad 1.2) is refused" in text
        assert "Argument(s) {'config'} are declared in the hookimpl" in text

    def test_hook_under_another_name(self, site):
        """Several functions may implement one hook through `specname`."""
        more = "@hookimpl(specname='tsjax_models')\ndef more():\n    return {'%s': LSTM}\n"
        site.install("good", site.CORE.replace(', "lstm": LSTM', "") + more % "lstm")
        site.install("twice", site.CORE + more % "lstm")
        assert site.registry.names("model") == ("good/gru", "good/lstm")
        text = str(site.told(BrokenPluginError, site.registry, "model", "twice/lstm"))
        assert "offers the model 'lstm' twice" in text

    @pytest.mark.parametrize(
        "returns, got",
        [("None", "None (is a `return` missing?)"), ("['gru']", "['gru']"), ("'gru'", "'gru'")],
    )
    def test_hook_that_returns_no_mapping(self, site, returns, got):
        """A hook that returns None, or anything but a mapping, is named."""
        site.install("bad", site.hook("model", returns))
        text = str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))
        assert f"plugin 'bad' (fake-bad 1.2) returns {got} from tsjax_models()" in text
        assert "A hook returns a mapping from short names to classes or functions." in text

    @pytest.mark.parametrize("name", ["GRU", "my-gru", "core/gru", "1st", "", 3])
    def test_short_name_outside_the_grammar(self, site, name):
        """A short name that could not be resolved is refused."""
        site.install("bad", site.hook("loss", f"{{{name!r}: print}}"))
        text = str(site.told(BrokenPluginError, site.registry, "loss", "bad/x"))
        assert f"offers the name {name!r} from tsjax_losses()" in text
        assert "only lower-case letters, digits and underscores" in text

    @pytest.mark.parametrize(
        "source, expected",
        [
            ("class Bad:\n    pass", "It is not a frozen dataclass; put @dataclass(frozen=True)"),
            ("@dataclass\nclass Bad:\n    pass", "It is not a frozen dataclass"),
            ("@dataclass(frozen=True)\nclass Bad:\n    pass", "The class lacks reads and build; a"),
            (
                "@dataclass(frozen=True)\nclass Bad:\n    reads = ('u',)",
                "The class lacks build; a model has `reads: ClassVar[tuple[str, ...]]",
            ),
            (
                "@dataclass(frozen=True)\nclass Bad:\n    reads = 'u'\n    def build(self): ...",
                "Its `reads` is the string 'u'; make it a tuple: ('u',).",
            ),
            (
                "from flax import nnx\nclass Bad(nnx.Module):\n    pass",
                "It is the model itself, an nnx.Module; register the frozen dataclass of its",
            ),
            (
                "def Bad():\n    pass",
                "It is of type function; a model is registered as the class of",
            ),
        ],
    )
    def test_model_that_breaks_the_contract(self, site, source, expected):
        """What is registered as a model but is none is named, with what it lacks."""
        before = f"from dataclasses import dataclass\n{source}"
        site.install("bad", site.hook("model", "{'x': Bad}", before))
        text = str(site.told(BrokenPluginError, site.registry, "model", "bad/x"))
        assert "plugin 'bad' (fake-bad 1.2) offers Bad as model 'x' from tsjax_models()" in text
        assert expected in text

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "model"])
    def test_component_that_cannot_be_called(self, site, kind):
        """A component of any kind is a class or a function."""
        site.install("bad", site.hook(kind, "{'x': 3}"))
        text = str(site.told(BrokenPluginError, site.registry, kind, "bad/x"))
        assert f"offers 3 as {kind} 'x' from {HOOKS[kind]}()" in text
        assert f"It is of type int; a {kind} is a class or a function." in text

    @pytest.mark.parametrize(
        "kind, lacking", [("source", "__len__ and __getitem__"), ("store", "get_seq_len")]
    )
    def test_class_that_lacks_the_protocol(self, site, kind, lacking):
        """A class of sources or stores has the methods of its protocol."""
        before = "class Bad:\n    def read_signals(self): ..."
        site.install("bad", site.hook(kind, "{'x': Bad}", before))
        text = str(site.told(BrokenPluginError, site.registry, kind, "bad/x"))
        assert f"The class lacks {lacking}, which a {kind} has." in text
