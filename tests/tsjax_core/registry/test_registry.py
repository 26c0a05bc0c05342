"""Components by name, over plugins that are real distributions (see the fixture `site`)."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError
from importlib import metadata
from pathlib import Path

import pytest

from tsjax_core.errors import (
    BrokenPluginError,
    ConfigError,
    DuplicateNamespaceError,
    UnknownNameError,
    UnknownNamespaceError,
)
from tsjax_core.registry import registry as registry_module
from tsjax_core.registry.hookspecs import KINDS
from tsjax_core.registry.registry import Registry


class TestResolving:
    def test_name_gives_the_registered_class(self, site):
        """A qualified name resolves to the very class that the plugin registered."""
        site.install("core", site.CORE)
        gru = site.registry.resolve("model", "core/gru")
        from fake_core._plugin import GRU

        assert gru is GRU
        assert gru(hidden_size=4).hidden_size == 4

    def test_only_the_plugin_of_the_namespace_is_imported(self, site):
        """Resolving a name imports the plugin of its namespace and no other."""
        site.install("core", site.CORE)
        site.install("other", site.hook("model", "{}"))
        registry = site.registry
        registry.resolve("model", "core/gru")
        assert "fake_other" not in sys.modules
        registry.names("model")
        assert "fake_other" in sys.modules

    def test_only_the_hook_of_the_kind_is_called(self, site):
        """A hook that fails does not keep components of other kinds from resolving."""
        site.install(
            "core", site.CORE + "\n@hookimpl\ndef tsjax_stores():\n    raise OSError('no')\n"
        )
        registry = site.registry
        assert registry.resolve("model", "core/gru").__name__ == "GRU"
        error = site.told(BrokenPluginError, registry, "store", "core/hdf5")
        assert "fails in tsjax_stores(): OSError: no" in str(error)
        (info,) = registry.plugins()
        assert info.offers["model"] == ("gru", "lstm")
        assert info.status == str(error)

    def test_registries_share_nothing(self, site):
        """A registry knows only the entry points that it was given."""
        site.install("core", site.CORE)
        assert Registry([]).plugins() == ()
        assert site.registry.names("model") == ("core/gru", "core/lstm")

    def test_entry_point_without_distribution(self, site):
        """A registry takes an entry point made by hand."""
        site.install("core", site.CORE)
        registry = Registry([metadata.EntryPoint("mine", "fake_core._plugin", "tsjax")])
        assert registry.resolve("model", "mine/gru").__name__ == "GRU"
        text = str(site.told(UnknownNameError, registry, "model", "mine/grux"))
        assert "plugin 'mine' (no distribution no version)" in text

    def test_reads_may_depend_on_the_hyperparameters(self, site):
        """A model's `reads` may be a property or a field."""
        site.install(
            "a",
            site.hook(
                "model",
                "{'prop': Prop, 'field': Field}",
                """
                from dataclasses import dataclass

                @dataclass(frozen=True)
                class Prop:
                    @property
                    def reads(self):
                        return ("u",)
                    def build(self, signals, *, rngs): ...

                @dataclass(frozen=True)
                class Field:
                    reads: tuple[str, ...]
                    def build(self, signals, *, rngs): ...
                """,
            ),
        )
        assert site.registry.names("model") == ("a/field", "a/prop")


class TestListing:
    def test_one_record_per_plugin_core_first(self, site):
        """A record has namespace, distribution, version, what is offered, and status."""
        site.install("a", site.hook("loss", "{'zero': lambda *a: 0.0}"), version="0.3")
        site.install("core", site.CORE)
        core, a = site.registry.plugins()
        assert (core.namespace, core.distribution, core.version) == ("core", "fake-core", "1.2")
        assert core.offers == {"model": ("gru", "lstm"), "metric": ("rmse",)}
        assert core.status == "ok"
        assert (a.namespace, a.version, a.offers) == ("a", "0.3", {"loss": ("zero",)})
        with pytest.raises(FrozenInstanceError):
            core.status = "changed"

    def test_names_pass_over_what_cannot_be_used(self, site):
        """The names of a kind are those of all plugins that work."""
        site.install("core", site.CORE)
        site.install("bad", "raise ImportError('gone')")
        assert site.registry.names("model") == ("core/gru", "core/lstm")

    def test_plugin_without_hooks_is_listed(self, site):
        """A plugin that offers no component is a plugin, and an unknown name says what it has."""
        site.install("bare", "'''Nothing to resolve.'''")
        registry = site.registry
        assert [(info.offers, info.status) for info in registry.plugins()] == [({}, "ok")]
        text = str(site.told(UnknownNameError, registry, "model", "bare/gru"))
        assert "models in 'bare': none; it registers nothing in 'fake_bare._plugin'" in text


