"""The names under which trials stand in a configuration of Ray, one by one or several together.

Ray knows configurations alone. One that is drawn beforehand has its number beside its values, and
several trials that one process trains are a list of such configurations. Population-based training
takes no configurations but those of a grid, so that they are the values of one key there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

NUMBER = "__trial__"
MEMBERS = "__members__"
POINT = "__point__"
ALONE = "trial"
"""The key of the only member, which is the same in all trials: another one may go on from it."""


def members_of(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the configurations of the trials that a configuration of Ray stands for, by key."""
    config = config.get(POINT, config)
    if MEMBERS not in config:
        return {ALONE: {key: value for key, value in config.items() if key != NUMBER}}
    return {
        trial_name(member[NUMBER]): {key: each for key, each in member.items() if key != NUMBER}
        for member in config[MEMBERS]
    }


def trial_name(number: int) -> str:
    """Return the name of the trial with this number, counted from 1."""
    return f"trial_{number:03d}"


def name_of_trial(trial: Trial) -> str:
    """Return the name of a trial of Ray."""
    return name_of_config(trial.config) or f"trial_{trial.trial_id}"


def name_of_config(config: Mapping[str, Any]) -> str | None:
    """Return the name of the trial with a configuration of Ray, None of one without a number.

    Ray gives another name to the directory of a trial that is begun anew.
    """
    config = config.get(POINT, config)
    if MEMBERS in config:
        return f"pack_{config[MEMBERS][0][NUMBER]:03d}"
    number = config.get(NUMBER)
    return None if number is None else trial_name(number)


def shown_name(trial: str, member: str) -> str:
    """Return the name under which a user finds a member of a trial of Ray."""
    return trial if member == ALONE else member


def number_of(name: str) -> int:
    """Return the number in a name that `trial_name` gave, 0 for other names."""
    number = name.removeprefix("trial_")
    return int(number) if number.isdecimal() else 0
