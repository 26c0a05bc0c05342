"""Search algorithms of Ray Tune by their short names."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from tsjax_core.checks import choice
from tsjax_core.errors import ConfigError

SEARCHES = ("random", "optuna")


def make_search(search_alg: Any, seed: int | None, at_once: int | None) -> Any:
    """Return the search algorithm that `search_alg` names, or itself where it is one.

    `random` draws every trial by itself, and takes all values of a grid.

    Raises:
        ConfigError: The name is unknown, or Optuna is not installed.
    """
    if search_alg is not None and not isinstance(search_alg, str):
        return search_alg
    choice("search_alg", search_alg or "random", SEARCHES)
    if search_alg == "optuna":
        if find_spec("optuna") is None:
            raise ConfigError(
                "search_alg = 'optuna' needs Optuna, which is not installed: pip install optuna.",
                key="search_alg",
            )
        from ray.tune.search import ConcurrencyLimiter
        from ray.tune.search.optuna import OptunaSearch

        found = OptunaSearch(seed=seed)
        return found if at_once is None else ConcurrencyLimiter(found, at_once)
    from ray.tune.search.basic_variant import BasicVariantGenerator

    return BasicVariantGenerator(random_state=seed, max_concurrent=at_once or 0)
