"""The one list of attacks. All else of a family of attacks is in its own package and its stages (docs/extending.md)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.attack import Attack

if TYPE_CHECKING:
    from pipeline.config import Experiment

PACKAGES = ("reconstruction", "membership", "audit", "gradient_inversion", "kkt")
"""Packages of pipeline/, each with an `entry` that says what the rest of the program needs to know."""

ATTACKS: tuple[Attack, ...] = tuple(import_module(f"pipeline.{package}.entry").ATTACK for package in PACKAGES)


def settings_fields() -> dict[str, tuple[Any, Any]]:
    """The keys that attacks add to an experiment: name → (type, default)."""
    parts = {key: part for attack in ATTACKS for key, part in attack.parts.items()}
    return {
        key: (part.settings, part.default) if part.default else (part.settings | None, None)
        for key, part in parts.items()
    }


def attacks_of(experiment: "Experiment") -> list[Attack]:
    """The attacks that an experiment makes and its report tells of."""
    return [attack for attack in ATTACKS if attack.is_made(experiment) and not attack.apart]
