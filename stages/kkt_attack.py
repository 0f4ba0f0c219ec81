"""Rebuild training images from a victim's weights: one shard is a stack of trials that work side by side."""

from pipeline.config import Experiment
from pipeline.errors import Failure
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work

CORE_SPEED = {"float32": 1e11, "float64": 5e10}
"""Floating-point operations a second of one CPU core, as benchmarks/kkt.py finds them; a GPU is faster."""

PASSES = {"closed_form": 6, "autograd": 40}
"""What an iteration takes, in times that all candidates' way through the network would take at that speed."""

LEAST_SECONDS = 1e-3
"""An iteration of the smallest trial."""

SEPARATION_SECONDS = 30.0
"""A trial of 200 components, which is more than most victims show."""


def blocks(experiment: Experiment) -> dict[str, range]:
    """Shard → the trials it holds, `attack.stack` of them; named after the first."""
    kkt = experiment.kkt
    if not kkt or not kkt.attack:
        return {}
    starts = range(0, kkt.search.trials, kkt.attack.stack)
    return {f"trials-{start:05d}": range(start, min(start + kkt.attack.stack, kkt.search.trials)) for start in starts}


def settings(experiment: Experiment, shard: str) -> dict:
    kkt, trials = experiment.kkt, blocks(experiment)[shard]
    return {
        "attack": kkt.attack.model_dump(mode="json", exclude={"stack"}),
        "loss": kkt.attack_loss,
        "search": kkt.search.model_dump(mode="json", exclude={"trials"}),
        "trials": [trials.start, trials.stop],
        "seed": experiment.seed,
    }


def resources(experiment: Experiment) -> Resources:
    kkt, attack, data = experiment.kkt, experiment.kkt.attack, experiment.data
    if kkt.attack_loss == "separation":
        return Resources("cpu", attack.threads, 4.0, attack.stack * SEPARATION_SECONDS)
    shape = (3, 1, 1) if kkt.problem.is_toy else (data.channels, data.image_size, data.image_size)
    operations = 2 * attack.candidates * kkt.victim.network.multiplications(shape)
    iteration = PASSES[kkt.attack_gradient] * operations / CORE_SPEED[attack.dtype] / attack.threads
    return Resources("gpu", attack.threads, 4.0, attack.iterations * attack.stack * max(LEAST_SECONDS, iteration))


def check(experiment: Experiment) -> None:
    from pipeline.kkt.multipliers import candidate_labels
    from pipeline.kkt.problems import load_problem

    problem = load_problem(experiment.kkt.problem, experiment.data, experiment.paths.data_root, experiment.seed)
    if experiment.kkt.attack_loss != "separation":
        candidate_labels(experiment.kkt.attack.candidates, problem.classes)


def is_trained(loss: str, images: int, value: float, error: float) -> bool:
    """No image on the wrong side; and a mean loss below log 2/n, where margins start to grow (arXiv 1906.05890)."""
    import math

    grows_margins = loss in ("logistic", "cross_entropy")
    return error == 0 and (value < math.log(2) / images or not grows_margins)


def read_victim(work: Work):
    """(network, mean, classes) of the victim's shard; raises Failure when stationarity cannot hold yet."""
    import torch

    from pipeline.kkt.networks import victim_from_state
    from pipeline.networks.state import state_dict

    victims, kkt = work.inputs["kkt_victim"], work.experiment.kkt
    facts, arrays = victims.attributes("victim"), victims.read("victim")
    needs_margins = kkt.attack_loss != "separation"
    if needs_margins and not is_trained(kkt.victim_loss, len(arrays["labels"]), facts["loss"], facts["train_error"]):
        raise Failure(
            f"the victim is not trained: it errs on {facts['train_error']:.1%} of its training images, with a loss of "
            f"{facts['loss']:.2g}, and stationarity holds near zero; train longer (kkt.victim.steps, flow_time)"
        )
    network = victim_from_state(kkt.victim, arrays["mean"].shape, state_dict(arrays))
    network.to(work.device, getattr(torch, kkt.attack.dtype))
    return network, arrays["mean"], int(arrays["labels"].max()) + 1


def distance_to_training_images(experiment: Experiment, channels: int):
    """Of candidates (S, m, C, H, W), (S,): what kkt.attack.stop judges by."""
    from functools import partial

    from pipeline.kkt.analysis.neighbours import best_distances
    from pipeline.kkt.problems import load_problem

    problem = load_problem(experiment.kkt.problem, experiment.data, experiment.paths.data_root, experiment.seed)
    metric = experiment.kkt.attack.stop.metric or ("l2" if channels == 1 else "ncc")
    return partial(best_distances, images=problem.images - problem.mean, metric=metric)


def initial_state(experiment: Experiment):
    """The victim's state before its training, which is a draw of the experiment's seed."""
    from pipeline.kkt.victims import drawn_victim, problem_of

    return drawn_victim(experiment, problem_of(experiment)).state_dict()


