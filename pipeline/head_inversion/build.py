"""An experiment's prior, slots and noise: what the adversary knows before any head is looked at."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.data.sources import ImageSource, load
from pipeline.errors import UserError
from pipeline.head_inversion.inversion import HeadInversion, remaining, weight_noise
from pipeline.head_inversion.prior import Prior
from pipeline.head_inversion.slots import Slots
from pipeline.networks.augmentation import with_copies
from pipeline.networks.state import state_dict
from pipeline.randomness import torch_generator
from pipeline.shadow import seeds
from pipeline.shadow.recipe import head_of, known_initial_weights
from pipeline.store import Shards

if TYPE_CHECKING:
    from pipeline.config import Experiment


def images_of(experiment: "Experiment", seed: str) -> ImageSource:
    """The images that a permutation seed deals; behind the adversary's own the augmented copies, for such a seed."""
    source = load(seeds.data_of(experiment, seed), seeds.split_of(seed), experiment.paths.data_root)
    if not seed.startswith("augmented"):
        return source
    generator = torch_generator(experiment.seed, "head_inversion", "augmentation")
    return with_copies(source, experiment.head_inversion.augmentation, generator)


def adversary_prior(experiment: "Experiment", features: np.ndarray, labels: np.ndarray) -> Prior:
    """From the images that shadow models are dealt: features (n, D), labels (n,).

    One class for all where the slots of a training set are of no class: an identity's photos, and foreign images, whose
    labels are random.
    """
    classless = experiment.task.kind == "identity" or experiment.shadow_models.data is not None
    classes = torch.zeros(len(labels), dtype=torch.int64) if classless else torch.as_tensor(labels).long()
    return Prior.of(torch.as_tensor(features), classes, experiment.head_inversion.variance)


def slots_of(experiment: "Experiment", labels: np.ndarray) -> Slots:
    """labels (N,): what the images of a training set are for the head."""
    shadow = experiment.shadow_models
    return Slots.of(
        torch.as_tensor(labels),
        shadow.class_size,
        experiment.task.kind,
        linear=shadow.training.hidden is None,
        foreign=shadow.data is not None,
    )


def noise_of(experiment: "Experiment", images: int) -> float:
    """ν: the variance in a first-layer weight that none of the N `images` of a training set explains."""
    training, multiplier = experiment.shadow_models.training, None
    if training.private:
        from pipeline.shadow.accountant import stated_noise

        multiplier = stated_noise(training.private, images)
    return weight_noise(training, head_of(experiment).inputs, images, multiplier)


def start_of(experiment: "Experiment", images: int) -> torch.Tensor | None:
    """(P,): what is left of known initial weights in heads trained on N `images`."""
    initial = known_initial_weights(experiment)
    return None if initial is None else remaining(experiment.shadow_models.training, images) * initial


def stored_inversion(experiment: "Experiment", shards: Shards, device: torch.device) -> HeadInversion:
    """The inversion that the stage head_inversion stored; raises UserError where it is for heads of another shape."""
    state = state_dict(shards.read(shards.names[0]))
    head = head_of(experiment)
    if state["directions"].shape[0] != head.inputs:
        raise UserError(
            f"head inversion: is for features of {state['directions'].shape[0]} numbers, the heads have {head.inputs}"
        )
    return HeadInversion.from_state(head, state).to(device)


def learning_rate_times_curvature(experiment: "Experiment", features: np.ndarray) -> float:
    """lr · ‖mean x'‖², x' = (x, 1): about 2 and less where the softmax hardly moves, ≫ 10 where a step saturates it."""
    mean = torch.as_tensor(features).double().mean(0)
    return experiment.shadow_models.training.learning_rate * float(mean.square().sum() + 1)
