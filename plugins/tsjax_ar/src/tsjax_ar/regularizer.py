"""The composition of losses that FranSys is trained with."""

from __future__ import annotations

from tsjax_ar.synchronisation import (
    Error,
    Sync,
    diagnosis_loss,
    one_step_loss,
    one_step_sync,
    state_sync,
    temporal_activation,
)
from tsjax_core.checks import not_negative
from tsjax_core.losses.compose import ComposedLoss, compose_losses
from tsjax_core.losses.regression import normalized_mae
from tsjax_core.protocols import LossTerm


def fransys_losses(
    *,
    loss: LossTerm = normalized_mae,
    p_state_sync: float = 1e7,
    p_diagnosis_loss: float = 0.0,
    p_one_step_sync: float = 0.0,
    p_one_step_loss: float = 0.0,
    p_temporal_activation: float = 0.0,
    sync_type: Sync = "mse",
    error: Error = "mae",
    skip: int | None = None,
) -> ComposedLoss:
    """Return `loss` of the outputs with the regularising losses of FranSys, as one loss.

    A term whose weight is 0 is left out. The weight of the state synchronisation is large, because
    its errors are relative to a norm over all samples of the batch.

    Args:
        loss: Loss of the simulated outputs.
        p_state_sync: Weight of `state_sync`.
        p_diagnosis_loss: Weight of `diagnosis_loss`.
        p_one_step_sync: Weight of `one_step_sync`.
        p_one_step_loss: Weight of `one_step_loss`.
        p_temporal_activation: Weight of `temporal_activation`.
        sync_type: How `state_sync` compares states.
        error: Absolute or squared error in `diagnosis_loss` and `one_step_loss`.
        skip: First sample that counts in `one_step_sync` and `one_step_loss`, the end of the
            initial window where it is not given.

    Raises:
        ConfigError: A weight is negative or not finite, or an option is not one of its choices.
    """
    terms = [
        ("p_state_sync", p_state_sync, state_sync(sync_type)),
        ("p_diagnosis_loss", p_diagnosis_loss, diagnosis_loss(error)),
        ("p_one_step_sync", p_one_step_sync, one_step_sync(skip)),
        ("p_one_step_loss", p_one_step_loss, one_step_loss(error, skip)),
        ("p_temporal_activation", p_temporal_activation, temporal_activation()),
    ]
    kept = [
        (term, weight)
        for key, given, term in terms
        if (weight := not_negative(key, given, of="fransys_losses"))
    ]
    return compose_losses((loss, 1.0), *kept)
