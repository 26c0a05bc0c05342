"""What an exported model says of itself: signals, units, sampling time, where it comes from."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.metadata import version

from tsjax_core.errors import ConfigError
from tsjax_core.types import Signals


@dataclass(frozen=True)
class Facts:
    """Name of the exported model, the component that it is of, and its signals."""

    name: str
    component: str
    signals: Signals

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name) or keyword.iskeyword(self.name):
            raise ConfigError(
                f"name = {self.name!r}; give letters, digits and underscores, as for a variable.",
                key="name",
            )

    def lines(self) -> list[str]:
        """Return what stands at the top of an exported file."""
        signals = self.signals
        dt = "not known" if signals.dt is None else f"{signals.dt:.9g} s"
        return [
            f"{self.name}: {self.component}, exported by tsjax-core {version('tsjax-core')}.",
            f"Inputs: {_listed(signals.inputs, signals)}.",
            f"Outputs: {_listed(signals.outputs, signals)}.",
            f"Sampling time: {dt}. One step is one sample: the output belongs to the input of the",
            "same step. Inputs and outputs are in their units; nothing has to be scaled.",
            "The initial state is that of the model before the first sample of a record.",
        ]


def _listed(names: tuple[str, ...], signals: Signals) -> str:
    return ", ".join(
        f"{name} in {signals.units[name]}" if name in signals.units else name for name in names
    )
