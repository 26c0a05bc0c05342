"""The spread of several models of the same data: how far do equal trainings agree?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsjax_core.errors import ConfigError
from tsjax_core.inference.predict import predict
from tsjax_core.types import HostArray


@dataclass(frozen=True, eq=False)
class Spread:
    """What several models simulate: mean, standard deviation, least and largest, as `predict`."""

    mean: HostArray
    std: HostArray
    low: HostArray
    high: HostArray


def measure_spread(models: Sequence[Any], u: Any, **options: Any) -> Spread:
    """Return mean and spread of what `models` simulate for the inputs `u`.

    Where equally good models of other seeds disagree, none of them knows. The spread says nothing
    of errors that all of them share.

    Args:
        models: Two models or more of the same signals, such as members of a population.
        u: Inputs, in the forms that `predict` takes.
        options: Further arguments of `predict`.

    Raises:
        ConfigError: There are fewer than two models.
        ModelError, DataError: As of `predict`.
    """
    if len(models) < 2:
        raise ConfigError(
            f"got {len(models)} model{'s' * (len(models) != 1)}; a spread needs two or more.",
            key="models",
        )
    outputs = np.stack([predict(model, u, **options) for model in models]).astype(float)
    return Spread(outputs.mean(0), outputs.std(0), outputs.min(0), outputs.max(0))
