"""The layers that networks are made of, in two or three dimensions."""

from collections.abc import Callable

from torch import nn

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_DROPOUTS = {2: nn.Dropout2d, 3: nn.Dropout3d}
_MEANS = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_NORMS: dict[tuple[str, int], Callable[..., nn.Module]] = {
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
}


class Parts:
    """The layers of a network in a number of dimensions, with one kind of norm."""

    def __init__(self, dimensions: int, norm: str) -> None:
        if (norm, dimensions) not in _NORMS:
            raise ValueError(f"norm must be instance or batch, not {norm!r}")
        self.dimensions = dimensions
        self.plain = _CONVOLUTIONS[dimensions]
        self.transposed = _TRANSPOSED[dimensions]
        self.dropout = _DROPOUTS[dimensions]
        self.mean = _MEANS[dimensions]
        self._norm = _NORMS[norm, dimensions]

    def norm(self, channels: int) -> nn.Module:
        """A norm with a scale and shift of its own for every channel."""
        return self._norm(channels, affine=True)

    def convolution(self, in_channels: int, out_channels: int) -> nn.Sequential:
        """A 3x3 convolution, norm and leaky ReLU on the same grid."""
        return nn.Sequential(
            self.plain(in_channels, out_channels, 3, padding=1, bias=False),
            self.norm(out_channels),
            nn.LeakyReLU(0.01, inplace=True),
        )
