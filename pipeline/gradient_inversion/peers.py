"""Other attacks on the same gradients: each takes a gradient as `attack` does, and answers with an Inversion."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.gradient_inversion.attack import Inversion, attack, check_gradient
from pipeline.gradient_inversion.certificate import certify
from pipeline.gradient_inversion.convolution_input import stacked_input
from pipeline.gradient_inversion.labels import infer_labels
from pipeline.gradient_inversion.layers import Chain
from pipeline.gradient_inversion.settings import InvertingGradientsSettings, LbfgsSettings, Peers
from pipeline.gradient_inversion.step import Exposure, Gradient, count, gradient_of_step


class _Optimisation:
    """Optimises dummy images, one gradient after the other; a child says how."""

    def run(
        self, network: Chain, gradient: Gradient, generator: torch.Generator, exposure: Exposure | None = None
    ) -> Inversion:
        """Inverts N gradients of single images; `generator` draws the dummies. Labels are inferred as iDLG does."""
        start = time.perf_counter()
        check_gradient(network, gradient)
        exposure = exposure or Exposure(dtype=next(iter(gradient.values())).dtype)
        exact = {name: part.double() for name, part in gradient.items()}
        labels = infer_labels(network, exact)
        images = torch.stack(
            [
                self.reconstruct(network, [part[n] for part in exact.values()], labels[n : n + 1], generator)
                for n in range(count(gradient))
            ]
        )
        residual, labels = certify(network, exact, images, labels[:, None], exposure)
        tolerance = exposure.precision(exact).sqrt()
        return Inversion(images, labels, residual, tolerance, None, time.perf_counter() - start)

    def reconstruct(self, network: Chain, given: list[Tensor], label: Tensor, generator: torch.Generator) -> Tensor:
        """The image (1, C, H, W) behind one gradient, in the order of the network's parameters."""
        raise NotImplementedError


@dataclass(frozen=True)
class DLG(_Optimisation):
    """Deep Leakage from Gradients (Zhu, Liu, Han; 2019; arXiv 1906.08935).

    L-BFGS on a dummy image and a dummy soft label, both from N(0, 1), for ‖∇' − ∇‖².
    """

    settings: LbfgsSettings

    def reconstruct(self, network: Chain, given: list[Tensor], label: Tensor, generator: torch.Generator) -> Tensor:
        image = _dummy(network.image_shape, generator)
        target = _dummy((len(network.head[-1].weight),), generator)
        return _lbfgs(network, given, image, lambda: target.softmax(-1), [image, target], self.settings)


@dataclass(frozen=True)
class IDLG(_Optimisation):
    """Improved Deep Leakage from Gradients (Zhao, Mopuri, Bilen; 2020; arXiv 2001.02610).

    As DLG, with the label read off the gradient's sign, so that the image alone is optimised.
    """

    settings: LbfgsSettings

    def reconstruct(self, network: Chain, given: list[Tensor], label: Tensor, generator: torch.Generator) -> Tensor:
        image = _dummy(network.image_shape, generator)
        return _lbfgs(network, given, image, lambda: label, [image], self.settings)


@dataclass(frozen=True)
class InvertingGradients(_Optimisation):
    """Inverting Gradients (Geiping, Bauermeister, Dröge, Moeller; 2020; arXiv 2003.14053).

    Adam on the sign of the derivative of 1 − cos(∇', ∇) + `total_variation` · TV(x), the rate cut by 10 at 3/8, 5/8 and
    7/8 of the way, pixels kept in `pixel_range`.
    """

    settings: InvertingGradientsSettings
    pixel_range: tuple[float, float] = (0.0, 1.0)

    def reconstruct(self, network: Chain, given: list[Tensor], label: Tensor, generator: torch.Generator) -> Tensor:
        image = _dummy(network.image_shape, generator)
        optimizer = torch.optim.Adam([image], lr=self.settings.rate)
        milestones = [self.settings.iterations * eighths // 8 for eighths in (3, 5, 7)]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
        for _ in range(self.settings.iterations):
            own = gradient_of_step(network.module, image, label, create_graph=True)
            loss = _cosine_distance(own, given) + self.settings.total_variation * _total_variation(image)
            image.grad = torch.autograd.grad(loss, image)[0].sign()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                image.clamp_(*self.pixel_range)
        return image.detach()


@dataclass(frozen=True)
class RGAP:
    """R-GAP (Zhu, Blaschko; 2020; arXiv 2010.07733): recursive least squares on dense stacks of all constraints.

    Meant for networks without biases and with one logit, whose size its head settles as `attack` does. Each layer's
    weight and gradient rows form one dense system, so that time and memory grow with the cube of a layer's input.
    """

    pixel_range: tuple[float, float] = (0.0, 1.0)

    def run(
        self, network: Chain, gradient: Gradient, generator: torch.Generator, exposure: Exposure | None = None
    ) -> Inversion:
        """Inverts N gradients of single images; nothing is drawn from `generator`."""
        return attack(network, gradient, pixel_range=self.pixel_range, exposure=exposure, layer_input=stacked_input)


def _dummy(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(1, *shape, generator=generator, dtype=torch.float64, requires_grad=True)


def _lbfgs(
    network: Chain,
    given: list[Tensor],
    image: Tensor,
    target: Callable[[], Tensor],
    variables: list[Tensor],
    settings: LbfgsSettings,
) -> Tensor:
    """At most `iterations` steps of PyTorch's L-BFGS (20 inner ones each), as both papers use it."""
    optimizer = torch.optim.LBFGS(variables, lr=settings.rate)

    def closure() -> Tensor:
        optimizer.zero_grad()
        own = gradient_of_step(network.module, image, target(), create_graph=True)
        loss = sum((a - b).square().sum() for a, b in zip(own, given, strict=True))
        for variable, derivative in zip(variables, torch.autograd.grad(loss, variables), strict=True):
            variable.grad = derivative
        return loss

    for _ in range(settings.iterations):
        loss = optimizer.step(closure)
        if not torch.isfinite(loss) or loss < 1e-20:
            break
    return image.detach()


def _cosine_distance(own: tuple[Tensor, ...], given: list[Tensor]) -> Tensor:
    product = sum((a * b).sum() for a, b in zip(own, given, strict=True))
    own_size, given_size = (sum(part.square().sum() for part in side).sqrt() for side in (own, given))
    return 1 - product / (own_size * given_size)


def _total_variation(image: Tensor) -> Tensor:
    return image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean()


PEERS = {"dlg": DLG, "idlg": IDLG, "inverting_gradients": InvertingGradients, "r_gap": RGAP}


def peer(name: str, asked: Peers) -> DLG | IDLG | InvertingGradients | RGAP:
    """The attack of that name with its settings; R-GAP has none."""
    return PEERS[name](getattr(asked, name)) if name in Peers.model_fields else PEERS[name]()
