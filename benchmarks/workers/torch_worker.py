"""Plain PyTorch: its modules in a hand-written loop over batches that are made before."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

import torch
from torch import nn

from benchmarks.cases import TCN_LEVELS
from benchmarks.workers.serving import Measure, rate, serve


class Recurrent(nn.Module):
    """A recurrent layer and a linear output."""

    def __init__(self, cell: str, hidden: int) -> None:
        super().__init__()
        layer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.layer = layer(1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """Return outputs, (batch, time, channels)."""
        return self.out(self.layer(u)[0])


class Block(nn.Module):
    """A causal convolution of two taps with weight norm, around which the input is added."""

    def __init__(self, n_in: int, width: int, dilation: int) -> None:
        super().__init__()
        conv = nn.Conv1d(n_in, width, 2, dilation=dilation)
        self.conv = nn.utils.parametrizations.weight_norm(conv)
        self.pad = nn.ConstantPad1d((dilation, 0), 0.0)
        self.act = nn.Mish()
        self.around = nn.Conv1d(n_in, width, 1) if n_in != width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs, (batch, channels, time)."""
        return self.act(self.conv(self.pad(x))) + self.around(x)


class TCN(nn.Module):
    """Blocks whose dilation doubles, and a linear output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [1] + [width] * TCN_LEVELS
        self.blocks = nn.Sequential(
            *(Block(a, width, 2**i) for i, a in enumerate(sizes[:-1])), nn.Conv1d(width, 1, 1)
        )

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """Return outputs, (batch, time, 1)."""
        return self.blocks(u.transpose(1, 2)).transpose(1, 2)


def training(cell: str, batch: int, window: int, hidden: int, steps: int, **others: Any) -> Measure:
    torch.manual_seed(0)
    model = TCN(hidden) if cell == "tcn" else Recurrent(cell, hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = cycle([torch.randn(2, batch, window, 1) for _ in range(8)])

    def epoch() -> int:
        for u, y in islice(batches, steps):
            loss = nn.functional.l1_loss(model(u), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return steps * batch

    for u, y in islice(batches, 3):
        nn.functional.l1_loss(model(u), y).backward()
    return lambda: rate(epoch, others["seconds"])


def simulation(hidden: int, samples: int, seconds: float, **others: Any) -> Measure:
    model, u = Recurrent("gru", hidden), torch.randn(1, samples, 1)

    @torch.no_grad()
    def whole() -> int:
        return len(model(u)[0].numpy())

    whole()
    return lambda: rate(whole, seconds)


def streaming_step(hidden: int, seconds: float) -> Measure:
    cell, out = nn.GRUCell(1, hidden), nn.Linear(hidden, 1)
    samples = cycle(torch.randn(1000, 1, 1))
    state = torch.zeros(1, hidden)

    @torch.no_grad()
    def steps() -> int:
        nonlocal state
        for _ in range(200):
            state = cell(next(samples), state)
            out(state)
        return 200

    steps()
    return lambda: 1e6 / rate(steps, seconds)


if __name__ == "__main__":
    torch.set_num_threads(2)
    tasks = (training, simulation, streaming_step)
    serve({task.__name__: task for task in tasks}, ("torch",))
