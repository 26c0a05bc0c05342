"""A step and its Jacobians as one Python file that needs NumPy alone."""

from __future__ import annotations

import base64

import numpy as np

from tsjax_core.export.facts import Facts
from tsjax_core.export.program import Instruction, Program, compile_program
from tsjax_core.export.step import StepModel
from tsjax_core.types import HostArray

_UNARY = {
    "neg": "-{0}",
    "logistic": "0.5 + 0.5 * np.tanh(0.5 * {0})",
    "not": "1.0 - {0}",
    "asin": "np.arcsin({0})",
    "acos": "np.arccos({0})",
    "atan": "np.arctan({0})",
    "asinh": "np.arcsinh({0})",
    "acosh": "np.arccosh({0})",
    "atanh": "np.arctanh({0})",
    "erf": "_erf({0})",
}
_BINARY = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "pow": "{0} ** {1}",
    "max": "np.maximum({0}, {1})",
    "min": "np.minimum({0}, {1})",
    "rem": "np.fmod({0}, {1})",
    "atan2": "np.arctan2({0}, {1})",
    "lt": "({0} < {1}) * 1.0",
    "le": "({0} <= {1}) * 1.0",
    "gt": "({0} > {1}) * 1.0",
    "ge": "({0} >= {1}) * 1.0",
    "eq": "({0} == {1}) * 1.0",
    "ne": "({0} != {1}) * 1.0",
    "and": "{0} * {1}",
    "or": "np.maximum({0}, {1})",
}
_REDUCE = {"add": "sum", "max": "max", "min": "min", "mul": "prod"}


def write_numpy_file(step: StepModel, facts: Facts) -> str:
    """Return a Python module with `step`, `linearize` and `simulate`, in double precision."""
    n_x, n_u, n_y = step.sizes
    writer = _Writer()
    advance = writer.write_body(compile_program(step.advance, [n_x, n_u]), ["x", "u"])
    linearize = writer.write_body(compile_program(step.linearize, [n_x, n_u]), ["x", "u"])
    about = "\n".join(facts.lines())
    signals = facts.signals
    return f'''"""{about}

    x = START
    x, y = step(x, u)
    A, B, C, D = linearize(x, u)
    outputs = simulate(inputs)

Needs NumPy alone.
"""

import base64
import math

import numpy as np

INPUTS = {list(signals.inputs)!r}
OUTPUTS = {list(signals.outputs)!r}
UNITS = {dict(signals.units)!r}
DT = {signals.dt!r}  # s


def _numbers(text):
    return np.frombuffer(base64.b64decode(text), "<f8")


def _places(text):
    return np.frombuffer(base64.b64decode(text), "<i8")


def _erf(x):
    return np.vectorize(math.erf, otypes=[float])(x)


START = {writer.number_table(step.start)}
{writer.tables()}


def step(x, u):
    """Return the state after a sample, ({n_x},), and the output at it, ({n_y},)."""
    x, u = np.asarray(x, float).reshape({n_x}), np.asarray(u, float).reshape({n_u})
{advance}


def linearize(x, u):
    """Return A, B, C, D of the step at (x, u): dx+ = A dx + B du, dy = C dx + D du."""
    x, u = np.asarray(x, float).reshape({n_x}), np.asarray(u, float).reshape({n_u})
{linearize.replace("return ", "A, B, C, D = ")}
    return (
        A.reshape({n_x}, {n_x}),
        B.reshape({n_x}, {n_u}),
        C.reshape({n_y}, {n_x}),
        D.reshape({n_y}, {n_u}),
    )


def simulate(u, x=None):
    """Return the outputs (time, {n_y}) for inputs (time, {n_u}), from START unless x is given."""
    x = START if x is None else x
    rows = []
    for each in np.asarray(u, float).reshape(-1, {n_u}):
        x, y = step(x, each)
        rows.append(y)
    return np.stack(rows)
'''


class _Writer:
    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._tables: list[str] = []

    def tables(self) -> str:
        return "\n".join(self._tables)

    def number_table(self, values: HostArray) -> str:
        text = base64.b64encode(np.asarray(values, "<f8").tobytes()).decode("ascii")
        return f'_numbers("{text}")'

    def write_body(self, program: Program, inputs: list[str]) -> str:
        names = dict(zip(program.inputs, inputs, strict=True))
        lines = []
        for each in program.instructions:
            if each.kind == "constant":
                names[each.out] = self._constant(each.values)
                continue
            names[each.out] = f"v{each.out}"
            args = [names[number] for number in each.args]
            lines.append(f"    v{each.out} = {self._write(each, args)}")
        results = [
            f"np.broadcast_to({names[number]}, {size})"
            for number, size in zip(program.outputs, program.output_sizes, strict=True)
        ]
        lines.append(f"    return {', '.join(results)}")
        return "\n".join(lines)

    def _write(self, each: Instruction, args: list[str]) -> str:
        if each.kind == "unary":
            return _UNARY.get(each.name, f"np.{each.name}({{0}})").format(*args)
        if each.kind == "binary":
            return _BINARY[each.name].format(*args)
        if each.kind == "select":
            return f"np.where({args[0]} != 0.0, {args[2]}, {args[1]})"
        if each.kind == "move":
            places = self._places(each.places)
            whole = args[0] if len(args) == 1 else f"np.concatenate([{', '.join(args)}])"
            if (each.places < 0).any():
                whole = f"np.append({whole}, 0.0)"
            return f"{whole}[{places}]"
        if each.kind == "reduce":
            return f"{args[0]}.reshape{each.shape}.{_REDUCE[each.name]}(1)"
        batch, rows, inner, columns = each.shape
        if batch == 1:
            left, right = f"({rows}, {inner})", f"({inner}, {columns})"
        else:
            left, right = f"({batch}, {rows}, {inner})", f"({batch}, {inner}, {columns})"
        return f"({args[0]}.reshape{left} @ {args[1]}.reshape{right}).reshape(-1)"

    def _constant(self, values: HostArray) -> str:
        if values.size == 1:
            return (
                f"np.array([{float(values[0])!r}])"
                if np.isfinite(values[0])
                else (f"np.array([float('{values[0]}')])")
            )
        key = b"f" + np.asarray(values, "<f8").tobytes()
        if key not in self._names:
            self._names[key] = f"_C{len(self._names)}"
            self._tables.append(f"{self._names[key]} = {self.number_table(values)}")
        return self._names[key]

    def _places(self, places: HostArray) -> str:
        key = b"i" + np.asarray(places, "<i8").tobytes()
        if key not in self._names:
            self._names[key] = f"_P{len(self._names)}"
            text = base64.b64encode(np.asarray(places, "<i8").tobytes()).decode("ascii")
            self._tables.append(f'{self._names[key]} = _places("{text}")')
        return self._names[key]
