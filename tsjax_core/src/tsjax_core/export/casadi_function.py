"""A step as a function of CasADi, for optimal control and estimation."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.export.facts import Facts
from tsjax_core.export.program import Instruction, compile_program
from tsjax_core.export.step import StepModel

_BINARY = {
    "pow": "power",
    "max": "fmax",
    "min": "fmin",
    "rem": "fmod",
    "atan2": "atan2",
    "and": "times",
    "or": "fmax",
    "add": "plus",
    "sub": "minus",
    "mul": "times",
    "div": "rdivide",
}


def make_casadi_function(step: StepModel, facts: Facts) -> Any:
    """Return `(x, u) -> (x_next, y)` as a `casadi.Function`, which gives its own Jacobians.

    Raises:
        ConfigError: CasADi is not installed.
        ModelError: The model uses an operation that CasADi does not have.
    """
    if find_spec("casadi") is None:
        raise ConfigError(
            "CasADi is not installed: pip install casadi",
            key="to",
        )
    import casadi

    n_x, n_u, n_y = step.sizes
    program = compile_program(step.advance, [n_x, n_u])
    x, u = casadi.MX.sym("x", n_x), casadi.MX.sym("u", n_u)
    memory: dict[int, Any] = dict(zip(program.inputs, (x, u), strict=True))
    for each in program.instructions:
        memory[each.out] = _compute(casadi, each, [memory[number] for number in each.args])
    results = [
        memory[number] if memory[number].numel() == size else casadi.repmat(memory[number], size, 1)
        for number, size in zip(program.outputs, (n_x, n_y), strict=True)
    ]
    return casadi.Function(facts.name, [x, u], results, ["x", "u"], ["x_next", "y"])


def _compute(casadi: Any, each: Instruction, args: list[Any]) -> Any:
    if each.kind == "constant":
        return casadi.MX(casadi.DM(each.values))
    if each.kind == "move":
        whole = casadi.vertcat(*args, casadi.MX.zeros(1))
        end = whole.numel() - 1
        return whole[[int(place) if place >= 0 else end for place in each.places]]
    if each.kind == "select":
        # The vectors may have one element for all.
        which, first, second = (_filled(casadi, arg, each.size) for arg in args)
        return casadi.if_else(which != 0.0, second, first)
    if each.kind == "matmul":
        batch, rows, inner, columns = each.shape
        parts = []
        for number in range(batch):
            left = args[0][number * rows * inner : (number + 1) * rows * inner]
            right = args[1][number * inner * columns : (number + 1) * inner * columns]
            # CasADi stores column by column.
            product = casadi.mtimes(
                casadi.reshape(left, inner, rows).T, casadi.reshape(right, columns, inner).T
            )
            parts.append(casadi.reshape(product.T, rows * columns, 1))
        return casadi.vertcat(*parts)
    if each.kind == "reduce":
        rows, columns = each.shape
        matrix = casadi.reshape(args[0], columns, rows).T
        if each.name == "add":
            return casadi.sum2(matrix)
        result = matrix[:, 0]
        for column in range(1, columns):
            result = _binary(casadi, each.name, result, matrix[:, column])
        return result
    if each.kind == "unary":
        return _filled(casadi, _unary(casadi, each.name, args[0]), each.size)
    return _filled(casadi, _binary(casadi, each.name, *args), each.size)


def _filled(casadi: Any, value: Any, size: int) -> Any:
    return value if value.numel() == size else casadi.repmat(value, size, 1)


def _unary(casadi: Any, name: str, x: Any) -> Any:
    if name == "neg":
        return -x
    if name == "abs":
        return casadi.fabs(x)
    if name == "logistic":
        return 0.5 + 0.5 * casadi.tanh(0.5 * x)
    if name == "not":
        return 1.0 - x
    function = getattr(casadi, name, None)
    if function is None:
        raise ModelError(f"the model uses {name!r}, which CasADi does not have; export it to c.")
    return function(x)


def _binary(casadi: Any, name: str, a: Any, b: Any) -> Any:
    if name in ("lt", "le", "gt", "ge", "eq", "ne"):
        return getattr(a, f"__{name}__")(b) * casadi.MX(1.0)
    return getattr(casadi, _BINARY[name])(a, b)
