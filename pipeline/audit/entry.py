"""The audit of a user's own heads: reconstruction turned on one model, told on a card of its own."""

from typing import TYPE_CHECKING

from pipeline.attack import Attack, Part
from pipeline.audit.settings import Subject
from pipeline.head_inversion.settings import inverts_heads
from pipeline.reconstruction.settings import modes

if TYPE_CHECKING:
    from pipeline.config import Experiment


def refuse(experiment: "Experiment") -> None:
    if not experiment.subject:
        return
    if not (inverts_heads(experiment) and "conditional" in modes(experiment)):
        raise ValueError("subject needs the part reconstructor, with reads: features and the mode conditional")
    if experiment.shadow_models.training.hidden or experiment.task.kind != "multiclass":
        raise ValueError("subject is a linear head of several classes: hidden: null, and task.kind multiclass")
    if experiment.shadow_models.data:
        raise ValueError("subject goes with shadow models of the data itself: leave out shadow_models.data")


ATTACK = Attack(
    name="audit",
    parts={"subject": Part(Subject)},
    stages=("audit", "card"),
    is_made=lambda experiment: experiment.subject is not None,
    refuse=refuse,
    apart=True,
)
