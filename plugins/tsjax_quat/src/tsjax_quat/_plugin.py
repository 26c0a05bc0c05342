"""What the plugin `quat` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.protocols import BatchTransform, ModelSpec
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `quat`."""
    from tsjax_quat.strapdown import StrapDown
    from tsjax_quat.unit import UnitQuaternion

    return {"strapdown": StrapDown, "unit": UnitQuaternion}


@hookimpl
def tsjax_losses() -> Mapping[str, Callable[..., Any]]:
    """Return the losses of `quat`."""
    from tsjax_quat import losses

    names = (
        "inclination_loss",
        "inclination_loss_abs",
        "inclination_loss_squared",
        "inclination_loss_smooth",
        "abs_inclination_rad",
        "ms_inclination_rad2",
        "rms_inclination_rad",
        "smooth_inclination_rad",
        "angle_loss",
        "abs_relative_angle_rad",
        "ms_relative_angle_rad2",
        "rms_relative_angle_rad",
    )
    plain = {name: getattr(losses, name) for name in names}
    return {**plain, "regularizer": losses.quaternion_regularizer}


@hookimpl
def tsjax_metrics() -> Mapping[str, Callable[..., Any]]:
    """Return the metrics of `quat`."""
    from tsjax_quat import metrics

    names = (
        "mean_inclination_deg",
        "rms_inclination_deg",
        "mean_relative_angle_deg",
        "rms_relative_angle_deg",
        "rms_heading_deg",
        "rms_roll_deg",
        "rms_pitch_deg",
        "rmse_rad_in_deg",
    )
    return {name: getattr(metrics, name) for name in names}


@hookimpl
def tsjax_transforms() -> Mapping[str, Callable[..., BatchTransform]]:
    """Return the transforms of `quat`."""
    from tsjax_quat.augmentation import quaternion_augmentation
    from tsjax_quat.masks import score_where

    return {"rotate": quaternion_augmentation, "score_where": score_where}


@hookimpl
def tsjax_stores() -> Mapping[str, Callable[..., Any]]:
    """Return the stores of `quat`."""
    from tsjax_quat.store import QuaternionStore

    return {"slerp": QuaternionStore}


@hookimpl
def tsjax_plots() -> Mapping[str, Callable[..., Any]]:
    """Return the plots of `quat`."""
    from tsjax_quat import plots

    return {
        "errors": plots.plot_quaternion,
        "inclination": plots.plot_inclination,
        "relative_angle": plots.plot_relative_angle,
        "heading": plots.plot_heading,
    }
