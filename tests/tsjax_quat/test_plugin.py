"""What tsjax-quat registers."""

from __future__ import annotations

from tsjax_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    namespace = "quat"
    offers = {
        "model": {"strapdown", "unit"},
        "loss": {
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
            "regularizer",
        },
        "metric": {
            "mean_inclination_deg",
            "rms_inclination_deg",
            "mean_relative_angle_deg",
            "rms_relative_angle_deg",
            "rms_heading_deg",
            "rms_roll_deg",
            "rms_pitch_deg",
            "rmse_rad_in_deg",
        },
        "transform": {"rotate", "score_where"},
        "store": {"slerp"},
        "plot": {"errors", "inclination", "relative_angle", "heading"},
    }
    not_imported = ("matplotlib", "tsjax_quat.strapdown", "tsjax_quat.plots")
