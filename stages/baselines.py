"""What adversaries guess without the model: the hit rates that a reconstruction attack must exceed."""

from pipeline.config import Experiment
from pipeline.reconstruction.settings import modes
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    root = experiment.paths.data_root
    return {
        "seed": experiment.seed,
        "own": seeds.data_of(experiment, seeds.training_seed(0)).identity(root),
        "foreign": seeds.is_foreign(experiment, seeds.training_seed(0)),
        "theirs": experiment.data.identity(root),
        "class_size": experiment.shadow_models.class_size,
        "victims": experiment.shadow_models.test_models,
        "test_seeds": experiment.shadow_models.test_seeds,
        "task": experiment.task.model_dump(mode="json"),
        "threshold": experiment.evaluation.threshold,
    }


def inputs(experiment: Experiment) -> list[str]:
    """Victims are dealt again, so that nothing waits for their training; imported ones come with their own images."""
    imported = ["shadow_models/test"] if "shadow_models" in experiment.imported else []
    return [*imported, "nearest_neighbour"]


def run(work: Work) -> Result:
    """<adversary>/min_mse (V, G): MSE in [-1, 1] from its guess to the nearest candidate; <adversary>/hits (G + 1, 3):
    share of guesses within the threshold, pooled and of each group, with a 95 % interval, victims the unit;
    <adversary>/record_hits (G + 1, 3): the same of the guess for one record's class and that record alone, the one that
    the null minus_one takes out; <adversary>/guess (K, C, S, S) uint8, the image for each class."""
    import numpy as np
    import torch

    from pipeline.data.images import target_images, to_bytes
    from pipeline.data.sources import load
    from pipeline.evaluation.intervals import share
    from pipeline.evaluation.minus_one import removed_records
    from pipeline.evaluation.prior_guesses import guess_distances, prior_guesses, record_distances
    from pipeline.evaluation.victims import scored_heads
    from pipeline.randomness import numpy_generator
    from pipeline.reconstruction.candidates import candidate_groups

    experiment, mode, made = work.experiment, work.shard, work.inputs
    data, task, root = experiment.data, experiment.task.kind, experiment.paths.data_root
    own = load(seeds.data_of(experiment, seeds.training_seed(0)), "train", root)
    theirs = load(data, "test", root)
    # an identity's photos and out-of-distribution images tell nothing of a victim's classes
    classless = task == "identity" or seeds.is_foreign(experiment, seeds.training_seed(0))
    classes = [np.zeros_like(source.labels) if classless else source.labels for source in (own, theirs)]
    threshold = experiment.evaluation.threshold
    if threshold is None:
        threshold = float(made["nearest_neighbour"].attributes("threshold")["threshold"])
    if "shadow_models" in made:
        indices = scored_heads(made["shadow_models"])["indices"]
    else:
        indices = seeds.deal_scored(experiment, theirs.labels)
    groups = candidate_groups(torch.as_tensor(indices).long(), experiment.shadow_models.class_size, mode, task)
    generator = numpy_generator(experiment.seed, "baselines", mode)
    known = target_images(own, data.image_size).to(work.device)
    guesses = prior_guesses(known, classes[0], threshold, generator, work.progress)
    images = target_images(theirs, data.image_size).to(work.device)
    units = np.unique(theirs.labels[indices[:, 0]], return_inverse=True)[1] if task == "identity" else None
    arrays = {f"{name}/guess": to_bytes(guess).cpu().numpy() for name, guess in guesses.images.items()}
    groups = groups.to(work.device)

    def hits(distances: np.ndarray) -> np.ndarray:
        within = distances <= threshold
        scopes = [within, *(within[:, [group]] for group in range(within.shape[1]))]
        dealings = 1 if task == "identity" else experiment.shadow_models.test_seeds
        return np.stack([share(one, units, dealings=dealings) for one in scopes])

    for name, distances in guess_distances(guesses, images, groups, classes[1]).items():
        arrays |= {f"{name}/min_mse": distances, f"{name}/hits": hits(distances)}
    records = removed_records(groups)[0].squeeze(2)
    for name, distances in record_distances(guesses, images, records, classes[1]).items():
        arrays[f"{name}/record_hits"] = hits(distances)
    return Result(arrays, {"threshold": threshold})


STAGE = Stage(
    name="baselines",
    # of imported scores nobody knows whose images they are
    shards=lambda experiment: [] if "min_mse" in experiment.imported else modes(experiment),
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=2, memory_gb=4.0, seconds_per_shard=60.0),
    run=run,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
