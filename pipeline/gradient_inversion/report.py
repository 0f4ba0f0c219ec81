"""The recoverability report: for every layer, what determines its input and whether that is enough."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class LayerReport:
    """One layer of the way back. The counting rule: unknowns − gradient rank ≤ weight rows."""

    layer: str
    method: Literal["features", "gradient", "weights", "both"]
    """What the input is solved from; "features" for the fully connected layer at which the way back begins."""
    unknowns: int
    gradient_rank: int
    """Independent equations in the layer's weight gradient (their count, at most, where `method` is "weights")."""
    weight_rows: int
    """Equations from pre-activations that are known."""
    condition: float
    """Ratio of the largest to the smallest singular value of what is solved; ∞ where that is rank deficient."""
    precision: float
    """Relative error of the given gradient."""
    hidden_rows: int = 0
    """Equations behind a ReLU, which hold where its units turn out to be live; none is counted."""

    @property
    def limit(self) -> float:
        """The condition beyond which errors of size `precision` leave too little of the answer."""
        return self.precision**-0.75

    @property
    def enough(self) -> bool:
        """The counting rule alone."""
        return self.unknowns - self.gradient_rank <= self.weight_rows

    @property
    def recoverable(self) -> bool:
        return self.enough and self.condition <= self.limit

    def behind_relu(self, rows: int) -> "LayerReport":
        """The same line, telling how many equations a ReLU may reveal."""
        return replace(self, hidden_rows=rows)

    @property
    def verdict(self) -> str:
        left = self.unknowns - self.gradient_rank
        if not self.enough and left <= self.hidden_rows:
            return f"depends on the gradient: at least {left} of {self.hidden_rows} ReLU units must be live"
        if not self.enough:
            return f"not recoverable: {left} unknowns are left by the gradient for {self.weight_rows} weight rows"
        if not self.recoverable:
            return f"not recoverable: condition {self.condition:.1e} exceeds {self.limit:.1e} at this precision"
        return "recoverable"


@dataclass(frozen=True)
class Recoverability:
    """The layers in the order of the attack, last first; empty with a `refusal` where nothing could be begun."""

    layers: tuple[LayerReport, ...]
    refusal: str | None = None

    @property
    def recoverable(self) -> bool:
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Why the images cannot be recovered, naming the layer; None where they can."""
        if self.refusal:
            return self.refusal
        return next((f"{line.layer}: {line.verdict}" for line in self.layers if not line.recoverable), None)

    def __str__(self) -> str:
        table = [("layer", "solved from", "unknowns", "gradient rank", "weight rows", "condition", "verdict")]
        for line in self.layers:
            numbers = (line.unknowns, line.gradient_rank, line.weight_rows, f"{line.condition:.1e}")
            table.append((line.layer, line.method, *map(str, numbers), line.verdict))
        return "\n".join("{:<12} {:<12} {:>9} {:>14} {:>12} {:>10}  {}".format(*row) for row in table)
