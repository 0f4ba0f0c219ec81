"""What training changes from step to step: all of it, so that a checkpoint of it loses nothing."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.networks.decoders import Decoder
from pipeline.reconstruction.precision import loss_scaler
from pipeline.reconstruction.settings import Precision
from pipeline.reconstruction.settings import Reconstructor as Settings

History = dict[str, list[float]]


def parameters_of(network: Decoder) -> dict[str, torch.Tensor]:
    """A copy of its parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@dataclass
class Best:
    """The state with the lowest validation score so far."""

    score: float = float("inf")
    step: int = 0
    parameters: dict[str, torch.Tensor] = field(default_factory=dict)


class State:
    """Network, optimiser and history. `eval_network`: the moving average, or the network where there is none."""

    def __init__(self, network: Decoder, settings: Settings, precision: Precision, device: torch.device):
        self.network, self.settings, self.precision = network, settings, precision
        self.optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
        self.scaler = loss_scaler(precision, device)
        self.eval_network = copy.deepcopy(network) if settings.average else network
        self.step = 0
        self.loss_sum = torch.zeros((), device=device)
        self.best = Best()
        self.history: History = {"step": [], "loss": [], "validation": []}

    def update(self, loss: torch.Tensor, rate: float) -> None:
        """One step of Adam down the loss's gradient; nothing here waits for the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.settings.clip_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.loss_sum += loss.detach()
        self.step += 1
        if self.eval_network is not self.network:
            self._average()

    @torch.no_grad()
    def _average(self) -> None:
        """Early on the average forgets faster, or it would remember the initial weights for long."""
        decay = min(self.settings.average, self.step / (self.step + 9))
        for mean, now in zip(self.eval_network.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)

    def note(self, loss: float, score: float) -> None:
        """A validation: the mean loss since the last one, and the score now."""
        for name, value in (("step", self.step), ("loss", loss), ("validation", score)):
            self.history[name].append(value)
        if score < self.best.score:
            self.best = Best(score, self.step, parameters_of(self.eval_network))

    @property
    def finite(self) -> bool:
        tensors = [tensor for tensor in self.network.state_dict().values() if tensor.is_floating_point()]
        return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())

    def saved(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "judged": self.eval_network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "precision": self.precision,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "best": vars(self.best),
            "history": self.history,
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.eval_network.load_state_dict(saved["judged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.step, self.loss_sum, self.history = saved["step"], saved["loss_sum"], saved["history"]
        self.best = Best(**saved["best"])
