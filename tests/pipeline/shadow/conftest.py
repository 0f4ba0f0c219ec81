import pytest
import torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request) -> torch.device:
    """Where heads train: the same facts hold on a GPU, if one is at hand."""
    return torch.device(request.param)
