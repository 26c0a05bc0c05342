"""From a CSV file with dates, units and a gap to a report that can be mailed.

A heated tank: its temperature follows the power with a lag, and loses to the room.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console

from tsjax_core.experiments.experiment import parse_experiment
from tsjax_core.experiments.run import train
from tsjax_core.experiments.validate_runs import validate_runs


def write_measurement(file: Path) -> None:
    """Write 2000 samples at 0.5 Hz, as a logger would, that stopped for ten minutes once."""
    rng = np.random.default_rng(0)
    power = np.repeat(rng.uniform(0.0, 2.0, 50), 40)
    room, temperature, lines = 20.0, 20.0, ["time,power,temperature", ",kW,°C"]
    begin = datetime(2024, 5, 1, 8, tzinfo=UTC)
    for number, p in enumerate(power):
        stamp = begin + timedelta(seconds=2 * number + 600 * (number >= 1200))
        lines.append(
            f"{stamp.isoformat()},{p:.4f},{temperature + 0.02 * rng.standard_normal():.4f}"
        )
        temperature += 0.02 * (25.0 * np.sqrt(p) - (temperature - room))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_measurement(folder / "tank.csv")
    data = {
        "dataset": str(folder / "tank.csv"),
        "u": ["power"],
        "y": ["temperature"],
        "win_sz": 100,
        "gaps": "split",
        "valid": "files",
    }
    start = {"epochs": 0, "initial_state": "window", "init_samples": 20}
    for name, model in (
        ("linear", {"name": "core/linear", "order": 1}),
        ("hammerstein", {"name": "ss/hammerstein", "order": 1, "hidden_size": 4}),
    ):
        tables = {"data": data, "model": model, "train": start, "polish": {"iterations": 15}}
        train(parse_experiment(tables), folder / name, Console(quiet=True))
    page = validate_runs([folder / "hammerstein", folder / "linear"], folder / "report")
    print(f"report: {page}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "tank"))
