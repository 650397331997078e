"""What an experiment may take from elsewhere: features of images, and files that another experiment has made."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Spec

ExperimentId = Annotated[
    str, Field(pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", min_length=36, max_length=36)
]
"""As the service writes it."""
ArtifactName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]+\\.safetensors$", max_length=100)]
"""Tensors by name and nothing else: no file that could hold code is read."""


class FromExperiment(Spec):
    """The representation that another experiment has learned; it has to have succeeded.

    Its network, data set and split of the classes are read from that experiment's own spec.
    """

    kind: Literal["experiment"] = "experiment"
    experiment: ExperimentId
    """Whole id of a few-shot experiment (`hyper_representation`), as `bilevel show` prints it, in small letters."""
    artifact: ArtifactName = "outer_variables.safetensors"
    """Name of its file, which ends in .safetensors."""


class Pixels(Spec):
    """Grey values of 28x28 images, ink 1 and background 0."""

    kind: Literal["pixels"] = "pixels"
    size: Annotated[int, Field(ge=1, le=784)] = 256
    """Features of an image. 784: the grey values themselves; fewer: their products with so many fixed normal vectors,
    drawn by the seed."""


class ExperimentFeatures(FromExperiment):
    """Features by the representation of another experiment, with the statistics of its meta-training images in the
    norms; nothing of it is learned further."""

    size: Annotated[int, Field(ge=1, le=8192)] = 256
    """Features that it makes of an image: 256 for `conv4` with 64 filters and `stride`."""


Features = Annotated[Pixels | ExperimentFeatures, Field(discriminator="kind")]
"""What an image is to a linear representation."""
