"""What is asked of a polish, and where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tsjax_core.checks import choice, positive, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.training.fit import Fit
from tsjax_core.training.polish.levenberg_marquardt import PolishState
from tsjax_core.types import HostArray

Method = Literal["auto", "exact", "part", "conjugate"]


@dataclass(frozen=True)
class PolishOptions:
    """The `[polish]` table: steps by Gauss-Newton on whole records after the epochs.

    Args:
        seconds: Time after which no further iteration begins.
        iterations: Iterations at most.
        method: exact (Jacobian of all records), part (of a part of them, which grows), conjugate
            (without a Jacobian, by conjugate gradients), or auto, which chooses by the numbers of
            states and parameters.
        initial_states: trained (that of every record is a parameter), fixed (the model's own), or
            auto: trained where validation and test estimate theirs, by window or encoder.
        frozen: Names of parameters that stay as they are; * and ? stand for any letters.
        penalty: Weight of the mean squared distance of parameters from where they began, by names
            as in frozen.
        channel_weights: Weight of each output's squared error, by its name; others have 1.
        patience: Iterations without a better validation after which it ends.
        starts: Models that are begun from other seeds, with the learner's own among them. Each gets
            a few iterations, and the best of them on validation goes on.
    """

    seconds: float | None = None
    iterations: int | None = None
    method: Method = "auto"
    initial_states: Literal["auto", "trained", "fixed"] = "auto"
    frozen: Sequence[str] = ()
    penalty: Mapping[str, float] = field(default_factory=dict)
    channel_weights: Mapping[str, float] = field(default_factory=dict)
    patience: int | None = None
    starts: int = 1

    def __post_init__(self) -> None:
        if self.seconds is None and self.iterations is None:
            raise ConfigError(
                "a polish has no end: give seconds, iterations, or both.", key="seconds"
            )
        if self.seconds is not None:
            positive("seconds", self.seconds)
        whole_number("starts", self.starts, "models", least=1)
        for key in ("iterations", "patience"):
            if getattr(self, key) is not None:
                whole_number(key, getattr(self, key), "iterations", least=1)
        choice("method", self.method, ("auto", "exact", "part", "conjugate"))
        choice("initial_states", self.initial_states, ("auto", "trained", "fixed"))
        for key in ("penalty", "channel_weights"):
            for name, weight in getattr(self, key).items():
                if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
                    raise ConfigError(
                        f"{key}.{name} = {weight!r}; give a number of 0 or more.", key=key
                    )

    def to_json(self) -> dict[str, Any]:
        """Return the options in the types of JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "frozen": list(self.frozen),
            "penalty": dict(self.penalty),
            "channel_weights": dict(self.channel_weights),
        }


@dataclass
class PolishFit(Fit):
    """A polish in progress: a fit whose epochs are iterations, the first of them without a step."""

    options: PolishOptions = field(default_factory=lambda: PolishOptions(iterations=1))
    seconds: float = 0.0
    """Time that its iterations have taken."""
    ended: str = ""
    """Why no further iteration would begin, empty while one would."""


_NUMBERS = ("cost", "damping", "failures", "iteration", "share", "chosen")


def state_to_arrays(state: PolishState) -> dict[str, HostArray]:
    """Return the state as arrays that keep every bit in a checkpoint of 32-bit numbers."""
    numbers = np.array([float(getattr(state, name)) for name in _NUMBERS])
    arrays = {
        "theta": state.theta,
        "starts": state.starts,
        "prior": state.prior,
        "numbers": numbers,
    }
    return {
        name: np.ascontiguousarray(array, np.float64).reshape(-1).view(np.uint32)
        for name, array in arrays.items()
    }


def state_from_arrays(arrays: Mapping[str, Any], n_records: int) -> PolishState:
    """Return the state that `state_to_arrays` gave."""
    theta, starts, prior, numbers = (
        np.ascontiguousarray(np.asarray(arrays[name])).view(np.float64)
        for name in ("theta", "starts", "prior", "numbers")
    )
    values: dict[str, Any] = dict(zip(_NUMBERS, numbers.tolist(), strict=True))
    values |= {name: int(values[name]) for name in ("failures", "iteration", "chosen")}
    return PolishState(theta, starts.reshape(n_records, -1), prior, **values)
