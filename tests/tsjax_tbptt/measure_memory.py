"""Print by how many MB the most resident memory grows over the imports in a long simulation.

Run by test_long_simulation.py: 5 million samples by `predict_stateful`, chunk by chunk, in two
parts with the state handed on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flax import nnx

from tsjax_core import GRU, NormStats, Signals, predict_stateful
from tsjax_tbptt import stateful


def most_resident() -> int:
    """Return the most memory of this process so far, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


before = most_resident()
stats = {key: NormStats([0.0], [1.0]) for key in "uy"}
spec = stateful(GRU(hidden_size=4), look_back=100)
model = spec.build(Signals(("u",), ("y",), stats), rngs=nnx.Rngs(0))
u = np.ones(5_000_000, np.float32)
first, state = predict_stateful(model, u[:3_000_000])
second, _ = predict_stateful(model, u[3_000_000:], state)
assert len(first) + len(second) == len(u)
print((most_resident() - before) / 1000)
