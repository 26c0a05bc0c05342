"""Causal convolution against flax's nnx.Conv, forward and backward, on this machine.

Prints how many times faster than flax each form is: the median over rounds in which all forms
take turns, so that what else the machine does meets all of them. `chosen` is what the rule of
`causal_conv` gives, and `*` marks the form that it takes.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.contenders import count
from benchmarks.flax_models import FlaxTCN
from benchmarks.report import machine, told_versions
from tsjax_core import NormStats, Signals
from tsjax_tcn import TCN
from tsjax_tcn.convolution import causal_conv, convolved, sum_of_taps, unfolded

DILATIONS = (1, 16)


def medians_of_turns(
    programs: Mapping[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return ms per call of each program, and how many times faster than the first it is."""
    for program in programs.values():
        jax.block_until_ready(program())
    first = next(iter(programs))
    start = time.perf_counter()
    jax.block_until_ready(programs[first]())
    calls = max(1, min(50, int(0.02 / (time.perf_counter() - start))))
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            for _ in range(calls):
                result = program()
            jax.block_until_ready(result)
            seconds[name].append((time.perf_counter() - start) / calls)
    return (
        {name: 1e3 * statistics.median(values) for name, values in seconds.items()},
        {
            name: statistics.median(a / b for a, b in zip(seconds[first], values, strict=True))
            for name, values in seconds.items()
        },
    )


def with_bias(form: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, kernel, bias, dilation: form(x, kernel, dilation, None) + bias


def flax_form(x: Any, kernel: Any, bias: Any, dilation: int) -> Any:
    conv = nnx.Conv(
        kernel.shape[1],
        kernel.shape[2],
        kernel.shape[:1],
        padding="CAUSAL",
        kernel_dilation=dilation,
        rngs=nnx.Rngs(0),
    )
    conv.kernel[...], conv.bias[...] = kernel, bias
    return conv(x)


FORMS: dict[str, Callable[..., Any]] = {
    "flax": flax_form,
    "convolved": with_bias(convolved),
    "unfolded": with_bias(unfolded),
    "sum_of_taps": with_bias(sum_of_taps),
    "chosen": causal_conv,
}


def form_taken(x: Any, kernel: Any) -> str:
    """Return the form that the rule takes, told by what it traces to."""
    traced = str(jax.make_jaxpr(partial(causal_conv, bias=None, dilation=1))(x, kernel))
    if "conv_general_dilated" in traced:
        return "convolved"
    return "unfolded" if traced.count("dot_general") == 1 else "sum_of_taps"


def layers(n_in: int, width: int, taps: int, length: int, batch: int, rounds: int) -> str:
    """Return a row: the gradient of two layers, or of the first one of a network."""
    dilations = DILATIONS if n_in == width else DILATIONS[:1]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((batch, length, n_in)), jnp.float32)
    kernels = jnp.asarray(rng.standard_normal((len(dilations), taps, n_in, width)), jnp.float32)
    parameters = kernels * (taps * n_in) ** -0.5, jnp.zeros((len(dilations), width))

    def gradient_of(form: Callable[..., Any]) -> Callable[[], Any]:
        def loss(parameters: Any, x: Any) -> Any:
            for kernel, bias, dilation in zip(*parameters, dilations, strict=True):
                x = jax.nn.relu(form(x, kernel, bias, dilation))
            return jnp.mean(x**2)

        return partial(jax.jit(jax.grad(loss)), parameters, x)

    programs = {name: gradient_of(form) for name, form in FORMS.items()}
    ms, ratios = medians_of_turns(programs, rounds)
    taken = form_taken(x, kernels[0])
    cells = (f"{ratios[n]:9.2f}{'*' if n == taken else ' '}" for n in list(FORMS)[1:])
    shape = f"{n_in:4d} -> {width:<4d} {taps:6d} {length:6d} {batch:5d} {ms['flax']:9.2f}"
    return f"{shape}  {' '.join(cells)}"


def training_step(levels: int = 7, width: int = 64, batch: int = 64, length: int = 200) -> None:
    """Print ms per step of Adam for `TCN` and for the same network in flax."""
    stats = {key: NormStats([0.0], [1.0]) for key in "uy"}
    spec = TCN(num_layers=levels, hidden_size=width)
    models: dict[str, nnx.Module] = {
        "flax": FlaxTCN(levels, width, rngs=nnx.Rngs(0)),
        "tcn/tcn": spec.build(Signals(("u",), ("y",), stats), rngs=nnx.Rngs(0)),
    }
    u = jnp.asarray(np.random.default_rng(0).standard_normal((batch, length, 1)), jnp.float32)
    optimizer = optax.adam(3e-3)

    def program_of(model: nnx.Module) -> Callable[[], Any]:
        graphdef, parameters, rest = nnx.split(model, nnx.Param, ...)

        def loss(parameters: Any) -> Any:
            return jnp.mean(jnp.abs(nnx.merge(graphdef, parameters, rest, copy=True)(u) - u))

        def step(parameters: Any, state: Any) -> Any:
            updates, state = optimizer.update(jax.grad(loss)(parameters), state)
            return optax.apply_updates(parameters, updates), state

        return partial(jax.jit(step), parameters, optimizer.init(parameters))

    ms, ratios = medians_of_turns({n: program_of(m) for n, m in models.items()}, 15)
    for name, model in models.items():
        count = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
        print(
            f"{name:8s} {ms[name]:6.1f} ms, {ratios[name]:.2f} of flax's speed, {count} parameters"
        )


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks causal_convolution",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--rounds", type=count, default=7, help="turns of each form")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--all", action="store_true", help="the grid that the rule was set by")
    what.add_argument("--step", action="store_true", help="a training step of a whole TCN")
    what.add_argument(
        "--shape",
        nargs=5,
        type=count,
        metavar=("INPUTS", "CHANNELS", "TAPS", "WINDOW", "BATCH"),
        help="one shape instead of a few",
    )
    return command


def main(options: argparse.Namespace) -> None:
    devices = f"{len(jax.devices())} device(s): {jax.devices()[0].device_kind}"
    told = told_versions({"tsjax": {n: version(n) for n in ("tsjax-tcn", "jax", "flax")}})
    print(f"{machine()}, {devices}\n{told}\nrounds: {options.rounds}\n")
    if options.step:
        training_step()
        return
    if options.shape:
        shapes = [tuple(options.shape)]
    elif options.all:
        grid = list(
            itertools.product((8, 16, 32, 64, 128), (2, 3, 5), (100, 200, 1000, 4000), (16, 64))
        )
        shapes = [(c, c, k, t, b) for c, k, t, b in grid if c * c * k * t * b < 6e9]
        shapes += [
            (i, c, k, t, b)
            for i, (c, k, t, b) in itertools.product((1, 2, 4), grid)
            if k < 5 and t in (200, 1000) and b == 64
        ]
    else:
        shapes = [(c, c, k, 200, 64) for c, k in itertools.product((8, 16, 64), (2, 3))]
        shapes += [(i, c, 2, 200, 64) for i, c in itertools.product((1, 2), (8, 64))]
    print(
        "channels     kernel window batch   flax ms   "
        + "  ".join(f"{n:>9s}" for n in list(FORMS)[1:])
    )
    for n_in, width, taps, length, batch in shapes:
        large = n_in * width * taps * length * batch >= 1e9
        rounds = min(3, options.rounds) if large else options.rounds
        print(layers(n_in, width, taps, length, batch, rounds), flush=True)
