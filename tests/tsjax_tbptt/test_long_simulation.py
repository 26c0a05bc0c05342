"""A record of 5 million samples, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux gives the peak of one process"
)
def test_five_million_samples_take_less_than_500_mb_above_the_imports():
    """20 MB of them inputs, and as many outputs."""
    script = Path(__file__).with_name("measure_memory.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    grown = float(done.stdout)
    print(f"most resident memory grows by {grown} MB")
    assert grown < 500.0
