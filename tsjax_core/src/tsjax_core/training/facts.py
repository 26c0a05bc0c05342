"""What two trainings that give equal numbers have in common, for a person to compare."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from tsjax_core.signatures import name_of

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner


def describe_training(learner: Learner) -> dict[str, Any]:
    """Return the facts that decide the numbers of a training, each under a name to print.

    The content of the data is part of them, by a checksum of each split.
    """
    pipeline, signals = learner.pipeline, learner.signals
    described = {"checksum of the experiment": zlib.crc32(learner.description.encode())}
    return {
        "model": repr(learner.spec) if learner.spec else name_of(learner.model),
        "seed": learner.seed,
        "loss": dict(learner.loss_weights),
        "metrics": [name_of(metric) for metric in learner.metrics],
        "n_skip": learner.n_skip,
        "initial state": str(learner.initial_state),
        "signals": {key: list(names) for key, names in signals.names.items()},
        "statistics of the data": zlib.crc32(
            b"".join(x.mean.tobytes() + x.std.tobytes() for x in signals.stats.values())
        ),
        **{f"content of the {split} files": sum_ for split, sum_ in pipeline.checksums.items()},
        "windows": len(pipeline.train),
        "win_sz": pipeline.win_sz,
        "bs": pipeline.bs,
        "batches an epoch": pipeline.steps_per_epoch,
        "order of the windows": learner.first_windows,
        **learner.ingredients,
        # A learner that is built in Python, from an experiment or by hand, has no text to compare.
        **(described if learner.description else {}),
    }
