"""Train the network that a KKT attack is made on, or take its weights from a file."""

from pipeline.config import Experiment
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    kkt = experiment.kkt
    return {
        "problem": kkt.problem.model_dump(mode="json"),
        "victim": kkt.victim.model_dump(mode="json", exclude={"weights"}),
        "weights": kkt.victim.weights_digest(),
        "loss": kkt.victim_loss,
        "data": experiment.data.identity(experiment.paths.data_root) if experiment.data else None,
        "seed": experiment.seed,
    }


def check(experiment: Experiment) -> None:
    from pipeline.kkt.victims import drawn_victim, problem_of

    drawn_victim(experiment, problem_of(experiment))


def run(work: Work) -> Result:
    """state/…: the trained network; mean (C, H, W) that is taken off images; indices, labels (n,) of those it learnt.

    step, flow_time, log_loss, squared_norm: how training went, empty when the weights came from a file.
    snapshot/<step>/…: the network on its way, where victim.snapshot_every asks for it.
    """
    import math

    import torch

    from pipeline.kkt.networks import squared_norm
    from pipeline.kkt.training import History, error_rate, train_victim
    from pipeline.kkt.victim_losses import LOG_LOSSES
    from pipeline.kkt.victims import drawn_victim, problem_of
    from pipeline.networks.state import state_arrays
    from pipeline.randomness import torch_generator

    kkt, problem = work.experiment.kkt, problem_of(work.experiment)
    network = drawn_victim(work.experiment, problem).to(work.device)
    dtype = next(network.parameters()).dtype

    def seen(images: torch.Tensor) -> torch.Tensor:
        return (images - problem.mean).to(work.device, dtype)

    def shuffled(epoch: int) -> torch.Tensor:
        generator = torch_generator(work.experiment.seed, "kkt_victim", "epoch", epoch)
        return torch.randperm(len(problem.labels), generator=generator).to(work.device)

    inputs, labels = seen(problem.images), problem.labels.to(work.device)
    history = History()
    if not kkt.victim.weights:
        terms = {"order": shuffled, "checkpoint": work.checkpoint, "progress": work.progress}
        history = train_victim(network, inputs, labels, kkt.victim, kkt.victim_loss, **terms)
    with torch.no_grad():
        log_loss = LOG_LOSSES[kkt.victim_loss](network(inputs).double(), labels).item()

    def error_on(images: torch.Tensor, of: torch.Tensor) -> float:
        return error_rate(network, seen(images), of.to(work.device))

    validation = problem.validation
    facts = {
        "method": "given" if kkt.victim.weights else kkt.victim.method,
        "steps": history.step[-1] if history.step else 0,
        "flow_time": history.flow_time[-1] if history.step else 0.0,
        "log_loss": log_loss,
        "loss": math.exp(log_loss),
        "train_error": error_rate(network, inputs, labels),
        "test_accuracy": 1 - error_on(problem.held_out_images, problem.held_out_labels),
        "validation_accuracy": math.nan if validation is None else 1 - error_on(*validation),
        "squared_norm": squared_norm(network),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    arrays = {"mean": problem.mean.numpy(), "indices": problem.indices.numpy(), "labels": problem.labels.numpy()}
    arrays |= {
        f"snapshot/{step}/{name}": tensor.cpu().numpy()
        for step, state in history.snapshots.items()
        for name, tensor in state.items()
    }
    return Result({**state_arrays(network), **arrays, **history.series}, facts)


STAGE = Stage(
    name="kkt_victim",
    shards=lambda experiment: ["victim"] if experiment.kkt else [],
    inputs=lambda experiment: [],
    settings=settings,
    resources=lambda experiment: Resources("gpu", experiment.kkt.victim.threads, 4.0, 120.0),
    run=run,
    check=check,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
