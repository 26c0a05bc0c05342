"""Block-oriented models as the parameters of a nonlinear state space, which they are a case of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flax import nnx

from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.inference.saved_model import load_saved
from tsjax_core.types import HostArray, Signals
from tsjax_ss.blocks import LinearBlock, StaticMap
from tsjax_ss.features import ACTIVATIONS
from tsjax_ss.hammerstein import HammersteinModel
from tsjax_ss.wiener import WienerModel
from tsjax_ss.wiener_hammerstein import WienerHammersteinModel


@dataclass(frozen=True, eq=False)
class Embedded:
    """x+ = a x + b u + x_offset + to_state s, y = c x + d u + y_offset + to_output s.

    s are the features of hidden_state x + hidden_input u + hidden_bias, and all of it is in
    normalised inputs and outputs, as of `NeuralSSModel`.
    """

    features: str
    a: HostArray
    b: HostArray
    c: HostArray
    d: HostArray
    x_offset: HostArray
    y_offset: HostArray
    hidden_state: HostArray
    hidden_input: HostArray
    hidden_bias: HostArray
    to_state: HostArray
    to_output: HostArray

    @property
    def order(self) -> int:
        """Number of states."""
        return len(self.a)

    @property
    def width(self) -> int:
        """Units of the hidden layer."""
        return len(self.hidden_bias)


def load_blocks(path: str, signals: Signals) -> Embedded:
    """Return the block-oriented model in a run, or in the directory of a saved model.

    Raises:
        ConfigError: There is another model, one of monomials, or one of other data.
        SavedModelError: There is no saved model.
    """
    folder = Path(path)
    saved = load_saved(folder / "model" if (folder / "model").is_dir() else folder)
    model = saved.model
    if saved.signals.names != signals.names or any(
        saved.signals.stats[key] != signals.stats[key] for key in ("u", "y")
    ):
        raise ConfigError(
            f"begin = {path!r} was trained on other data: its channels or their statistics are not "
            "those of the training files. Train it on these files.",
            key="begin",
        )
    try:
        return embed_blocks(model)
    except ModelError as error:
        raise ConfigError(f"begin = {path!r}: {error}", key="begin") from error


def embed_blocks(model: nnx.Module) -> Embedded:
    """Return the equations of a model of linear blocks and a static map as those of one block.

    Raises:
        ModelError: The model has no such blocks, or monomials in the place of a hidden layer.
    """
    if isinstance(model, WienerHammersteinModel):
        first, between, second = _matrices(model.before), model.map, _matrices(model.behind)
        offset = model.offset
    elif isinstance(model, WienerModel):
        first, between, second = _matrices(model.block), model.map, None
        offset = model.offset
    elif isinstance(model, HammersteinModel):
        first, between, second = None, model.map, _matrices(model.block)
        offset = model.offset
    else:
        raise ModelError(
            f"{type(model).__name__} is no model of blocks; give one of ss/wiener, ss/hammerstein "
            "or ss/wiener_hammerstein."
        )
    if between.features == "monomials":
        raise ModelError(
            "its nonlinearity is of monomials, and that of ss/neural of a hidden layer; give it "
            f"features of {', '.join(ACTIVATIONS)}, and train it again."
        )
    return _join(first, between, second, np.asarray(offset[...], float))


def _matrices(block: LinearBlock) -> tuple[HostArray, ...]:
    return tuple(np.asarray(getattr(block, name)[...], float) for name in ("a", "b", "c", "d"))


def _join(
    first: tuple[HostArray, ...] | None,
    between: StaticMap,
    second: tuple[HostArray, ...] | None,
    offset: HostArray,
) -> Embedded:
    """Return z = c1 x1 + d1 u through f(z) = z + W (s(H z + h) - s(h)), and behind it block two.

    A block that is missing is the identity without states.
    """
    weights, bias = (np.asarray(x[...], float) for x in (between.hidden, between.hidden_bias))
    out = np.asarray(between.to_output[...], float)
    channels = len(out)
    none = (np.zeros((0, 0)), np.zeros((0, channels)), np.zeros((channels, 0)), np.eye(channels))
    a1, b1, c1, d1 = first or none
    a2, b2, c2, d2 = second or none
    n1, n2 = len(a1), len(a2)
    rest = out @ np.asarray(ACTIVATIONS[between.features](bias), float)
    return Embedded(
        features=between.features,
        a=np.block([[a1, np.zeros((n1, n2))], [b2 @ c1, a2]]),
        b=np.concatenate([b1, b2 @ d1]),
        c=np.concatenate([d2 @ c1, c2], axis=1),
        d=d2 @ d1,
        x_offset=np.concatenate([np.zeros(n1), -b2 @ rest]),
        y_offset=offset - d2 @ rest,
        hidden_state=np.concatenate([weights @ c1, np.zeros((len(bias), n2))], axis=1),
        hidden_input=weights @ d1,
        hidden_bias=bias,
        to_state=np.concatenate([np.zeros((n1, len(bias))), b2 @ out]),
        to_output=d2 @ out,
    )
