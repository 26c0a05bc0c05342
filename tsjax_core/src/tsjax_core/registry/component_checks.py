"""What a registered class or function must be to count as its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from flax import nnx

from tsjax_core.registry.hookspecs import Kind

Component: TypeAlias = Callable[..., Any]
"""A registered class or function."""

_CLASS_MEMBERS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "source": ("__len__", "__getitem__"),
    "store": ("get_seq_len", "read_signals"),
}


def flaw(kind: Kind, component: object) -> str | None:
    """Return what keeps a component from being of its kind and how to cure it, None if nothing.

    Only what a class or function shows without being called is looked at; the conformance kit in
    `tsjax_core.testing` looks at what it does.
    """
    if kind == "model":
        return _model_flaw(component)
    if not callable(component):
        return f"It is of type {type(component).__name__}; a {kind} is a class or a function."
    if isinstance(component, type):
        lacking = [m for m in _CLASS_MEMBERS.get(kind, ()) if not hasattr(component, m)]
        if lacking:
            return f"The class lacks {' and '.join(lacking)}, which a {kind} has."
    return None


def _model_flaw(component: Any) -> str | None:
    if not isinstance(component, type):
        return (
            f"It is of type {type(component).__name__}; a model is registered as the class of its "
            "hyperparameters."
        )
    if issubclass(component, nnx.Module):
        return (
            "It is the model itself, an nnx.Module; register the frozen dataclass of its "
            "hyperparameters, whose `build` returns it."
        )
    parameters = getattr(component, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        return "It is not a frozen dataclass; put @dataclass(frozen=True) above the class."
    # `reads` may differ from one set of hyperparameters to the next: as a property or a field.
    fields = getattr(component, "__dataclass_fields__", {})
    lacking = [m for m in ("reads", "build") if not hasattr(component, m) and m not in fields]
    if lacking:
        return (
            f"The class lacks {' and '.join(lacking)}; a model has "
            '`reads: ClassVar[tuple[str, ...]] = ("u",)` and `build(self, signals, *, rngs)`.'
        )
    reads = getattr(component, "reads", ())
    if isinstance(reads, str):
        return f"Its `reads` is the string {reads!r}; make it a tuple: ({reads!r},)."
    return None
