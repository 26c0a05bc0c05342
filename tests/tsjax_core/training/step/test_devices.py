"""Training on several devices and by several processes, against training on one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tsjax_core import create_grain_dls, make_learner
from tsjax_core.errors import ConfigError

SCRIPT = Path(__file__).with_name("train_on_devices.py")


def start(devices: int, *arguments: object) -> subprocess.Popen[str]:
    """Start the script with so many devices in its process."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPT, *map(str, arguments)],
        env={**os.environ, "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results_of(process: subprocess.Popen[str]) -> dict[str, dict]:
    """Return what the script printed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def on_four(two_by_three):
    """Return the results of all models on 1 and on 4 devices of one process."""
    return results_of(start(4, two_by_three, -1, 0))


def assert_equal(got: dict, expected: dict) -> None:
    """Compare the losses of every step, of validation, of the test, and of a second fit."""
    assert len(expected["losses"]) > 8
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["gru resident", "gru streamed", "lstm resident", "normed streamed"]
)
def test_losses_on_several_devices_are_those_on_one(on_four, case):
    """With dropout, noise, batch norm, varying lengths and a loss that selects windows."""
    assert_equal(on_four[f"{case} 4"], on_four[f"{case} 1"])


@pytest.mark.slow
def test_two_processes_train_as_one(on_four, two_by_three):
    """With jax.distributed, two devices in each: both processes have the losses of one device."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [start(2, two_by_three, process, port) for process in range(2)]
    for told in [results_of(process) for process in both]:
        for case in ("gru resident", "gru streamed"):
            assert_equal(told[f"{case} 4"], on_four[f"{case} 1"])


@pytest.mark.parametrize(
    "devices,told",
    [
        (0, "devices = 0; give a whole number of devices, at least 1."),
        (2.5, "devices = 2.5; give a whole number"),
        (True, "devices = True; give a whole number"),
        (64, f"devices = 64, and jax has {jax.device_count()} (cpu). Give a smaller number"),
    ],
)
def test_devices_that_there_are_not_are_told(oscillator, devices, told):
    """The text says how many there are, and how a processor gets more."""
    data = create_grain_dls(["u"], ["y"], oscillator, win_sz=50, stp_sz=50, bs=8)
    with pytest.raises(ConfigError) as caught:
        make_learner(data, "core/gru", hidden_size=2, devices=devices)
    print(caught.value)
    assert str(caught.value).startswith(told)
    assert caught.value.key == "devices"


def test_a_batch_that_cannot_be_shared_is_told(oscillator):
    """Of 3 devices in a process of its own, and 8 windows."""
    program = f"""
from tsjax_core import create_grain_dls, make_learner
from tsjax_core.errors import ConfigError
data = create_grain_dls(["u"], ["y"], {str(oscillator)!r}, win_sz=50, stp_sz=50, bs=8)
try:
    make_learner(data, "core/gru", hidden_size=2, devices=3)
except ConfigError as error:
    print(error)
"""
    flags = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    print(done.stdout)
    assert done.stdout.startswith(
        "devices = 3 cannot have equal shares of a batch of 8 windows; give a number of devices "
        "that divides it, or another bs."
    )


@pytest.mark.slow
def test_an_experiment_makes_devices_of_the_cores(oscillator, tmp_path):
    """`devices = 2` in [train] is all that the command line needs."""
    experiment = tmp_path / "experiment.toml"
    experiment.write_text(
        f'[data]\ndataset = "{oscillator}"\nu = ["u"]\ny = ["y"]\nwin_sz = 50\nstp_sz = 50\n'
        'bs = 8\n[model]\nname = "core/gru"\nhidden_size = 4\n[train]\nepochs = 2\ndevices = 2\n'
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("tsjax"), "train", "experiment.toml", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "devices = 2" in (tmp_path / "run" / "experiment.toml").read_text()
