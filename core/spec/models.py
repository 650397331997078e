"""Models by kind: functions of parameters and inputs."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from core.spec.base import Spec
from core.spec.plugins import PluginModel, extended


class Linear(Spec):
    """One affine layer: scores = x W + b, both zero at the start."""

    kind: Literal["linear"] = "linear"
    bias: bool = True
    """Whether there is an offset b (never regularized)."""


class Mlp(Spec):
    """Affine layers with a nonlinearity between them, Glorot at the start."""

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=8)] = (64,)
    """Units of each hidden layer."""
    activation: Literal["relu", "tanh", "sigmoid"] = "tanh"
    """The nonlinearity; a smooth one makes the hypergradient exact everywhere."""


class Conv4(Spec):
    """Four blocks of 3x3 convolution, norm, ReLU; the paper's network for images (section 5.2)."""

    kind: Literal["conv4"] = "conv4"
    filters: Annotated[int, Field(ge=1, le=512)] = 64
    """Channels of each block."""
    downsample: Literal["stride", "max_pool"] = "stride"
    """`stride`: convolutions of stride 2 (28x28 images and 64 filters give 256 features);
    `max_pool`: stride 1 and a 2x2 max-pool after each block (84x84 images and 32 filters give 800)."""
    norm_scale: bool = True
    """Whether the norm learns a scale beside its offset (the paper's code learns the offset only)."""


class Residual(Spec):
    """Residual blocks and two 1x1 convolutions; the paper's RN for miniImageNet, the embedding of SNAIL (Mishra et
    al. 2018). A block: three times 3x3 convolution, norm with offset, leaky ReLU (0.1), plus a 1x1 convolution of the
    block's input, then a 2x2 max-pool. After the blocks: 1x1 convolution, ReLU, mean over all pixels, 1x1 convolution,
    ReLU. 84x84 images give 512 features by 3.8 million parameters, all of them outer variables."""

    kind: Literal["residual"] = "residual"
    blocks: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=6)] = (
        64,
        96,
        128,
        256,
    )
    """Channels of each block; each halves the side of the images, rounded up."""
    hidden: Annotated[int, Field(ge=1, le=8192)] = 2048
    """Channels of the first 1x1 convolution after the blocks."""
    features: Annotated[int, Field(ge=1, le=4096)] = 512
    """Channels of the second, which are the features."""


_TableModel = Linear | Mlp
if TYPE_CHECKING:
    TableModel = _TableModel | PluginModel
else:
    TableModel = Annotated[extended(_TableModel, PluginModel, Conv4, Residual), Field(discriminator="kind")]
    """Ground models for feature vectors."""
Representation = Annotated[Conv4 | Residual | Mlp, Field(discriminator="kind")]
"""Networks whose outputs are the features that heads are fitted on."""
