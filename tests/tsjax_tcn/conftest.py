"""Signals, inputs and references that the tests of both models share."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tsjax_core import NormStats, Signals

SIGNALS = Signals(
    inputs=("torque", "current"),
    outputs=("speed", "angle", "temperature"),
    stats={
        "u": NormStats([1.0, -20.0], [2.0, 30.0]),
        "y": NormStats([3.0, 0.1, -5.0], [0.5, 10.0, 1.0]),
        "u_scalar": NormStats([1.5], [0.5]),
    },
    scalar_inputs=("mass",),
)


def draw_inputs(seed: int, *shape: int) -> np.ndarray:
    stats = SIGNALS.stats["u"]
    draws = np.random.default_rng(seed).standard_normal((*shape, 2))
    return (draws * stats.std + stats.mean).astype(np.float32)


def value(variable) -> np.ndarray:
    return np.asarray(variable[...], np.float64)


def normalized(u: np.ndarray) -> np.ndarray:
    return (u - SIGNALS.stats["u"].mean) / SIGNALS.stats["u"].std


def physical(y: np.ndarray) -> np.ndarray:
    return y * SIGNALS.stats["y"].std + SIGNALS.stats["y"].mean


ACTIVATIONS = {
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
    "leaky_relu": lambda x: np.where(x > 0.0, x, 0.01 * x),
    "gelu": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def convolutions_in_loops(stack, options, x: np.ndarray) -> np.ndarray:
    """One sequence (time, channels) through the blocks, sample by sample and tap by tap."""
    for level, block in enumerate(stack.blocks):
        h, dilation = x, 2**level
        for number, conv in enumerate(block.convs):
            v = value(conv.kernel)
            if conv.g is not None:
                v = np.stack(
                    [
                        g * v[..., i] / np.sqrt((v[..., i] ** 2).sum())
                        for i, g in enumerate(value(conv.g))
                    ],
                    -1,
                )
            out = np.zeros((len(h), v.shape[-1]))
            for t in range(len(h)):
                for k in range(len(v)):
                    past = t - (len(v) - 1 - k) * dilation
                    if past >= 0:
                        out[t] += h[past] @ v[k]
            if conv.bias is not None:
                out += value(conv.bias)
            if options.normalization == "layernorm":
                out = (out - out.mean(1, keepdims=True)) / np.sqrt(out.var(1, keepdims=True) + 1e-5)
            elif options.normalization == "batchnorm":
                norm = block.batch_norms[number]
                out = (out - value(norm.mean)) / np.sqrt(value(norm.var) + 1e-5)
                out = out * value(norm.scale) + value(norm.bias)
            h = ACTIVATIONS[options.activation](out)
        if block.residual is not None:
            x = x @ value(block.residual.kernel) + value(block.residual.bias)
        x = x + h
    return x


@pytest.fixture(scope="session")
def case() -> SimpleNamespace:
    """Return signals of two inputs and three outputs, and the reference in NumPy and float64."""
    return SimpleNamespace(
        signals=SIGNALS,
        inputs=draw_inputs,
        value=value,
        normalized=normalized,
        physical=physical,
        convolutions=convolutions_in_loops,
    )
