"""Models of dynamic systems for tsjax."""

from tsjax_acme.modes import Modes

__all__ = ["Modes"]
