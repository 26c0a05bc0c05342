"""Ray that does not start."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
from tsjax_core.errors import ConfigError
from tsjax_tune.ray_session import ray_session

try:
    with ray_session({"num_cpu": 2}):
        pass
except ConfigError as error:
    print(error)
"""


@pytest.mark.slow
def test_what_ray_refuses_is_a_mistake_of_the_configuration():
    """In a process of its own, because a Ray that runs is used as it is."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    print(done.stdout)
    assert "Ray did not start with {'num_cpu': 2, 'address': 'local'}" in done.stdout
    assert "Give options of ray.init, and as address that of a running cluster" in done.stdout
    assert "RAY_AUTH_TOKEN" in done.stdout
