"""The networks that turn images into features: what they are fed, how they are built and where weights come from."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torchvision import models
from torchvision.transforms import functional

from pipeline import located
from pipeline.data.resizing import resized, to_short_side
from pipeline.data.sources import ImageSource
from pipeline.errors import UserError
from pipeline.networks.efficientnet_lite import EfficientNetLite0
from pipeline.networks.settings import FEATURES, Backbone, lite0_weights
from pipeline.networks.vgg_tiny import VGGTiny
from pipeline.unattended import silent
from pipeline.weight_files import read_state

FEATURE_BATCH = 256
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
TOPS = ("fc.", "fc_top.", "classifier.", "_fc.")
IMAGENET_WEIGHTS = {
    "efficientnet_b0": models.EfficientNet_B0_Weights.IMAGENET1K_V1,
    "wide_resnet50_2": models.Wide_ResNet50_2_Weights.IMAGENET1K_V2,
}
OWN = {"vgg_tiny": VGGTiny, "efficientnet_lite0": EfficientNetLite0}
"""The backbones that torchvision does not have."""


class Classifier(nn.Module):
    """`body`: images → features (B, D); `top`: dropout and one linear layer → logits (B, classes)."""

    def __init__(self, name: str, classes: int, dropout: float = 0.0):
        super().__init__()
        self.name = name
        self.body = OWN[name]() if name in OWN else _without_top(models.get_model(name))
        self.top = nn.Sequential(nn.Dropout(dropout), nn.Linear(FEATURES[name], classes))

    @property
    def images_at_once(self) -> int:
        """On a CPU. EfficientNet-Lite0's first layers are large: four images stay in a core's caches, 32 do not (77
        against 30 images a second on one core, channels last)."""
        return 4 if self.name == "efficientnet_lite0" else FEATURE_BATCH

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.top(self.body(images))

    def train(self, mode: bool = True) -> "Classifier":
        """Batch normalisation stays in evaluation mode while everything else trains."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self


def _without_top(network: nn.Module) -> nn.Module:
    top = "classifier" if hasattr(network, "classifier") else "fc"
    setattr(network, top, nn.Identity())
    return network


def preprocess(name: str, images: torch.Tensor) -> torch.Tensor:
    """Bytes (B, C, H, W) → what the backbone is fed.

    VGG-tiny: one channel of 32×32 in [-1, 1]. The ImageNet backbones: three channels of 224×224, ImageNet's mean and
    deviation (EfficientNet-Lite0: (byte − 127) / 128, as Google trained it); small images are scaled up to that side,
    larger ones to a short side of 232 and cropped to the centre, bicubically, in bytes and in two passes, as Pillow and
    so the published programs did: what overshoots is clipped.
    """
    if name == "vgg_tiny":
        grey = images if images.shape[1] == 1 else functional.rgb_to_grayscale(images)
        return functional.resize(grey, [32, 32], antialias=True).float().div(127.5).sub(1)
    if min(images.shape[-2:]) < 100:
        scaled = resized(images, 224, 224)
    elif images.shape[-2:] == (224, 224):  # cut already
        scaled = images
    else:
        scaled = functional.center_crop(to_short_side(images, 232), [224, 224])
    scaled = scaled.expand(-1, 3, -1, -1).float().div(255)
    if name == "efficientnet_lite0":
        return functional.normalize(scaled, LITE_MEAN, LITE_STD)
    return functional.normalize(scaled, IMAGENET_MEAN, IMAGENET_STD)


def load_initial_weights(classifier: Classifier, source: str) -> None:
    """`imagenet` (torchvision's cache, or fetched; EfficientNet-Lite0's package), or a file with a state dict in the
    same layout."""
    if source == "random":
        return
    if source == "imagenet" and classifier.name == "efficientnet_lite0":
        source = str(lite0_weights("pretrain.initial_weights"))
    if source == "imagenet" and classifier.name not in IMAGENET_WEIGHTS:
        raise UserError(f"pretrain.initial_weights: there are no ImageNet weights for {classifier.name}; use random")
    try:
        if source == "imagenet":
            state = IMAGENET_WEIGHTS[classifier.name].get_state_dict(check_hash=True)
        else:
            state = read_state(located(source), located(source).name)
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
        body = {_own_name(classifier.name, key): value for key, value in state.items() if not key.startswith(TOPS)}
    try:
        classifier.body.load_state_dict(body)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{origin} does not hold weights of {classifier.name} ({reason})") from error


def _own_name(backbone: str, key: str) -> str:
    """The published VGG-tiny calls its parts features, fc1.0 and fc2.0; other backbones keep their files' names."""
    if backbone != "vgg_tiny":
        return key
    return key.replace("features.", "convolutions.").replace("fc1.0.", "linear.0.").replace("fc2.0.", "linear.2.")


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
        parts = images.split(classifier.images_at_once) if device.type == "cpu" else [images]
        with narrowed:
            blocks += [classifier.body(part).float().cpu() for part in parts]
        progress(int(block[-1]) + 1, len(source), "images")
    return torch.cat(blocks)
