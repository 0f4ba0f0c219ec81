"""An experiment's victim before its training, and the problem that it learns."""

from typing import TYPE_CHECKING

from pipeline import located
from pipeline.kkt.networks import Victim, read_weights, untrained_victim
from pipeline.kkt.problems import Problem, load_problem
from pipeline.randomness import torch_generator

if TYPE_CHECKING:
    from pipeline.config import Experiment


def problem_of(experiment: "Experiment") -> Problem:
    return load_problem(experiment.kkt.problem, experiment.data, experiment.paths.data_root, experiment.seed)


def drawn_victim(experiment: "Experiment", problem: Problem) -> Victim:
    """Freshly drawn by the experiment's seed, or as its file of weights has it."""
    settings = experiment.kkt.victim
    generator = torch_generator(experiment.seed, "kkt_victim", "initial")
    network = untrained_victim(settings, problem.mean.shape, problem.outputs, generator)
    if settings.weights:
        read_weights(network, located(settings.weights))
    return network
