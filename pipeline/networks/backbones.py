"""The networks that turn images into features: what they are fed, how they are built and where weights come from."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from pipeline import located
from pipeline.data.sources import ImageSource
from pipeline.errors import UserError
from pipeline.networks.known import RECORDS
from pipeline.networks.settings import Backbone
from pipeline.unattended import silent
from pipeline.weight_files import read_state

FEATURE_BATCH = 256
TOPS = ("fc.", "fc_top.", "classifier.", "_fc.")


class Classifier(nn.Module):
    """`body`: images → features (B, D); `top`: dropout and one linear layer → logits (B, classes)."""

    def __init__(self, name: str, classes: int, dropout: float = 0.0):
        super().__init__()
        self.record = RECORDS[name]
        self.body = self.record.build()
        self.top = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.record.features, classes))

    @property
    def name(self) -> str:
        return self.record.name

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.top(self.body(images))

    def train(self, mode: bool = True) -> "Classifier":
        """Batch normalisation stays in evaluation mode while everything else trains."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self


def preprocess(name: str, images: torch.Tensor) -> torch.Tensor:
    """Bytes (B, C, H, W) → what the backbone of that name is fed."""
    return RECORDS[name].preprocess(images)


def load_initial_weights(classifier: Classifier, source: str) -> None:
    """`imagenet` (from a package, torchvision's cache or a download), or a file with a state dict in that layout."""
    if source == "random":
        return
    record = classifier.record
    if source == "imagenet" and record.imagenet_file:
        source = str(record.imagenet_file("pretrain.initial_weights"))
    if source == "imagenet" and not record.imagenet:
        raise UserError(f"pretrain.initial_weights: there are no ImageNet weights for {classifier.name}; use random")
    try:
        state = record.imagenet() if source == "imagenet" else read_state(located(source), located(source).name)
        state = {key: value for key, value in state.items() if not key.startswith(TOPS)}
        classifier.body.load_state_dict(state)
    except Exception as error:  # torch.load fails on a foreign file in many ways
        cached = Path(torch.hub.get_dir()) / "checkpoints"
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"pretrain.initial_weights={source}: weights of {classifier.name} not to be had ({reason}); put "
            f"torchvision's file into {cached}, or name a file with its state dict"
        ) from error


def read_trained_weights(classifier: Classifier, settings: Backbone) -> None:
    """Take the body's weights from the file that the experiment's `backbone.weights` names."""
    path = settings.weights_file()
    where = f"backbone.weights: {path}"
    load_trained_weights(classifier, read_state(path, where), where)


def load_trained_weights(classifier: Classifier, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Take the body's weights from the state dict of a pre-trained classifier, this project's or a published one
    (without the prefix `body.`); raises UserError naming `origin`."""
    if any(key.startswith("body.") for key in state):
        body = {key.removeprefix("body."): value for key, value in state.items() if key.startswith("body.")}
    else:
        body = {classifier.record.own_name(key): value for key, value in state.items() if not key.startswith(TOPS)}
    try:
        classifier.body.load_state_dict(body)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{origin} does not hold weights of {classifier.name} ({reason})") from error


@torch.no_grad()
def extract_features(
    classifier: Classifier,
    source: ImageSource,
    progress: Callable[[int, int, str], None] = silent,
    precision: str = "float32",
) -> torch.Tensor:
    """(n, D) float32 on the CPU: the body's output for every image of `source`, in its order; `precision` is that of
    the body's products, float32 or bfloat16."""
    device = next(classifier.parameters()).device
    narrowed = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    classifier.eval()
    blocks = []
    for block in torch.arange(len(source)).split(FEATURE_BATCH):
        images = preprocess(classifier.name, source.read(block.numpy()).to(device))
        parts = images.split(classifier.record.images_at_once) if device.type == "cpu" else [images]
        with narrowed:
            blocks += [classifier.body(part).float().cpu() for part in parts]
        progress(int(block[-1]) + 1, len(source), "images")
    return torch.cat(blocks)
