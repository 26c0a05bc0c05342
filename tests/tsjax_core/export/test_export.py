"""Exported models, run by what they are exported to, against the model itself."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core import get_model, predict
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.experiments.export_run import export_run
from tsjax_core.export.c_header import write_c_header
from tsjax_core.export.facts import Facts
from tsjax_core.export.numpy_file import write_numpy_file
from tsjax_core.export.program import compile_program, run_program
from tsjax_core.export.step import make_step
from tsjax_core.inference.saved_model import save_model
from tsjax_core.models.building import build_model
from tsjax_core.testing.exports import check_c_export, check_export
from tsjax_core.types import NormStats, Signals

SIGNALS = Signals(
    ("volt", "load"),
    ("speed", "heat"),
    {"u": NormStats([1.0, -2.0], [2.0, 0.5]), "y": NormStats([10.0, 300.0], [3.0, 20.0])},
    0.01,
    units={"volt": "V", "speed": "rad/s"},
)
SPECS = {
    "core/gru": {"hidden_size": 7},
    "core/lstm": {"hidden_size": 5, "num_layers": 2},
    "core/rnn": {"hidden_size": 6},
    "core/linear": {"order": 3},
    "core/arx": {"order": 2},
}


def build(name):
    spec = get_model(name)(**SPECS[name])
    return spec, build_model(spec, SIGNALS, seed=1)


def inputs(n, seed=0):
    stats = SIGNALS.stats["u"]
    noise = np.random.default_rng(seed).standard_normal((n, 2))
    return (stats.mean + stats.std * noise).astype(np.float32)


@pytest.mark.parametrize("name", SPECS)
def test_a_step_is_that_of_the_model(name):
    """Sample by sample over a record, with its Jacobians."""
    check_export(build(name)[1], SIGNALS)


@pytest.fixture(scope="module", params=["core/gru", "core/lstm", "core/linear"])
def step(request):
    return make_step(build(request.param)[1], SIGNALS)


WRAPPER = """
#define MOTOR_REAL {real}
#include "motor.h"
void run({real} *u, {real} *y, int n) {{
    motor_state s;
    motor_init(&s);
    for (int i = 0; i < n; i++) motor_step(&s, u + i * MOTOR_NU, y + i * MOTOR_NY);
}}
"""


@pytest.mark.parametrize("real", ["float", "double"])
def test_the_c_header_runs_ten_thousand_steps(step, tmp_path, real):
    """Compiled as C99 with all warnings as errors, in both precisions; and its Jacobians."""
    check_c_export(step.model, SIGNALS, tmp_path, real=real)


def test_a_step_response_in_c_is_that_of_the_model(tmp_path):
    """Of a first-order lag whose answer is known: 1 - a^t."""
    _, model = build("core/linear")
    signals = Signals(("u",), ("y",), {k: NormStats([0.0], [1.0]) for k in "uy"}, 0.1)
    model = build_model(get_model("core/linear")(order=1), signals, seed=0)
    for name, value in (("a", [[0.9]]), ("b", [[0.1]]), ("c", [[1.0]]), ("d", [[0.0]])):
        getattr(model, name)[...] = jnp.array(value)
    step = make_step(model, signals)
    (tmp_path / "motor.h").write_text(write_c_header(step, Facts("motor", "core/linear", signals)))
    (tmp_path / "run.c").write_text(WRAPPER.format(real="double"))
    subprocess.run(
        [
            "cc",
            "-std=c99",
            "-shared",
            "-fPIC",
            "-o",
            tmp_path / "run.so",
            tmp_path / "run.c",
            "-lm",
        ],
        check=True,
    )
    u, y = np.ones(60), np.zeros(60)
    ctypes.CDLL(str(tmp_path / "run.so")).run(
        u.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), 60
    )
    np.testing.assert_allclose(y, 1.0 - 0.9 ** np.arange(60), atol=1e-6)
    np.testing.assert_allclose(y, predict(model, np.ones(60)), atol=1e-5)


def test_the_numpy_file_needs_numpy_alone(step, tmp_path):
    """Imported where nothing else can be, with its Jacobians and what it says of itself."""
    file = tmp_path / "motor.py"
    file.write_text(write_numpy_file(step, Facts("motor", "core/x", SIGNALS)))
    spec = spec_from_file_location("motor", file)
    motor = module_from_spec(spec)
    spec.loader.exec_module(motor)
    u = inputs(300)
    scale = 1e-5 * SIGNALS.stats["y"].std * 20
    assert (np.abs(motor.simulate(u) - predict(step.model, u)) < scale).all()
    assert motor.INPUTS == ["volt", "load"]
    assert motor.UNITS == {"volt": "V", "speed": "rad/s"}
    assert motor.DT == 0.01
    x = np.random.default_rng(1).standard_normal(step.sizes[0])
    found = motor.linearize(x, u[0])
    wanted = step.linearize(jnp.asarray(x, jnp.float32), jnp.asarray(u[0]))
    for own, other in zip(found, wanted, strict=True):
        assert own.shape == other.shape
        np.testing.assert_allclose(own, other, atol=1e-4 * (1.0 + np.abs(other).max()))
    code = (
        "import sys; import motor; print([m for m in sys.modules if m.startswith(('jax', 'ts'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_casadi_function_has_the_jacobians_of_the_model(step, tmp_path):
    """Saved, loaded, and derived by CasADi itself."""
    casadi = pytest.importorskip("casadi")
    from tsjax_core.export.casadi_function import make_casadi_function

    make_casadi_function(step, Facts("motor", "core/x", SIGNALS)).save(str(tmp_path / "m.casadi"))
    function = casadi.Function.load(str(tmp_path / "m.casadi"))
    assert function.name_in() == ["x", "u"]
    assert function.name_out() == ["x_next", "y"]
    u, x, rows = inputs(200), np.asarray(step.start, float), []
    for each in u:
        x, y = (np.asarray(value).reshape(-1) for value in function(x, each))
        rows.append(y)
    expected = predict(step.model, u)
    np.testing.assert_allclose(np.stack(rows), expected, atol=1e-4 * np.abs(expected).max())
    jacobian = function.jacobian()
    found = jacobian(x, u[0], *function(x, u[0]))
    wanted = step.linearize(jnp.asarray(x, jnp.float32), jnp.asarray(u[0]))
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(own), other, atol=1e-4 * (1.0 + np.abs(other).max()))


def test_the_onnx_model_runs_in_onnxruntime(step):
    """With start, signals and sampling time as metadata."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from tsjax_core.export.onnx_model import make_onnx_model

    made = make_onnx_model(step, Facts("motor", "core/x", SIGNALS))
    session = onnxruntime.InferenceSession(made.SerializeToString())
    about = session.get_modelmeta().custom_metadata_map
    assert (about["inputs"], about["dt"]) == ("volt,load", "0.01")
    x = np.array([float(value) for value in about["start"].split(",")], np.float32)
    u, rows = inputs(200), []
    for each in u:
        x, y = session.run(["x_next", "y"], {"x": x, "u": each})
        rows.append(y)
    expected = predict(step.model, u)
    np.testing.assert_allclose(np.stack(rows), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["core/gru", "core/lstm", "core/linear"])
