"""Checks for the tests of models: does a model keep its outputs outside of tsjax?"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.export.c_header import write_c_header
from tsjax_core.export.facts import Facts
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


_PROGRAM = """
#define MODEL_REAL {real}
#include "model.h"
void run({real} *u, {real} *y, int n) {{
    model_state s;
    model_init(&s);
    for (int i = 0; i < n; i++) model_step(&s, u + i * MODEL_NU, y + i * MODEL_NY);
}}
void linearize({real} *x, {real} *u, {real} *a, {real} *b, {real} *c, {real} *d) {{
    model_linearize(x, u, a, b, c, d);
}}
double dt(void) {{ return MODEL_DT; }}
"""


def check_c_export(
    model: Any,
    signals: Signals,
    folder: Path,
    *,
    real: Literal["float", "double"] = "float",
    steps: int = 10_000,
    tolerance: float = 1e-5,
) -> None:
    """Raise AssertionError unless the C header of `model` gives its outputs and Jacobians.

    It is compiled by `cc` as C99, with all warnings as errors, and run over many steps. Files are
    written to `folder`.

    Raises:
        ModelError: The model cannot be exported.
    """
    step = make_step(model, signals)
    n_x, n_u, n_y = step.sizes
    header = write_c_header(step, Facts("model", type(model).__name__, signals))
    (folder / "model.h").write_text(header, encoding="utf-8")
    (folder / "run.c").write_text(_PROGRAM.format(real=real), encoding="utf-8")
    compiler = shutil.which("cc")
    assert compiler is not None, "there is no C compiler cc"
    library = folder / f"run_{real}.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-shared", "-fPIC"]
    command: list[str | Path] = [compiler, *flags, "-o", library, folder / "run.c", "-lm"]
    subprocess.run(command, check=True)  # noqa: S603 - the compiler, on what was written above
    loaded = ctypes.CDLL(str(library))
    kind = np.float32 if real == "float" else np.float64
    loaded.dt.restype = ctypes.c_double
    assert loaded.dt() == (signals.dt or 0.0)
    rng = np.random.default_rng(0)
    stats, scale = signals.stats["u"], signals.stats["y"].std
    u = (stats.mean + stats.std * rng.standard_normal((steps, n_u))).astype(np.float32)
    y = np.zeros((steps, n_y), kind)
    given = u.astype(kind)
    loaded.run(_pointer(given), _pointer(y), steps)
    expected = np.asarray(predict(model, u)).reshape(steps, -1)
    largest = float(np.abs(expected / scale).max())
    np.testing.assert_allclose(y / scale, expected / scale, atol=tolerance * (1.0 + largest))
    x = rng.standard_normal(n_x).astype(kind)
    found = [np.zeros(size, kind) for size in ((n_x, n_x), (n_x, n_u), (n_y, n_x), (n_y, n_u))]
    at = u[0].astype(kind)
    loaded.linearize(_pointer(x), _pointer(at), *map(_pointer, found))
    wanted = step.linearize(jnp.asarray(x, jnp.float32), jnp.asarray(u[0]))
    for own, other in zip(found, wanted, strict=True):
        size = 10.0 * tolerance * (1.0 + float(np.abs(other).max(initial=0.0)))
        np.testing.assert_allclose(own, other, atol=size)


def _pointer(array: Any) -> Any:
    return array.ctypes.data_as(ctypes.c_void_p)
