"""How far does it go without any training by descent? Features by the posterior with mean coefficients, images by ridge
regression on them.

    python -m benchmarks.linear_decoder [CONFIG] [--seeds 3] [--ridge 0.001] [--set a.b=c]

The regression sees every image of so many seeds of shadow models, as often as heads have it, whitened and centred, and
the class. Scores are of the experiment's victims, beside the same of the next victim's weights, which saw none of these
images (H1).

Measured with cifar10_n10_lite on a part of CIFAR-10 (20,000 training and 5,000 test images, 468 victims), `--seeds 2
--set head_inversion.variance=0.95`, one core: 773 directions, cosine 0.939; min-MSE 0.1716 against 0.3009; AUC 0.753
(0.746 … 0.760); TPR 0.068 (0.051 … 0.089) at FPR 1 %, 0.317 (0.298 … 0.336) at 10 %. On 10,000 images the true
coefficients give a cosine of 0.945 where the mean ones give 0.939: what is left to gain is in the decoder.
"""

import argparse

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.head_inversion import OWN, Problem
from pipeline.config import load
from pipeline.data.images import target_images, to_unit
from pipeline.evaluation.rates import rates
from pipeline.head_inversion.build import images_of
from pipeline.head_inversion.inversion import HEADS_AT_ONCE, HeadInversion
from pipeline.head_inversion.training import Heads
from pipeline.randomness import numpy_generator
from pipeline.report.table import Interval
from pipeline.shadow import seeds

BOOTSTRAPS = 200


@torch.no_grad()
def shown(inversion: HeadInversion, heads: Heads) -> Tensor:
    """(M, N, d + G): the features recovered by the closed form, and the class of each slot."""
    mean = inversion.mean_coefficients
    parts = [
        inversion.given(inversion.rows(weights), mean.expand(len(weights), -1, -1))[0]
        for weights in heads.weights.split(HEADS_AT_ONCE)
    ]
    classes = functional.one_hot(inversion.slots.classes, len(inversion.prior_means)).float()
    return torch.cat([torch.cat(parts), classes.expand(len(heads.weights), -1, -1)], 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", nargs="?", default="demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ridge", type=float, default=0.001, help="of the mean square of an input")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fixed = ["shadow_models.source=stream", "head_inversion.augmentation=null"]
    experiment = load(arguments.config, [*fixed, *arguments.set])
    problem = Problem(experiment)
    inversion, size = problem.untrained(), experiment.data.image_size
    own, theirs = (
        to_unit(target_images(images_of(experiment, seed), size)).flatten(1) for seed in (OWN, seeds.VICTIMS)
    )
    square, product = 0.0, 0.0
    for seed in range(arguments.seeds):
        heads, images = problem.made(OWN, seeds.training_seed(seed))
        inputs = shown(inversion, heads).flatten(0, 1)
        square, product = square + inputs.T @ inputs, product + inputs.T @ own[images.flatten()]
    penalty = arguments.ridge * square.diagonal()[: inversion.width].mean() * torch.eye(len(square))
    decoder = torch.linalg.solve(square + penalty, product)
    rebuilt = (shown(inversion, problem.victims) @ decoder).clamp(-1, 1)
    true = theirs[problem.victims_images]
    h0, h1 = ((one - true).square().mean(2).numpy() for one in (rebuilt, rebuilt.roll(1, 0)))
    generator = numpy_generator("linear decoder")
    found = rates(h0, h1, float(np.median(h1)), (0.01, 0.1), BOOTSTRAPS, generator)
    measured = problem.by_posterior(oracle=False)
    print(f"{inversion.width} directions, cosine {measured.cosine.mean():.3f}")
    print(f"min-MSE: H0 {h0.mean():.4f}, H1 {h1.mean():.4f}; AUC {Interval(*found.auc)}")
    for rate, triple in zip((0.01, 0.1), found.tpr[0], strict=True):
        print(f"TPR at FPR {100 * rate:g} %: {Interval(*triple)}")


if __name__ == "__main__":
    main()
