"""Which trials of a study share a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tsjax_core import shape_groups
from tsjax_core.errors import TsjaxError
from tsjax_core.training.learner import Learner
from tsjax_tune.members import MEMBERS, NUMBER
from tsjax_tune.trial import CreateLearner

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline


def pack_configs(
    create_learner: CreateLearner,
    pipeline: GrainPipeline | None,
    configs: Sequence[Mapping[str, Any]],
    pack: int,
    resources: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return what Ray is to try: each of `configs` with its number, or packs of them.

    Trials of a pack have one shape. No pack is so large that processors have nothing to do.
    """
    numbered = [{**config, NUMBER: number} for number, config in enumerate(configs, start=1)]
    if pack == 1:
        return numbered
    places: list[int] = []
    learners: list[Learner] = []
    packs: list[list[int]] = []
    for place, config in enumerate(configs):
        try:
            learners.append(create_learner(pipeline, config))
            places.append(place)
        except TsjaxError:
            # Its trial reports it.
            packs.append([place])
    size = max(1, min(pack, -(-len(learners) // _places(resources))))
    for group in shape_groups(learners):
        members = [places[each] for each in group]
        count = -(-len(members) // size)
        # Equal shares: three packs of 4 and not two of 5 and one of 2.
        packs += [members[part::count] for part in range(count)]
    # The largest first, so that no process begins one when all others are done.
    packs.sort(key=lambda members: -len(members))
    return [
        {MEMBERS: [numbered[place] for place in members]}
        if len(members) > 1
        else numbered[members[0]]
        for members in packs
    ]


def _places(resources: Mapping[str, float]) -> int:
    """Return how many packs the cluster runs at once."""
    import ray

    # Ray does not annotate it.
    resources_of: Any = ray.cluster_resources
    there: dict[str, float] = resources_of()
    counts = [
        int(there.get(name, 0.0) / resources[key])
        for key, name in (("cpu", "CPU"), ("gpu", "GPU"))
        if resources[key]
    ]
    return max(1, min(counts, default=1))
