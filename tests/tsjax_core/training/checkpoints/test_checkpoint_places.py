"""Checkpoints where they cannot be written: told, and the last good one serves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from tsjax_core import Checkpoints, GRULearner
from tsjax_core.errors import CheckpointError


@pytest.fixture
def open_folder():
    """Return a directory that every user of the system may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def without_privileges(folder):
    """Act as a user who may not write to `folder`, also where the tests run as root."""
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


def test_an_unwritable_directory_is_told_before_the_training(data, open_folder):
    """Nothing was trained, and the path is named."""
    learner = GRULearner(data, hidden_size=4)
    folder = open_folder / "locked"
    folder.mkdir()
    with without_privileges(folder), pytest.raises(CheckpointError) as caught:
        next(Checkpoints(folder / "ck").follow(learner.fit_iter(1), learner))
    print(caught.value)
    assert str(caught.value).startswith(f"{folder / 'ck'}: cannot be written (Permission denied)")
    assert "then resume" in str(caught.value)
    assert learner.history == []


def test_a_directory_that_becomes_unwritable_keeps_the_last_good_checkpoint(data, open_folder):
    """The epoch that could not be written is named, and the one before goes on."""
    whole, first, second = (GRULearner(data, hidden_size=4) for _ in range(3))
    list(whole.fit_iter(4, lr=1e-2))
    folder = open_folder / "ck"
    results = Checkpoints(folder).follow(first.fit_iter(4, lr=1e-2), first)
    next(results)
    next(results)
    with without_privileges(folder), pytest.raises(CheckpointError) as caught:
        list(results)
    print(caught.value)
    assert re.search(r"the checkpoint of epoch [23] cannot be written \(", str(caught.value))
    assert re.search(r"Whole ones: epochs? 1(, 2)?\. Make room", str(caught.value))
    list(Checkpoints(folder).follow(second.resume(folder), second))
    assert whole.history == second.history
    for a, b in zip(*(jax.tree.leaves(nnx.state(x.model)) for x in (whole, second)), strict=True):
        np.testing.assert_array_equal(a, b)


FULL = """
import os, resource, subprocess, sys
from tsjax_core import Checkpoints, GRULearner, create_grain_dls
from tsjax_core.errors import CheckpointError
data, disk, has_own_disk = sys.argv[1], sys.argv[2], sys.argv[3] == "mount"
if has_own_disk:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=True)
def make():
    return GRULearner(
        create_grain_dls(["u"], ["y"], data, win_sz=40, stp_sz=20, bs=8, seed=3), hidden_size=16
    )
first, second, whole = make(), make(), make()
list(whole.fit_iter(4, lr=1e-2))
results = Checkpoints(disk + "/ck").follow(first.fit_iter(4, lr=1e-2), first)
next(results)
next(results)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
if not has_own_disk:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, unlimited[1]))
with open(disk + "/other", "wb", buffering=0) as other:
    try:
        while True:
            other.write(bytes(4096))
    except OSError as error:
        print("full:", error.strerror)
try:
    list(results)
except CheckpointError as error:
    print("told:", error)
os.unlink(disk + "/other")
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
list(Checkpoints(disk + "/ck").follow(second.resume(disk + "/ck"), second))
print("equal:", [r.train_loss for r in second.history] == [r.train_loss for r in whole.history])
"""
OWN_MOUNT = ["unshare", "--map-root-user", "--mount"]
"""Begins a command that may mount file systems for itself alone; systems can forbid it."""


def may_mount(folder: Path) -> bool:
    """Tell whether this system lets a process mount a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    command = [*OWN_MOUNT, "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("way", [pytest.param("mount", marks=pytest.mark.slow), "limit"])
def test_a_full_disk_is_told_and_the_last_good_checkpoint_still_serves(oscillator, tmp_path, way):
    """On a file system of 400 kB that another file fills; under a limit of 2 kB for each file.

    Where no mount is allowed, the limit stands for the full disk.
    """
    (tmp_path / "disk").mkdir()
    way = way if may_mount(tmp_path / "disk") else "limit"
    prefix, reason = {
        "mount": (OWN_MOUNT, "No space left on device"),
        "limit": ([], "File too large"),
    }[way]
    code = [sys.executable, "-c", FULL, str(oscillator), str(tmp_path / "disk"), way]
    done = subprocess.run([*prefix, *code], capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    assert f"full: {reason}" in done.stdout
    (text,) = [line for line in done.stdout.splitlines() if line.startswith("told: ")]
    assert "/disk/ck: the checkpoint of epoch " in text
    assert "cannot be written (" in text
    assert f"{reason}). Whole ones: epoch" in text
    assert "Make room" in text
    assert "equal: True" in done.stdout
