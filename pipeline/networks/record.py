"""What a backbone is to the rest of the program: one record, in one file of pipeline/networks/known/."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGES_AT_ONCE = 256


def _same(key: str) -> str:
    return key


@dataclass(frozen=True)
class Record:
    """A backbone.

    name            the value of `backbone.name`
    features        D, how many numbers it makes of an image
    build           the network without its top: what `preprocess` makes → features (B, D)
    preprocess      bytes (B, C, H, W) → what it is fed
    imagenet        a state dict of ImageNet weights, with its top, from a download or a cache; none = there are none
    imagenet_file   the file of ImageNet weights that a package brings, for an error that names a key; none = no package
    images_at_once  on a CPU
    own_name        of a published file's key, the name of the same weights here
    """

    name: str
    features: int
    build: "Callable[[], nn.Module]"
    preprocess: "Callable[[Tensor], Tensor]"
    imagenet: "Callable[[], Mapping[str, Tensor]] | None" = None
    imagenet_file: Callable[[str], Path] | None = None
    images_at_once: int = IMAGES_AT_ONCE
    own_name: Callable[[str], str] = _same
