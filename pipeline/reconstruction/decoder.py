"""The network that turns what is read of a head into images: as an experiment asks for it, and as it was trained."""

from typing import TYPE_CHECKING

from pipeline.networks import decoders
from pipeline.networks.decoders import Decoder
from pipeline.networks.state import state_dict
from pipeline.store import Shards

if TYPE_CHECKING:
    from pipeline.config import Experiment

STATES = {"last": "state/", "best": "best/"}
"""evaluation.reconstructor → where a shard of the stage `reconstructor` has that state."""


def decoder_of(experiment: "Experiment", width: int, classes: int) -> Decoder:
    """Not initialised; for inputs of `width` numbers, told one of `classes` (0: none is told)."""
    settings, data = experiment.reconstructor, experiment.data
    return decoders.build(settings.network, width, data.channels, data.image_size, settings.width, classes)


def trained_decoder(experiment: "Experiment", reconstructor: Shards, mode: str, width: int, classes: int) -> Decoder:
    """In the state that the evaluation scores."""
    network = decoder_of(experiment, width, classes)
    prefix = STATES[experiment.evaluation.reconstructor]
    network.load_state_dict(state_dict(reconstructor.read(mode), prefix))
    return network
