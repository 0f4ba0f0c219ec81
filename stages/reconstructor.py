"""Train the reconstructor: from the weights of a shadow model to the images that trained it."""

from pipeline.config import Experiment
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work

WATCHED_VICTIMS = 100


def settings(experiment: Experiment, shard: str) -> dict:
    return {
        **experiment.reconstructor.model_dump(mode="json", exclude={"modes"}),
        "seed": experiment.seed,
        "data": (experiment.shadow_models.data or experiment.data).identity(),
        "victims": experiment.data.identity(),
    }


def check(experiment: Experiment) -> None:
    import torch

    from pipeline.reconstruction.losses import perceptual_network

    perceptual_network(experiment.reconstructor.lpips, torch.device("cpu"))


def run(work: Work) -> Result:
    """state/…: the trained network; step, loss, validation: how it went, against held-out victims."""
    from functools import partial

    from pipeline.data.images import target_images
    from pipeline.data.sources import load
    from pipeline.evaluation.min_mse import min_mse
    from pipeline.evaluation.victims import victims_of
    from pipeline.networks.reconstructor import Reconstructor, initialise
    from pipeline.networks.state import state_arrays
    from pipeline.randomness import torch_generator
    from pipeline.reconstruction.batches import ShadowBatches
    from pipeline.reconstruction.candidates import candidate_groups
    from pipeline.reconstruction.losses import perceptual_network
    from pipeline.reconstruction.train import train_reconstructor
    from pipeline.statistics import Standardisation

    experiment, mode, device = work.experiment, work.shard, work.device
    chosen, shadow, data = experiment.reconstructor, experiment.shadow_models, experiment.data
    purpose = (experiment.seed, "reconstructor", mode)
    root = experiment.paths.data_root
    models = work.inputs["shadow_models"]
    statistics = work.inputs["weight_stats"].read("all", "kept", "mean", "deviation")
    standardise = Standardisation.from_arrays(statistics, device)
    groups_of = partial(candidate_groups, class_size=shadow.class_size, mode=mode, task=experiment.task.kind)
    victims = victims_of(data, root, models.read("test-00000"), groups_of, standardise, device).first(WATCHED_VICTIMS)
    classes = victims.groups.shape[1] if mode == "conditional" else 0
    network = Reconstructor(len(standardise.mean), data.channels, data.image_size, chosen.width, classes)
    initialise(network, torch_generator(*purpose, "initial"))
    network.to(device)
    history = train_reconstructor(
        network,
        ShadowBatches(models.matching("train"), chosen.batch_size, (*purpose, "order")).from_step,
        target_images(load(shadow.data or data, "train", root), data.image_size).to(device),
        groups_of,
        standardise,
        chosen,
        purpose=(*purpose, "class"),
        perceptual=perceptual_network(chosen.lpips, device),
        validate=lambda trained: float(min_mse(trained, victims).distances.mean()),
        checkpoint=work.checkpoint,
        progress=work.progress,
    )
    facts = {"final_loss": history["loss"][-1], "held_out_min_mse": history["validation"][-1], "classes": classes}
    return Result({**state_arrays(network), **history}, facts)


STAGE = Stage(
    name="reconstructor",
    shards=lambda experiment: experiment.modes,
    inputs=lambda experiment: ["shadow_models", "weight_stats"],
    settings=settings,
    resources=lambda experiment: Resources("gpu", experiment.reconstructor.threads, 8.0, 36000.0),
    run=run,
    check=check,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
