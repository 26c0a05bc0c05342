"""A function of JAX as a short list of instructions on vectors, from which code is written.

A function is traced to a jaxpr of static shapes. What depends on no argument is computed at once.
Of what remains, each array is a vector in row-major order, and each instruction is one of six:
constants, moves (every element is one of some vectors at a fixed place), functions of one and of
two elements, choices, and products of matrices. Loops are unrolled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.errors import ModelError
from tsjax_core.types import HostArray

UNARY = (
    "neg",
    "abs",
    "sign",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "tanh",
    "sinh",
    "cosh",
    "asin",
    "acos",
    "atan",
    "asinh",
    "acosh",
    "atanh",
    "erf",
    "logistic",
    "floor",
    "ceil",
    "round",
    "not",
)
BINARY = (
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "max",
    "min",
    "rem",
    "atan2",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "and",
    "or",
)


@dataclass(frozen=True, eq=False)
class Instruction:
    """One step of a program: vector `out` of `size` elements from the vectors `args`.

    `kind` says how: `constant` (`values`), `move` (`places` in the concatenated `args`, -1 for 0),
    `unary` and `binary` (`name`; an argument of one element stands for all), `select` (the second
    argument where the first is 0, else the third), `matmul` (`shape` is batch, rows, inner,
    columns), `reduce` (`name` add or max or min, over the last of `shape` rows, columns).
    """

    kind: Literal["constant", "move", "unary", "binary", "select", "matmul", "reduce"]
    out: int
    size: int
    args: tuple[int, ...] = ()
    name: str = ""
    values: HostArray = field(default_factory=lambda: np.empty(0))
    places: HostArray = field(default_factory=lambda: np.empty(0, np.int64))
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions in their order, with the vectors that are given and those that result."""

    inputs: tuple[int, ...]
    input_sizes: tuple[int, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]
    output_sizes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Vector:
    """An array of the traced function: a number of a vector, or a constant."""

    shape: tuple[int, ...]
    number: int = -1
    values: Any = None

    @property
    def is_constant(self) -> bool:
        return self.values is not None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def compile_program(function: Callable[..., Any], sizes: Sequence[int]) -> Program:
    """Return `function` of vectors of `sizes`, which returns a tuple of arrays, as a program.

    Raises:
        ModelError: It uses an operation that has no instruction.
    """
    arguments = [jnp.zeros(size, jnp.float32) for size in sizes]
    closed = jax.make_jaxpr(function)(*arguments)
    compiler = _Compiler()
    inputs = [_Vector((size,), compiler.take_number()) for size in sizes]
    constants = [_Vector(np.shape(value), values=np.asarray(value)) for value in closed.consts]
    found = compiler.run(closed.jaxpr, constants, inputs)
    outputs = [compiler.number_of(vector) for vector in found]
    used = _keep_used(compiler.instructions, outputs)
    return Program(
        tuple(vector.number for vector in inputs),
        tuple(sizes),
        used,
        tuple(outputs),
        tuple(vector.size for vector in found),
    )


def run_program(program: Program, *arguments: Any, dtype: Any = np.float64) -> list[HostArray]:
    """Return the results of a program, one vector each, computed by NumPy."""
    memory = {
        number: np.asarray(x, dtype).reshape(-1)
        for number, x in zip(program.inputs, arguments, strict=True)
    }
    for each in program.instructions:
        memory[each.out] = np.asarray(_compute(each, [memory[a] for a in each.args]), dtype)
    return [memory[number] for number in program.outputs]


def _compute(each: Instruction, args: list[HostArray]) -> Any:
    if each.kind == "constant":
        return each.values
    if each.kind == "move":
        every = np.concatenate([*args, np.zeros(1)])
        return every[each.places]
    if each.kind == "unary":
        return np.broadcast_to(_NUMPY_UNARY[each.name](args[0]), (each.size,))
    if each.kind == "binary":
        return np.broadcast_to(_NUMPY_BINARY[each.name](*args), (each.size,))
    if each.kind == "select":
        return np.broadcast_to(np.where(args[0] != 0.0, args[2], args[1]), (each.size,))
    if each.kind == "matmul":
        batch, rows, inner, columns = each.shape
        product = args[0].reshape(batch, rows, inner) @ args[1].reshape(batch, inner, columns)
        return product.reshape(-1)
    reduced: Any = {"add": np.sum, "max": np.max, "min": np.min, "mul": np.prod}[each.name]
    return reduced(args[0].reshape(each.shape), axis=1)


