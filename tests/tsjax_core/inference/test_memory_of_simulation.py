"""The memory that a simulation takes, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="only Linux tells the peak of this process alone: getrusage keeps that of its parent",
)
def test_memory_is_that_of_inputs_and_outputs():
    """Two million samples take 8 MB each way and little else; a quarter of them at once, far more.

    The second shows that hidden states of all samples would be seen.
    """
    script = Path(__file__).with_name("measure_memory.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    chunks, whole = map(float, done.stdout.split())
    print(f"most resident memory grows by {chunks} MB, and by {whole} MB at once")
    assert chunks < 16.0 + 24.0
    assert whole > 100.0
