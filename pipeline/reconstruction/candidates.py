"""The images that each reconstruction is held against."""

import torch


def candidate_groups(indices: torch.Tensor, class_size: int, mode: str, task: str) -> torch.Tensor:
    """The images that each reconstruction may be, (M, G, J) of the (M, N) dealt indices.

    Training sets are dealt class after class. Conditional: G classes of J = class_size images. Unconditional: one group
    of all N images, or of the identity's own (which come first) when the task is identity.
    """
    if mode == "conditional":
        return indices.unflatten(1, (-1, class_size))
    return indices[:, None, :class_size] if task == "identity" else indices[:, None, :]