def test_stablehlo_runs_with_jax_alone(name, tmp_path):
    """Sequences of any number and length, and the step."""
    spec, model = build(name)
    save_model(model, spec, SIGNALS, tmp_path / "model")
    files = export_run(tmp_path / "model", "stablehlo", tmp_path / "motor.stablehlo")
    assert sorted(file.name for file in files) == ["motor.stablehlo", "motor_step.stablehlo"]
    u = np.stack([inputs(70, seed) for seed in range(3)])
    np.save(tmp_path / "u.npy", u)
    code = (
        "import sys, numpy as np; from jax import export\n"
        "f = export.deserialize(bytearray(open('motor.stablehlo', 'rb').read()))\n"
        "s = export.deserialize(bytearray(open('motor_step.stablehlo', 'rb').read()))\n"
        "u = np.load('u.npy'); np.save('y.npy', f.call(u)); f.call(u[:1, :9])\n"
        f"x = np.zeros((3, {make_step(model, SIGNALS).sizes[0]}), np.float32)\n"
        "np.save('first.npy', s.call(x, u[:, 0])[1])\n"
        "assert not [m for m in sys.modules if m.startswith('tsjax')]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    expected = predict(model, u)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-4)
    np.testing.assert_allclose(np.load(tmp_path / "first.npy"), expected[:, 0], rtol=1e-4)


@pytest.mark.parametrize("to", ["c", "numpy", "casadi", "onnx", "stablehlo"])
def test_the_command_writes_each_form(tmp_path, tsjax, to, monkeypatch):
    """By the name of the model, once."""
    if to in ("casadi", "onnx"):
        pytest.importorskip(to)
    spec, model = build("core/gru")
    save_model(model, spec, SIGNALS, tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    status, out, err = tsjax("export", "my-model", "--to", to)
    assert status == 0, err
    assert "wrote my_model" in out
    status, _, err = tsjax("export", "my-model", "--to", to)
    assert (status, "exists; nothing was written" in err) == (2, True)


def test_what_cannot_be_exported_is_named(tmp_path, tsjax):
    """A form or a name that is none, scalar outputs, and operations without a form."""
    spec, model = build("core/gru")
    save_model(model, spec, SIGNALS, tmp_path / "model")
    status, _, err = tsjax("export", tmp_path / "model", "--to", "fortran")
    assert (status, "to = 'fortran'" in err) == (2, True)
    bad = tmp_path / "2 motors.h"
    status, _, err = tsjax("export", tmp_path / "model", "--to", "c", "--out", bad)
    assert (status, "give letters, digits and underscores" in err) == (2, True)
    with pytest.raises(ConfigError, match="as for a variable") as caught:
        Facts("class", "core/x", SIGNALS)
    print(caught.value)
    scalar = Signals(
        ("u",), (), {"u": NormStats([0], [1]), "y_scalar": NormStats([0], [1])}, 0.1, (), ("m",)
    )
    with pytest.raises(ModelError, match="one value per record") as caught:
        make_step(
            build_model(get_model("core/gru")(hidden_size=2, output="last"), scalar, seed=0), scalar
        )
    print(caught.value)
    with pytest.raises(ModelError, match="which has no form outside of JAX") as caught:
        compile_program(lambda x: (jnp.sort(x),), [3])
    print(caught.value)
    with pytest.raises(ModelError, match="places that depend on its input") as caught:
        compile_program(lambda x: (x[jnp.int32(x[0])],), [3])
    print(caught.value)


def functions():
    """Functions of two vectors, with each kind of operation in some."""
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4)), jnp.float32)

    def scanned(x, u):
        def body(carry, row):
            return 0.5 * carry + row, jnp.tanh(carry)

        end, rows = jax.lax.scan(body, x, jnp.stack([u[:3], u[1:], x]))
        back, _ = jax.lax.scan(body, x, rows, reverse=True)
        return end, rows, back

    return {
        "linear": lambda x, u: (matrix @ u + x, matrix.T @ x),
        "product": lambda x, u: (jnp.outer(x, u), jnp.einsum("i,ij,j->", x, matrix, u)),
        "batched": lambda x, u: (
            jnp.einsum("bij,bjk->bik", u.reshape(2, 1, 2), jnp.stack([matrix[:2, :2]] * 2)),
        ),
        "moves": lambda x, u: (
            jnp.concatenate([x[::-1], u[1:3], jnp.zeros(2), x]),
            jnp.pad(x, (2, 1)),
            jnp.roll(u, 1).reshape(2, 2).T,
        ),
        "choices": lambda x, u: (
            jnp.where(x > 0.3, x, -x),
            jnp.clip(u, -0.5, 0.5),
            jax.nn.relu(x),
            jax.nn.elu(u),
        ),
        "smooth": lambda x, u: (
            jax.nn.softplus(x),
            jax.nn.sigmoid(u),
            jax.nn.gelu(x, approximate=False),
            jnp.exp(-(u**2)) + jnp.sin(u) * jnp.cos(u) - jnp.arctan2(u, 1.0 + u * u),
            jnp.sqrt(1.0 + x**2) ** 1.5 + jnp.log1p(x**2),
        ),
        "reductions": lambda x, u: (
            jnp.sum(u.reshape(2, 2), axis=0),
            jnp.max(jnp.outer(x, u), axis=1),
            jnp.min(u),
            jax.nn.softmax(x),
            jnp.linalg.norm(x),
        ),
        "loops": scanned,
        "derivatives": jax.jacfwd(lambda a, b: jnp.tanh(matrix @ b * a), argnums=(0, 1)),
        "gather": lambda x, u: (u[jnp.array([3, 0, 0])], x[jnp.array([2, 1])] * 2.0),
    }


