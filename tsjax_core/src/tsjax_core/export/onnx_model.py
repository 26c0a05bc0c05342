"""A step as an ONNX model."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.export.facts import Facts
from tsjax_core.export.program import Instruction, compile_program
from tsjax_core.export.step import StepModel

_OPSET = 17

_UNARY = {
    "neg": "Neg",
    "abs": "Abs",
    "sign": "Sign",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "tanh": "Tanh",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "erf": "Erf",
    "logistic": "Sigmoid",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
}
_BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "pow": "Pow",
    "max": "Max",
    "min": "Min",
    "and": "Mul",
    "or": "Max",
}
_COMPARED = {
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "eq": "Equal",
}


def make_onnx_model(step: StepModel, facts: Facts) -> Any:
    """Return a model with the inputs `x` and `u` and the outputs `x_next` and `y`, in float32.

    The state before the first sample, the names of the signals and the sampling time are metadata.

    Raises:
        ConfigError: The package onnx is not installed.
        ModelError: The model uses an operation that ONNX does not have.
    """
    if find_spec("onnx") is None:
        raise ConfigError("the package onnx is not installed: pip install onnx", key="to")
    import onnx
    from onnx import TensorProto, helper

    n_x, n_u, n_y = step.sizes
    program = compile_program(step.advance, [n_x, n_u])
    graph = _Graph()
    names = dict(zip(program.inputs, ("x", "u"), strict=True))
    for each in program.instructions:
        names[each.out] = graph.add_instruction(each, [names[number] for number in each.args])
    results = zip(program.outputs, (("x_next", n_x), ("y", n_y)), strict=True)
    for number, (name, size) in results:
        graph.add("Expand", [names[number], graph.constant(np.array([size], np.int64))], name)
    kind = TensorProto.FLOAT
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            facts.name,
            [helper.make_tensor_value_info(n, kind, [s]) for n, s in (("x", n_x), ("u", n_u))],
            [helper.make_tensor_value_info(n, kind, [s]) for n, s in (("x_next", n_x), ("y", n_y))],
            graph.tensors,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=9,
        doc_string="\n".join(facts.lines()),
    )
    signals = facts.signals
    about = {
        "inputs": ",".join(signals.inputs),
        "outputs": ",".join(signals.outputs),
        "dt": "" if signals.dt is None else repr(signals.dt),
        "start": ",".join(repr(float(value)) for value in step.start),
    }
    helper.set_model_props(made, about)
    onnx.checker.check_model(made)
    return made


class _Graph:
    """Nodes and constants that grow."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, operation: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array([value], np.float32))

    def shape(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def add_instruction(self, each: Instruction, args: list[str]) -> str:
        from onnx import TensorProto

        if each.kind == "constant":
            return self.constant(np.asarray(each.values, np.float32))
        if each.kind == "move":
            whole = self.add("Concat", [*args, self.number(0.0)], axis=0)
            # Where nothing is, the zero at the end stands.
            return self.add("Gather", [whole, self.constant(np.asarray(each.places, np.int64))])
        if each.kind == "select":
            which = self.add("Cast", [args[0]], to=TensorProto.BOOL)
            return self.add("Where", [which, args[2], args[1]])
        if each.kind == "matmul":
            batch, rows, inner, columns = each.shape
            left = self.add("Reshape", [args[0], self.shape(batch, rows, inner)])
            right = self.add("Reshape", [args[1], self.shape(batch, inner, columns)])
            product = self.add("MatMul", [left, right])
            return self.add("Reshape", [product, self.shape(-1)])
        if each.kind == "reduce":
            matrix = self.add("Reshape", [args[0], self.shape(*each.shape)])
            if each.name == "add":
                return self.add("ReduceSum", [matrix, self.shape(1)], keepdims=0)
            kind = {"max": "ReduceMax", "min": "ReduceMin", "mul": "ReduceProd"}[each.name]
            return self.add(kind, [matrix], axes=[1], keepdims=0)
        if each.kind == "unary":
            return self._unary(each.name, args[0])
        return self._binary(each.name, args)

    def _unary(self, name: str, x: str) -> str:
        if name == "expm1":
            return self.add("Sub", [self.add("Exp", [x]), self.number(1.0)])
        if name == "log1p":
            return self.add("Log", [self.add("Add", [x, self.number(1.0)])])
        if name == "not":
            return self.add("Sub", [self.number(1.0), x])
        return self.add(_UNARY[name], [x])

    def _binary(self, name: str, args: list[str]) -> str:
        from onnx import TensorProto

        if name in _BINARY:
            return self.add(_BINARY[name], args)
        if name == "rem":
            return self.add("Mod", args, fmod=1)
        if name == "ne":
            equal = self.add("Cast", [self.add("Equal", args)], to=TensorProto.FLOAT)
            return self.add("Sub", [self.number(1.0), equal])
        if name in _COMPARED:
            return self.add("Cast", [self.add(_COMPARED[name], args)], to=TensorProto.FLOAT)
        raise ModelError(f"the model uses {name!r}, which ONNX does not have; export it to c.")
