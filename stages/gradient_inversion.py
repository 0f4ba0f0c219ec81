"""Invert gradients of single training steps: one shard is an attack on a block of images."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline import perceptual
from pipeline.config import Experiment
from pipeline.errors import UserError
from pipeline.gradient_inversion.methods import METHODS
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work

if TYPE_CHECKING:
    from pipeline.data.sources import ImageSource

PROBE_IMAGES = 300
"""From so many images, the last of the data, a prediction draws the batches that it rehearses."""
TRAINING_IMAGES = 5000
"""What a network that is not attacked fresh is trained on: the first of the data."""


def blocks(experiment: Experiment) -> dict[str, tuple[str, Sequence[int]]]:
    """Shard → (attack, indices of its images); named after the first of them."""
    settings = experiment.gradient_inversion
    if not settings:
        return {}
    places = range(0, len(settings.chosen), settings.images_per_shard)
    parts = [settings.chosen[place : place + settings.images_per_shard] for place in places]
    return {f"{attack}-{part[0]:05d}": (attack, part) for attack in settings.attacks for part in parts}


def settings(experiment: Experiment, shard: str) -> dict:
    attack, images = blocks(experiment)[shard]
    settings = experiment.gradient_inversion
    apart = {"attacks", "images", "images_per_shard", *METHODS}
    return {
        **settings.model_dump(mode="json", exclude=apart),
        "attack": {attack: settings.of_method(attack).model_dump(mode="json")},
        "images": [images.start, images.stop] if isinstance(images, range) else {"indices": list(images)},
        "data": experiment.data.identity(experiment.paths.data_root),
        "seed": experiment.seed,
        **perceptual.identity(experiment.evaluation, "evaluation"),
    }


def check(experiment: Experiment) -> None:
    import torch

    from pipeline.data.sources import load
    from pipeline.evaluation.image_metrics import lpips

    lpips(experiment.evaluation, experiment.data.image_size, torch.device("cpu"))

    source = load(experiment.data, "train", experiment.paths.data_root)
    if (last := max(experiment.gradient_inversion.chosen)) >= len(source):
        raise UserError(
            f"gradient_inversion.images: there is no image {last}; {experiment.data.name} has 0 … {len(source) - 1}"
        )
    attacked_network(experiment, source)


def attacked_network(experiment: Experiment, source: "ImageSource"):
    """The network under attack, drawn (and trained, where that is asked for) from the experiment's seed alone."""
    import torch

    from pipeline.gradient_inversion.layers import read_network
    from pipeline.gradient_inversion.networks import build, train
    from pipeline.randomness import torch_generator

    data, settings = experiment.data, experiment.gradient_inversion.network
    generator = torch_generator(experiment.seed, "gradient_inversion", "network")
    shape = (data.channels, data.image_size, data.image_size)
    classes = int(source.labels.max()) + 1
    drawn = {
        "activation": settings.activation,
        "init": settings.init,
        "filters": settings.filters,
        "hidden": settings.hidden,
    }
    network = build(settings.name, shape, classes, generator, **drawn)
    if settings.train_steps:
        chosen = range(min(len(source), TRAINING_IMAGES))
        images, labels = pixels(experiment, source, chosen), torch.as_tensor(source.labels[: len(chosen)])
        train(network, images, labels, settings.train_steps, generator)
    return read_network(network, shape)


def pixels(experiment: Experiment, source: "ImageSource", chosen: Sequence[int]):
    """Images (n, C, S, S) in [0, 1], float64."""
    from pipeline.data.images import target_images

    return target_images(source.part(chosen), experiment.data.image_size).double() / 255


def run(work: Work) -> Result:
    """image (n,), the index of each; original, estimate (n, C, S, S) float32; mse, psnr, ssim, residual, tolerance
    (n,); success (n,) bool; lpips (n,), NaN where its weights are not at hand.
    """
    import numpy as np
    import torch

    from pipeline.data.sources import load
    from pipeline.evaluation.image_metrics import lpips
    from pipeline.gradient_inversion.trial import expose, score
    from pipeline.randomness import torch_generator

    experiment, settings = work.experiment, work.experiment.gradient_inversion
    attack, chosen = blocks(experiment)[work.shard]
    source = load(experiment.data, "train", experiment.paths.data_root)
    network = attacked_network(experiment, source)
    images = pixels(experiment, source, chosen).unflatten(0, (-1, settings.batch_size))
    labels = torch.as_tensor(source.labels[list(chosen)]).view(images.shape[:2])
    # attacks that are compared see the same noise, so it is drawn for the images and not for the attack
    noise = torch_generator(experiment.seed, "gradient_inversion", "noise", chosen[0])
    exposed = expose(network, images, labels, settings.gradient, noise)
    own = torch_generator(experiment.seed, "gradient_inversion", work.shard)
    inversion = METHODS[attack].run(
        network, exposed.gradient, settings.batch_size, settings.of_method(attack), own, exposed.exposure
    )
    refusals = sorted({refusal for refusal in inversion.refusals if refusal})
    facts = {"attack": attack, "seconds": inversion.seconds, "gradients": len(images), "refusals": refusals}
    facts["found_by"] = dict(Counter(name for names in inversion.found_by for name in names if name))
    metric, facts["lpips"] = lpips(experiment.evaluation, experiment.data.image_size, torch.device("cpu"))
    return Result({"image": np.array(chosen), **score(exposed, inversion, metric)}, facts)


def prediction(experiment: Experiment) -> str:
    """What the network alone says about recoverability, before any gradient is seen."""
    import torch

    from pipeline.data.sources import load
    from pipeline.gradient_inversion.batches.network import obstacle
    from pipeline.gradient_inversion.batches.prediction import expect
    from pipeline.gradient_inversion.prediction import predict

    source = load(experiment.data, "train", experiment.paths.data_root)
    network, batch_size = attacked_network(experiment, source), experiment.gradient_inversion.batch_size
    found = predict(network, batch_size)
    said = f"{found}\n{'recoverable' if found.recoverable else found.reason}"
    if batch_size == 1 or len(network.head) == 1:
        return said
    chosen = range(max(0, len(source) - max(PROBE_IMAGES, batch_size)), len(source))
    probe, labels = pixels(experiment, source, chosen), torch.as_tensor(source.labels[chosen.start :]).long()
    return f"{said}\n{obstacle(network) or expect(network, probe, labels, batch_size)}"


STAGE = Stage(
    name="gradient_inversion",
    shards=lambda experiment: list(blocks(experiment)),
    inputs=lambda experiment: [],
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=4.0, seconds_per_shard=30.0),
    run=run,
    check=check,
    version=4,
)

if __name__ == "__main__":
    main(STAGE, __doc__, report=prediction)
