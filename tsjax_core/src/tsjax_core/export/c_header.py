"""A step and its Jacobians as one header in C99, without allocation."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tsjax_core.export.facts import Facts
from tsjax_core.export.program import Instruction, Program, compile_program
from tsjax_core.export.step import StepModel
from tsjax_core.types import HostArray

_UNARY = {
    "neg": "-{0}",
    "abs": "fabs({0})",
    "sign": "(real)(({0} > 0) - ({0} < 0))",
    "logistic": "(real)0.5 + (real)0.5 * tanh((real)0.5 * {0})",
    "round": "rint({0})",
    "not": "1 - {0}",
}
_BINARY = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "pow": "pow({0}, {1})",
    "max": "fmax({0}, {1})",
    "min": "fmin({0}, {1})",
    "rem": "fmod({0}, {1})",
    "atan2": "atan2({0}, {1})",
    "lt": "(real)({0} < {1})",
    "le": "(real)({0} <= {1})",
    "gt": "(real)({0} > {1})",
    "ge": "(real)({0} >= {1})",
    "eq": "(real)({0} == {1})",
    "ne": "(real)({0} != {1})",
    "and": "{0} * {1}",
    "or": "fmax({0}, {1})",
}
_FEW_RUNS = 6


def write_c_header(step: StepModel, facts: Facts) -> str:
    """Return a C99 header with `NAME_init`, `NAME_step` and `NAME_linearize`.

    Numbers are `float`, or what `NAME_REAL` is defined as before the header is included.
    """
    n_x, n_u, n_y = step.sizes
    name, upper = facts.name, facts.name.upper()
    writer = _Writer(name)
    advance = compile_program(step.advance, [n_x, n_u])
    linearize = compile_program(step.linearize, [n_x, n_u])
    bodies = {
        "step": writer.write_body(advance, ["s->x", "u"], ["next", "y"]),
        "linearize": writer.write_body(linearize, ["x", "u"], ["A", "B", "C", "D"]),
    }
    about = "\n".join(f" * {line}" for line in facts.lines())
    dt = "0" if facts.signals.dt is None else repr(float(facts.signals.dt))
    state = max(1, n_x)
    start = ", ".join(_number(x) for x in step.start) or "0"
    return f"""/*
{about}
 *
 * {name}_state s;
 * {name}_init(&s);
 * {name}_step(&s, u, y);           every {upper}_DT seconds
 * {name}_linearize(s.x, u, A, B, C, D);   x+ = A dx + B du, y = C dx + D du, row by row
 *
 * C99, no allocation; define {upper}_REAL as double before the include for double precision.
 */
#ifndef {upper}_H
#define {upper}_H

#include <tgmath.h>

#ifndef {upper}_REAL
#define {upper}_REAL float
#endif

#define {upper}_NX {n_x}
#define {upper}_NU {n_u}
#define {upper}_NY {n_y}
#define {upper}_DT {dt} /* s, 0 where it is not known */

typedef {upper}_REAL {name}_real;
typedef struct {{
    {name}_real x[{state}];
}} {name}_state;

{writer.tables()}
static const {name}_real {name}_start[{state}] = {{{start}}};

static void {name}_init({name}_state *s)
{{
    for (int i = 0; i < {state}; i++) s->x[i] = {name}_start[i];
}}

static void {name}_step({name}_state *s, const {name}_real *u, {name}_real *y)
{{
    {name}_real next[{state}];
{bodies["step"]}
    for (int i = 0; i < {n_x}; i++) s->x[i] = next[i];
}}

static void {name}_linearize(const {name}_real *x, const {name}_real *u, {name}_real *A,
                             {name}_real *B, {name}_real *C, {name}_real *D)
{{
{bodies["linearize"]}
}}

