"""The page docs/names.md has the text of every error of names and plugins, as it is raised."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import metadata
from pathlib import Path

import pytest

from tsjax_core import errors
from tsjax_core.errors import PluginError, TsjaxError
from tsjax_core.registry import component_checks, plugin_loading, registry
from tsjax_core.registry.registry import Registry

PAGE = (Path(__file__).parents[2] / "docs" / "names.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```text\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)

MARK = "from tsjax_core import hookimpl\n"
MODEL = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Level:
    reads = ("u",)
    def build(self, signals, *, rngs): ...
"""


def hook(returns: str, name: str = "tsjax_models", before: str = "") -> str:
    return f"{MARK}{before}\n@hookimpl\ndef {name}:\n    return {returns}\n".replace(
        f"def {name}:", f"def {name}{'' if '(' in name else '()'}:"
    )


GOOD = hook("{'level': Level, 'slope': Level}", before=MODEL)

PLUGINS = {
    "wiener": GOOD,
    "plain": "",
    "twin": GOOD,
    "pinn": GOOD,
    "Big-Name": GOOD,
    "shaky": "import not_installed",
    "early": "from tsjax_core.statespace import StateSpace",
    "typo": hook("{}", "tsjax_model"),
    "newer": hook("{}", "tsjax_optimizers"),
    "bare": "def tsjax_models():\n    return {}\n",
    "greedy": hook("{}", "tsjax_models(config)"),
    "fails": hook("1 / 0"),
    "none": hook("None"),
    "listed": hook("['level']"),
    "upper": hook("{'Level': Level}", before=MODEL),
    "double": GOOD
    + "@hookimpl(specname='tsjax_models')\ndef more():\n    return {'level': Level}\n",
    "made": hook("{'level': Level()}", before=MODEL),
    "module": hook(
        "{'level': Level}", before="from flax import nnx\n\nclass Level(nnx.Module):\n    pass\n"
    ),
    "melted": hook("{'level': Level}", before=MODEL.replace("frozen=True", "")),
    "lacks": hook("{'level': Level}", before=MODEL.replace('reads = ("u",)', "pass")),
    "string": hook("{'level': Level}", before=MODEL.replace('("u",)', '"u"')),
    # Of other kinds than models.
    "number": hook("{'zero': 0.0}", "tsjax_losses"),
    "half": hook("{'half': Half}", "tsjax_stores", "class Half:\n    pass"),
    "later": GOOD,
}
"""Source of the plugin of each distribution `acme-<namespace>`."""

REQUIRES = {"early": ">=9", "newer": ">=9", "later": ">=9"}
FURTHER = {"zenith-twin": "twin", "tsjax-pinn": "pinn"}
"""Distributions that claim a namespace too."""

FEW = {"core", "wiener"}
ASKED = [
    ("model", "gru", FEW),
    ("model", "Core/GRU", FEW),
    ("model", "pinn/pirnn", FEW),
    ("model", "pin/pirnn", FEW),
    ("model", "weiner/level", FEW),
    ("model", "hammerstein/level", FEW),
    ("model", "wiener/levle", None),
    ("metric", "wiener/level", None),
    ("model", "plain/level", None),
    ("models", "wiener/level", None),
    ("model", "twin/level", None),
    ("model", "pinn/level", None),
    *(("model", f"{name}/level", None) for name in list(PLUGINS)[5:-3]),
    ("loss", "number/zero", None),
    ("store", "half/half", None),
]


def write(site: Path, distribution: str, namespace: str, source: str) -> None:
    """Write an installed distribution."""
    package = distribution.replace("-", "_")
    info = site / f"{package}-1.2.dist-info"
    info.mkdir()
    requires = f"Requires-Dist: tsjax-core{REQUIRES.get(namespace, '>=0.1')}"
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n{requires}\n"
    )
    (info / "entry_points.txt").write_text(f"[tsjax]\n{namespace} = {package}._plugin\n")
    (site / package).mkdir()
    (site / package / "__init__.py").write_text("")
    (site / package / "_plugin.py").write_text(source)


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, str]:
    """The text of each error, by what was asked for; core is said to be 0.1.0."""
    site = tmp_path_factory.mktemp("site")
    for namespace, source in PLUGINS.items():
        write(site, f"acme-{namespace.lower()}", namespace, source)
    for distribution, namespace in FURTHER.items():
        write(site, distribution, namespace, GOOD)
    found = [*metadata.entry_points(group="tsjax", name="core")]
    found += [e for d in metadata.distributions(path=[str(site)]) for e in d.entry_points]
    texts = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        for kind, name, namespaces in ASKED:
            chosen = Registry(e for e in found if namespaces is None or e.name in namespaces)
            try:
                chosen.resolve(kind, name)
            except TsjaxError as error:
                texts[f"{kind} {name}"] = (type(error).__name__, str(error))
        for info in Registry(found).plugins():
            if info.namespace in ("Big-Name", "later"):
                texts[info.namespace] = ("status", info.status)
    in_use = f"tsjax-core {metadata.version('tsjax-core')} "
    return {
        asked: (kind, text.replace(in_use, "tsjax-core 0.1.0 "))
        for asked, (kind, text) in texts.items()
    }


def test_every_error_is_on_the_page_as_it_is_raised(told):
    """Word for word, in a block of its own, under the name of its class."""
    for asked, (kind, text) in told.items():
        print(f"{asked} -> {kind}\n{text}\n")
    assert {text for _, text in told.values()} == set(BLOCKS)
    assert len(BLOCKS) == len(set(BLOCKS))
    for kind, text in told.values():
        sections = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
        (section,) = [part for part in sections if text in part]
        assert kind == "status" or f"`{kind}`" in section, text


def family() -> set[str]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return {name for name, each in classes if issubclass(each, PluginError)}


def test_every_class_of_the_family_is_on_the_page(told):
    """None is missing, and each but the base is raised here."""
    assert [name for name in family() if f"`{name}`" not in PAGE] == []
    assert family() - {kind for kind, _ in told.values()} == {"PluginError"}


def fragments(source: str) -> list[str]:
    """The literal parts of every text that a module puts together, docstrings left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(0)
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [" ".join(text.split()) for text in texts if " " in text.strip()]


def missing(source: str) -> list[str]:
    page = " ".join(PAGE.split())
    return [fragment for fragment in fragments(source) if fragment not in page]


@pytest.mark.parametrize("module", [registry, plugin_loading, component_checks], ids=str)
def test_no_text_of_the_code_is_missing(module):
    """Each literal of more than one word that the module can put into a text is on the page."""
    assert missing(inspect.getsource(module)) == []


def test_a_new_text_would_be_missed():
    """The search reads texts that are put together, and passes docstrings and short words."""
    source = inspect.getsource(plugin_loading)
    changed = source.replace("fails to import", "refuses to load")
    assert changed != source
    assert len(missing(changed)) == 1
    assert "refuses to load" in missing(changed)[0]
    assert missing("def f():\n    '''What f does.'''\n    return 'word'") == []
