"""Is an audit right as often as it says? 240 heads with known members, on images that set none of its thresholds.

    python -m benchmarks.audit examples/my_head/audit.yml

PRIVATE images of every class are taken out of the adversary's held-out images, as a user's private ones are, and heads
are trained on them by the recipe. Each is judged as a head under audit: its own images should count as rebuilt as often
as the card says of its kind, the private images that it never saw no oftener than the card's interval allows, and the
head itself should belong to the recipe. The attack (python -m jobs audit CONFIG) must have been made.

Measured on examples/my_head/audit.yml, 240 heads, share of pairs called rebuilt (95 % interval): strangers 1.01 % where
the card says 1.01 (0.85 … 1.19) %, and 0.13 % where it says 0.10 (0.06 … 0.17) %; members 90.5 % where it says 89.7
(86.9 … 92.0) %, and 61.8 % where it says 59.0 (54.6 … 63.3) %. Of 40 heads of the recipe none is taken for another's.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.audit.attack import Attack
from pipeline.audit.examination import Kind, check_recipe, measure_kind
from pipeline.audit.held_out import Heads, train_on
from pipeline.audit.identification import Background, Pool, behind_the_picture, scores, share_of_pairs
from pipeline.audit.subject import Audited, Gallery
from pipeline.config import Experiment, load
from pipeline.evaluation.intervals import clopper_pearson
from pipeline.randomness import numpy_generator
from pipeline.shadow import seeds
from pipeline.shadow.recipe import Recipe
from stages import stage_named
from stages.plan import Plan

PRIVATE, HEADS, CHECKED = 60, 240, 40
PURPOSE = ("benchmarks", "audit")


@dataclass(frozen=True)
class Setting:
    experiment: Experiment
    attack: Attack
    recipe: Recipe
    train: Gallery
    test: Gallery

    @classmethod
    def of(cls, experiment: Experiment) -> "Setting":
        inputs, cpu = Plan(experiment).read_inputs(stage_named("audit")), torch.device("cpu")
        recipe = Recipe.of(experiment, seeds.VICTIMS, inputs["deep_features"], cpu)
        galleries = (Gallery.of(experiment, split) for split in ("train", "test"))
        return cls(experiment, Attack.stored(experiment, inputs, cpu), recipe, *galleries)


def judged(setting: Setting, kind: Kind, heads: Heads, private: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (H, n) of heads on the n private images, and which of these trained each."""
    images, attack = setting.test.part(private), setting.attack
    background = Background(attack.distances(kind.null.weights, images.rows, images.labels), images.labels)
    pool = Pool(attack.distances(heads.weights, kind.pool.rows, kind.pool.labels), kind.pool.labels)
    found = scores(attack.distances(heads.weights, images.rows, images.labels), background, pool)
    return found, (heads.indices[:, :, None] == private).any(1)


def not_belonging(setting: Setting, heads: Heads, count: int) -> int:
    """How many of the first `count` heads, each of the recipe, an audit takes for heads of another."""
    wrong = 0
    for number, (weights, indices) in enumerate(zip(heads.weights[:count], heads.indices, strict=False)):
        one = Audited(
            weights,
            setting.test.images[indices],
            setting.test.labels[indices],
            (),
            setting.recipe.features[torch.as_tensor(indices)],
        )
        fit, suspicion = check_recipe(setting.experiment, one, (*PURPOSE, "recipe", number))
        wrong += not fit.near or suspicion is not None
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    setting = Setting.of(load(options.config, options.overrides))
    labels, chance = setting.test.labels, numpy_generator(*PURPOSE, "private")
    private = np.concatenate(
        [chance.permutation(np.flatnonzero(labels == number))[:PRIVATE] for number in np.unique(labels)]
    )
    kind = measure_kind(
        setting.attack,
        setting.recipe,
        setting.train,
        setting.test,
        setting.test.images[private],
        PURPOSE,
        lambda *_: None,
    )
    heads = train_on(setting.recipe, private, HEADS, (*PURPOSE, "heads"))
    found, member = judged(setting, kind, heads, private)
    print(f"{len(found)} heads, {member.sum():,} pairs with a member, {(~member).sum():,} with a stranger")
    shown = behind_the_picture(member, labels[private])
    for place, rate in enumerate(kind.rates.wanted):
        hit = found <= kind.rates.threshold[place]
        for name, told, counted in (("strangers", kind.rates.fpr, ~member), ("members", kind.rates.tpr, member)):
            value, low, high = share_of_pairs(hit, counted, shown)
            said = "{:.4f} ({:.4f} … {:.4f})".format(*told[place])
            print(f"FPR {rate:g}: {name} called rebuilt {value:.4f} ({low:.4f} … {high:.4f}); the card says {said}")
    wrong = not_belonging(setting, heads, CHECKED)
    low, high = clopper_pearson(np.array(wrong / CHECKED), CHECKED)
    print(f"of {CHECKED} heads of the recipe {wrong} are taken for heads of another ({low:.3f} … {high:.3f})")


if __name__ == "__main__":
    main()
