"""Grey boxes: differential equations of which a part is known and a part is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from flax import nnx

from tsjax_core.checks import check_choices, check_counts, positive
from tsjax_core.errors import ConfigError
from tsjax_core.models.parameters import Bounded
from tsjax_core.types import FrozenMapping, Signals
from tsjax_pinn.auxiliary import Auxiliary
from tsjax_pinn.grey_box_models import GreyBoxModel, WindowedGreyBoxModel
from tsjax_pinn.residual import NOTHING, Constant
from tsjax_pinn.solver import IMPLICIT, Method, Solver, require_diffrax
from tsjax_pinn.units import check_unit
from tsjax_pinn.vector_field import VectorField

Hold: TypeAlias = Literal["zero", "linear"]


@dataclass(frozen=True)
class GreyBox:
    """Differential equations of a known part and a network, integrated by Diffrax.

    The states are the measured outputs and those in `auxiliary`. The known part is a function of
    (u, x, parameters), which get channels by name, (batch,), in physical units; it returns the
    derivative of each state by its name. Without it the model is a neural differential equation.

    Args:
        field: Place of the known part, as "module:function" or "file.py:function".
        auxiliary: States by name that are not measured.
        parameters: Unknown physical parameters by name, which are trained within their bounds.
        constants: Known physical parameters by name.
        hidden_size: Units in each hidden layer of the network that is added to the known part, 0
            for no network.
        num_layers: Hidden layers of the network.
        corrects: States to whose derivatives the network adds, all of them unless given.
        sees: States and inputs that the network sees, all of them unless given. What it does not
            see it cannot take over from the known part, such as a friction that sees the speed
            alone, beside an unknown length.
        time_constant: About the time in seconds in which states change by their standard
            deviation; it scales the network, and is 10 sampling times unless given.
        hold: The input between samples: `zero` for the last sample, `linear` for a straight line.
        solver: Method of Diffrax: `euler`, `heun`, `bosh3`, `tsit5`, `dopri8`, or for stiff
            equations `kvaerno3` and `kvaerno5`.
        substeps: Equal steps in each sampling interval.
        tolerance: Error of a step relative to the scale of the states, by which the solver chooses
            its own steps; without it they are equal. Stiff equations need it.
        init_window: Samples of measured output from which a network estimates the state at the end
            of the window, where the simulation begins. With 0 it begins from the mean of each
            state, or as a policy for the initial state says.
        encoder_size: Hidden units of that network.
    """

    field: str | None = None
    auxiliary: FrozenMapping[Auxiliary] = NOTHING
    parameters: FrozenMapping[Bounded] = NOTHING
    constants: FrozenMapping[Constant] = NOTHING
    hidden_size: int = 0
    num_layers: int = 1
    corrects: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    time_constant: float | None = None
    hold: Hold = "zero"
    solver: Solver = "tsit5"
    substeps: int = 1
    tolerance: float | None = None
    init_window: int = 0
    encoder_size: int = 16

    def __post_init__(self) -> None:
        check_counts(self, hidden_size=0, num_layers=1, substeps=1, init_window=0, encoder_size=1)
        check_choices(self, "hold", "solver")
        for name in ("time_constant", "tolerance"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name), of="GreyBox")
        for name, bounded in self.parameters.items():
            check_unit("unit", bounded.unit, of=f"the parameter {name!r}")
        if self.field is None and not self.hidden_size:
            raise ConfigError(
                "GreyBox got no field and hidden_size = 0, and so no equations; give the place of "
                "the known part, such as field = 'physics.py:tanks', or a network, such as "
                "hidden_size = 32.",
                key="field",
            )
        for name in ("corrects", "sees"):
            if getattr(self, name) and not self.hidden_size:
                raise ConfigError(
                    f"GreyBox got {name} = {getattr(self, name)!r} and hidden_size = 0, and so no "
                    f"network; give hidden_size = 1 or more, or leave {name} out.",
                    key=name,
                )
        if self.tolerance is not None and self.solver == "euler":
            raise ConfigError(
                "GreyBox got a tolerance, and solver = 'euler' does not estimate its error; give "
                "another solver, or substeps instead.",
                key="solver",
            )
        if self.tolerance is None and self.solver in IMPLICIT:
            raise ConfigError(
                f"GreyBox got solver = {self.solver!r} without a tolerance, which it needs to "
                "solve its equations; give one, such as tolerance = 1e-4.",
                key="tolerance",
            )
        if self.tolerance is not None and self.substeps != 1:
            raise ConfigError(
                f"GreyBox got substeps = {self.substeps} and a tolerance, by which the solver "
                "chooses its own steps; give one of them.",
                key="substeps",
            )

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return ("u", "y") if self.init_window else ("u",)

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> GreyBoxModel | WindowedGreyBoxModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        require_diffrax("pinn/grey_box")
        equations = VectorField(
            signals,
            self.auxiliary,
            field=self.field,
            parameters=self.parameters,
            constants=self.constants,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            corrects=self.corrects,
            sees=self.sees,
            time_constant=self.time_constant,
            rngs=rngs,
        )
        method = Method(self.solver, self.substeps, self.tolerance, linear=self.hold == "linear")
        if not self.init_window:
            return GreyBoxModel(self, equations, method)
        window, size = self.init_window, self.encoder_size
        return WindowedGreyBoxModel(self, equations, method, window, size, rngs=rngs)
