"""Train the reconstructor: from the weights of a shadow model to the images that trained it."""

from pipeline import perceptual
from pipeline.config import Experiment
from pipeline.head_inversion import lessons
from pipeline.head_inversion.settings import inverts_heads
from pipeline.reconstruction.settings import modes
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    settings = experiment.reconstructor
    return {
        **settings.model_dump(mode="json", exclude={"modes", "tensorboard", "lpips_weights"}),
        **perceptual.identity(settings, "reconstructor"),
        "seed": experiment.seed,
        "data": (experiment.shadow_models.data or experiment.data).identity(experiment.paths.data_root),
        "victims": experiment.data.identity(experiment.paths.data_root),
        **(lessons.identity(experiment) if inverts_heads(experiment) else {}),
    }


def inputs(experiment: Experiment) -> list[str]:
    read = "head_inversion" if inverts_heads(experiment) else "weight_stats"
    return [*lessons.inputs(experiment), f"shadow_models/{seeds.WATCHED}", read]


def perceptual_loss(experiment: Experiment, device):
    from pipeline.networks.lpips import perceptual_network

    settings = experiment.reconstructor
    return perceptual_network(settings.lpips, device, perceptual.weights_file(settings, "reconstructor"))


def check(experiment: Experiment) -> None:
    import torch

    from pipeline.reconstruction.board import check_tensorboard
    from pipeline.reconstruction.sources import check_batch_size

    if not inverts_heads(experiment):  # a step of features shows fewer models than one of the inversion's training
        check_batch_size(experiment, "reconstructor.batch_size", experiment.reconstructor.batch_size)
    perceptual_loss(experiment, torch.device("cpu"))
    if experiment.reconstructor.tensorboard:
        check_tensorboard()


def run(work: Work) -> Result:
    """state/…: the trained network, best/…: as it was at its lowest validation score; step, loss, validation: how it
    went, against watched victims that are not those of the scores."""
    from functools import partial

    from pipeline.data.images import target_images
    from pipeline.evaluation.min_mse import min_mse
    from pipeline.evaluation.victims import victims_of
    from pipeline.head_inversion.build import images_of
    from pipeline.networks import decoders
    from pipeline.networks.state import state_arrays
    from pipeline.randomness import torch_generator
    from pipeline.reconstruction.batches import ShadowBatches
    from pipeline.reconstruction.board import TensorBoard
    from pipeline.reconstruction.candidates import candidate_groups
    from pipeline.reconstruction.decoder import decoder_of
    from pipeline.reconstruction.examples import feature_examples, weight_examples
    from pipeline.reconstruction.reader import reader_of
    from pipeline.reconstruction.sources import HEADS, WEIGHTS, training_source
    from pipeline.reconstruction.train import Lesson, train_reconstructor

    experiment, mode, device, processes = work.experiment, work.shard, work.device, work.processes
    settings, shadow, data = experiment.reconstructor, experiment.shadow_models, experiment.data
    purpose = (experiment.seed, "reconstructor", mode)
    root = experiment.paths.data_root
    groups_of = partial(candidate_groups, class_size=shadow.class_size, mode=mode, task=experiment.task.kind)
    watched = work.inputs["shadow_models"].read(seeds.WATCHED)
    reader = reader_of(experiment, mode, work.inputs, watched, device)
    victims = victims_of(data, root, watched, groups_of, reader, device)
    network = decoder_of(experiment, reader.width, reader.classes).to(device)
    decoders.initialise(network, torch_generator(*purpose, "initial"))
    features = inverts_heads(experiment)
    part = (processes.rank, processes.size)
    source = training_source(
        experiment, work.inputs, watched["labels"][0], (*purpose, "order"), device, part, HEADS if features else WEIGHTS
    )
    rows = settings.batch_size // processes.size
    models = max(1, rows // watched["labels"].shape[1]) if features else rows
    batches = ShadowBatches(source, models, (*purpose, "batches"), device).from_step
    if features:
        examples = feature_examples(batches, reader.inversion)
    else:
        classes = (*purpose, "class", processes.rank)
        examples = weight_examples(batches, reader.standardise, groups_of, reader.classes, models, classes)
    images = target_images(images_of(experiment, lessons.first_seed(experiment)), data.image_size).to(device)
    state, compiled = train_reconstructor(
        Lesson(
            network,
            examples,
            images,
            settings,
            validate=lambda trained: min_mse(trained, victims),
            perceptual=perceptual_loss(experiment, device),
        ),
        checkpoint=work.checkpoint,
        progress=work.progress,
        processes=processes,
        board=TensorBoard(work.path.with_suffix(".tensorboard")) if settings.tensorboard and processes.first else None,
    )
    history = state.history
    facts = {
        "final_loss": history["loss"][-1],
        "watched_min_mse": history["validation"][-1],
        "best_step": state.best.step,
        "best_watched_min_mse": state.best.score,
        "classes": reader.classes,
        "precision": state.precision,
        "compiled": compiled,
    }
    best = {f"best/{name}": tensor.cpu().numpy() for name, tensor in state.best.parameters.items()}
    return Result({**state_arrays(state.eval_network), **best, **history}, facts)


STAGE = Stage(
    name="reconstructor",
    shards=modes,
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("gpu", experiment.reconstructor.threads, 8.0, 36000.0),
    run=run,
    check=check,
    version=3,
    together=True,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
