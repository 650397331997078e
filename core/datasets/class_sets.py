"""What every data set of classes of images is loaded to: three meta-sets."""

from typing import NamedTuple

from torch import Tensor


class ClassImages(NamedTuple):
    """Images of the classes of each meta-set, u8 [classes, images a class, channels, side, side]."""

    train: Tensor
    validation: Tensor
    test: Tensor


class ClassGroups(NamedTuple):
    """For each class of each meta-set the group, from 0, that all classes of a task are in; int64 [classes]."""

    train: Tensor
    validation: Tensor
    test: Tensor
