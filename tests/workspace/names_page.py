"""Writes the texts of the errors into docs/names.md, as they are raised.

`uv run python tests/workspace/names_page.py` fills every block `text KIND NAME` of the page with
the text of the error that asking for that component raises, from plugins that are written for it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from tsjax_core.errors import TsjaxError
from tsjax_core.registry.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "names.md"
BLOCK = re.compile(r"^```text (.+)\n((?:.*\n)*?)```$", re.MULTILINE)

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


def raise_errors(site: Path) -> dict[str, tuple[str, str]]:
    """Return class and text of each error by what was asked for; core is said to be 0.1.0."""
    for namespace, source in PLUGINS.items():
        write(site, f"acme-{namespace.lower()}", namespace, source)
    for distribution, namespace in FURTHER.items():
        write(site, distribution, namespace, GOOD)
    found = [*metadata.entry_points(group="tsjax", name="core")]
    found += [e for d in metadata.distributions(path=[str(site)]) for e in d.entry_points]
    texts = {}
    sys.path.insert(0, str(site))
    try:
        for kind, name, namespaces in ASKED:
            chosen = Registry(e for e in found if namespaces is None or e.name in namespaces)
            try:
                chosen.resolve(kind, name)
            except TsjaxError as error:
                texts[f"{kind} {name}"] = (type(error).__name__, str(error))
        for info in Registry(found).plugins():
            if info.namespace in ("Big-Name", "later"):
                texts[f"plugin {info.namespace}"] = ("status", info.status)
    finally:
        sys.path.remove(str(site))
    in_use = f"tsjax-core {metadata.version('tsjax-core')} "
    return {
        asked: (kind, text.replace(in_use, "tsjax-core 0.1.0 "))
        for asked, (kind, text) in texts.items()
    }


def fill(page: str, errors: dict[str, tuple[str, str]]) -> str:
    """Return `page` with the text of each error in its block."""
    return BLOCK.sub(lambda found: f"```text {found[1]}\n{errors[found[1]][1]}\n```", page)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(fill(PAGE.read_text("utf-8"), raise_errors(Path(folder))), "utf-8")
