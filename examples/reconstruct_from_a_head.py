"""Rebuild training images from the weights of a transfer-learned head: python -m examples.reconstruct_from_a_head"""

from pathlib import Path

import torch

from pipeline.data.images import target_images
from pipeline.data.settings import DataSet, Task
from pipeline.data.sources import load
from pipeline.data.training_sets import training_sets
from pipeline.evaluation.min_mse import min_mse
from pipeline.evaluation.reading import WeightReader
from pipeline.evaluation.victims import VictimSet
from pipeline.networks.decoders import FullyConnected
from pipeline.reconstruction.examples import Examples
from pipeline.reconstruction.settings import Reconstructor
from pipeline.reconstruction.train import Lesson, train_reconstructor
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard
from pipeline.statistics import Moments, Standardisation


def main(seeds: int = 20, steps: int = 1500) -> tuple[float, float]:
    """Returns the mean min-MSE of the victims' images, and of victims whose images are taken for another's."""
    images, indices, weights = {}, {}, {}
    training = Training(learning_rate=0.01, momentum=0.9, epochs=50, init_std=0.002)
    for split, models, deals in (("train", 700, seeds), ("test", 100, 1)):  # shadow models, and victims
        source = load(DataSet(name="mnist_digits"), split, Path())
        images[split] = target_images(source, 16)
        features = images[split].float().flatten(1) / 255  # in place of a backbone's features
        dealt = [training_sets(source.labels, Task(), 1, models, seed, foreign=False) for seed in range(deals)]
        indices[split] = torch.cat([torch.as_tensor(rows).long() for rows, _ in dealt])
        labels = torch.cat([torch.as_tensor(of_rows).long() for _, of_rows in dealt])
        weights[split] = train_shard(features, indices[split], labels, training, torch.Generator().manual_seed(0))
    standardise = Standardisation.of(Moments.from_weights(weights["train"]))

    def examples(step: int):
        generator = torch.Generator().manual_seed(step)
        while True:  # a random class of each of 64 random shadow models: one image
            rows, label = (torch.randint(high, (64,), generator=generator) for high in (len(weights["train"]), 10))
            yield Examples(standardise.apply(weights["train"][rows]), label, indices["train"][rows, label][:, None])

    reader = WeightReader(standardise, groups=10, conditional=True)
    victims = VictimSet(reader.read(weights["test"]), images["test"], indices["test"][:, :, None])
    network = FullyConnected(reader.width, 1, 16, 256, classes=10)
    settings = Reconstructor(width=256, steps=steps, learning_rate=1e-3, schedule="cosine", validate_every=steps)
    train_reconstructor(Lesson(network, examples, images["train"], settings, lambda trained: min_mse(trained, victims)))
    others = victims.with_reading(reader.read(weights["test"].roll(1, 0)))
    own, null = (min_mse(network, one).distances.mean() for one in (victims, others))
    print(f"mean min-MSE {own:.3f} of the victims' own images, {null:.3f} where the weights are another victim's")
    return own, null


if __name__ == "__main__":
    main()
