"""Score the reconstructions: from the weights of real victims (H0), and from weights that saw no image (H1)."""

from pipeline import perceptual
from pipeline.config import Experiment
from pipeline.errors import UserError
from pipeline.head_inversion.settings import inverts_heads
from pipeline.reconstruction.settings import modes
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    evaluation = experiment.evaluation
    return {
        "seed": experiment.seed,
        "nulls": evaluation.nulls,
        "draws": evaluation.null_draws,
        **perceptual.identity(evaluation, "evaluation"),
        "reconstructor": evaluation.reconstructor,
    }


def inputs(experiment: Experiment) -> list[str]:
    own = [f"deep_features/{seeds.features_of(experiment, seeds.VICTIMS)}", "shadow_models/test"]
    null = seeds.inputs(experiment) if "shards" in experiment.evaluation.nulls else []
    inversion = ["head_inversion"] if inverts_heads(experiment) else []
    return [*own, *null, "weight_stats", *inversion, "reconstructor"]


def purpose(experiment: Experiment, mode: str, null: str) -> tuple[str | int, ...]:
    return (experiment.seed, "min_mse", mode, "null weights", null)


def check(experiment: Experiment) -> None:
    import torch

    from pipeline.data.sources import load
    from pipeline.evaluation.image_metrics import lpips
    from pipeline.evaluation.minus_one import refuse_untrainable
    from pipeline.evaluation.nulls import other_victims
    from pipeline.randomness import numpy_generator
    from pipeline.reconstruction.candidates import candidate_groups

    lpips(experiment.evaluation, experiment.data.image_size, torch.device("cpu"))
    if experiment.evaluation.reconstructor == "best" and experiment.shadow_models.test_seeds > 1:
        raise UserError(
            "evaluation.reconstructor: best is chosen by watched victims, whose images are scored too where "
            "shadow_models.test_seeds deals them again: choose last, or one test seed"
        )
    nulls = experiment.evaluation.nulls
    if "other_victims" in nulls or "minus_one" in nulls:
        source = load(experiment.data, "test", experiment.paths.data_root)
        indices = seeds.deal_scored(experiment, source.labels)
    if "minus_one" in nulls:
        refuse_untrainable(experiment.shadow_models.training, indices.shape[1])
    if "other_victims" in nulls:
        class_size, task = experiment.shadow_models.class_size, experiment.task.kind
        for mode in modes(experiment):
            groups = candidate_groups(torch.as_tensor(indices), class_size, mode, task)
            generator = numpy_generator(*purpose(experiment, mode, "other_victims"))
            persons = source.labels[indices[:, 0]] if task == "identity" else None
            other_victims(groups.flatten(1).numpy(), indices, generator, persons)


