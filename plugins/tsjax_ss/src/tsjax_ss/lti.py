"""The linear state space beside the nonlinear ones."""

from __future__ import annotations

from dataclasses import dataclass

from tsjax_core.models.linear import Linear


@dataclass(frozen=True)
class LTI(Linear):
    """Linear time-invariant state space, as `core/linear`: identified, then polished.

    Args:
        order: Number of states. If not given, the validation records choose it among 1 to 10.
        direct: Whether the present input acts on the present output.
        horizon: Samples of past and future that the identification looks at, 2 order + 4 if not
            given.
    """
