"""A search that tries given configurations one after the other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher


class Points(Searcher):
    """Suggests each of `points` once, in their order."""

    def __init__(self, points: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.points = [dict(point) for point in points]
        self.tried = 0

    def set_search_properties(
        self,
        metric: str | None,  # noqa: ARG002 - the points are given
        mode: str | None,  # noqa: ARG002 - as above
        config: dict[str, Any],  # noqa: ARG002 - as above
        **spec: Any,  # noqa: ARG002 - as above
    ) -> bool:
        """Do nothing: the points are given."""
        return True

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002 - the points have their order
        """Return the next point."""
        if self.tried == len(self.points):
            return Searcher.FINISHED
        self.tried += 1
        return self.points[self.tried - 1]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: no result changes what is tried next."""

    def save(self, checkpoint_path: str) -> None:
        """Write how many points were tried."""
        Path(checkpoint_path).write_text(json.dumps(self.tried), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read how many points were tried."""
        self.tried = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
