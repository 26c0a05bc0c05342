"""The specification of a model that is trained with a carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flax import nnx

from tsjax_core.checks import check_counts
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.models.recurrent import GRU
from tsjax_core.protocols import FiniteMemory, InitialWindow, ModelSpec, StatefulModel
from tsjax_core.signatures import name_of
from tsjax_core.types import Signals
from tsjax_tbptt.carrying import CarriedModel
from tsjax_tbptt.handed_on import carried_class


def _default_model() -> Any:
    return GRU()


@dataclass(frozen=True)
class StatefulRNN:
    """A stateful model that is trained by truncated backpropagation through time.

    Its rows go on from batch to batch: each begins with the state in which it stopped, and the
    gradient is cut there. In evaluation and simulation it is the model inside. Source: Williams and
    Peng (1990), whose TBPTT(k1, k2) has k1 = `win_sz` and k2 = `win_sz` + `look_back`.

    Args:
        model: The model inside, any one with `initial_state` and `advance`.
        look_back: Samples before a chunk through which its gradient flows too. They are computed
            anew in each step, which takes the time of a chunk longer by `look_back`.
    """

    model: ModelSpec = field(default_factory=_default_model)
    look_back: int = 0

    def __post_init__(self) -> None:
        given: Any = self.model
        if isinstance(given, type) or not isinstance(given, ModelSpec):
            raise ConfigError(
                f"model = {given!r}; give the specification of a model, such as "
                "GRU(hidden_size=32).",
                key="model",
            )
        check_counts(self, look_back=0)

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes: those of the model inside."""
        return tuple(self.model.reads)

    @property
    def receptive_field(self) -> int | None:
        """Samples of input that an output depends on, None where there is no such number."""
        return self.model.receptive_field if isinstance(self.model, FiniteMemory) else None

    @property
    def init_window(self) -> int:
        """Samples of measured output that the model may use at the start of a sequence."""
        return self.model.init_window if isinstance(self.model, InitialWindow) else 0

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> CarriedModel:
        """Return the model with freshly drawn parameters for the channels in `signals`.

        Raises ModelError where the model inside has no state that could be carried.
        """
        inner = self.model.build(signals, rngs=rngs)
        if not isinstance(inner, StatefulModel):
            raise ModelError(
                f"{name_of(self.model)} builds a {name_of(type(inner))}, which has no "
                "initial_state and advance, and so no state to carry from chunk to chunk. Train it "
                "on windows, or put a stateful model inside tbptt/rnn."
            )
        if not signals.outputs:
            raise ModelError(
                "the data have scalar targets alone, which belong to whole sequences; training "
                "chunk by chunk needs an output at every sample. Name outputs in y."
            )
        return carried_class(inner)(self, inner, signals)


def stateful(model: ModelSpec, *, look_back: int = 0) -> StatefulRNN:
    """Return `model`, the specification of any stateful model, as one that is trained by TBPTT.

    `look_back` is the samples before a chunk through which its gradient flows too.
    """
    return StatefulRNN(model, look_back)
