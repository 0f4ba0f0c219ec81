"""Rebuild training images from the weights of a network trained to zero loss: python -m examples.kkt_on_your_network

Your own network: build a `Victim` of its shape and fill it with `load_weights(victim, state_dict, "my file")`.
"""

from pathlib import Path

import torch

from pipeline.data.settings import DataSet
from pipeline.kkt.attack import first_stack, run_attack
from pipeline.kkt.multipliers import candidate_labels
from pipeline.kkt.networks import untrained_victim
from pipeline.kkt.objectives import stationarity_objective
from pipeline.kkt.problems import load_problem
from pipeline.kkt.settings import AttackSettings, NetworkSettings, ProblemSettings, SearchSettings, VictimSettings
from pipeline.kkt.training import train_victim


def main(iterations: int = 2000) -> float:
    """Returns the mean correlation of each training image with the candidate most like it."""
    digits = ProblemSettings(labels="odd_even", images_per_class=2)
    problem = load_problem(digits, DataSet(name="mnist_digits", size=16), Path(), seed=0)
    images = (problem.images - problem.mean).float()
    settings = VictimSettings(network=NetworkSettings(hidden=(100, 100)), flow_time=1e3, dtype="float32")
    victim = untrained_victim(settings, images.shape[1:], 1, torch.Generator().manual_seed(0))
    train_victim(victim, images, problem.labels, settings, "logistic")

    attack, search = AttackSettings(candidates=8, iterations=iterations, learning_rate=0.01), SearchSettings()
    labels = candidate_labels(attack.candidates, problem.classes)
    objective = stationarity_objective(victim, labels, "binary", "closed_form", attack.activation)
    stack = first_stack(attack, search, "binary", [0], images.shape[1:], problem.classes, 0, torch.device("cpu"))
    found = run_attack(stack, objective, attack, search.halve_at).stack.candidates[0]

    both = torch.cat([images, found]).flatten(1)
    best = torch.corrcoef(both)[: len(images), len(images) :].max(1).values
    print(f"correlation of each training image with its best candidate: {[f'{value:.2f}' for value in best]}")
    return best.mean().item()


if __name__ == "__main__":
    main()
