"""Print by how many MB the most resident memory grows in two simulations of long records.

Run by test_memory_of_simulation.py: 2 million samples by `predict`, then 0.5 million at once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flax import nnx

from tsjax_core import GRU, NormStats, Signals, predict
from tsjax_core.inference.chunks import _apply

CHUNK = 1 << 14


def most_resident() -> int:
    """Return the most memory of this process so far, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


stats = {key: NormStats([0.0], [1.0]) for key in "uy"}
model = GRU(hidden_size=16).build(Signals(("u",), ("y",), stats), rngs=nnx.Rngs(0))
predict(model, np.zeros(2 * CHUNK))
before = most_resident()
predict(model, np.ones(122 * CHUNK, np.float32))
after = most_resident()
_apply(*nnx.split(model), [np.ones((1, 31 * CHUNK, 1), np.float32)]).block_until_ready()
print((after - before) / 1000, (most_resident() - before) / 1000)
