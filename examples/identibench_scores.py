"""The benchmarks of `identibench`, which fetches the data and scores what it is given.

It needs `pip install identibench` and a network. The names are the keys of the package, such as
Tanks_Sim, Silverbox_Sim, WH_Sim, CED_Sim or EMPS_Sim. A model begins each test record from the
measured outputs that the benchmark gives for it.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjax_core import create_grain_dls, make_learner, rmse


def as_record(sequence: Any, context: Any) -> dict[str, NDArray[np.floating]]:
    """Return the arrays of a sequence by the names that the benchmark gives its columns."""
    columns = [*context.spec.u_cols, *context.spec.y_cols]
    return dict(zip(columns, np.hstack([sequence.u, sequence.y]).T, strict=True))


def build_model(context: Any) -> Callable[..., NDArray[np.floating]]:
    """Fit a nonlinear state space to the training records, and return what simulates it.

    The options are those of `context.hyperparameters`: `model`, `model_options`, `win_sz` and
    `seconds` of training.
    """
    options = context.hyperparameters
    first = getattr(context.spec.task, "init_window", 0)
    sequences = {
        "train": list(context.get_train_sequences()),
        "valid": list(context.get_valid_sequences()),
        # Nothing is fitted or chosen on these.
        "test": list(context.get_test_sequences()),
    }
    rate = sequences["train"][0].attrs.get("fs")
    data = create_grain_dls(
        context.spec.u_cols,
        context.spec.y_cols,
        {split: [as_record(x, context) for x in each] for split, each in sequences.items()},
        win_sz=options.get("win_sz", 200),
        stp_sz=options.get("win_sz", 200),
        dt=None if rate is None else 1.0 / float(rate),
    )
    window: dict[str, Any] = {"initial_state": "window", "init_samples": first} if first else {}
    learner = make_learner(
        data,
        options.get("model", "ss/neural"),
        **options.get("model_options", {"hidden_size": 8}),
        metrics=[rmse],
        seed=context.seed or 0,
        **window,
    )
    learner.polish(seconds=options.get("seconds", 60), show_progress=False)

    def simulate(u: Any, y_init: Any, attrs: Any) -> NDArray[np.floating]:
        start = window | ({"y": y_init} if window else {})
        return np.asarray(learner.predict(u, **start))

    return simulate


def main(names: list[str]) -> None:
    try:
        import identibench
    except ModuleNotFoundError:
        sys.exit("This example needs: pip install identibench")
    known = identibench.simulation_benchmarks
    for name in names:
        if name not in known:
            sys.exit(f"No simulation benchmark is called {name!r}; there are {', '.join(known)}.")
        result = identibench.run_benchmark(known[name], build_model, seed=0)
        print(f"{name}: {result['metric_name']} on test {result['metric_score']:.4g}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["Tanks_Sim"])
