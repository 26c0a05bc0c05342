"""A check for the tests of models: does a model keep its outputs outside of tsjax?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.export.program import compile_program, run_program
from tsjax_core.export.step import make_step
from tsjax_core.inference.predict import predict
from tsjax_core.types import Signals


def check_export(
    model: Any, signals: Signals, *, steps: int = 200, tolerance: float = 1e-5
) -> None:
    """Raise AssertionError unless the exported step of `model` gives its outputs and Jacobians.

    The step is computed by NumPy in double precision, sample by sample, and compared with the
    model's simulation of the whole record; Jacobians with those of JAX.

    Raises:
        ModelError: The model cannot be exported.
    """
    step = make_step(model, signals)
    n_x, n_u, _ = step.sizes
    stats = signals.stats["u"]
    rng = np.random.default_rng(0)
    u = (stats.mean + stats.std * rng.standard_normal((steps, n_u))).astype(np.float32)
    program = compile_program(step.advance, [n_x, n_u])
    x, rows = np.asarray(step.start, float), []
    for each in u:
        x, y = run_program(program, x, each)
        rows.append(y)
    expected = np.asarray(predict(model, u)).reshape(steps, -1)
    scale = tolerance * (1.0 + np.abs(expected).max())
    np.testing.assert_allclose(np.stack(rows), expected, rtol=0.0, atol=scale)
    # Where nothing is smooth, as at the start, derivatives have no one value.
    place = jnp.asarray(x, jnp.float32), jnp.asarray(u[-1])
    wanted = jax.jacfwd(step.advance, argnums=(0, 1))(*place)
    found = run_program(compile_program(step.linearize, [n_x, n_u]), *place)
    for own, other in zip(found, jax.tree.leaves(wanted), strict=True):
        values = np.asarray(other, float).reshape(-1)
        size = 10.0 * tolerance * (1.0 + np.abs(values).max(initial=0.0))
        np.testing.assert_allclose(own, values, rtol=0.0, atol=size)
