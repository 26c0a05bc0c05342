"""What this plugin offers: each hook returns the components of one kind by their short names."""

from collections.abc import Mapping

from tsjax_core import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type]:
    # Imported here, so that asking for another kind of component does not load the models.
    from tsjax_acme.modes import Modes

    return {"modes": Modes}
