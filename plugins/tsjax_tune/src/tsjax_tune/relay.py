"""What Ray calls while a study runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ray.tune import Callback

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class Listener(Protocol):
    """Follows the trials of a study."""

    def see_report(self, trial: Trial, report: Mapping[str, Any]) -> None:
        """Take in what a worker reported."""
        ...

    def see_trials(self, trials: list[Trial]) -> None:
        """Take in where the trials stand."""
        ...


_listeners: list[Listener] = []


class Relay(Callback):
    """Forwards what happens to the listeners of this process.

    Ray stores its callbacks with the study, and restores them: this one has nothing to store.
    """

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002 - Ray passes it by name
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002 - as above
    ) -> None:
        """Forward a report."""
        for listener in _listeners:
            listener.see_report(trial, result)
            listener.see_trials(trials)

    def on_step_end(
        self,
        iteration: int,  # noqa: ARG002 - Ray passes it by name
        trials: list[Trial],
        **info: Any,  # noqa: ARG002 - as above
    ) -> None:
        """Forward where the trials stand."""
        for listener in _listeners:
            listener.see_trials(trials)


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Let `listeners` follow the study that runs in the block."""
    _listeners.extend(listeners)
    try:
        yield
    finally:
        for listener in listeners:
            _listeners.remove(listener)
