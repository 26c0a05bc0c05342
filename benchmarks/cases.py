"""The sizes at which training is measured."""

from dataclasses import asdict, dataclass
from typing import Any

CELLS = ("rnn", "gru", "lstm", "tcn")
TCN_LEVELS = 7


@dataclass(frozen=True)
class Case:
    """Windows in a batch, samples in a window, units or channels, and batches in an epoch."""

    batch: int = 64
    window: int = 200
    hidden: int = 64
    steps: int = 32

    def options(self) -> dict[str, Any]:
        """Return the fields as options of a worker's task."""
        return asdict(self)


CASES = {
    "base": Case(),
    "long": Case(window=1000, steps=8),
    "small": Case(batch=16, steps=64),
    "wide": Case(hidden=128, steps=16),
    "tiny": Case(batch=16, window=50, hidden=8, steps=320),
}
