"""Learn to invert a head: from its first layer's weights to the features of the images that trained it."""

from pipeline.config import Experiment
from pipeline.head_inversion.settings import UNEXPLAINED
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    training = experiment.shadow_models.training
    certain = not (training.private or training.initial_deviation(experiment.backbone.features))
    return {
        **experiment.head_inversion.model_dump(mode="json"),
        **({"unexplained": UNEXPLAINED} if certain else {}),
        "seed": experiment.seed,
        **seeds.lessons_identity(experiment),
    }


def inputs(experiment: Experiment) -> list[str]:
    features = {seeds.features_of(experiment, seed) for seed in (seeds.training_seed(0), seeds.WATCHED)}
    return [
        *seeds.lessons(experiment),
        f"shadow_models/{seeds.WATCHED}",
        *(f"deep_features/{name}" for name in sorted(features)),
    ]


def run(work: Work) -> Result:
    """state/…: the inversion (prior, slots, noise, mean coefficients, rounds). cosine, found, expected (V, N): what it
    recovers of the watched victims, slot by slot, and the error that it expects. loss: how training went."""
    import torch

    from pipeline.head_inversion.build import (
        adversary_prior,
        learning_rate_times_curvature,
        noise_of,
        slots_of,
        start_of,
    )
    from pipeline.head_inversion.inversion import HeadInversion
    from pipeline.head_inversion.training import Heads, calibrate, measure, measure_posterior, train_rounds
    from pipeline.networks.state import state_arrays
    from pipeline.reconstruction.batches import ShadowBatches
    from pipeline.reconstruction.sources import HEADS, training_source
    from pipeline.shadow.recipe import head_of

    experiment, device, chosen = work.experiment, work.device, work.experiment.head_inversion
    purpose = (experiment.seed, "head_inversion")
    features = work.inputs["deep_features"]
    own, learnt, theirs = (
        features.read(seeds.features_of(experiment, seed))
        for seed in (seeds.training_seed(0), seeds.learnt_from(experiment), seeds.WATCHED)
    )
    watched = work.inputs["shadow_models"].read(seeds.WATCHED)
    labels = watched["labels"][0]
    prior, slots = adversary_prior(experiment, own["features"], own["labels"]), slots_of(experiment, labels)
    images, unseen = ((torch.as_tensor(table["features"]) @ prior.directions).to(device) for table in (learnt, theirs))
    weights, indices, coefficients = (torch.as_tensor(watched[name]).to(device) for name in HEADS)
    held_out = Heads.of(slots, weights.float(), indices.long(), coefficients, unseen)
    source = training_source(experiment, work.inputs, labels, (*purpose, "order"), device, columns=HEADS)
    batches = ShadowBatches(source, chosen.batch_size, (*purpose, "batches"), device).from_step
    inversion = HeadInversion(
        prior,
        slots,
        head_of(experiment),
        noise_of(experiment, len(labels)),
        chosen.rounds,
        chosen.width,
        start_of(experiment, len(labels)),
    ).to(device)
    losses = train_rounds(
        inversion,
        lambda step: (Heads.of(slots, *columns, images) for columns in batches(step)),
        chosen,
        purpose=purpose,
        checkpoint=work.checkpoint,
        progress=work.progress,
    )
    calibrate(inversion, held_out)
    measured = measure(inversion, held_out)
    facts = {
        "directions": inversion.width,
        "variance_held": prior.share,
        "curvature": learning_rate_times_curvature(experiment, own["features"]),
        "cosine": float(measured.cosine.mean()),
    }
    for name, given in (("true", held_out.coefficients), ("mean", inversion.mean_coefficients)):
        closed_form = measure_posterior(inversion, held_out, given)
        facts[f"cosine_of_closed_form_with_{name}_coefficients"] = float(closed_form.cosine.mean())
    arrays = {name: tensor.cpu().numpy() for name, tensor in vars(measured).items()}
    return Result(state_arrays(inversion) | arrays | {"loss": losses}, facts)


STAGE = Stage(
    name="head_inversion",
    shards=lambda experiment: ["inversion"] if experiment.inverts_heads else [],
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("cpu", experiment.head_inversion.threads, 4.0, 120.0),
    run=run,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
