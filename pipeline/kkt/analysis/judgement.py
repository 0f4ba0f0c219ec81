"""Steps of the analysis: measures of trials, identification, an adversary's picks, the loss at the true data."""

import torch
from torch import Tensor

from pipeline.kkt.analysis.identification import Identification, identify
from pipeline.kkt.analysis.match import HIT, Matching, match
from pipeline.kkt.analysis.neighbours import nearest
from pipeline.kkt.analysis.oracle import oracle_loss
from pipeline.kkt.analysis.scores import pair_scores, to_pixels
from pipeline.kkt.analysis.trials import Trials, agreement, first_distinct, rankings
from pipeline.kkt.networks import Victim
from pipeline.kkt.problems import Problem

BLOCK = 4096
SHOWN_PICKS = 60
PLANE_SIDE, PLANE_MARGIN = 160, 0.15


def measured(trials: Trials, images: Tensor, how: Matching) -> dict[str, Tensor]:
    """(T,) each: the final terms of the loss and their sum as `loss`; agreement, the mean distance to the nearest
    candidates of other trials (NaN for a single one); hits, which only who has the training set can count.
    """
    rule = how.identify_by
    counts = [int((match(images, own, how).scores[rule] > HIT[rule]).sum()) for own in trials.candidates]
    alone = len(trials.numbers) == 1
    agrees = agreement(trials.candidates, how.search_metric).mean(1).cpu() if not alone else torch.tensor([torch.nan])
    return {"loss": sum(trials.terms.values()), **trials.terms, "agreement": agrees, "hits": torch.tensor(counts)}


def identified(scores: Tensor, strangers: Tensor, how: Matching, pool: Tensor, offset: Tensor) -> Identification:
    """identification.identify by the score that `how` names; `strangers` (n·(1 + k), C, H, W) are the unlearnt images
    dealt to each training image, one training image after the other, matched with the same pool.

    With best buddies images compete for candidates, so each round of strangers is as many as the training images and
    of their classes: the stand-ins of all, then the first decoys of all, … Else it makes no difference who is in a
    block.
    """
    count = len(scores)
    if how.best_buddies:
        rounds = strangers.unflatten(0, (count, -1)).unbind(1)
        return identify(scores, torch.stack([_scored(one, pool, how, offset) for one in rounds], 1))
    blocks = [_scored(block, pool, how, offset) for block in strangers.split(BLOCK)]
    return identify(scores, torch.cat(blocks).view(count, -1))


def _scored(images: Tensor, pool: Tensor, how: Matching, offset: Tensor) -> Tensor:
    return match(images, pool, how, offset).scores[how.identify_by]


def judged_picks(
    trials: Trials,
    images: Tensor,
    held_out: Tensor,
    how: Matching,
    duplicate_distance: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """For each ranking of the pool, its first n distinct candidates, as an adversary would pick them without the
    training set: candidate (P,), the training image nearest to each, its score by what identifies
    (Matching.identify_by), and held_out_score, by the nearest of as many held-out images; `shown`, pixels of the first
    60.
    """
    count = len(images)
    strangers = held_out[torch.randperm(len(held_out), generator=generator)[:count].to(held_out.device)]
    found: dict[str, Tensor] = {}
    for name, order in rankings(trials, how.search_metric, generator).items():
        picked = first_distinct(order, trials.pool, how.search_metric, duplicate_distance, count)
        candidates = trials.pool[picked]
        pixels = to_pixels(candidates, how.mean, how.scaling)
        likened = {}
        for role, pool in (("image", images), ("stranger", strangers)):
            likest = nearest(candidates, pool - how.mean, how.search_metric).indices[:, 0]
            likened[role] = likest, pair_scores(pixels, pool[likest])[how.identify_by]
        found |= {
            f"picks/{name}/candidate": picked,
            f"picks/{name}/image": likened["image"][0],
            f"picks/{name}/score": likened["image"][1],
            f"picks/{name}/held_out_score": likened["stranger"][1],
            f"picks/{name}/shown": pixels[:SHOWN_PICKS],
        }
    return found


def oracle_losses(
    network: Victim, problem: Problem, trials: Trials, loss: str, activation: str | None = None
) -> Tensor:
    """(S, 2): the least and the greatest sharpness α of the trials, and the oracle's loss at each."""
    device = next(network.parameters()).device
    images = (problem.images - problem.mean).to(device)
    sharpness = trials.hyperparameters["relu_sharpness"].double()
    extremes = torch.stack([sharpness.min(), sharpness.max()]).unique()
    labels = problem.labels.to(device)
    losses = [oracle_loss(network, images, labels, loss, float(alpha), activation) for alpha in extremes]
    return torch.stack([extremes, torch.tensor(losses, dtype=torch.float64)], 1)


@torch.no_grad()
def plane(network: Victim, mean: Tensor) -> Tensor:
    """(G, G) logits over the square of a two-dimensional toy and a margin around it; rows are the second coordinate."""
    axis = torch.linspace(-PLANE_MARGIN, 1 + PLANE_MARGIN, PLANE_SIDE, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1)
    parameter = next(network.parameters())
    centred = points.to(parameter)[..., None, None] - mean.to(parameter)
    return network(centred)[:, 0].view(PLANE_SIDE, PLANE_SIDE)
