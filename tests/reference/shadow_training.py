"""The published way, one model at a time: DataLoader, autograd, torch.optim. What every engine is measured against."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pipeline.shadow.settings import Training


def plain_head(inputs: int, training: Training) -> nn.Sequential:
    outputs = training.classes
    if training.hidden is None:
        return nn.Sequential(nn.Linear(inputs, outputs))
    return nn.Sequential(nn.Linear(inputs, training.hidden), nn.ReLU(), nn.Linear(training.hidden, outputs))


def plain_loss(training: Training) -> nn.Module:
    if training.classes > 1:
        return nn.CrossEntropyLoss()
    binary = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(training.positive_weight))
    return lambda logits, labels: binary(logits.squeeze(1), labels.to(logits.dtype))


def train_plainly(features, labels, training: Training, initial) -> torch.Tensor:
    """features (N, D), labels (N,), initial (P,) → weights (P,)."""
    head = plain_head(features.shape[1], training).to(features.dtype)
    nn.utils.vector_to_parameters(initial.clone(), head.parameters())
    options = {"momentum": training.momentum} if training.momentum else {}
    if training.weight_decay:
        options["weight_decay"] = training.weight_decay
    name = next(name for name in dir(torch.optim) if name.lower() == training.optimizer)
    optimizer = getattr(torch.optim, name)(head.parameters(), lr=training.learning_rate, **options)
    loss = plain_loss(training)
    parts = len(labels) // (training.batch_size or len(labels))
    members = [list(range(part, len(labels), parts)) for part in range(parts)]
    loader = DataLoader(TensorDataset(features, labels), batch_sampler=members)
    for _ in range(training.epochs):
        for inputs, answers in loader:
            optimizer.zero_grad()
            loss(head(inputs), answers).backward()
            optimizer.step()
    return nn.utils.parameters_to_vector(head.parameters()).detach()
