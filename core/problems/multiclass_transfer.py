"""Transfer from a classifier of all meta-training classes to few-shot episodes (section 5.3 of the paper).

E(w, lam) is the mean cross-entropy of the classifier lam on a minibatch of meta-training images. There is no inner
problem while it is trained: w is the empty vector, L = 0, so that f_T = f = E and every hypergradient is the gradient
of E. In evaluations the classifier's centred scores are the features that softmax heads are fitted on.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Dynamics, Problem, Tasks, Tree
from core.bilevel.randomness import stream
from core.models.image_sets import image_sets
from core.models.model import Representation
from core.problems.few_shot import Network, Scoring
from core.problems.heads import labelled
from core.problems.inner import Inner, entry
from core.problems.instance import HIGHEST_ACCURACY, Context, Instance
from core.problems.sampling import augmentation, sampling
from core.spec.multiclass_transfer import MulticlassTransfer


@dataclass(frozen=True)
class Training:
    """Minibatches of meta-training images, and the classifier of their classes."""

    problem: MulticlassTransfer
    network: Network
    inner: Inner
    context: Context
    images: Tensor
    """u8 [classes, images a class, channels, side, side]."""

    def at(self, k: int) -> tuple[Problem, Dynamics]:
        """The minibatch of hyperiteration k, whose images stand for tasks: there is nothing to fit on any of them."""
        images, labels = self.drawn(k)
        data: Tree = {"images": images, "labels": labels}
        problem, dynamics = self.state(data)
        return replace(problem, tasks=Tasks(data, self.state)), dynamics

    def state(self, data: Tree) -> tuple[Problem, Dynamics]:
        """The problem of a minibatch."""
        images, labels = entry(data, "images"), entry(data, "labels")
        sets = image_sets((1, len(images)), device=images.device, dtype=self.context.dtype)

        def embed(lam: Tree) -> Tree:
            return {"scores": self.network.batch(lam, images, sets)}

        def outer(w: Tree, z: Tree) -> Tensor:
            return functional.cross_entropy(entry(z, "scores"), labels)

        dynamics = self.inner.dynamics(full_batch(nothing), nowhere)
        return Problem(nothing, outer, nowhere, solution=nowhere, embed=embed), dynamics

    def drawn(self, k: int) -> tuple[Tensor, Tensor]:
        """Images with pixels in [0, 1] [N, channels, side, side], and the numbers of their classes [N]."""
        classes, available = self.images.shape[:2]
        generator = stream(self.context.seed, "images", k)
        drawn = torch.randint(classes * available, (self.problem.batch,), generator=generator)
        rows = drawn.to(self.images.device, non_blocking=True)
        images = self.images.flatten(0, 1)[rows].to(self.context.dtype).div_(255)
        change = augmentation(self.problem.dataset)
        return images if change is None else change(images, generator), rows // available


def nowhere(z: Tree) -> Tensor:
    """The only w there is, [0]."""
    return entry(z, "scores").new_zeros(0)


def nothing(w: Tree, z: Tree) -> Tensor:
    """L = 0, the sum of the entries of w."""
    assert isinstance(w, Tensor)
    return w.sum()


def multiclass_transfer(problem: MulticlassTransfer, model: Representation, inner: Inner, context: Context) -> Instance:
    """`model` gives one score a meta-training class; metrics as for `hyper_representation`."""
    made, drawn = Network(model, context), sampling(problem, context)
    scored = labelled(problem.way, problem.shot, problem.query, device=context.device)
    return Instance(
        initial=context.place({"representation": model.init(stream(context.seed, "initialization"))}),
        at=Training(problem, made, inner, context, drawn.loaded.images.train).at,
        evaluate=Scoring(problem, made, inner, drawn, scored).evaluate,
        selection=HIGHEST_ACCURACY,
        natural=inner.natural,
    )
