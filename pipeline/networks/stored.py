"""The backbone of an experiment: from the file that it names, or from what its pretrain stage made."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.networks.backbones import Classifier, load_trained_weights, read_trained_weights
from pipeline.networks.state import state_dict
from pipeline.store import Shards

if TYPE_CHECKING:
    from pipeline.config import Experiment


def stored_backbone(experiment: "Experiment", inputs: Mapping[str, Shards]) -> Classifier:
    """`inputs`: what the stage reads, with the shard of `pretrain` where the experiment names no file."""
    classifier = Classifier(experiment.backbone.name, classes=1)
    if experiment.backbone.weights:
        read_trained_weights(classifier, experiment.backbone)
    else:
        shard = inputs["pretrain"].names[0]
        load_trained_weights(classifier, state_dict(inputs["pretrain"].read(shard)), shard)
    return classifier
