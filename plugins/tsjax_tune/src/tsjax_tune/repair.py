"""The stored state of a search, made to agree with the stored trials.

Ray copies both to the directory of a study, one file after the other. A process that is killed in
between leaves a search that counts trials which were never stored, or does not count some that
were: restored as it is, it would end too early, or begin trials twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_ENDED = ("TERMINATED", "ERROR")


def repair_search(folder: Path) -> int:
    """Correct the search that Ray stored in `folder`; return by how many trials it was off.

    The number is positive for trials that were lost, which the search then suggests anew.
    """
    states, searches = (
        sorted(folder.glob(f"{name}-*.json")) for name in ("experiment_state", "search_gen_state")
    )
    if not states or not searches:
        return 0
    from ray import cloudpickle

    pickle: Any = cloudpickle
    stored = json.loads(states[-1].read_text(encoding="utf-8"))["trial_data"]
    trials = [json.loads(each[0]) for each in stored]
    with searches[-1].open("rb") as stream:
        search: dict[str, Any] = pickle.load(stream)
    off = int(search["counter"]) - len(trials)
    if not off:
        return 0
    search["counter"] = len(trials)
    search["finished"] = False
    running = {str(trial["trial_id"]) for trial in trials if trial["status"] not in _ENDED}
    for name, state in search.items():
        if name.startswith("name:") and isinstance(state, Mapping) and "live_trials" in state:
            search[name] = {
                **state,
                "live_trials": running,
                "num_unfinished_live_trials": len(running),
                "cached_results": {},
            }
    _replace(searches[-1], pickle.dumps(search))
    for points in sorted(folder.glob("searcher-state-*.pkl"))[-1:]:
        # Given points are stored as the number of those that were tried, in their order: what was
        # lost are the last ones. Other searches go on from what they know.
        with suppress(UnicodeDecodeError, ValueError):
            if isinstance(json.loads(points.read_text(encoding="utf-8")), int):
                _replace(points, json.dumps(len(trials)).encode())
    return off


def _replace(file: Path, data: bytes) -> None:
    fresh = file.with_name(f".{file.name}")
    fresh.write_bytes(data)
    fresh.replace(file)