_NUMPY_UNARY: dict[str, Callable[[HostArray], Any]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "logistic": lambda x: 0.5 + 0.5 * np.tanh(0.5 * x),
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "not": lambda x: 1.0 - x,
}
_NUMPY_BINARY: dict[str, Callable[[HostArray, HostArray], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "max": np.maximum,
    "min": np.minimum,
    "rem": np.fmod,
    "atan2": np.arctan2,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.multiply,
    "or": np.maximum,
}


def _keep_used(instructions: Sequence[Instruction], outputs: Sequence[int]) -> tuple[Any, ...]:
    """Return the instructions on which `outputs` depend, in their order."""
    needed, kept = set(outputs), []
    for each in reversed(instructions):
        if each.out in needed:
            kept.append(each)
            needed.update(each.args)
    return tuple(reversed(kept))


class _Compiler:
    """Walks through jaxprs and writes instructions."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self._count = 0
        self._constants: dict[tuple[Any, ...], int] = {}

    def take_number(self) -> int:
        self._count += 1
        return self._count - 1

    def number_of(self, vector: _Vector) -> int:
        """Return the number of a vector, which a constant gets when it is first needed."""
        if not vector.is_constant:
            return vector.number
        values = np.asarray(vector.values, np.float64).reshape(-1)
        key = (values.tobytes(), values.size)
        if key not in self._constants:
            self._constants[key] = self._write("constant", values.size, values=values)
        return self._constants[key]

    def run(self, jaxpr: Any, constants: list[_Vector], inputs: list[_Vector]) -> list[_Vector]:
        """Return the results of a jaxpr."""
        known: dict[Any, _Vector] = dict(zip(jaxpr.constvars, constants, strict=True))
        known |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> _Vector:
            if hasattr(atom, "val"):
                return _Vector(np.shape(atom.val), values=np.asarray(atom.val))
            vector: _Vector = known[atom]
            return vector

        for eqn in jaxpr.eqns:
            results = self._apply(eqn, [read(atom) for atom in eqn.invars])
            known |= dict(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _write(self, kind: Any, size: int, args: Sequence[int] = (), **options: Any) -> int:
        number = self.take_number()
        self.instructions.append(Instruction(kind, number, size, tuple(args), **options))
        return number

    def _apply(self, eqn: Any, args: list[_Vector]) -> list[_Vector]:
        name, params = eqn.primitive.name, eqn.params
        inner = next(
            (params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params), None
        )
        if name == "scan":
            return self._unroll(params, args)
        if name == "cond" and args[0].is_constant:
            branch = params["branches"][int(args[0].values)]
            return self._inline(branch, args[1:])
        if inner is not None and name not in ("while", "cond"):
            return self._inline(inner, args)
        if name in ("optimization_barrier", "stop_gradient", "copy", "copy_p"):
            return args
        if all(arg.is_constant for arg in args):
            values = eqn.primitive.bind(*(arg.values for arg in args), **params)
            several = values if eqn.primitive.multiple_results else [values]
            return [_Vector(np.shape(x), values=np.asarray(x)) for x in several]
        shapes = [tuple(var.aval.shape) for var in eqn.outvars]
        if name == "convert_element_type":
            return self._convert(eqn, args[0])
        if name in UNARY:
            return [self._elementwise("unary", name, shapes[0], args)]
        if name in BINARY:
            return [self._elementwise("binary", name, shapes[0], args)]
        special = getattr(self, f"_do_{name}", None)
        if special is not None:
            return [special(args, shapes[0], params)]
        if name in _MOVES:
            return self._move(eqn, args, shapes)
        raise ModelError(
            f"the model uses the operation {name!r}, which has no form outside of JAX here; export "
            "it to stablehlo."
        )

    def _inline(self, inner: Any, args: list[_Vector]) -> list[_Vector]:
        if hasattr(inner, "jaxpr"):
            constants = [_Vector(np.shape(x), values=np.asarray(x)) for x in inner.consts]
            return self.run(inner.jaxpr, constants, args)
        return self.run(inner, [], args)

    def _unroll(self, params: Any, args: list[_Vector]) -> list[_Vector]:
        n_consts, n_carry = params["num_consts"], params["num_carry"]
        consts, carry = args[:n_consts], args[n_consts : n_consts + n_carry]
        sequences, steps = args[n_consts + n_carry :], []
        order = range(params["length"])
        for index in reversed(order) if params["reverse"] else order:
            rows = [self._row(x, index) for x in sequences]
            results = self._inline(params["jaxpr"], [*consts, *carry, *rows])
            carry, out = results[:n_carry], results[n_carry:]
            steps.append(out)
        if params["reverse"]:
            steps.reverse()
        stacked = [self._stack(list(each)) for each in zip(*steps, strict=True)]
        return [*carry, *stacked]

    def _row(self, vector: _Vector, index: int) -> _Vector:
        if vector.is_constant:
            return _Vector(vector.shape[1:], values=np.asarray(vector.values)[index])
        size = math.prod(vector.shape[1:])
        return self._place([vector], np.arange(index * size, (index + 1) * size), vector.shape[1:])

    def _stack(self, rows: list[_Vector]) -> _Vector:
        shape = (len(rows), *rows[0].shape)
        if all(row.is_constant for row in rows):
            return _Vector(shape, values=np.stack([np.asarray(row.values) for row in rows]))
        return self._place(rows, np.arange(sum(row.size for row in rows)), shape)

    def _place(self, sources: list[_Vector], places: HostArray, shape: tuple[int, ...]) -> _Vector:
        """Return elements of the concatenated `sources`, without an instruction where one is it."""
        size = math.prod(shape)
        if (
            len(sources) == 1
            and sources[0].size == size
            and np.array_equal(places, np.arange(size))
        ):
            return _Vector(shape, sources[0].number, sources[0].values)
        numbers = [self.number_of(vector) for vector in sources]
        return _Vector(shape, self._write("move", size, numbers, places=np.asarray(places)))

    def _elementwise(
        self, kind: str, name: str, shape: tuple[int, ...], args: list[_Vector]
    ) -> _Vector:
        size = math.prod(shape)
        numbers = [self.number_of(self._fit(arg, shape)) for arg in args]
        return _Vector(shape, self._write(kind, size, numbers, name=name))

    def _fit(self, arg: _Vector, shape: tuple[int, ...]) -> _Vector:
        """Return an argument of an elementwise operation as one of one element, or of all."""
        arg = self._single(arg)
        if arg.size == 1 or arg.shape == shape:
            return arg
        if arg.is_constant:
            return _Vector(shape, values=np.broadcast_to(np.asarray(arg.values), shape))
        places = np.broadcast_to(np.arange(arg.size).reshape(arg.shape), shape)
        return self._place([arg], places.reshape(-1), shape)

    @staticmethod
    def _single(arg: _Vector) -> _Vector:
        """Return a constant whose elements are all equal as one of one element."""
        if arg.is_constant and arg.size > 1:
            values = np.asarray(arg.values).reshape(-1)
            if (values == values[0]).all():
                return _Vector((1,), values=values[:1])
        return arg

    def _convert(self, eqn: Any, arg: _Vector) -> list[_Vector]:
        old, new = eqn.invars[0].aval.dtype, eqn.outvars[0].aval.dtype
        if jnp.issubdtype(new, jnp.integer) and jnp.issubdtype(old, jnp.floating):
            positive = self._elementwise("unary", "floor", arg.shape, [arg])
            negative = self._elementwise("unary", "ceil", arg.shape, [arg])
            zero = _Vector((), values=np.zeros(()))
            below = self._elementwise("binary", "lt", arg.shape, [arg, zero])
            return [self._choose(below, positive, negative, arg.shape)]
        if new == jnp.bool_ and old != jnp.bool_:
            zero = _Vector((), values=np.zeros(()))
            return [self._elementwise("binary", "ne", arg.shape, [arg, zero])]
        return [arg]

    def _choose(
        self, which: _Vector, first: _Vector, second: _Vector, shape: tuple[int, ...]
    ) -> _Vector:
        numbers = [self.number_of(self._fit(x, shape)) for x in (which, first, second)]
        return _Vector(shape, self._write("select", math.prod(shape), numbers))

    def _do_select_n(self, args: list[_Vector], shape: Any, _: Any) -> _Vector:
        if len(args) != 3:
            raise ModelError("the model chooses among more than two values; export to stablehlo.")
        return self._choose(args[0], args[1], args[2], shape)

    def _do_integer_pow(self, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        exponent = _Vector((), values=np.asarray(float(params["y"])))
        if params["y"] == 2:
            return self._elementwise("binary", "mul", shape, [args[0], args[0]])
        return self._elementwise("binary", "pow", shape, [args[0], exponent])

    def _do_square(self, args: list[_Vector], shape: Any, _: Any) -> _Vector:
        return self._elementwise("binary", "mul", shape, [args[0], args[0]])

    def _do_rsqrt(self, args: list[_Vector], shape: Any, _: Any) -> _Vector:
        root = self._elementwise("unary", "sqrt", shape, args)
        return self._elementwise("binary", "div", shape, [_Vector((), values=np.ones(())), root])

    def _do_erfc(self, args: list[_Vector], shape: Any, _: Any) -> _Vector:
        inside = self._elementwise("unary", "erf", shape, args)
        return self._elementwise("binary", "sub", shape, [_Vector((), values=np.ones(())), inside])

    def _do_clamp(self, args: list[_Vector], shape: Any, _: Any) -> _Vector:
        low, x, high = args
        above = self._elementwise("binary", "max", shape, [x, low])
        return self._elementwise("binary", "min", shape, [above, high])

    def _do_is_finite(self, args: list[_Vector], shape: Any, _: Any) -> _Vector:
        # Of a number that is not finite, the difference to itself is none.
        away = self._elementwise("binary", "sub", shape, [args[0], args[0]])
        return self._elementwise("binary", "eq", shape, [away, _Vector((), values=np.zeros(()))])

    def _do_add_any(self, args: list[_Vector], shape: Any, _: Any) -> _Vector:
        return self._elementwise("binary", "add", shape, args)

    def _reduce(self, name: str, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        (x,), axes = args, tuple(params["axes"])
        kept = [axis for axis in range(len(x.shape)) if axis not in axes]
        order = np.arange(x.size).reshape(x.shape).transpose([*kept, *axes]).reshape(-1)
        columns = math.prod(x.shape[axis] for axis in axes)
        moved = self._place([x], order, (x.size // columns, columns))
        number = self._write(
            "reduce", x.size // columns, [self.number_of(moved)], name=name, shape=moved.shape
        )
        return _Vector(shape, number)

    def _do_reduce_sum(self, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        return self._reduce("add", args, shape, params)

    def _do_reduce_max(self, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        return self._reduce("max", args, shape, params)

    def _do_reduce_min(self, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        return self._reduce("min", args, shape, params)

    def _do_reduce_or(self, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        return self._reduce("max", args, shape, params)

    def _do_reduce_and(self, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        return self._reduce("min", args, shape, params)

    def _do_reduce_prod(self, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        return self._reduce("mul", args, shape, params)

    def _do_dot_general(self, args: list[_Vector], shape: Any, params: Any) -> _Vector:
        (contract_a, contract_b), (batch_a, batch_b) = params["dimension_numbers"]
        left, rows = self._matrix(args[0], batch_a, contract_a, inner_last=True)
        right, columns = self._matrix(args[1], batch_b, contract_b, inner_last=False)
        batch = math.prod(args[0].shape[axis] for axis in batch_a)
        inner = math.prod(args[0].shape[axis] for axis in contract_a)
        numbers = [self.number_of(left), self.number_of(right)]
        number = self._write(
            "matmul", math.prod(shape), numbers, shape=(batch, rows, inner, columns)
        )
        return _Vector(shape, number)

    def _matrix(
        self, x: _Vector, batch: Sequence[int], contract: Sequence[int], *, inner_last: bool
    ) -> tuple[_Vector, int]:
        """Return an operand as (batch, free, inner) or (batch, inner, free), and its free size."""
        free = [axis for axis in range(len(x.shape)) if axis not in (*batch, *contract)]
        axes = [*batch, *free, *contract] if inner_last else [*batch, *contract, *free]
        size = math.prod(x.shape[axis] for axis in free)
        if x.is_constant:
            values = np.transpose(np.asarray(x.values), axes).reshape(-1)
            return _Vector(values.shape, values=values), size
        order = np.arange(x.size).reshape(x.shape).transpose(axes).reshape(-1)
        return self._place([x], order, (x.size,)), size

    def _move(self, eqn: Any, args: list[_Vector], shapes: list[tuple[int, ...]]) -> list[_Vector]:
        """Return what moves elements: the operation itself, done to their places, says where to."""
        name = eqn.primitive.name
        dynamic = {
            "gather": (1,),
            "dynamic_slice": tuple(range(1, len(args))),
            "dynamic_update_slice": tuple(range(2, len(args))),
        }.get(name, ())
        for place in dynamic:
            if not args[place].is_constant:
                raise ModelError(
                    f"the model looks up places that depend on its input ({name}); export it to "
                    "stablehlo."
                )
        sources = [arg for place, arg in enumerate(args) if place not in dynamic]
        values, begin = [], 0
        for place, arg in enumerate(args):
            if place in dynamic:
                values.append(jnp.asarray(arg.values))
            else:
                numbers = np.arange(begin, begin + arg.size, dtype=np.int32)
                values.append(jnp.asarray(numbers.reshape(arg.shape)))
                begin += arg.size
        params = dict(eqn.params)
        if name == "gather" and params.get("fill_value") is not None:
            params["fill_value"] = -1
        moved = eqn.primitive.bind(*values, **params)
        several = moved if eqn.primitive.multiple_results else [moved]
        return [
            self._place(sources, np.asarray(each).reshape(-1), shape)
            for each, shape in zip(several, shapes, strict=True)
        ]


_MOVES = (
    "broadcast_in_dim",
    "reshape",
    "transpose",
    "squeeze",
    "expand_dims",
    "slice",
    "split",
    "rev",
    "concatenate",
    "stack",
    "tile",
    "pad",
    "gather",
    "dynamic_slice",
    "dynamic_update_slice",
)
