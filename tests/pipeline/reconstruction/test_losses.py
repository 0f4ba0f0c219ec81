"""The reconstruction loss, written out; LPIPS from a file."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.networks.lpips import perceptual_network
from pipeline.reconstruction.candidates import candidate_groups
from pipeline.reconstruction.losses import reconstruction_loss

CPU = torch.device("cpu")


def test_loss_of_one_candidate_is_half_of_mse_plus_mae():
    images, candidate = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, 1, 1, 4, 4)
    assert reconstruction_loss(images, candidate, 100.0).item() == pytest.approx(0.5 * (0.25 + 0.5))


def test_soft_minimum_is_the_nearest_when_sharp_and_the_mean_when_flat():
    images = torch.zeros(1, 1, 2, 2)
    candidates = torch.tensor([0.1, 0.4]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 2, 2)
    errors = torch.tensor([0.5 * (0.01 + 0.1), 0.5 * (0.16 + 0.4)])
    assert reconstruction_loss(images, candidates, 1e4).item() == pytest.approx(errors[0].item())
    assert reconstruction_loss(images, candidates, 1e-6).item() == pytest.approx(errors.mean().item(), rel=1e-4)
    weights = torch.softmax(-100 * errors, 0)
    assert reconstruction_loss(images, candidates, 100.0).item() == pytest.approx((errors * weights).sum().item())


def test_candidates_of_each_kind():
    indices = torch.arange(40).view(2, 20)
    assert candidate_groups(indices, 2, "conditional", "multiclass")[1, 3].tolist() == [26, 27]
    assert candidate_groups(indices, 2, "unconditional", "multiclass").shape == (2, 1, 20)
    assert candidate_groups(indices, 2, "unconditional", "identity")[1].tolist() == [[20, 21]]


@pytest.fixture
def alexnet(tmp_path):
    """Random weights of AlexNet in a file, as torchvision lays them out; the network and the file."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    network = alexnet(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    return network, tmp_path / "alexnet.pth"


def test_lpips_from_a_file_is_the_formula(alexnet):
    """Zhang et al. 2018: unit-length features of five ReLUs, squared differences, weighted by channel, averaged."""
    import lpips

    network, path = alexnet
    perceptual = perceptual_network("alex", CPU, path)
    first, second = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 64, 64) * 2 - 1
    channel_weights = [layer.model[-1].weight for layer in lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).lins]
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    expected = torch.zeros(2)
    ends = [index + 1 for index, layer in enumerate(network.features) if isinstance(layer, nn.ReLU)]
    here = [(image - shift[:, None, None]) / scale[:, None, None] for image in (first, second)]
    for weight, (start, stop) in zip(channel_weights, pairwise([0, *ends]), strict=True):
        here = [network.features[start:stop](features) for features in here]
        unit = [features / features.square().sum(1, keepdim=True).sqrt() for features in here]
        expected += ((unit[0] - unit[1]).square() * weight).sum(1).mean((1, 2))
    torch.testing.assert_close(perceptual(first, second).flatten(), expected, rtol=1e-4, atol=1e-6)
    assert perceptual(first, first).abs().max() == 0


@pytest.mark.parametrize("content", [None, b"junk", {"other": torch.zeros(1)}])
def test_lpips_weights_that_cannot_be_had_are_one_line(tmp_path, content):
    path = tmp_path / "vgg.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"reconstructor.lpips_weights=.*vgg.pth: the ImageNet weights of vgg are not"):
        perceptual_network("vgg", CPU, path)


def test_lpips_of_grey_images_is_that_of_three_equal_channels(alexnet):
    perceptual = perceptual_network("alex", CPU, alexnet[1])
    first, second = torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(
        perceptual(first, second), perceptual(first.expand(-1, 3, -1, -1), second.expand(-1, 3, -1, -1))
    )