class TestUnknownNames:
    def test_first_party_namespace_says_what_to_install(self, site):
        """The namespace of a distribution of the project, not installed, names the distribution."""
        site.install("core", site.CORE)
        error = site.told(UnknownNamespaceError, site.registry, "model", "pinn/pirnn")
        assert "no installed plugin has the namespace 'pinn' (asked for 'pinn/pirnn')" in str(error)
        assert "Install it with: pip install tsjax-pinn" in str(error)
        assert "installed plugins: core" in str(error)
        assert (error.namespace, error.name) == ("pinn", "pinn/pirnn")
        assert (error.install, error.exit_status) == ("tsjax-pinn", 2)

    def test_misspelt_first_party_namespace(self, site):
        """A namespace close to one of the project's is corrected, with what to install."""
        error = site.told(UnknownNamespaceError, site.registry, "model", "pin/pirnn")
        assert "Did you mean 'pinn/pirnn'? Install that with: pip install tsjax-pinn" in str(error)
        assert "installed plugins: none" in str(error)
        assert error.install == "tsjax-pinn"

    def test_misspelt_installed_namespace(self, site):
        """A namespace close to an installed one is corrected without an install."""
        site.install("wiener", site.hook("model", "{}"))
        error = site.told(UnknownNamespaceError, site.registry, "model", "weiner/wh")
        assert "Did you mean 'wiener/wh'?\n  installed plugins: wiener" in str(error)
        assert error.install is None

    def test_namespace_that_no_name_can_have_is_not_suggested(self, site):
        """A plugin whose entry point breaks the grammar is listed; its names would not resolve."""
        site.install("Plant", site.hook("model", "{}"))
        text = str(site.told(UnknownNamespaceError, site.registry, "model", "plant/tanks"))
        assert "Did you mean" not in text
        assert "`tsjax plugins` lists what is installed.\n  installed plugins: Plant" in text

    def test_namespace_like_no_other(self, site):
        """A namespace that nothing resembles points to the list of plugins."""
        site.install("core", site.CORE)
        error = site.told(UnknownNamespaceError, site.registry, "model", "zzzzzz/x")
        assert "`tsjax plugins` lists what is installed.\n  installed plugins: core" in str(error)
        assert error.install is None

    def test_misspelt_name(self, site):
        """An unknown name gives the nearest one and all of the plugin's."""
        site.install("core", site.CORE)
        error = site.told(UnknownNameError, site.registry, "model", "core/gur")
        assert "plugin 'core' (fake-core 1.2) has no model 'gur'" in str(error)
        assert "Did you mean 'core/gru'?\n  models in 'core': core/gru, core/lstm" in str(error)
        assert (error.namespace, error.name, error.exit_status) == ("core", "core/gur", 2)
        assert isinstance(error, LookupError)

    def test_name_like_no_other(self, site):
        """An unknown name that nothing resembles gives only the plugin's names."""
        site.install("core", site.CORE)
        text = str(site.told(UnknownNameError, site.registry, "loss", "core/zzzz"))
        assert text.endswith("has no loss 'zzzz'.\n  losses in 'core': none")

    def test_name_of_another_kind(self, site):
        """A name that exists as another kind says which, and how to get it."""
        site.install("core", site.CORE)
        text = str(site.told(UnknownNameError, site.registry, "model", "core/rmse"))
        assert "has no model 'rmse'. It is a metric: get_metric('core/rmse') returns it." in text

    def test_unqualified_name(self, site):
        """A name without a namespace is answered with the qualified one that core has."""
        site.install("core", site.CORE)
        site.install("other", site.hook("model", "{}"))
        error = site.told(UnknownNameError, site.registry, "model", "gru")
        assert "'gru' is not the name of a model: names look like 'core/gru'" in str(error)
        assert "Did you mean 'core/gru'?\n  `tsjax list model` lists the names." in str(error)
        assert (error.name, error.exit_status) == ("gru", 2)
        assert "fake_other" not in sys.modules

    def test_unqualified_name_of_a_loaded_plugin(self, site):
        """A name without a namespace is looked for in the plugins that are already imported."""
        site.install("other", site.hook("model", "{'crnn': CRNN}", site.model("CRNN")))
        registry = site.registry
        assert "Did you mean" not in str(site.told(UnknownNameError, registry, "model", "crnn"))
        registry.resolve("model", "other/crnn")
        assert "Did you mean 'other/crnn'?" in str(
            site.told(UnknownNameError, registry, "model", "crnn")
        )

    @pytest.mark.parametrize("name", ["", "/", "core/", "/gru", "Core/GRU", "core/gru/x", "a b/c"])
    def test_malformed_name(self, site, name):
        """A name that breaks the grammar is told the grammar."""
        site.install("core", site.CORE)
        text = str(site.told(UnknownNameError, site.registry, "model", name))
        assert f"{name!r} is not the name of a model: names look like 'core/gru'" in text
        assert ("Did you mean 'core/gru'?" in text) == ("gru" in name.lower())

    def test_unknown_kind(self):
        """A kind that does not exist is answered with the kinds."""
        with pytest.raises(ConfigError) as caught:
            Registry([]).resolve("models", "core/gru")
        print(caught.value)
        assert str(caught.value) == (
            "there is no kind 'models' of component. "
            "The kinds are model, loss, metric, transform, source, store, plot, command."
        )
        assert (caught.value.key, caught.value.exit_status) == ("kind", 2)