#endif
"""


class _Writer:
    """Writes functions, and the tables that they share."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._constants: dict[bytes, str] = {}
        self._tables: list[str] = []

    def tables(self) -> str:
        """Return the tables of numbers and of places."""
        return "\n".join(self._tables)

    def write_body(self, program: Program, inputs: Sequence[str], outputs: Sequence[str]) -> str:
        """Return the statements that compute `outputs` from `inputs`, both names of arrays."""
        constants = {
            each.out: self._constant(each.values)
            for each in program.instructions
            if each.kind == "constant"
        }
        places, size = _plan_memory(program)
        names = dict(zip(program.inputs, inputs, strict=True)) | constants
        names |= {number: f"(w + {offset})" for number, offset in places.items()}
        lines = [f"    real w[{size}];"] if size else []
        for each in program.instructions:
            if each.kind != "constant":
                lines += [f"    {line}" for line in self._write(each, names, program)]
        for number, length, out in zip(program.outputs, program.output_sizes, outputs, strict=True):
            if length:
                source = f"{names[number]}[{'0' if self._is_single(number, program) else 'i'}]"
                lines.append(f"    for (int i = 0; i < {length}; i++) {out}[i] = {source};")
            else:
                lines.append(f"    (void){out};")
        used = {number for each in program.instructions for number in each.args}
        used |= set(program.outputs)
        lines += [
            f"    (void){name};"
            for number, name in zip(program.inputs, inputs, strict=True)
            if number not in used
        ]
        return re.sub(r"\breal\b", f"{self._name}_real", "\n".join(lines))

    def _is_single(self, number: int, program: Program) -> bool:
        for each in program.instructions:
            if each.out == number:
                return each.size == 1
        return False

    def _write(self, each: Instruction, names: dict[int, str], program: Program) -> list[str]:
        out = names[each.out]
        sizes = _sizes_of(program)
        args = [names[number] for number in each.args]
        items = [
            f"{arg}[{'0' if sizes[number] == 1 and each.size > 1 else 'i'}]"
            for arg, number in zip(args, each.args, strict=True)
        ]
        loop = f"for (int i = 0; i < {each.size}; i++) {out}[i] = "
        if each.kind == "unary":
            return [loop + _UNARY.get(each.name, f"{each.name}({{0}})").format(*items) + ";"]
        if each.kind == "binary":
            return [loop + _BINARY[each.name].format(*items) + ";"]
        if each.kind == "select":
            return [loop + f"{items[0]} != 0 ? {items[2]} : {items[1]};"]
        if each.kind == "move":
            return self._move(each, out, args, [sizes[number] for number in each.args])
        if each.kind == "reduce":
            rows, columns = each.shape
            first = f"{args[0]}[i * {columns}]"
            item = f"{args[0]}[i * {columns} + j]"
            update = _BINARY[each.name].format("a", item)
            return [
                f"for (int i = 0; i < {rows}; i++) {{",
                f"    real a = {first};",
                f"    for (int j = 1; j < {columns}; j++) a = {update};",
                f"    {out}[i] = a;",
                "}",
            ]
        batch, rows, inner, columns = each.shape
        left, right = args
        return [
            f"for (int b = 0; b < {batch}; b++)",
            f"    for (int r = 0; r < {rows}; r++)",
            f"        for (int c = 0; c < {columns}; c++) {{",
            "            real a = 0;",
            f"            for (int k = 0; k < {inner}; k++)",
            f"                a += {left}[(b * {rows} + r) * {inner} + k] *",
            f"                     {right}[(b * {inner} + k) * {columns} + c];",
            f"            {out}[(b * {rows} + r) * {columns} + c] = a;",
            "        }",
        ]

    def _move(
        self, each: Instruction, out: str, args: Sequence[str], sizes: Sequence[int]
    ) -> list[str]:
        bounds = np.cumsum([0, *sizes])
        runs = _runs_of(each.places, bounds)
        if len(runs) <= _FEW_RUNS or len(args) == 0:
            lines = []
            for begin, length, place, stride in runs:
                if place < 0:
                    value = "0"
                else:
                    source = int(np.searchsorted(bounds, place, "right")) - 1
                    at = place - int(bounds[source])
                    value = f"{args[source]}[{at} + {stride} * i]"
                lines.append(f"for (int i = 0; i < {length}; i++) {out}[{begin} + i] = {value};")
            return lines
        lines = []
        for source, (arg, low, high) in enumerate(
            zip(args, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ):
            mine = np.flatnonzero((each.places >= low) & (each.places < high))
            if not len(mine):
                continue
            to = self._places(mine, f"{each.out}_{source}_to")
            origin = self._places(each.places[mine] - low, f"{each.out}_{source}_from")
            lines.append(
                f"for (int i = 0; i < {len(mine)}; i++) {out}[{to}[i]] = {arg}[{origin}[i]];"
            )
        blank = np.flatnonzero(each.places < 0)
        if len(blank):
            to = self._places(blank, f"{each.out}_blank")
            lines.append(f"for (int i = 0; i < {len(blank)}; i++) {out}[{to}[i]] = 0;")
        return lines

    def _constant(self, values: HostArray) -> str:
        key = np.asarray(values, np.float64).tobytes()
        if key not in self._constants:
            name = f"{self._name}_c{len(self._constants)}"
            self._constants[key] = name
            self._table(f"{self._name}_real", name, [_number(x) for x in values])
        return self._constants[key]

    def _places(self, values: HostArray, _: str) -> str:
        key = b"int" + np.asarray(values, np.int64).tobytes()
        if key not in self._constants:
            name = f"{self._name}_p{len(self._constants)}"
            self._constants[key] = name
            self._table("int", name, [str(int(x)) for x in values])
        return self._constants[key]

    def _table(self, kind: str, name: str, numbers: Sequence[str]) -> None:
        rows = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
        body = ",\n    ".join(rows)
        self._tables.append(f"static const {kind} {name}[{len(numbers)}] = {{\n    {body}}};")


def _sizes_of(program: Program) -> dict[int, int]:
    sizes = dict(zip(program.inputs, program.input_sizes, strict=True))
    return sizes | {each.out: each.size for each in program.instructions}


def _plan_memory(program: Program) -> tuple[dict[int, int], int]:
    """Return where each vector lies in the work array, and the size of that array.

    A place is used again when no instruction needs its vector any more.
    """
    last = {}
    for step, each in enumerate(program.instructions):
        for number in each.args:
            last[number] = step
    for number in program.outputs:
        last[number] = len(program.instructions)
    places: dict[int, int] = {}
    live: list[tuple[int, int, int]] = []
    size = 0
    for step, each in enumerate(program.instructions):
        if each.kind == "constant":
            continue
        live = [(begin, end, until) for begin, end, until in live if until >= step]
        begin = 0
        for low, high, _ in sorted(live):
            if begin + each.size <= low:
                break
            begin = max(begin, high)
        places[each.out] = begin
        live.append((begin, begin + each.size, last.get(each.out, step)))
        size = max(size, begin + each.size)
    return places, size


def _runs_of(places: HostArray, bounds: HostArray) -> list[tuple[int, int, int, int]]:
    """Return (first element, length, first place, stride) of stretches of even stride.

    None reaches over one of `bounds`, at which one source ends and the next begins.
    """
    values = np.asarray(places)
    sources = np.searchsorted(bounds, values, "right")
    runs, at = [], 0
    while at < len(values):
        rest = values[at:]
        together = sources[at:] == sources[at]
        if rest[0] < 0:
            even, stride = together, 0
        else:
            near = len(rest) > 1 and bool(together[1])
            stride = int(rest[1] - rest[0]) if near else 1
            even = together & (rest == rest[0] + stride * np.arange(len(rest)))
        length = int(np.argmin(np.append(even, False)))
        runs.append((at, length, int(rest[0]), stride))
        at += length
    return runs


def _number(x: float) -> str:
    value = float(x)
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return repr(value)
