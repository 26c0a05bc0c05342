"""What a component declares in its signature, looked up once when a learner is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from tsjax_core.errors import SignatureError

LOSS_ARGUMENTS = frozenset({"batch", "model", "aux", "key"})
TRANSFORM_ARGUMENTS = frozenset({"key", "progress", "epoch"})
MODEL_ARGUMENTS = frozenset({"key"})

TERM_PARAMETERS = ("pred", "target", "y_mean", "y_std")


def name_of(component: object) -> str:
    """Return the name of a function, or of an object's class."""
    return getattr(component, "__name__", None) or type(component).__name__


def _parameters(component: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(component).parameters.values())


def declared(
    component: Callable[..., Any],
    *,
    kind: str,
    offered: frozenset[str],
    positional: Sequence[str],
) -> frozenset[str]:
    """Return the keyword-only arguments of `component`, which must be among `offered`.

    `positional` names the positional arguments that it will be given; it may name them otherwise.

    Raises:
        SignatureError: It cannot be called, a keyword-only argument is not offered, or the
            positional ones do not fit.
    """
    if not callable(component):
        raise SignatureError(
            f"a {kind} is a function, and {component!r} is none. A registered {kind} is got by its "
            f"name with tsjax_core.get_{kind}."
        )
    parameters = _parameters(component)
    wanted = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    if unknown := sorted(wanted - offered):
        raise SignatureError(
            f"{kind} {name_of(component)!r} declares the keyword-only argument"
            f"{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown))}, which tsjax does "
            f"not give. A {kind} may declare {', '.join(map(repr, sorted(offered))) or 'none'}; "
            "bind anything else beforehand, with functools.partial or a class."
        )
    try:
        inspect.signature(component).bind(*positional, **dict.fromkeys(wanted))
    except TypeError as error:
        more = f", and after * any of {', '.join(sorted(offered))}" if offered else ""
        raise SignatureError(
            f"{kind} {name_of(component)!r} has the signature {inspect.signature(component)}, "
            f"which does not fit ({error}). A {kind} takes ({', '.join(positional)}){more}."
        ) from error
    return wanted


def is_loss_term(component: Callable[..., Any]) -> bool:
    """Tell whether `component` is a loss term itself, and not a factory that makes one.

    A term's first four parameters are `pred`, `target`, `y_mean` and `y_std`.
    """
    return tuple(p.name for p in _parameters(component)[:4]) == TERM_PARAMETERS
