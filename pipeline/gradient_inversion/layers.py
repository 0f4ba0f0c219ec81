"""Reading a network as the chain of layers that an inversion walks back through."""

import operator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from pipeline.errors import UserError
from pipeline.gradient_inversion.activations import ELU, Activation, LeakyReLU, ReLU, Sigmoid, Tanh

Pair = tuple[int, int]
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution, the average pooling right behind it if there is one, and its activation if it has one.

    `weight` is (F, C, kh, kw) in float64; `input_shape` is (C, H, W); `output_shape` is (F, Ho, Wo), before pooling.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    input_shape: Shape
    output_shape: Shape
    pooling: "AveragePooling | None" = None
    activation: Activation | None = None
    read_values: Tensor | None = None
    """Mask over the height and width of what the layer hands on: on these anything later depends; none = on all."""

    @property
    def value_shape(self) -> Shape:
        """Shape of what the layer hands on."""
        return self.pooling.output_shape if self.pooling else self.output_shape

    @cached_property
    def read_outputs(self) -> Tensor:
        """Mask (Ho, Wo) of the convolution's outputs on which anything later depends."""
        values = torch.ones(self.value_shape[1:]) if self.read_values is None else self.read_values.double()
        return self.gradient_before_pooling(values.double()[None, None])[0, 0] > 0

    @cached_property
    def read_pixels(self) -> Tensor:
        """Mask (H, W) of the inputs on which anything later depends; wide strides and uneven edges leave some out."""
        kernel = torch.ones(1, 1, *self.weight.shape[2:], dtype=torch.float64)
        one_channel = (1, *self.input_shape[1:])
        outputs = self.read_outputs.double()[None, None]
        return _convolution_adjoint(outputs, kernel, self.stride, self.padding, one_channel)[0, 0] > 0.5

    @cached_property
    def rows_kernel(self) -> Tensor:
        """Kernel of convolution and pooling together: averages of a convolution are a convolution by a wider kernel."""
        if self.pooling is None:
            return self.weight
        wide = functional.conv_transpose2d(self.pooling.window, self.weight.flatten(0, 1)[None], stride=self.stride)
        return wide[0].unflatten(0, self.weight.shape[:2])

    @property
    def rows_stride(self) -> Pair:
        if self.pooling is None:
            return self.stride
        return self.stride[0] * self.pooling.stride[0], self.stride[1] * self.pooling.stride[1]

    def rows(self, images: Tensor) -> Tensor:
        """The linear map from inputs (…, C, H, W) to pre-activations without bias (…, *value_shape)."""
        out = functional.conv2d(images.flatten(0, -4), self.rows_kernel, stride=self.rows_stride, padding=self.padding)
        return out.unflatten(0, images.shape[:-3])

    def rows_adjoint(self, values: Tensor) -> Tensor:
        """The adjoint of `rows`: (…, *value_shape) → (…, C, H, W)."""
        return _convolution_adjoint(values, self.rows_kernel, self.rows_stride, self.padding, self.input_shape)

    def gradient_at_input(self, gradient: Tensor) -> Tensor:
        """From the loss gradient at the convolution's output (…, F, Ho, Wo) to that at its input (…, C, H, W)."""
        return _convolution_adjoint(gradient, self.weight, self.stride, self.padding, self.input_shape)

    def gradient_before_pooling(self, gradient: Tensor) -> Tensor:
        """Spreads a gradient at the pooled output evenly over the outputs that were averaged."""
        if self.pooling is None:
            return gradient
        one_channel = (1, *self.output_shape[1:])
        pooling = self.pooling
        spread = _convolution_adjoint(gradient.unsqueeze(-3), pooling.window, pooling.stride, (0, 0), one_channel)
        return spread.squeeze(-3)


