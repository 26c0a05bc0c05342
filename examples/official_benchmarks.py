"""The official benchmarks of nonlinear system identification, fetched by their own package.

It needs `pip install nonlinear-benchmarks` and a network. The names are those of the package:
Cascaded_Tanks, Silverbox, WienerHammerBenchMark, EMPS, CED. The scores count after the samples that
the benchmark gives for the initial state, as it asks for.
"""

import sys
from typing import Any

from tsjax_core import create_grain_dls, make_learner, rmse

VALID = 0.2
"""Share of the training record, at its end, on which the models are chosen."""


def as_record(data: Any) -> dict[str, Any]:
    """Return a record of the package as arrays by name; u0, u1, ... and y0, y1, ..."""
    u, y = (x.reshape(len(x), -1) for x in (data.u, data.y))
    signals = {f"u{i}": u[:, i] for i in range(u.shape[1])}
    return signals | {f"y{i}": y[:, i] for i in range(y.shape[1])}


def identify(train: Any, test: Any) -> dict[str, float]:
    """Return the RMSE on test of a linear model and of a nonlinear state space."""
    tests = list(test) if isinstance(test, tuple | list) else [test]
    record = as_record(train)
    cut = round((1.0 - VALID) * len(train))
    data = create_grain_dls(
        [name for name in record if name.startswith("u")],
        [name for name in record if name.startswith("y")],
        {
            "train": [{name: x[:cut] for name, x in record.items()}],
            "valid": [{name: x[cut:] for name, x in record.items()}],
            "test": [as_record(each) for each in tests],
        },
        win_sz=200,
        stp_sz=200,
        dt=None if train.sampling_time is None else float(train.sampling_time),
    )
    first = max(each.state_initialization_window_length or 50 for each in tests)
    options = {"metrics": [rmse], "initial_state": "window", "init_samples": first}
    scores = {}
    for name, more in (("core/linear", {}), ("ss/neural", {"hidden_size": 8})):
        learner = make_learner(data, name, **more, **options)
        learner.polish(seconds=30, show_progress=False)
        scores[name] = float(learner.evaluate("test").metrics["rmse"])
    return scores


def main(names: list[str]) -> None:
    try:
        import nonlinear_benchmarks
    except ModuleNotFoundError:
        sys.exit("This example needs: pip install nonlinear-benchmarks")
    for name in names:
        train, test = getattr(nonlinear_benchmarks, name)()
        for model, score in identify(train, test).items():
            print(f"{name}, {model}: RMSE on test {score:.4g}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["Cascaded_Tanks"])
