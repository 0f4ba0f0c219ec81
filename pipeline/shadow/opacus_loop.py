"""Opacus reference implementation of private.py: one head at a time, through PrivacyEngine."""

import logging
import warnings

import torch
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pipeline.shadow.loss import Targets
from pipeline.shadow.settings import Training

logging.getLogger("opacus").setLevel(logging.ERROR)  # an empty first batch is no news under Poisson sampling


def train_with_opacus(
    features: Tensor,
    targets: Targets,
    parameters: list[Tensor],
    training: Training,
    noise_multiplier: float,
    generator: torch.Generator,
) -> None:
    """As private.train_private: the same arguments, the same law, other draws."""
    for model in range(len(features)):
        head = as_module([parameter[model] for parameter in parameters])
        one = targets[model : model + 1]
        train_one(head, features[model], one, training, noise_multiplier, generator)
        for parameter, trained in zip(parameters, head.parameters(), strict=True):
            parameter[model] = trained.detach()


def as_module(parameters: list[Tensor]) -> nn.Sequential:
    """weight, bias, … of one head as torch's layers."""
    layers: list[nn.Module] = []
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype, device=weight.device)
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers += [nn.ReLU(), layer] if layers else [layer]
    return nn.Sequential(*layers)


def train_one(head, features, targets: Targets, training: Training, noise_multiplier: float, generator) -> None:
    private = training.private
    sampling = torch.Generator().manual_seed(
        torch.randint(2**62, (), generator=generator, device=features.device).item()
    )
    whole_set = list(range(len(features)))
    loader = DataLoader(
        TensorDataset(features, torch.arange(len(features))),
        batch_sampler=[whole_set] * round(1 / private.sample_rate),  # its length is where Opacus reads q from
        generator=sampling,
    )
    optimizer = torch.optim.SGD(
        head.parameters(), lr=training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head, optimizer, loader = PrivacyEngine().make_private(
            module=head,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=noise_multiplier,
            max_grad_norm=private.clip_norm,
            noise_generator=generator,
        )
        steps = 0
        while steps < private.steps:
            for inputs, members in loader:
                if steps == private.steps:
                    break
                optimizer.zero_grad()
                batch = targets[..., members]
                batch.mean_loss(head(inputs).T.unsqueeze(0)).sum().backward()
                optimizer.step()
                steps += 1
