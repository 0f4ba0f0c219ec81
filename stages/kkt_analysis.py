"""Judge the candidates of a KKT attack: matches, scores, nulls, identification of training images, and the oracle."""

from pipeline.config import Experiment
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    return {
        "analysis": experiment.kkt.analysis.model_dump(mode="json", exclude={"sheet", "sort_by"}),
        "seed": experiment.seed,
    }


def check(experiment: Experiment) -> None:
    from pipeline.kkt.analysis.identification import deal
    from pipeline.randomness import torch_generator

    problem, rest = learnt_and_unlearnt(experiment)
    deal(problem.labels, rest.labels, experiment.kkt.analysis.decoys, torch_generator("check"))


def learnt_and_unlearnt(experiment: Experiment):
    from pipeline.kkt.problems import load_problem, unlearnt

    settings, data, root = experiment.kkt.problem, experiment.data, experiment.paths.data_root
    problem = load_problem(settings, data, root, experiment.seed)
    return problem, unlearnt(problem, settings, data, root)


def read_victim(work: Work):
    """The network under attack, in float64."""
    import torch

    from pipeline.kkt.networks import victim_from_state
    from pipeline.networks.state import state_dict

    arrays = work.inputs["kkt_victim"].read("victim")
    network = victim_from_state(work.experiment.kkt.victim, arrays["mean"].shape, state_dict(arrays))
    return network.to(work.device, torch.float64)


def run(work: Work) -> Result:
    """original (n, C, H, W) float32 and labels (n,) of the training images, and the mean (C, H, W) taken off them. For
    the attack, first_layer and each null <source>/candidate (n,), places in its pool, <source>/rebuilt (n, C, H, W),
    <source>/<score> (n,), and <source>/identified and stand_in_identified (n,) bool. trials/…: (T,) facts of every
    trial. picks/<ranking>/…: what an adversary would show. oracle (S, 2): sharpness, loss. plane (G, G): logits over a
    toy of two dimensions.
    """
    import torch

    from pipeline.kkt.analysis import nulls
    from pipeline.kkt.analysis.identification import deal
    from pipeline.kkt.analysis.judgement import identified, judged_picks, measured, oracle_losses, plane
    from pipeline.kkt.analysis.match import Matching, match
    from pipeline.kkt.analysis.trials import chosen, merged
    from pipeline.randomness import torch_generator

    experiment, kkt = work.experiment, work.experiment.kkt
    problem, rest = learnt_and_unlearnt(experiment)
    network, trials = read_victim(work), merged(work.inputs["kkt_attack"], work.device)

    def generator(purpose: str) -> torch.Generator:
        return torch_generator(experiment.seed, "kkt_analysis", purpose)

    images, held_out = (part.to(work.device, torch.float32) for part in (problem.images, problem.held_out_images))
    mean = problem.mean.to(images)
    how = Matching.of(kkt.analysis, mean)
    measures = measured(trials, images, how)
    kept = chosen(kkt.analysis.trials, measures)
    judged = trials.part(kept)
    pools = {
        "attack": (judged.pool, mean, how),
        "mean_image": (nulls.mean_image(problem.images, problem.mean).to(images), mean, how),
        "noise": (nulls.noise(judged.pool, generator("noise")), mean, how),
        "held_out": (nulls.of_all_classes(held_out, problem.held_out_labels, len(judged.pool)) - mean, mean, how),
    }
    if (weights := nulls.first_layer_weights(network)) is not None:
        search = how.of_first_layer(kkt.analysis.first_layer)
        pools["first_layer"] = (weights.to(images), torch.zeros_like(mean), search)

    arrays = {"original": images, "labels": problem.labels, "mean": mean, "trials/number": trials.numbers}
    arrays |= {f"trials/{name}": values for name, values in measures.items()}
    arrays |= {f"trials/hyperparameters/{name}": values for name, values in trials.hyperparameters.items()}
    for position, (source, (pool, offset, search)) in enumerate(pools.items()):
        found = match(images, pool, search, offset)
        arrays |= {f"{source}/{name}": values for name, values in found.named().items()}
        work.progress(position + 1, len(pools) + 1, source)
    dealt = deal(problem.labels, rest.labels, kkt.analysis.decoys, generator("decoys"))
    if dealt is not None:
        strangers = rest.read(dealt.flatten()).to(images)
        for source, (pool, offset, search) in pools.items():
            found = identified(arrays[f"{source}/{how.identify_by}"], strangers, search, pool, offset)
            names = {"identified": found.identified, "stand_in_identified": found.stand_in_identified}
            arrays |= {f"{source}/{name}": values for name, values in names.items()}
            work.progress(len(pools), len(pools) + 1, f"identification by {source}")
    arrays |= judged_picks(judged, images, held_out, how, kkt.analysis.duplicate_distance, generator("picks"))
    if kkt.attack_loss not in ("naive", "separation"):
        arrays["oracle"] = oracle_losses(network, problem, judged, kkt.attack_loss, kkt.attack.activation)
    if problem.images[0].numel() == 2:
        arrays["plane"] = plane(network, mean)
    facts = {
        "metric": how.metric,
        "scaling": how.scaling,
        "identify_by": how.identify_by,
        "trials_judged": kept.tolist(),
        "pool_sizes": {source: len(pool) for source, (pool, *_) in pools.items()},
        "decoys": 0 if dealt is None else dealt.shape[1] - 1,
    }
    return Result({name: values.cpu().numpy() for name, values in arrays.items()}, facts)


STAGE = Stage(
    name="kkt_analysis",
    shards=lambda experiment: ["analysis"] if experiment.kkt and experiment.kkt.attack else [],
    inputs=lambda experiment: ["kkt_victim", "kkt_attack"],
    settings=settings,
    resources=lambda experiment: Resources("gpu", threads=2, memory_gb=8.0, seconds_per_shard=120.0),
    run=run,
    check=check,
    version=4,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
