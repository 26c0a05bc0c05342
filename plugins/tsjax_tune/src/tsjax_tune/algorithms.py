"""Search algorithms of Ray Tune by their short names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from tsjax_core.checks import choice
from tsjax_core.errors import ConfigError
from tsjax_core.training.monitor import Mode

SEARCHES = ("random", "optuna")


def make_search(search_alg: Any, seed: int | None, at_once: int | None) -> Any:
    """Return the search algorithm that `search_alg` names, or itself where it is one.

    `random` draws every trial by itself, and takes all values of a grid. Optuna suggests `at_once`
    trials before it has the value of the first of them.

    Raises:
        ConfigError: The name is unknown, or Optuna is not installed.
    """
    if search_alg is not None and not isinstance(search_alg, str):
        return search_alg
    choice("search_alg", search_alg or "random", SEARCHES)
    if search_alg == "optuna":
        return make_optuna(seed, at_once)
    from ray.tune.search.basic_variant import BasicVariantGenerator

    return BasicVariantGenerator(random_state=seed, max_concurrent=at_once or 0)


def make_optuna(
    seed: int | None,
    at_once: int | None,
    *,
    space: Any = None,
    metric: str | None = None,
    mode: Mode | None = None,
    key: str = "search_alg",
) -> Any:
    """Return the search by Optuna.

    Without `space` it searches that of Ray; else `space` is a function of Optuna's trials, and
    `metric` and `mode` say what is compared.

    Raises:
        ConfigError: Optuna is not installed.
    """
    if find_spec("optuna") is None:
        raise ConfigError(
            f"{key} = 'optuna' needs Optuna, which is not installed: pip install optuna.", key=key
        )
    import optuna
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    # It would print a line for every trial.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = OptunaSearch(space, metric=metric, mode=mode, seed=seed)
    return found if at_once is None else ConcurrencyLimiter(found, at_once)


def draw_configs(
    config: Mapping[str, Any], num_samples: int, seed: int | None
) -> list[dict[str, Any]]:
    """Return the configurations that the search `random` would try, drawn beforehand."""
    import numpy as np
    from ray.tune.search.variant_generator import generate_variants

    # The generator that `BasicVariantGenerator` makes of the same seed.
    state = np.random.default_rng(seed)
    return [
        variant
        for _ in range(num_samples)
        for _, variant in generate_variants(dict(config), random_state=state)
    ]


def try_points(points: Sequence[Mapping[str, Any]], at_once: int | None) -> Any:
    """Return the search that tries `points` in their order."""
    from ray.tune.search import ConcurrencyLimiter

    from tsjax_tune.points import Points

    # Without the limiter Ray would prepare one trial at a time.
    return ConcurrencyLimiter(Points(points), at_once or max(1, len(points)))