@dataclass(frozen=True)
class AveragePooling:
    kernel: Pair
    stride: Pair
    output_shape: Shape

    @property
    def window(self) -> Tensor:
        """The averaging kernel (1, 1, kh, kw)."""
        return torch.full((1, 1, *self.kernel), 1 / prod(self.kernel), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Linear:
    """A fully connected layer, weight (K, D) in float64, and its activation if it has one."""

    name: str
    weight: Tensor
    bias: Tensor | None
    activation: Activation | None = None


@dataclass(frozen=True, eq=False)
class Chain:
    """A network read for inversion: convolutions if any, flatten, fully connected layers; `module` runs it."""

    module: nn.Module
    image_shape: Shape
    convolutions: tuple[Convolution, ...]
    head: tuple[Linear, ...]


def read_network(module: nn.Module, image_shape: Shape) -> Chain:
    """The chain of layers of `module` for images (C, H, W); the module itself is left as it is.

    Raises UserError, naming the layer, for whatever the inversion cannot walk back through.
    """
    convolutions: list[Convolution] = []
    head: list[Linear] = []
    flat = False
    for name, layer, input_shape, output_shape in _chain_of(module, image_shape):
        last = head[-1] if head else convolutions[-1] if convolutions else None
        if isinstance(layer, nn.Conv2d):
            convolutions.append(_convolution(name, layer, input_shape, output_shape))
        elif isinstance(layer, nn.Linear):
            if not flat and len(input_shape) != 1:
                raise UserError(f"layer {name}: a fully connected layer must stand behind a flatten")
            head.append(Linear(name, layer.weight.detach().double(), _double(layer.bias)))
        elif isinstance(layer, nn.Flatten):
            flat = True
        elif isinstance(layer, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            pooling = _pooling(name, layer, input_shape, output_shape)
            if not isinstance(last, Convolution) or flat or last.activation or last.pooling:
                raise UserError(
                    f"layer {name}: average pooling is inverted only right behind a convolution; here it averages "
                    "values whose activation's slopes stay unknown. Put the pooling before the activation"
                )
            convolutions[-1] = replace(last, pooling=pooling)
        else:
            activation = _activation(name, layer)
            if activation is None:
                continue
            if last is None or last.activation:
                raise UserError(f"layer {name}: an activation must follow a convolution or a fully connected layer")
            (head if head else convolutions)[-1] = replace(last, activation=activation)
    if not flat or not head or head[-1].activation:
        raise UserError("the network must be convolutions, flatten, fully connected layers, and end in plain logits")
    for depth in reversed(range(len(convolutions) - 1)):
        convolutions[depth] = replace(convolutions[depth], read_values=convolutions[depth + 1].read_pixels)
    return Chain(module, tuple(image_shape), tuple(convolutions), tuple(head))


FUNCTIONS = {
    torch.relu: nn.ReLU,
    functional.relu: nn.ReLU,
    functional.leaky_relu: nn.LeakyReLU,
    functional.elu: nn.ELU,
    torch.sigmoid: nn.Sigmoid,
    torch.tanh: nn.Tanh,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.gelu: nn.GELU,
    functional.silu: nn.SiLU,
    functional.max_pool2d: nn.MaxPool2d,
}
METHODS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
FLATTENING = {torch.flatten, "flatten", "view", "reshape"}
SHAPE_READING = {"size", getattr, operator.getitem}


def _chain_of(module: nn.Module, image_shape: Shape):
    """Yields (name, layer module, input shape, output shape) in order of execution, shapes without the batch axis."""
    try:
        traced = fx.symbolic_trace(module)
    except Exception as error:
        raise UserError(f"the network cannot be read as a chain of layers: {error}") from error
    modules = dict(traced.named_modules())
    probe = torch.zeros(1, *image_shape, dtype=next(module.parameters()).dtype)
    values: dict[fx.Node, object] = {}
    current = None
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            if current is not None:
                raise UserError("the network must take one input, a batch of images")
            current, values[node] = node, probe
            continue
        if node.op == "output":
            if node.args[0] is not current:
                raise UserError("the network must return the logits of its last layer and nothing else")
            return
        arguments, keywords = (fx.node.map_arg(part, values.__getitem__) for part in (node.args, node.kwargs))
        if node.target in SHAPE_READING:
            values[node] = node.target(*arguments) if callable(node.target) else arguments[0].size(*arguments[1:])
            continue
        if node.args[0] is not current:
            raise UserError(f"layer {node.name}: the network branches here; only a plain chain can be inverted")
        layer = _layer_of(node, modules, arguments, keywords)
        with torch.no_grad():
            try:
                values[node] = layer(values[current])
            except RuntimeError as error:
                raise UserError(f"layer {node.name} does not fit images of shape {image_shape}: {error}") from error
        name = node.target if node.op == "call_module" else node.name
        yield name, layer, tuple(values[current].shape[1:]), tuple(values[node].shape[1:])
        current = node


def _layer_of(node: fx.Node, modules: dict[str, nn.Module], arguments: tuple, keywords: dict) -> nn.Module:
    if node.op == "call_module":
        return modules[node.target]
    if node.target in FLATTENING:
        return nn.Flatten()
    kind = FUNCTIONS.get(node.target) or METHODS.get(node.target)
    if kind is None:
        raise UserError(f"layer {node.name}: {node.target} cannot be read; use the layers of torch.nn")
    return kind(*arguments[1:], **{key: value for key, value in keywords.items() if key != "inplace"})


def _convolution(name: str, layer: nn.Conv2d, input_shape: Shape, output_shape: Shape) -> Convolution:
    if layer.groups != 1 or layer.dilation != (1, 1):
        raise UserError(f"layer {name}: groups {layer.groups} and dilation {layer.dilation} must be 1 and (1, 1)")
    if layer.padding_mode != "zeros":
        raise UserError(f"layer {name}: padding mode {layer.padding_mode!r} is not handled; only zeros")
    padding = layer.padding
    if padding == "valid":
        padding = (0, 0)
    elif padding == "same":
        if any(size % 2 == 0 for size in layer.kernel_size):
            raise UserError(f"layer {name}: padding 'same' with an even kernel pads unevenly, which is not handled")
        padding = tuple(size // 2 for size in layer.kernel_size)
    return Convolution(
        name, layer.weight.detach().double(), _double(layer.bias), layer.stride, padding, input_shape, output_shape
    )


def _pooling(name: str, layer: nn.Module, input_shape: Shape, output_shape: Shape) -> AveragePooling:
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        if any(size % out for size, out in zip(input_shape[1:], output_shape[1:], strict=True)):
            raise UserError(f"layer {name}: adaptive pooling of {input_shape[1:]} to {output_shape[1:]} is uneven")
        kernel = tuple(size // out for size, out in zip(input_shape[1:], output_shape[1:], strict=True))
        return AveragePooling(kernel, kernel, output_shape)
    if _pair(layer.padding) != (0, 0) or layer.ceil_mode or layer.divisor_override:
        raise UserError(f"layer {name}: average pooling is handled without padding, ceil mode or its own divisor")
    return AveragePooling(_pair(layer.kernel_size), _pair(layer.stride), output_shape)


def _activation(name: str, layer: nn.Module) -> Activation | None:
    """The activation to invert; None for a layer that changes nothing."""
    match layer:
        case nn.Identity() | nn.Dropout(training=False):
            return None
        case nn.ReLU():
            return ReLU()
        case nn.LeakyReLU(negative_slope=slope) if slope >= 0:
            return LeakyReLU(slope) if slope > 0 else ReLU()
        case nn.ELU(alpha=alpha) if alpha > 0:
            return ELU(alpha)
        case nn.Sigmoid():
            return Sigmoid()
        case nn.Tanh():
            return Tanh()
        case nn.SiLU() | nn.GELU():
            reason = "its output does not tell its input: it falls before it rises, so two inputs share an output"
        case nn.MaxPool2d():
            reason = "max pooling hides every value but the largest of its window, and which one that was"
        case nn.BatchNorm2d() | nn.BatchNorm1d():
            reason = "normalisation over a batch ties images together; fold a frozen one into its convolution first"
        case nn.Dropout():
            reason = "dropout draws a mask the adversary does not know; call eval() first"
        case _:
            reason = (
                "valid: Conv2d, Linear, ReLU, LeakyReLU (slope ≥ 0), ELU (α > 0), Sigmoid, Tanh, AvgPool2d, Flatten"
            )
    raise UserError(f"layer {name}: {type(layer).__name__} cannot be inverted; {reason}")


def _convolution_adjoint(values: Tensor, weight: Tensor, stride: Pair, padding: Pair, input_shape: Shape) -> Tensor:
    geometry = zip(input_shape[1:], values.shape[-2:], stride, padding, weight.shape[-2:], strict=True)
    unreached = [size - ((out - 1) * s - 2 * p + k) for size, out, s, p, k in geometry]
    out = functional.conv_transpose2d(
        values.flatten(0, -4), weight, stride=stride, padding=padding, output_padding=unreached
    )
    return out.unflatten(0, values.shape[:-3])


def _pair(value: int | Pair) -> Pair:
    return value if isinstance(value, tuple) else (value, value)


def _double(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach().double()
