"""Score the reconstructions: from the weights of real victims (H0), and from weights that saw no image (H1)."""

from pipeline.config import Experiment
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    judged = experiment.evaluation
    return {"seed": experiment.seed, "null_weights": judged.null_weights, "reconstructor": judged.reconstructor}


def inputs(experiment: Experiment) -> list[str]:
    null = seeds.inputs(experiment) if experiment.evaluation.null_weights == "shards" else []
    return [f"shadow_models/{seeds.VICTIMS}", *null, "weight_stats", "reconstructor"]


def run(work: Work) -> Result:
    """h0, h1 (V, G) float64; nearest (V, G) test image to each H0 reconstruction; rebuilt (V, G, C, S, S)."""
    from functools import partial

    import torch

    from pipeline.evaluation.min_mse import min_mse
    from pipeline.evaluation.victims import victims_of
    from pipeline.networks.reconstructor import Reconstructor
    from pipeline.networks.state import state_dict
    from pipeline.randomness import torch_generator
    from pipeline.reconstruction.candidates import candidate_groups
    from pipeline.shadow.recipe import training_weights
    from pipeline.statistics import Standardisation, h1_from_correlation, h1_from_weights

    experiment, mode, inputs = work.experiment, work.shard, work.inputs
    statistics = inputs["weight_stats"].read("all")
    standardise = Standardisation.from_arrays(statistics, work.device)
    groups_of = partial(
        candidate_groups, class_size=experiment.shadow_models.class_size, mode=mode, task=experiment.task.kind
    )
    shard = inputs["shadow_models"].read(seeds.VICTIMS)
    data, root = experiment.data, experiment.paths.data_root
    victims = victims_of(data, root, shard, groups_of, standardise, work.device)

    classes = int(inputs["reconstructor"].attributes(mode)["classes"])
    width = experiment.reconstructor.width
    network = Reconstructor(len(standardise.mean), data.channels, data.image_size, width, classes)
    prefix = {"last": "state/", "best": "best/"}[experiment.evaluation.reconstructor]
    network.load_state_dict(state_dict(inputs["reconstructor"].read(mode), prefix))
    network.to(work.device)

    generator = torch_generator(experiment.seed, "min_mse", mode, "null weights", device=work.device)
    if experiment.evaluation.null_weights == "correlation":
        matrix = torch.as_tensor(statistics["correlation"]).to(work.device, torch.float64)
        null = h1_from_correlation(matrix, len(victims.inputs), generator)
    else:
        blocks = training_weights(experiment, inputs.get("shadow_models"), inputs.get("deep_features"), work.device)
        null = h1_from_weights(blocks, standardise, len(victims.inputs), generator)
    h0, h1 = min_mse(network, victims), min_mse(network, victims.with_inputs(null))
    return Result(
        {"h0": h0.distances, "h1": h1.distances, "nearest": h0.nearest, "rebuilt": h0.rebuilt},
        {"mean_h0": float(h0.distances.mean()), "mean_h1": float(h1.distances.mean())},
    )


STAGE = Stage(
    name="min_mse",
    shards=lambda experiment: experiment.modes,
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("gpu", threads=2, memory_gb=4.0, seconds_per_shard=120.0),
    run=run,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