def run(work: Work) -> Result:
    """h0/min_mse (V, G), MSE to the nearest image in [-1, 1]; h0/nearest, that image of the test split; h0/rebuilt
    (V, G, C, S, S); h0/psnr, h0/ssim and h0/lpips (where its weights are) against that image.

    h0/person (V,), for identities: whom each victim is about. h0/seed (V,): the test seed that dealt its images.
    h1/<null>/min_mse, …/psnr, …/ssim, …/lpips (V, draws, G): the same of weights that saw none of victim v's images;
    of the first null also …/rebuilt (V, G, C, S, S), by its first draw.
    h0/minus_one (V, G): the distance to the record alone that the null minus_one takes out of each group.
    victims/… (V,): how often each is right on its own images, and on the others of the test split (victims.accuracy),
    unless it was imported without its features.
    Where features are read: features/cosine, found, expected (V, N), see training.Measured; h0/slot (V, G) which of the
    N recovered images each reconstruction is made from; features/unlike (V,) heads that are unlike the shadow models.
    """
    from dataclasses import replace
    from functools import partial

    import numpy as np
    import torch

    from pipeline.data.sources import load
    from pipeline.evaluation.image_metrics import lpips, psnr_in_unit_range, ssim_in_unit_range
    from pipeline.evaluation.min_mse import min_mse
    from pipeline.evaluation.minus_one import minus_one_reading, removed_records
    from pipeline.evaluation.nulls import null_readings
    from pipeline.evaluation.victims import (
        NOT_THEIRS,
        OTHER_FEATURES,
        accuracy,
        features_are_theirs,
        scored_heads,
        victims_of,
    )
    from pipeline.reconstruction.candidates import candidate_groups
    from pipeline.reconstruction.decoder import trained_decoder
    from pipeline.reconstruction.reader import reader_of
    from pipeline.shadow.recipe import Recipe, training_weights
    from pipeline.statistics import Standardisation

    experiment, mode, inputs = work.experiment, work.shard, work.inputs
    evaluation, data, task = experiment.evaluation, experiment.data, experiment.task
    theirs = features_are_theirs(experiment, inputs["shadow_models"], inputs["deep_features"])
    if not theirs and ("imported" not in inputs["reconstructor"].attributes(mode) or "minus_one" in evaluation.nulls):
        raise UserError(OTHER_FEATURES.format(features=seeds.features_of(experiment, seeds.VICTIMS)))
    statistics = inputs["weight_stats"].read("all")
    shard = scored_heads(inputs["shadow_models"])
    reader = reader_of(experiment, mode, inputs, shard, work.device)
    standardise = Standardisation.from_arrays(statistics, work.device)
    groups_of = partial(candidate_groups, class_size=experiment.shadow_models.class_size, mode=mode, task=task.kind)
    victims = victims_of(data, experiment.paths.data_root, shard, groups_of, reader, work.device)

    network = trained_decoder(experiment, inputs["reconstructor"], mode, reader.width, reader.classes).to(work.device)
    metrics = {"psnr": psnr_in_unit_range, "ssim": ssim_in_unit_range}
    likeness, said_of_lpips = lpips(evaluation, data.image_size, work.device)
    if likeness:
        metrics["lpips"] = likeness

    h0 = min_mse(network, victims, metrics)
    arrays = {"h0/min_mse": h0.distances, "h0/nearest": h0.nearest, "h0/rebuilt": h0.rebuilt}
    arrays |= {f"h0/{name}": values for name, values in h0.likeness.items()}
    arrays["h0/seed"] = shard["seed"]
    persons = None
    if task.kind == "identity":  # the same persons come again: they are what is independent
        people = load(data, "test", experiment.paths.data_root).labels
        arrays["h0/person"] = persons = people[shard["indices"][:, 0]]
    means = {"mean_h0": float(h0.distances.mean())}
    records, places = removed_records(victims.groups)
    minus_one = replace(victims, groups=records)
    if "minus_one" in evaluation.nulls:
        arrays["h0/minus_one"] = min_mse(network, minus_one).distances
        recipe = Recipe.of(experiment, seeds.VICTIMS, inputs["deep_features"], work.device)

    def minus_one_drawn(draw: int):
        def trained_without(absent: torch.Tensor) -> torch.Tensor:
            seeded = (*purpose(experiment, mode, "minus_one"), draw, *absent[:1].tolist())
            return recipe.train(shard["indices"], shard["labels"], seeded, absent=absent).float()

        return minus_one_reading(places, reader, trained_without)

    for position, null in enumerate(evaluation.nulls):
        if null == "minus_one":
            drawn, held_against = [minus_one_drawn(draw) for draw in range(evaluation.null_draws)], minus_one
        else:
            drawn, held_against = (
                null_readings(
                    null,
                    evaluation.null_draws,
                    victims,
                    shard["indices"],
                    persons,
                    reader=reader,
                    correlation=lambda: torch.as_tensor(statistics.pop("correlation")).to(work.device, torch.float64),
                    blocks=lambda: training_weights(
                        experiment, inputs.get("shadow_models"), inputs.get("deep_features"), work.device
                    ),
                    standardise=standardise,
                    purpose=purpose(experiment, mode, null),
                ),
                victims,
            )
        scores = [min_mse(network, held_against.with_reading(reading), metrics) for reading in drawn]
        arrays[f"h1/{null}/min_mse"] = np.stack([one.distances for one in scores], 1)
        arrays |= {f"h1/{null}/{name}": np.stack([one.likeness[name] for one in scores], 1) for name in metrics}
        if null == evaluation.nulls[0]:
            arrays[f"h1/{null}/rebuilt"] = scores[0].rebuilt
        means[f"mean_h1_{null}"] = float(arrays[f"h1/{null}/min_mse"].mean())
        work.progress(position + 1, len(evaluation.nulls), null)
    features = inputs["deep_features"].read(seeds.features_of(experiment, seeds.VICTIMS))
    if inverts_heads(experiment):
        weights = torch.as_tensor(shard["weights"]).to(work.device)
        arrays["features/unlike"] = reader.inversion.unlike(weights).cpu().numpy()
    if inverts_heads(experiment) and "coefficients" in shard:  # without them nothing says which image is which
        from pipeline.head_inversion.training import measure_shard

        measured = measure_shard(reader.inversion, shard, features["features"])
        arrays |= {f"features/{name}": table for name, table in measured.items()}
        arrays["h0/slot"] = victims.reading.slots.cpu().numpy()
    if theirs:
        heads = torch.as_tensor(shard["weights"]).float(), torch.as_tensor(features["features"])
        training = experiment.shadow_models.training
        told = accuracy(*heads, features["labels"], shard["indices"], task, training)
        arrays |= {f"victims/{name}": shares for name, shares in told.items()}
        means |= {f"accuracy_{name}": float(shares.mean()) for name, shares in told.items()}
    return Result(arrays, {**means, "lpips": said_of_lpips, "said_of_accuracy": "" if theirs else NOT_THEIRS})


STAGE = Stage(
    name="min_mse",
    shards=modes,
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("gpu", threads=2, memory_gb=4.0, seconds_per_shard=120.0),
    run=run,
    check=check,
    version=4,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
