"""The first layer of many heads, in the prior's coordinates and with its rows in a fixed order."""

from torch import Tensor


class Rows:
    """weights V (M, R, d) and bias (M, R) of M heads; a row is a logit or a hidden unit.

    Hidden units stand in any order after training; that of their weights in the first logit makes it one.
    """

    def __init__(self, parameters: list[Tensor], directions: Tensor):
        """`parameters`: weight (M, R, D), bias (M, R) and, behind a hidden layer, those of the second;
        `directions` (D, d)."""
        weight, bias, *upper = parameters
        self.order = upper[0][:, 0].argsort(dim=1, descending=True, stable=True) if upper else None
        if self.order is not None:
            weight = weight.gather(1, self.order[:, :, None].expand_as(weight))
            bias = bias.gather(1, self.order)
        self.weights, self.bias = weight @ directions, bias

    def arrange(self, coefficients: Tensor) -> Tensor:
        """Coefficients (M, R, N), as training knows them, with their rows in this order."""
        if self.order is None:
            return coefficients
        return coefficients.gather(1, self.order[:, :, None].expand_as(coefficients))