class TestDuplicates:
    def test_both_distributions_are_named_and_none_is_picked(self, site):
        """Two distributions with one namespace are both named, and the rest goes on working."""
        site.install("core", site.CORE)
        site.install("tcn", site.hook("model", "{}"), distribution="fake-one", version="1.0")
        site.install("tcn", site.hook("model", "{}"), distribution="fake-two", version="2.0")
        registry = site.registry
        error = site.told(DuplicateNamespaceError, registry, "model", "tcn/crnn")
        assert "2 installed distributions claim the namespace 'tcn':" in str(error)
        assert "\n  fake-one 1.0 -> fake_one._plugin" in str(error)
        assert "\n  fake-two 2.0 -> fake_two._plugin" in str(error)
        assert "Uninstall all but one of them; tsjax does not pick one." in str(error)
        assert sorted(error.distributions) == ["fake-one", "fake-two"]
        assert not {"fake_one", "fake_two"} & set(sys.modules)
        assert registry.resolve("model", "core/gru").__name__ == "GRU"
        rows = registry.plugins()
        assert [row.namespace for row in rows] == ["core", "tcn", "tcn"]
        assert {row.distribution for row in rows[1:]} == {"fake-one", "fake-two"}
        assert {row.status for row in rows[1:]} == {str(error)}

    def test_the_projects_own_namespace_is_kept_for_its_distribution(self, site):
        """Who claims a namespace of the project beside its distribution is to be uninstalled."""
        site.install(
            "core", site.CORE, distribution="tsjax-core", version="1.0", target="a._plugin"
        )
        site.install("core", site.CORE, distribution="fake-core", version="2.0")
        error = site.told(DuplicateNamespaceError, site.registry, "model", "core/gru")
        assert "The namespace is that of tsjax-core: uninstall fake-core." in str(error)
        assert sorted(error.distributions) == ["fake-core", "tsjax-core"]


class TestQualifiedName:
    def test_every_registered_component_has_its_name_back(self, site):
        """The reverse look-up gives the name that resolves to the component."""
        site.install("core", site.CORE)
        registry = site.registry
        for name in registry.names("model"):
            assert registry.qualified_name("model", registry.resolve("model", name)) == name

    def test_own_package_is_asked_first(self, site):
        """A component that its own package registers is found without another import."""
        site.install("core", site.CORE)
        site.install("other", site.CORE)
        registry = site.registry
        gru = registry.resolve("model", "other/gru")
        del sys.modules["fake_other"]
        assert registry.qualified_name("model", gru) == "other/gru"
        assert "fake_core" not in sys.modules

    def test_component_of_another_package(self, site):
        """A component that a plugin registers from elsewhere is found too."""
        site.install("aa_bad", "raise ImportError('gone')")
        site.install("loan", site.hook("loss", "{'path': Path}", "from pathlib import Path"))
        assert site.registry.qualified_name("loss", Path) == "loan/path"

    def test_unregistered_component(self, site):
        """A component that nobody registers has no name, nor has one of another kind."""
        site.install("core", site.CORE)
        registry = site.registry
        assert registry.qualified_name("loss", Path) is None
        assert registry.qualified_name("loss", registry.resolve("model", "core/gru")) is None

    def test_component_of_a_broken_plugin(self, site):
        """A component whose own plugin is broken tells that, for nobody else would have it."""
        site.install("bad", site.hook("model", "None", site.model("GRU")))
        from fake_bad._plugin import GRU

        with pytest.raises(BrokenPluginError, match="returns None"):
            site.registry.qualified_name("model", GRU)


class TestInstalled:
    @pytest.fixture
    def fresh(self, site):
        """The registry of installed plugins, made anew for the distributions of `site`."""
        registry_module._installed.cache_clear()
        yield site
        registry_module._installed.cache_clear()

    def test_distribution_on_the_path_is_found(self, fresh):
        """The module's functions use the entry points of the installed distributions."""
        fresh.install("probe", fresh.CORE)
        gru = registry_module.resolve("model", "probe/gru")
        assert gru is registry_module.get_model("probe/gru")
        assert registry_module.qualified_name("model", gru) == "probe/gru"
        assert "probe" in [info.namespace for info in registry_module.installed()]

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "model"])
    def test_each_kind_has_its_function(self, fresh, kind):
        """`get_<kind>` resolves a component of that kind."""
        fresh.install("probe", fresh.hook(kind, "{'x': print}"))
        assert getattr(registry_module, f"get_{kind}")("probe/x") is print
