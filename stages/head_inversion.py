"""Learn to invert a head: from its first layer's weights to the features of the images that trained it."""

from pipeline.config import Experiment
from pipeline.head_inversion import lessons
from pipeline.head_inversion.settings import UNEXPLAINED, inverts_heads
from pipeline.networks.settings import FEATURES
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    training = experiment.shadow_models.training
    certain = not (training.private or training.initial_deviation(FEATURES[experiment.backbone.name]))
    return {
        **experiment.head_inversion.model_dump(mode="json"),
        **({"unexplained": UNEXPLAINED} if certain else {}),
        "seed": experiment.seed,
        **lessons.identity(experiment),
    }


def inputs(experiment: Experiment) -> list[str]:
    features = {seeds.features_of(experiment, seed) for seed in (seeds.training_seed(0), seeds.WATCHED)}
    return [
        *lessons.inputs(experiment),
        f"shadow_models/{seeds.WATCHED}",
        *(f"deep_features/{name}" for name in sorted(features)),
    ]


def check(experiment: Experiment) -> None:
    from pipeline.reconstruction.sources import check_batch_size

    check_batch_size(experiment, "head_inversion.batch_size", experiment.head_inversion.batch_size)


def run(work: Work) -> Result:
    """state/…: the inversion (prior, slots, noise, mean coefficients, rounds, calibration). cosine, found, expected
    (V, N): what it recovers of the watched victims, slot by slot, and the error that it expects. loss: how training
    went."""
    import numpy as np
    import torch

    from pipeline.head_inversion.build import (
        adversary_prior,
        learning_rate_times_curvature,
        noise_of,
        slots_of,
        start_of,
    )
    from pipeline.head_inversion.inversion import HeadInversion
    from pipeline.head_inversion.training import Heads, calibrate, hold_out, measure, measure_posterior, train_rounds
    from pipeline.networks.state import state_arrays
    from pipeline.randomness import numpy_generator
    from pipeline.reconstruction.batches import ShadowBatches
    from pipeline.reconstruction.sources import HEADS, training_source
    from pipeline.shadow.recipe import head_of

    experiment, device, settings = work.experiment, work.device, work.experiment.head_inversion
    purpose = (experiment.seed, "head_inversion")
    features = work.inputs["deep_features"]
    own, learnt, theirs = (
        features.read(seeds.features_of(experiment, seed))
        for seed in (seeds.training_seed(0), lessons.first_seed(experiment), seeds.WATCHED)
    )
    watched = work.inputs["shadow_models"].read(seeds.WATCHED)
    labels = watched["labels"][0]
    apart = hold_out(own["labels"], numpy_generator(*purpose, "held out"))
    prior = adversary_prior(experiment, own["features"][~apart], own["labels"][~apart])
    slots = slots_of(experiment, labels)
    images, unseen = ((torch.as_tensor(table["features"]) @ prior.directions).to(device) for table in (learnt, theirs))
    weights, indices, coefficients = (torch.as_tensor(watched[name]).to(device) for name in HEADS)
    victims = Heads.of(slots, weights.float(), indices.long(), coefficients, unseen)
    apart = torch.as_tensor(np.tile(apart, len(images) // len(apart))).to(device)  # with their augmented copies
    source = training_source(experiment, work.inputs, labels, (*purpose, "order"), device, columns=HEADS)
    batches = ShadowBatches(source, settings.batch_size, (*purpose, "batches"), device).from_step
    inversion = HeadInversion(
        prior,
        slots,
        head_of(experiment),
        noise_of(experiment, len(labels)),
        settings.rounds,
        settings.width,
        start_of(experiment, len(labels)),
    ).to(device)

    def heads_from(step: int):
        return (Heads.of(slots, *columns, images, apart) for columns in batches(step))

    losses = train_rounds(
        inversion,
        heads_from,
        settings,
        purpose=purpose,
        checkpoint=work.checkpoint,
        progress=work.progress,
    )
    calibrated_on = calibrate(inversion, heads_from(settings.steps))
    measured = measure(inversion, victims)
    facts = {
        "directions": inversion.width,
        "variance_held": prior.share,
        "curvature": learning_rate_times_curvature(experiment, own["features"]),
        "cosine": float(measured.cosine.mean()),
        "calibrated_on": calibrated_on,
        "images_held_out": int(apart.sum()),
    }
    for name, given in (("true", victims.coefficients), ("mean", inversion.mean_coefficients)):
        closed_form = measure_posterior(inversion, victims, given)
        facts[f"cosine_of_closed_form_with_{name}_coefficients"] = float(closed_form.cosine.mean())
    arrays = {name: tensor.cpu().numpy() for name, tensor in vars(measured).items()}
    return Result(state_arrays(inversion) | arrays | {"loss": losses}, facts)


STAGE = Stage(
    name="head_inversion",
    shards=lambda experiment: ["inversion"] if inverts_heads(experiment) else [],
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("cpu", experiment.head_inversion.threads, 4.0, 120.0),
    run=run,
    check=check,
    version=2,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
