"""The models that are measured, written with flax's own layers."""

from typing import Any

import jax
from flax import nnx


class FlaxRecurrent(nnx.Module):
    """`nnx.RNN` around one of flax's cells, and a linear output."""

    def __init__(self, cell: str, hidden: int, *, rngs: nnx.Rngs) -> None:
        cells = {"rnn": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}
        self.layer = nnx.RNN(cells[cell](1, hidden, rngs=rngs), rngs=rngs)
        self.out = nnx.Linear(hidden, 1, rngs=rngs)

    def __call__(self, u: Any) -> Any:
        """Return outputs (batch, time, 1)."""
        return self.out(self.layer(u))


class FlaxTCN(nnx.Module):
    """The network of `tsjax_tcn.TCN`; the weight norm of flax does not train its lengths."""

    def __init__(self, levels: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.convs = nnx.List(
            [
                nnx.Conv(
                    1 if i == 0 else width,
                    width,
                    (2,),
                    padding="CAUSAL",
                    kernel_dilation=2**i,
                    rngs=rngs,
                )
                for i in range(levels)
            ]
        )
        self.norms = nnx.List(
            [nnx.WeightNorm(conv, feature_axes=-1, rngs=rngs) for conv in self.convs]
        )
        self.first = nnx.Linear(1, width, rngs=rngs)
        self.out = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Return outputs (batch, time, 1)."""
        for i, conv in enumerate(self.norms):
            x = jax.nn.mish(conv(x)) + (self.first(x) if i == 0 else x)
        return self.out(x)
