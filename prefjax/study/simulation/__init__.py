"""Simulated people who take part in a study, with and without pages."""

from prefjax.study.simulation._simulate import SimulateResult, copy_study, simulate
from prefjax.study.simulation.participant import SimulateConfig
from prefjax.study.simulation.people import (
    PeopleConfig,
    SimulatedPeople,
    make_people,
    take_part,
)

__all__ = [
    "PeopleConfig",
    "SimulateConfig",
    "SimulateResult",
    "SimulatedPeople",
    "copy_study",
    "make_people",
    "simulate",
    "take_part",
]
