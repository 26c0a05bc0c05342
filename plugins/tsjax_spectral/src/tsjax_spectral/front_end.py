"""A model on the spectrogram of its inputs, computed within the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, pi
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.checks import check_choices, check_counts, whole_number
from tsjax_core.errors import ModelError
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.protocols import FiniteMemory, ModelSpec
from tsjax_core.signatures import wants_of
from tsjax_core.types import Array, NormStats, Signals
from tsjax_spectral.fourier import Window, make_window
from tsjax_spectral.transform import Scaling, scaled_spectrogram


@dataclass(frozen=True)
class SpectralFrontEnd:
    """A model whose inputs are the spectrogram of the signals, one sample of it every few samples.

    The inputs are normalised, and each frame becomes `n_fft // 2 + 1` inputs for each channel of
    the model inside, in units that are of order one for noise. What the model inside gives for a
    frame holds until the next one. Where the targets are scalars, it gives one output per sequence.

    Args:
        model: The model inside, which reads `u` alone.
        n_fft: Samples in a frame.
        hop_length: Samples from one frame to the next, at which the model inside runs.
        window: hann, hamming or rectangular.
        scaling: log10(power + 1e-10), the power, or the magnitude.
        centered: Put frames around their samples, and so look half a frame ahead. Otherwise a frame
            ends with its sample, before the first of which the inputs rest at their mean.
    """

    model: ModelSpec
    n_fft: int = 64
    hop_length: int = 16
    window: Window = "hann"
    scaling: Scaling = "log"
    centered: bool = False
    reads: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_counts(self, n_fft=2, hop_length=1)
        check_choices(self, "window", "scaling")

    @property
    def receptive_field(self) -> int | None:
        """Samples of input that an output depends on, where the model inside states its own."""
        inner = self.model.receptive_field if isinstance(self.model, FiniteMemory) else None
        if inner is None or self.centered:
            return None
        frames = whole_number("receptive_field", inner, "frames", least=1)
        return (frames - 1) * self.hop_length + self.n_fft + self.hop_length - 1

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> SpectralModel:
        """Return the model with freshly drawn parameters for the channels in `signals`.

        Raises:
            ModelError: The model inside reads something else than `u`.
        """
        require_signals(signals, ["u"], "SpectralFrontEnd")
        if tuple(self.model.reads) != ("u",):
            raise ModelError(
                f"SpectralFrontEnd got {type(self.model).__name__}, which reads "
                f"{', '.join(self.model.reads)}; give a model that reads u alone."
            )
        lines = self.n_fft // 2 + 1
        names = tuple(f"{name}@{k}" for name in signals.inputs for k in range(lines))
        mean, std = self.scale
        stats = NormStats(np.full(len(names), mean), np.full(len(names), std))
        dt = None if signals.dt is None else signals.dt * self.hop_length
        inside = replace(
            signals,
            inputs=names,
            stats={**signals.stats, "u": stats},
            dt=dt,
        )
        return SpectralModel(self.model.build(inside, rngs=rngs), self, signals)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the spectrogram of white noise of variance 1.

        Its power is distributed exponentially around the sum of the squared window, its magnitude
        after Rayleigh, and its logarithm after Gumbel.
        """
        power = float(np.sum(np.square(make_window(self.window, self.n_fft, self.n_fft))))
        if self.scaling == "power":
            return power, power
        if self.scaling == "magnitude":
            return (pi * power / 4.0) ** 0.5, ((1.0 - pi / 4.0) * power) ** 0.5
        return (log(power) - float(np.euler_gamma)) / log(10.0), pi / 6.0**0.5 / log(10.0)


class SpectralModel(nnx.Module):
    """The spectrogram of the normalised inputs, and the model inside on its frames.

    It needs a whole sequence, and so does not run chunk by chunk.
    """

    def __init__(self, inner: Any, spec: SpectralFrontEnd, signals: Signals) -> None:
        self.inner = inner
        self.spec = spec
        self.u_scale = Standardize(signals.stats["u"])

    @property
    def wants(self) -> frozenset[str]:
        """The arguments that the model inside declares."""
        return wants_of(self.inner)

    @property
    def receptive_field(self) -> int | None:
        """Samples of input that an output depends on, where the model inside states its own."""
        return self.spec.receptive_field

    def __call__(self, *inputs: Array, **given: Any) -> Array:
        """Return the outputs for `u` (batch, time, n_u), (batch, time, n_y) or (batch, n)."""
        (u,) = inputs
        spec, time = self.spec, u.shape[1]
        x = self.u_scale.normalize(u)
        if not spec.centered:
            x = jnp.pad(x, ((0, 0), (spec.n_fft - 1, 0), (0, 0)))
        features = scaled_spectrogram(
            x,
            spec.scaling,
            spec.n_fft,
            spec.hop_length,
            window=spec.window,
            center=spec.centered,
        )
        y: Array = self.inner(features, **given)
        if y.ndim == 2:
            return y
        # A centred frame serves the samples on both sides of its middle.
        ahead = spec.hop_length // 2 if spec.centered else 0
        frame = (np.arange(time) + ahead) // spec.hop_length
        return y[:, np.minimum(frame, features.shape[1] - 1)]
