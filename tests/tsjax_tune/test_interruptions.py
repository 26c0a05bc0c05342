"""Studies that are killed, and clusters that lose a machine."""

from __future__ import annotations

import csv
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 120.0
"""Seconds that a busy machine is given."""

COMMAND = "import sys; from tsjax_core.cli import main; sys.argv[0] = 'tsjax'; main()"


@contextmanager
def running(*command, log, **environment):
    """Run a command in a process group of its own, which ends with the block."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)
        print(log.read_text())


def kill(process) -> None:
    """Kill the whole process group, as when the machine is switched off."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)


def wait_for(happened, process) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.1)


def entries(study: Path) -> list[dict]:
    file = study / "epochs.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def ended(study: Path) -> set[str]:
    return {entry["trial"] for entry in entries(study) if entry["ended"]}


def begun(study: Path) -> set[str]:
    """Return the trials that have a checkpoint and have not ended."""
    found = {path.parent.name for path in study.glob("trials/trial_*/checkpoint_*")}
    return found - ended(study)


def rows_of(study: Path, trial: str) -> list[dict]:
    """Return the epochs of a trial in the order of their report, from its last beginning on."""
    rows = []
    for entry in entries(study):
        if entry["trial"] == trial and entry["rows"]:
            rows = entry["rows"]["trial"] if entry["restarted"] else rows + entry["rows"]["trial"]
    return rows


def check_epochs(study: Path, counts: list[int]) -> None:
    """No epoch is missing, and none came twice."""
    for number, count in enumerate(counts, start=1):
        epochs = [row["epoch"] for row in rows_of(study, f"trial_{number:03d}")]
        assert epochs == list(range(1, count + 1))


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on(write_study, tmp_path):
    """All trials end, from their checkpoints, and those that had ended are not trained again."""
    counts = [2, 501, 502]
    file = write_study('algorithm = "grid"', f'"train.epochs" = {{ choice = {counts} }}')
    study = tmp_path / "study"
    with running("-c", COMMAND, "tune", file, "--out", study, log=tmp_path / "first") as process:
        wait_for(lambda: "trial_001" in ended(study) and begun(study), process)
        # Ray writes down where the trials stand twice a second.
        time.sleep(1.0)
        interrupted = begun(study)
        kill(process)
    before = (study / "epochs.jsonl").read_bytes()
    seen = {trial: rows_of(study, trial) for trial in interrupted}
    with running("-c", COMMAND, "tune", "--resume", study, log=tmp_path / "second") as process:
        assert process.wait(PATIENCE) == 0
    after = (study / "epochs.jsonl").read_bytes()
    whole = before[: before.rindex(b"\n") + 1]
    assert after.startswith(whole)
    assert b"trial_001" not in after[len(whole) :]
    check_epochs(study, counts)
    assert ended(study) == {"trial_001", "trial_002", "trial_003"}
    for trial, rows in seen.items():
        # An epoch that was trained again would have taken another time.
        kept = [row["seconds"] for row in rows_of(study, trial)]
        assert kept[0] == rows[0]["seconds"], trial
    assert (study / "best.toml").exists()
    assert len((study / "trials.csv").read_text().splitlines()) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "search",
    [
        'scheduler = "pbt"\ntrials = 3\nepochs = 8',
        "pack = 2\ntrials = 2\nepochs = 300",
    ],
    ids=["population", "pack"],
)
def test_populations_and_packs_go_on_after_a_kill(write_study, tmp_path, search):
    """The scheduler and the members of a pack are where they were."""
    file = write_study(search, '"train.lr" = { loguniform = [1e-4, 1e-2] }')
    study = tmp_path / "study"
    with running("-c", COMMAND, "tune", file, "--out", study, log=tmp_path / "first") as process:
        wait_for(lambda: [*study.glob("trials/*_*/checkpoint_*")], process)
        time.sleep(1.0)
        kill(process)
    seen = entries(study)
    assert seen
    with running("-c", COMMAND, "tune", "--resume", study, log=tmp_path / "second") as process:
        assert process.wait(PATIENCE) == 0
    assert entries(study)[: len(seen)] == seen
    trials = int(re.search(r"trials = (\d)", search).group(1))
    epochs = int(re.search(r"epochs = (\d+)", search).group(1))
    with (study / "trials.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == trials
    assert [int(row["epochs"]) for row in rows] == trials * [epochs]
    assert (study / "best.toml").exists()


@pytest.mark.slow
def test_a_cluster_that_loses_a_machine_ends_the_study(write_study, tmp_path):
    """Trials of the lost machine go on from their checkpoints on another, and none is lost."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    own = {
        # A token for this cluster alone, so that it neither needs nor reads that of the user.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ADDRESS": address,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
    }
    start = ["-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    start += [f"--object-store-memory={100 * 2**20}"]
    port = address.partition(":")[2]
    head = [*start, "--head", f"--port={port}", "--include-dashboard=false"]
    # So long that neither ends before the other has a checkpoint.
    counts = [2001, 2002]
    file = write_study('algorithm = "grid"', f'"train.epochs" = {{ choice = {counts} }}')
    study = tmp_path / "study"
    command = ["-c", COMMAND, "tune", file, "--out", study, "--address", "auto"]
    with running(*head, log=tmp_path / "head", **own) as first:
        wait_for(lambda: "Ray runtime started" in (tmp_path / "head").read_text(), first)
        node = [*start, f"--address={address}"]
        with running(*node, log=tmp_path / "node", **own) as second:
            wait_for(lambda: "Ray runtime started" in (tmp_path / "node").read_text(), second)
            with running(*command, log=tmp_path / "study.log", **own) as process:
                # One processor each: two trials at once are one on each machine.
                wait_for(lambda: begun(study) == {"trial_001", "trial_002"}, process)
                kill(second)
                assert process.wait(PATIENCE) == 0
    check_epochs(study, counts)
    assert ended(study) == {"trial_001", "trial_002"}
    begins = Counter(entry["trial"] for entry in entries(study) if entry["restarted"])
    # The trial of the machine that was lost, and no other, and after its first epoch.
    assert sorted(begins.values()) == [1, 2]
    (lost,) = (trial for trial, count in begins.items() if count == 2)
    first = next(entry for entry in entries(study) if entry["trial"] == lost)
    assert rows_of(study, lost)[0] == first["rows"]["trial"][0]
    with (study / "trials.csv").open() as stream:
        assert stream.read().count(",finished,") == 2
