"""A loss around another one.

It keeps the name of the loss inside it, and declares what that one declares. A composed loss is
wrapped term by term, so that every term keeps its name and its weight. There are two kinds: a
`NarrowedLoss` is the inner loss of a part of the samples or channels, and a weighted one
(`tsjax_core.losses.pointwise`) the inner loss with other weights of the samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, cast

from tsjax_core.errors import SignatureError
from tsjax_core.losses.compose import ComposedLoss
from tsjax_core.protocols import LossTerm, ResidualTerm
from tsjax_core.signatures import declare, name_of, wants_of
from tsjax_core.types import AnyArray, Array


class Arguments(NamedTuple):
    """What a loss is called with; `given` has the values of the arguments that it declares."""

    pred: Any
    target: Any
    y_mean: Any
    y_std: Any
    given: Mapping[str, Any]


class Points(NamedTuple):
    """The value and the weight of a loss at every sample, (batch, time, n).

    n is 1, or the channels where `per_channel`. The loss is `sum(weights * values) /
    sum(weights)`; the weight is 0 where nothing was measured.
    """

    values: AnyArray
    weights: AnyArray
    per_channel: bool


@dataclass(frozen=True)
class WrappedLoss(ABC):
    """A loss term around the loss term `inner`; a subclass says what it makes of it in `value`.

    Raises SignatureError if `inner` is no loss, or declares an argument that tsjax does not give.
    """

    inner: LossTerm

    adds: ClassVar[frozenset[str]] = frozenset()
    """What the wrapper itself declares."""

    def __post_init__(self) -> None:
        declare("loss", self.inner)

    @property
    def __name__(self) -> str:
        return name_of(self.inner)

    @property
    def wants(self) -> frozenset[str]:
        """The arguments that the inner loss or the wrapper declares."""
        return wants_of(self.inner) | self.adds

    @property
    def channelwise(self) -> bool:
        """Whether the loss is meaningful for each output channel alone."""
        return False

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better, as of the metric inside."""
        return bool(getattr(self.inner, "higher_is_better", False))

    def __call__(
        self,
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray | None = None,
        y_std: AnyArray | None = None,
        **given: Any,
    ) -> Array:
        """Return the value as a scalar; `given` has what the loss declares."""
        if missing := sorted(self.wants - given.keys()):
            raise TypeError(f"{self.__name__} is called without {', '.join(missing)}.")
        return self.value(Arguments(pred, target, y_mean, y_std, given))

    @abstractmethod
    def value(self, arguments: Arguments) -> Array:
        """Return the value of the loss."""

    @abstractmethod
    def points(self, arguments: Arguments) -> Points:
        """Return the value and the weight of the loss at every sample."""


class NarrowedLoss(WrappedLoss):
    """The inner loss of the part of samples and channels that `narrow` returns."""

    @abstractmethod
    def narrow(self, arguments: Arguments) -> Arguments:
        """Return the part of `arguments` that counts."""

    def value(self, arguments: Arguments) -> Array:
        """Return the inner loss of the part that counts."""
        return call_loss(self.inner, self.narrow(arguments))

    def residuals(
        self,
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray | None = None,
        y_std: AnyArray | None = None,
        **given: Any,
    ) -> AnyArray:
        """Return the residuals of the inner loss, of the part that counts."""
        narrowed = self.narrow(Arguments(pred, target, y_mean, y_std, given))
        return residuals_of(self.inner, narrowed)


def has_residuals(loss: Any) -> bool:
    """Return whether a loss, or the one of which it is a part, is a `ResidualTerm`."""
    if isinstance(loss, NarrowedLoss):
        return has_residuals(loss.inner)
    return isinstance(loss, ResidualTerm)


def call_loss(loss: Callable[..., Any], arguments: Arguments) -> Array:
    """Return the value of `loss`, which gets exactly what it declares."""
    value: Array = declare("loss", loss)(*arguments[:4], given=arguments.given)
    return value


def residuals_of(loss: Any, arguments: Arguments) -> AnyArray:
    """Return the residuals of `loss`.

    Raises:
        SignatureError: It is no `ResidualTerm`.
    """
    if not has_residuals(loss):
        raise SignatureError(
            f"loss {name_of(loss)!r} has no residuals: it is not a mean of squares, such as "
            "normalized_mse. Give a loss that is, or train by gradients alone."
        )
    wants = wants_of(cast("Any", loss))
    given = {name: arguments.given[name] for name in wants}
    residuals: AnyArray = loss.residuals(*arguments[:4], **given)
    return residuals


def wrap_each(loss: LossTerm, wrapper: Callable[[LossTerm], LossTerm]) -> LossTerm:
    """Return `wrapper` of `loss`; of a composed loss the sum of its wrapped terms.

    Raises:
        SignatureError: `loss` is no loss, or declares an argument that tsjax does not give.
    """
    if not isinstance(loss, ComposedLoss):
        return wrapper(loss)
    return ComposedLoss(
        tuple(
            replace(term, loss=declare("loss", wrapper(term.loss.component))) for term in loss.terms
        )
    )
