"""What a reconstructor is shown of a head where it reads recovered features."""

from collections.abc import Callable

from torch import Tensor

from pipeline.evaluation.reading import Reading
from pipeline.head_inversion.inversion import HeadInversion, Recovered


class FeatureReader:
    """Features of the images behind a head, centred and whitened, and the class that each belongs to.

    Conditional: of every class the image that has moved the head most. Unconditional: the one image whose features are
    surest; of an identity's photos the first.
    """

    def __init__(self, inversion: HeadInversion, mode: str, task: str, restore: Callable[[Tensor], Tensor] | None):
        """`restore` makes weights of standardised ones, where such are to be read."""
        self.inversion, self.restore = inversion, restore
        self.width = inversion.width
        self.classes = len(inversion.prior_means) if len(inversion.prior_means) > 1 else 0
        ranks = inversion.slots.ranks.to(inversion.means.device)
        leading = (ranks == 0).nonzero()[:, 0]
        if task == "identity":
            leading = leading[:1]
        self.leading, self.one = leading, mode == "unconditional"

    def read(self, weights: Tensor) -> Reading:
        recovered = self.inversion.invert(weights)
        return self.reading_of(recovered)

    def read_standardised(self, z: Tensor) -> Reading:
        return self.read(self.restore(z))

    def reading_of(self, recovered: Recovered) -> Reading:
        slots = self.leading.expand(len(recovered.features), -1)
        if self.one:
            slots = self.leading[recovered.error[:, self.leading].argmin(1, keepdim=True)]
        inputs = recovered.features.gather(1, slots[:, :, None].expand(-1, -1, self.width))
        labels = self.inversion.slots.classes.to(slots.device)[slots] if self.classes else None
        return Reading(inputs, labels, slots)