@pytest.mark.parametrize("name", functions())
@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_programs_compute_what_jax_computes(name, seed):
    """In NumPy, for random arguments; both in 64 bits, with constants of 32 bits."""
    function = functions()[name]
    rng = np.random.default_rng(seed)
    x, u = rng.standard_normal(3), rng.standard_normal(4)
    found = run_program(compile_program(function, [3, 4]), x, u)
    with jax.enable_x64(True):
        wanted = [np.asarray(each) for each in function(jnp.asarray(x), jnp.asarray(u))]
    for own, other in zip(found, wanted, strict=True):
        assert other.dtype == np.float64
        np.testing.assert_allclose(own, other.reshape(-1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", functions())
def test_every_instruction_has_its_form_in_each_language(name, tmp_path):
    """The same programs in C, NumPy, CasADi and ONNX, where these have the operation."""

    class Step:
        sizes = (3, 4, 0)
        start = np.zeros(3, np.float32)
        advance = staticmethod(
            lambda x, u: (x, jnp.concatenate([jnp.ravel(each) for each in functions()[name](x, u)]))
        )

    Step.sizes = (3, 4, jax.eval_shape(Step.advance, jnp.zeros(3), jnp.zeros(4))[1].size)
    Step.linearize = staticmethod(
        lambda x, u: tuple(
            part for pair in jax.jacfwd(Step.advance, argnums=(0, 1))(x, u) for part in pair
        )
    )
    facts = Facts("motor", "acme/x", Signals(("a", "b", "c", "d"), ("y",), {}, None))
    rng = np.random.default_rng(2)
    x, u = rng.standard_normal(3).astype("f4"), rng.standard_normal(4).astype("f4")
    wanted = np.asarray(Step.advance(jnp.asarray(x), jnp.asarray(u))[1])
    found = {}
    namespace: dict = {}
    exec(compile(write_numpy_file(Step, facts), "motor.py", "exec"), namespace)
    found["numpy"] = namespace["step"](x, u)[1]
    (tmp_path / "motor.h").write_text(write_c_header(Step, facts))
    source = (
        '#define MOTOR_REAL double\n#include "motor.h"\n'
        "void run(double *x, double *u, double *y) { motor_state s; motor_init(&s);\n"
        "for (int i = 0; i < 3; i++) s.x[i] = x[i];\nmotor_step(&s, u, y);\n"
        "double j[4096]; motor_linearize(s.x, u, j, j + 1024, j + 2048, j + 3072); }\n"
    )
    (tmp_path / "run.c").write_text(source)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", tmp_path / "run.so", tmp_path / "run.c", "-lm"], check=True)
    y = np.zeros(len(wanted))
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x.astype(float), u.astype(float), y)]
    ctypes.CDLL(str(tmp_path / "run.so")).run(*pointers)
    found["c"] = y
    if shutil.which("python") and _has("casadi"):
        from tsjax_core.export.casadi_function import make_casadi_function

        found["casadi"] = np.asarray(make_casadi_function(Step, facts)(x, u)[1]).reshape(-1)
    if _has("onnxruntime") and name != "smooth":
        import onnxruntime

        from tsjax_core.export.onnx_model import make_onnx_model

        made = make_onnx_model(Step, facts)
        session = onnxruntime.InferenceSession(made.SerializeToString())
        found["onnx"] = session.run(["y"], {"x": x, "u": u})[0]
    for language, values in found.items():
        np.testing.assert_allclose(values, wanted, rtol=2e-5, atol=2e-6, err_msg=language)


def _has(module):
    from importlib.util import find_spec

    return find_spec(module) is not None


def test_atan2_has_no_form_in_onnx():
    """Which is named."""
    pytest.importorskip("onnx")
    from tsjax_core.export.onnx_model import make_onnx_model

    class Step:
        sizes = (1, 1, 1)
        start = np.zeros(1, np.float32)
        advance = staticmethod(lambda x, u: (x, jnp.arctan2(u, x)))

    with pytest.raises(ModelError, match="'atan2', which ONNX does not have") as caught:
        make_onnx_model(Step, Facts("motor", "acme/x", Signals(("u",), ("y",), {})))
    print(caught.value)


def test_a_model_without_a_step_is_named():
    """One that is no StatefulModel."""

    class Whole(nnx.Module):
        def __call__(self, u):
            return u

    with pytest.raises(ModelError, match="no initial_state and advance") as caught:
        make_step(Whole(), SIGNALS)
    print(caught.value)
