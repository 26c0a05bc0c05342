"""Whether model, loss, metrics and data fit each other, checked once when a learner is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from flax import nnx

from tsjax_core.checks import whole_number
from tsjax_core.errors import ConfigError, ModelError, SignatureError
from tsjax_core.losses.compose import NamedTerm
from tsjax_core.protocols import AuxModel, FiniteMemory, InitialWindow
from tsjax_core.signatures import declare, name_of

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline
    from tsjax_core.training.step.engine import Engine

_TAKEN = frozenset({"epoch", "seconds", "train_loss", "valid_loss"})


def check_metrics(metrics: Sequence[Callable[..., Any]]) -> None:
    """Raise SignatureError for a metric that cannot be called, ConfigError for one name twice."""
    names = [declare("metric", metric).name for metric in metrics]
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


def window_of(owner: Any) -> int:
    """Return the samples of measured output that a model or specification may use, 0 of others.

    Raises ConfigError where that is no whole number.
    """
    if not isinstance(owner, InitialWindow):
        return 0
    of = f"the init_window of {name_of(owner)}:"
    return whole_number("init_window", owner.init_window, "samples", of=of)


def field_of(owner: Any) -> int:
    """Return the receptive field of a model or specification, 0 of one without.

    Raises ConfigError where that is no whole number.
    """
    found: Any = owner.receptive_field if isinstance(owner, FiniteMemory) else None
    if found is None:
        return 0
    if isinstance(found, bool) or not isinstance(found, Integral):
        raise ConfigError(
            f"the receptive_field of {name_of(owner)}, {found!r}, is not a whole number of "
            "samples; make it one, or give n_skip.",
            key="n_skip",
        )
    return int(found)


def samples_to_skip(asked: int | None, owner: Any, *, used: int = 0) -> int:
    """Return `asked`, and where it is None the most samples that are not to be judged.

    These are the receptive field of `owner`, its initial window, and the samples `used` by the
    policy for the initial state. Raises ConfigError where `asked` is no whole number.
    """
    if asked is None:
        return max(field_of(owner), window_of(owner), used)
    return whole_number("n_skip", asked, "samples")


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


def check_n_skip(asked: int | None, owner: Any, pipeline: GrainPipeline, *, used: int = 0) -> None:
    """Raise ConfigError where `samples_to_skip` fails, or leaves nothing of a window or a file.

    Raise it too where samples would count whose measured output the model has been given.
    """
    n_skip = samples_to_skip(asked, owner, used=used)
    text, window_cure, file_cure = f"n_skip = {n_skip}", "", ""
    window = window_of(owner)
    if asked is None and n_skip and n_skip == window:
        text += f" is the initial window of {name_of(owner)} and"
        window_cure = "choose a longer win_sz or a shorter initial window, or "
    elif asked is None and n_skip and n_skip == used:
        text += f" is init_samples = {used} and"
        window_cure = "choose a longer win_sz or fewer init_samples, or "
    elif asked is None and n_skip:
        text += f" is the receptive field of {name_of(owner)} and"
        window_cure = "choose a longer win_sz or fewer layers, or "
        file_cure = "choose fewer layers, or "
    for least, what in ((window, f"{name_of(owner)} reads"), (used, "the initial state uses")):
        if n_skip < least:
            raise ConfigError(
                f"n_skip = {n_skip}, and {what} the measured output of the first {least} samples, "
                f"which must not count. Give n_skip = {least} or more, or leave it out.",
                key="n_skip",
            )
    if n_skip >= pipeline.win_sz and not pipeline.has_position:
        raise ConfigError(
            f"{text} leaves nothing of a window; {window_cure}give an n_skip below win_sz = "
            f"{pipeline.win_sz}.",
            key="n_skip",
        )
    for split in ("valid", "test"):
        for name, length in pipeline.file_lengths(split).items():
            if length <= n_skip:
                raise ConfigError(
                    f"{text} leaves nothing of {name} in {split}, which has {length} samples; "
                    f"{file_cure}give an n_skip below the length of the shortest file.",
                    key="n_skip",
                )


def check_output(owner: Any, model: nnx.Module, engine: Engine, pipeline: GrainPipeline) -> None:
    """Raise ModelError where the output for a batch of windows has another shape than the targets.

    Raise SignatureError for a loss that is not a scalar, and ConfigError for one that reads a batch
    key that is not there. The batch has the keys of a real sample; nothing is computed.
    """
    target = pipeline.signals.target
    batch = pipeline.example_batch()
    got, expected = engine.output_shape(model, batch), batch[target].shape
    if got != expected:
        names = ", ".join(pipeline.signals.names[target])
        raise ModelError(
            f"{name_of(owner)} returns shape {got} for a batch of {expected[0]} windows of "
            f"{pipeline.win_sz} samples; the targets ({names}) have {expected}."
        )
    checked = {"training": engine.term_shapes(model, batch, training=True)}
    if all(term.wants for term in engine.terms):
        try:
            checked["validation"] = engine.term_shapes(model, batch, training=False)
        except KeyError as error:
            raise ConfigError(
                f"the loss reads {error.args[0]!r} of the batch, and validation batches have "
                f"{', '.join(batch)}. Mark the transform that makes it by also_in_evaluation, or "
                "add a loss term that needs prediction and target alone.",
                key="loss",
            ) from error
    for shapes in checked.values():
        for name, shape in shapes.items():
            if shape != ():
                raise SignatureError(
                    f"loss {name!r} returns shape {shape}; a loss is one number. Take the "
                    "mean over batch, time and channels."
                )
