"""State dicts as the arrays of a shard, and back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

PREFIX = "state/"


def state_arrays(network: nn.Module) -> dict[str, np.ndarray]:
    return {PREFIX + name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}


def state_dict(arrays: Mapping[str, np.ndarray], prefix: str = PREFIX) -> dict[str, torch.Tensor]:
    """The state among `arrays`; others are left out."""
    return {
        name.removeprefix(prefix): torch.as_tensor(array) for name, array in arrays.items() if name.startswith(prefix)
    }
