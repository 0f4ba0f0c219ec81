"""The weights under LPIPS that an experiment names, for training (`reconstructor:`) and for scoring (`evaluation:`)."""

from pathlib import Path
from typing import Literal, Protocol

from pipeline import located
from pipeline.errors import UserError
from pipeline.fingerprint import digest_of


class LpipsSettings(Protocol):
    lpips: Literal["none", "vgg", "alex"]
    lpips_weights: str | None


def weights_file(settings: LpipsSettings, part: str) -> Path | None:
    """The file that `lpips_weights` of this `part` of the experiment names; raises UserError where it is missing."""
    if not settings.lpips_weights:
        return None
    path = located(settings.lpips_weights)
    if not path.is_file():
        raise UserError(f"{part}.lpips_weights: {path} does not exist; give torchvision's file of weights")
    return path


def identity(settings: LpipsSettings, part: str) -> dict:
    """What a result depends on: the network and what the file holds, never where it lies."""
    path = weights_file(settings, part)
    return {"lpips": settings.lpips} | ({"lpips_weights": digest_of(path)} if path else {})
