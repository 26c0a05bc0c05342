"""The five losses by which diagnosis and prognosis of FranSys learn the same states.

All take the intermediate values of a `FranSysModel`. N is the length of the window of a sequence,
and D_t and P_t are the states by diagnosis and prognosis, with all layers, of an LSTM h and c.
Samples that fill up a batch do not count.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp

from tsjax_ar.terms import Values, length, make_term, masked_mean
from tsjax_core.checks import choice, whole_number
from tsjax_core.losses.regression import normalized_mae, normalized_mse
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, Array

Sync: TypeAlias = Literal["mse", "mae", "mspe", "mape", "cos", "cos_pow"]

Error: TypeAlias = Literal["mae", "mse"]

_SYNCS: tuple[Sync, ...] = ("mse", "mae", "mspe", "mape", "cos", "cos_pow")
_ERRORS: dict[Any, LossTerm] = {"mae": normalized_mae, "mse": normalized_mse}


def state_sync(sync_type: Sync = "mse") -> LossTerm:
    """Distance of the simulated states from the estimated ones, from N on.

    `mse` is mean(((P - D) / |D|)^2), `mae` the same of absolute values, with the Euclidean norm |D|
    over all samples, so that a weight of 1e7 suits it. `mspe` and `mape` take the norm over batch
    and layers alone, at each sample and unit. `cos` is mean(1 - cos(D, P)), the cosine over the
    units of a layer, and `cos_pow` is mean((1 - cos(D, P))^2). The gradient goes into both
    networks, and through the norm.

    Args:
        sync_type: How states are compared.
    """
    choice("sync_type", sync_type, _SYNCS, of="state_sync")

    def cost(values: Values) -> Array:
        mask = (values["known"] & values["simulated"] & values.counts)[..., None]
        d, p = (jnp.where(mask, values[name], 0.0) for name in ("diagnosis", "prognosis"))
        if sync_type in ("cos", "cos_pow"):
            cosine = jnp.sum(d * p, -1, keepdims=True) / (length(d, (-1,)) * length(p, (-1,)))
            apart = 1.0 - cosine
            return masked_mean(apart if sync_type == "cos" else jnp.square(apart), mask)
        error = (p - d) / length(d, None if sync_type in ("mse", "mae") else (0, 2))
        squared = sync_type in ("mse", "mspe")
        return masked_mean(jnp.square(error) if squared else jnp.abs(error), mask)

    return make_term("state_sync", cost)


def diagnosis_loss(error: Error = "mae") -> LossTerm:
    """Error of the outputs of the estimated states, from N on, in training standard deviations.

    Args:
        error: Absolute or squared error.
    """
    return _output_loss("diagnosis_loss", "diagnosis_output", error, 0, None)


def one_step_sync(skip: int | None = None) -> LossTerm:
    """Distance of estimated states from one step of the prognosis: mean(((D - H) / (|H| + |D|))^2).

    H_t is one step of the prognosis, by the input at t, from D_(t-1).

    Args:
        skip: First sample that counts, N where it is not given.
    """
    first = _first_sample("one_step_sync", skip)

    def cost(values: Values) -> Array:
        mask = _stepped(values, first)[..., None]
        d, h = (jnp.where(mask, values[name], 0.0) for name in ("diagnosis", "one_step"))
        return masked_mean(jnp.square((d - h) / (length(h) + length(d))), mask)

    return make_term("one_step_sync", cost)


def one_step_loss(error: Error = "mae", skip: int | None = None) -> LossTerm:
    """Error of the outputs one step of the prognosis after the estimated states.

    It is in training standard deviations.

    Args:
        error: Absolute or squared error.
        skip: First sample that counts, N where it is not given.
    """
    first = _first_sample("one_step_loss", skip)
    return _output_loss("one_step_loss", "one_step_output", error, 1, first)


def temporal_activation() -> LossTerm:
    """Mean square of the change of the state from sample to sample.

    The states are the estimated ones before N and the simulated ones from N on, so that the step
    from one to the other is among them. Source: Merity, McCann and Socher, Revisiting activation
    regularization for language RNNs (2017).
    """

    def cost(values: Values) -> Array:
        states, counts = values["states"], values.counts
        both = (counts[:, 1:] & counts[:, :-1]).reshape(
            *counts[:, 1:].shape, *[1] * (states.ndim - 3)
        )
        return masked_mean(jnp.square(jnp.diff(states, axis=1)), both)

    return make_term("temporal_activation", cost)


def _output_loss(name: str, output: str, error: Error, delay: int, first: int | None) -> LossTerm:
    """Return the error of the outputs in the intermediate value `output`.

    They follow from the states estimated `delay` samples before.
    """
    choice("error", error, tuple(_ERRORS), of=name)

    def term(
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray,
        y_std: AnyArray,
        *,
        aux: Any,
        batch: Any,
    ) -> Array:
        values = Values(name, aux, batch)
        mask = _stepped(values, first) if delay else values["known"] & values["simulated"]
        measured = jnp.where(mask & values.counts, batch["y"], jnp.nan)
        return _ERRORS[error](values[output], measured, y_mean, y_std)

    term.__name__ = name
    return term


def _stepped(values: Values, first: int | None) -> Array:
    """Return where one step from an estimated state counts, (batch, time, 1)."""
    known = values["known"]
    after = values["simulated"]
    if first is not None:
        after = jnp.broadcast_to(jnp.arange(known.shape[1])[:, None] >= first, known.shape)
    before = jnp.pad(known[:, :-1], ((0, 0), (1, 0), (0, 0)))
    return known & before & after & values.counts


def _first_sample(owner: str, skip: int | None) -> int | None:
    return None if skip is None else whole_number("skip", skip, "samples", least=1, of=owner)