def separated(work: Work) -> Result:
    """As `run`: candidates of trials that have neither multipliers nor hyper-parameters, nor any history."""
    import torch

    from pipeline.kkt.separation import separate
    from pipeline.kkt.span import first_layer_span
    from pipeline.randomness import torch_generator

    experiment, attack = work.experiment, work.experiment.kkt.attack
    network, mean, _ = read_victim(work)
    dtype, mean = getattr(torch, attack.dtype), torch.as_tensor(mean, device=work.device)
    span = first_layer_span(network, initial_state(experiment) if attack.initial_weights else None)
    trials, found = blocks(experiment)[work.shard], []
    for trial in trials:
        generator = torch_generator(experiment.seed, "kkt_attack", trial)
        found.append(separate(span, mean, attack.iterations, generator, dtype))
        work.progress(len(found), len(trials), f"{len(span)} directions")
    arrays = {
        "trials": torch.tensor(trials),
        "candidates": torch.stack([one.images for one in found]).float(),
        "support": torch.stack([one.support for one in found]).float(),
        "labels": torch.full((len(found[0].images),), -1),
        "history/iteration": torch.empty(0, dtype=torch.int64),
        "terms/normality": torch.tensor([one.normality for one in found], dtype=torch.float64),
    }
    facts = {"loss": "separation", "method": "separation", "trials_started": len(trials), "diverged": []}
    facts |= {"stopped": [], "directions": len(span), "noise": span.noise, "floor": span.floor}
    return Result({name: values.cpu().numpy() for name, values in arrays.items()}, facts)


def run(work: Work) -> Result:
    """Of the trials (S,) that were finished: candidates (S, m, C, H, W) float32, the mean taken off, and their labels
    (m,), −1 where the loss knows none; multipliers (S, m) or (S, m, K); hyperparameters/… and terms/… (S,); history/…
    (P, T) of all trials, NaN once one was dropped; snapshot/<iteration>/… the trials, candidates and multipliers then.
    """
    import torch

    from pipeline.kkt.attack import first_stack, run_attack
    from pipeline.kkt.multipliers import candidate_labels
    from pipeline.kkt.objectives import naive_objective, stationarity_objective
    from pipeline.precision import matmul_precision

    experiment, kkt, attack = work.experiment, work.experiment.kkt, work.experiment.kkt.attack
    if kkt.attack_loss == "separation":
        return separated(work)
    network, mean, classes = read_victim(work)
    labels = candidate_labels(attack.candidates, classes).to(work.device)
    if kkt.attack_loss == "naive":
        objective = naive_objective(network, labels)
    else:
        method, activation = kkt.attack_gradient, attack.activation
        objective = stationarity_objective(network, labels, kkt.attack_loss, method, activation)
    trials, loss = blocks(experiment)[work.shard], kkt.attack_loss
    stack = first_stack(attack, kkt.search, loss, trials, mean.shape, classes, experiment.seed, work.device)
    distance = distance_to_training_images(experiment, mean.shape[0]) if attack.stop else None
    with matmul_precision(attack.matmul_precision, work.device):
        terms = {"distance": distance, "checkpoint": work.checkpoint, "progress": work.progress}
        found = run_attack(stack, objective, attack, kkt.search.halve_at, **terms)
    if kkt.search.trials == 1 and found.stopped:
        raise Failure(
            f"the attack was stopped at iteration {found.recorded[-1]}: its candidates are not near any training image "
            "(kkt.attack.stop); try other hyper-parameters"
        )
    if kkt.search.trials == 1 and found.diverged.any():
        raise Failure(
            f"the attack diverged by iteration {found.recorded[-1]}: its loss is not finite; lower "
            "kkt.attack.learning_rate or multiplier_learning_rate"
        )

    def named(kind: str, values: dict[str, torch.Tensor]) -> dict:
        return {f"{kind}/{name}": one.cpu().numpy() for name, one in values.items()}

    last = found.stack
    arrays = {
        "trials": last.trials.cpu().numpy(),
        "candidates": last.candidates.float().cpu().numpy(),
        "labels": torch.full_like(labels, -1).cpu().numpy() if loss == "general" else labels.cpu().numpy(),
        "history/iteration": found.recorded.numpy(),
        **named("hyperparameters", last.hyperparameters),
        **named("terms", found.terms),
        **named("history", found.history),
    }
    if loss != "naive":
        arrays["multipliers"] = last.multipliers.cpu().numpy()
    for iteration, parts in found.snapshots.items():
        arrays |= named(f"snapshot/{iteration}", parts)
    diverged = [trial for trial, lost in zip(trials, found.diverged.tolist(), strict=True) if lost]
    facts = {"loss": loss, "method": kkt.attack_gradient, "trials_started": len(trials), "diverged": diverged}
    facts["stopped"] = found.stopped
    return Result(arrays, facts)


STAGE = Stage(
    name="kkt_attack",
    shards=lambda experiment: list(blocks(experiment)),
    inputs=lambda experiment: ["kkt_victim"],
    settings=settings,
    resources=resources,
    run=run,
    check=check,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
