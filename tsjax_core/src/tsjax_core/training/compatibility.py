"""Whether model, loss, metrics and data fit each other, checked once when a learner is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.errors import ConfigError, ModelError, SignatureError
from tsjax_core.losses.compose import NamedTerm
from tsjax_core.protocols import AuxModel, FiniteMemory
from tsjax_core.signatures import TERM_PARAMETERS, declared, name_of
from tsjax_core.types import Array, HostArray

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline
    from tsjax_core.training.step.engine import Engine

_TAKEN = frozenset({"epoch", "seconds", "train_loss", "valid_loss"})


def check_metrics(metrics: Sequence[Callable[..., Array]]) -> None:
    """Raise SignatureError for a metric that cannot be called, ConfigError for one name twice."""
    for metric in metrics:
        declared(metric, kind="metric", offered=frozenset(), positional=TERM_PARAMETERS)
    names = [name_of(metric) for metric in metrics]
    if taken := sorted(name for name in names if name in _TAKEN or name.startswith("term_")):
        raise ConfigError(
            f"a metric is named {', '.join(map(repr, taken))}, as is another column of the "
            "history. Wrap it in a function of another name.",
            key="metrics",
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"two metrics are named {', '.join(map(repr, twice))}; the history needs one name "
            "for each. Wrap one in a function with a name of its own.",
            key="metrics",
        )


def check_aux(model: Any, terms: Sequence[NamedTerm]) -> None:
    """Raise ModelError where a term declares `aux` and the model has no intermediate values."""
    wanting = [term.name for term in terms if "aux" in term.wants]
    if wanting and not isinstance(model, AuxModel):
        raise ModelError(
            f"the loss {', '.join(wanting)} declares 'aux', and {name_of(model)} has no "
            "call_with_aux that returns (output, named intermediate values)."
        )


def samples_to_skip(asked: int | None, owner: Any) -> int:
    """Return `asked`, and where it is None the receptive field of `owner`, 0 without one.

    Raises ConfigError where that is no whole number.
    """
    found: Any = asked
    text, cure = f"n_skip = {asked!r}", "give one, 0 or more"
    if asked is None:
        found = owner.receptive_field if isinstance(owner, FiniteMemory) else 0
        text = f"the receptive_field of {name_of(owner)}, {found!r},"
        cure = "make it one, or give n_skip"
    if isinstance(found, bool) or not isinstance(found, Integral):
        raise ConfigError(f"{text} is not a whole number of samples; {cure}.", key="n_skip")
    return int(found)


def check_data(owner: Any, reads: Sequence[str], pipeline: GrainPipeline) -> None:
    """Raise ModelError where the data lack what the model reads, or have scalars that it does not.

    `owner` is the model or its specification, for the text.
    """
    signals = pipeline.signals
    names = signals.names
    if missing := [key for key in reads if key not in names]:
        raise ModelError(
            f"{name_of(owner)} reads {', '.join(missing)}, and the data have "
            f"{', '.join(names)}. Name the signals of the data in u, y, u_scalars and y_scalars."
        )
    if "u_scalar" in names and "u_scalar" not in reads:
        raise ModelError(
            f"the data have scalar inputs ({', '.join(signals.scalar_inputs)}), and "
            f"{name_of(owner)} reads only {', '.join(reads)}. Use a model that reads 'u_scalar' "
            "(scalar_inputs = true for the core models), or leave u_scalars out."
        )


def check_n_skip(asked: int | None, owner: Any, pipeline: GrainPipeline) -> None:
    """Raise ConfigError where `samples_to_skip` fails, or leaves nothing of a window or a file."""
    n_skip = samples_to_skip(asked, owner)
    source, window_cure, file_cure = f"n_skip = {n_skip}", "", ""
    if asked is None:
        source += f" is the receptive field of {name_of(owner)} and"
        window_cure = "choose a longer win_sz or fewer layers, or "
        file_cure = "choose fewer layers, or "
    if n_skip < 0:
        raise ConfigError(f"{source} is negative; give 0 or more.", key="n_skip")
    if n_skip >= pipeline.win_sz:
        raise ConfigError(
            f"{source} leaves nothing of a window; {window_cure}give an n_skip below win_sz = "
            f"{pipeline.win_sz}.",
            key="n_skip",
        )
    for split in ("valid", "test"):
        for name, length in pipeline.file_lengths(split).items():
            if length <= n_skip:
                raise ConfigError(
                    f"{source} leaves nothing of {name} in {split}, which has {length} samples; "
                    f"{file_cure}give an n_skip below the length of the shortest file.",
                    key="n_skip",
                )


def check_output(
    owner: Any,
    engine: Engine,
    parts: tuple[Any, Any, Any, Any],
    reads: Sequence[str],
    pipeline: GrainPipeline,
    weights: HostArray,
) -> None:
    """Raise ModelError where the output for a batch of windows has another shape than the targets.

    Raise SignatureError for a loss that is not a scalar. Tell `engine` whether its steps are to be
    made in loops. `parts` are those of `split_model`; nothing is computed.
    """
    names, target = pipeline.signals.names, pipeline.signals.target
    bs, win_sz = pipeline.windows_per_batch, pipeline.win_sz
    batch, dtype = {}, jnp.result_type(float)
    for key, channels in names.items():
        lead = (bs,) if key.endswith("_scalar") else (bs, win_sz)
        batch[key] = np.zeros((*lead, len(channels)), dtype)
    _, params, buffers, mutable = parts
    got = jax.eval_shape(engine.predict, params, buffers, mutable, [batch[key] for key in reads])
    expected = batch[target].shape
    if got.shape != expected:
        raise ModelError(
            f"{name_of(owner)} returns shape {got.shape} for a batch of {bs} windows of {win_sz} "
            f"samples; the targets ({', '.join(names[target])}) have {expected}."
        )
    traced, terms = jax.make_jaxpr(engine.batch_loss, return_shape=True)(
        params, buffers, mutable, batch, weights
    )
    # Within a loop on a processor, XLA leaves the gradient of a convolution to its slowest form.
    engine.steps_in_loops = jax.default_backend() != "cpu" or not _has_convolution(traced.jaxpr)
    for name, value in terms.items():
        if jnp.shape(value) != ():
            raise SignatureError(
                f"loss {name!r} returns shape {jnp.shape(value)}; a loss is one number. Take the "
                "mean over batch, time and channels."
            )


def _has_convolution(jaxpr: Any) -> bool:
    """Tell whether a program has a convolution, in itself or in one that it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        within = jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns"))
        inner = (getattr(each, "jaxpr", each) for each in within)
        if any(_has_convolution(each) for each in inner if hasattr(each, "eqns")):
            return True
    return False
