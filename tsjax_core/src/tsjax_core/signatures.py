"""What a component declares in its signature, looked up once when a learner is built.

A loss, metric, transform, model or plot gets the keyword-only arguments that it declares, and no
others. `Declared` is a component beside the names of these arguments.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Protocol, runtime_checkable

from tsjax_core.errors import SignatureError

TERM_PARAMETERS: Final = ("pred", "target", "y_mean", "y_std")

POSITIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "loss": TERM_PARAMETERS,
    "metric": TERM_PARAMETERS,
    "transform": ("batch",),
    "model": ("u",),
    "plot": ("pred", "target"),
}
"""The positional arguments of each kind of component; of a model those that it reads."""

OFFERED: Final[Mapping[str, frozenset[str]]] = {
    "loss": frozenset({"batch", "model", "aux", "key", "progress", "signals"}),
    "metric": frozenset({"signals"}),
    "transform": frozenset({"key", "progress", "epoch", "signals"}),
    "model": frozenset({"key", "batch", "progress"}),
    "plot": frozenset({"signals", "batch", "title", "start", "outputs", "dt", "reference", "band"}),
}
"""The keyword-only arguments that each kind of component may declare."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@runtime_checkable
class Declaring(Protocol):
    """A component around another one, which declares what that one does and perhaps more."""

    @property
    def wants(self) -> frozenset[str]:
        """The names of the keyword-only arguments to give."""
        ...


@dataclass(frozen=True)
class Declared:
    """A component, and the keyword-only arguments that it declares.

    `wants` are those that every call has to give; `bound` are those that are known already.
    """

    component: Callable[..., Any]
    wants: frozenset[str] = frozenset()
    bound: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """The name of the component."""
        return name_of(self.component)

    def __call__(self, *values: Any, given: Mapping[str, Any] = _NOTHING) -> Any:
        """Return what the component returns; `given` holds at least the arguments in `wants`."""
        return self.component(*values, **self.bound, **{name: given[name] for name in self.wants})

    def bind(self, **values: Any) -> Declared:
        """Return the component with those of `values` that it wants bound to it."""
        taken = {name: value for name, value in values.items() if name in self.wants}
        return replace(self, wants=self.wants - taken.keys(), bound={**self.bound, **taken})


def name_of(component: object) -> str:
    """Return the name of a function, or of an object's class."""
    if isinstance(component, functools.partial):
        return name_of(component.func)
    return getattr(component, "__name__", None) or type(component).__name__


def wants_of(component: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the keyword-only arguments of `component`, whether offered or not."""
    given: Any = component
    if isinstance(given, Declaring):
        return given.wants
    bound = component.keywords if isinstance(component, functools.partial) else {}
    return frozenset(
        p.name for p in _parameters(component) if p.kind is p.KEYWORD_ONLY and p.name not in bound
    )


def declare(
    kind: str, component: Callable[..., Any], positional: Sequence[str] | None = None
) -> Declared:
    """Return `component` with the arguments that it declares, which must be offered to its kind.

    `positional` names the positional arguments that it will be given where these are others than
    those of its kind; it may name them otherwise.

    Raises:
        SignatureError: It cannot be called, a keyword-only argument is not offered, or the
            positional ones do not fit.
    """
    if isinstance(component, Declared):
        return component
    given: Any = component
    offered, first = OFFERED[kind], POSITIONAL[kind] if positional is None else tuple(positional)
    if not hasattr(given, "__call__"):  # noqa: B004 - what has it can be called
        raise SignatureError(
            f"a {kind} is a function, and {component!r} is none. A registered {kind} is got by its "
            f"name with tsjax_core.get_{kind}."
        )
    wanted = wants_of(component)
    if unknown := sorted(wanted - offered):
        raise SignatureError(
            f"{kind} {name_of(component)!r} declares the keyword-only argument"
            f"{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown))}, which tsjax does "
            f"not give. A {kind} may declare {', '.join(map(repr, sorted(offered))) or 'none'}; "
            "bind anything else beforehand, with functools.partial or a class."
        )
    if not isinstance(component, Declaring):
        try:
            inspect.signature(component).bind(*first, **dict.fromkeys(wanted))
        except TypeError as error:
            more = f", and after * any of {', '.join(sorted(offered))}" if offered else ""
            raise SignatureError(
                f"{kind} {name_of(component)!r} has the signature {inspect.signature(component)}, "
                f"which does not fit ({error}). A {kind} takes ({', '.join(first)}){more}."
            ) from error
    return Declared(component, wanted)


def is_loss_term(component: Callable[..., Any]) -> bool:
    """Return whether `component` is a loss term itself, and not a factory that makes one.

    A term's first four parameters are `pred`, `target`, `y_mean` and `y_std`.
    """
    return tuple(p.name for p in _parameters(component)[:4]) == TERM_PARAMETERS


def _parameters(component: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(component).parameters.values())
