"""Kinds of bilevel problem: what is inner, what is outer, on which data."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from core.spec.base import Count, Spec
from core.spec.datasets import Diabetes, Digits, EpisodeDataset, Omniglot, TableDataset
from core.spec.heads import Heads, SoftmaxHeads
from core.spec.learned_problems import LearnedData, LearnedOptimizer
from core.spec.models import Conv4, Linear, Representation, TableModel
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.plugins import PluginProblem, extended
from core.spec.sources import Features, FromExperiment, Pixels


class Quadratic(Spec):
    """A strongly convex toy with everything in closed form.

    Inner: 1/2 w'A w - w'(B lam + b). Outer: 1/2 ||w - c||^2 + damping/2 ||lam||^2; A, B, b, c drawn by the seed.
    """

    kind: Literal["quadratic"] = "quadratic"
    inner_dimension: Annotated[int, Field(ge=1, le=2000)] = 20
    """Number of inner variables."""
    outer_dimension: Annotated[int, Field(ge=1, le=2000)] = 5
    """Number of outer variables."""
    condition: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """Largest over smallest eigenvalue of A; the largest is 1, so that an inner rate below 2 is stable."""
    damping: Annotated[float, Field(ge=0, le=1e3)] = 0.1
    """Weight of the outer variables' own term in the outer objective (the direct term)."""


class RandomQuadratics(Spec):
    """Means of random quadratics, the simulated problem of stochastic bilevel optimization (Dagréou et al. 2022).

    Both objectives: mean over examples of 1/2 (p_i'w)^2 + 1/2 (q_i'lam)^2 + (r_i'lam)(s_i'w) + a_i'w + b_i'lam.
    """

    kind: Literal["random_quadratics"] = "random_quadratics"
    inner_dimension: Annotated[int, Field(ge=1, le=2000)] = 100
    """Number of inner variables."""
    outer_dimension: Annotated[int, Field(ge=1, le=2000)] = 100
    """Number of outer variables."""
    inner_examples: Count = 1024
    """Terms of the inner objective's mean, no fewer than `inner_dimension`."""
    outer_examples: Count = 1024
    """Terms of the outer objective's mean."""
    convexity: Annotated[float, Field(gt=0, le=1e3)] = 0.1
    """Smallest expected eigenvalue of the inner Hessian; also the smallest singular value of the coupling."""
    smoothness: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    """Largest expected eigenvalue of the Hessians."""
    coupling: Annotated[float, Field(gt=0, le=1e3)] = 0.1
    """Largest expected singular value of the mixed derivatives."""
    initial: Annotated[float, Field(ge=-1e3, le=1e3)] = -2.0
    """Every outer variable at hyperiteration 0; the inner ones start at 0."""


class Regularization(Spec):
    """Regularization strengths as outer variables (and, by the dynamics' `learn_rate`, its rate).

    Inner: mean training loss + 1/2 sum_j exp(lam_j) w_j^2 over the weights, not the offsets. Outer: mean validation
    loss.
    """

    kind: Literal["regularization"] = "regularization"
    dataset: TableDataset = Field(default_factory=Diabetes, discriminator="kind")
    """The data; features, and targets that are numbers, are standardized with the training set's mean and deviation."""
    model: TableModel = Field(default_factory=Linear, discriminator="kind")
    """The ground model, whose parameters are the inner variables."""
    loss: Literal["auto", "squared", "cross_entropy", "logistic"] = "auto"
    """`squared`: half the squared error (ridge regression with a linear model); `cross_entropy`: softmax regression
    with a linear model, one score for each class; `logistic`: two classes by one score; `auto`: by the target of the
    data set, `squared` or `cross_entropy`."""
    strength: Literal["global", "layer", "feature", "class"] = "global"
    """One strength for all weights, one for each layer, one for each input feature, or one for each score, which is a
    class (the last two for linear models)."""
    initial_strength: Annotated[float, Field(gt=0, le=1e4)] = 0.01
    """exp(lam) at hyperiteration 0."""
    initial_spread: Annotated[float, Field(ge=0, le=100)] = 0.0
    """lam at hyperiteration 0 is log(initial_strength) + initial_spread times uniform draws from [0, 1)."""
    initial_deviation: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Deviation of normal draws that are added to the model's initial parameters."""
    train: Count | None = None
    """Training examples; by default half of the data set's examples."""
    validation: Count | None = None
    """Validation examples; by default a quarter of the data set's examples."""
    test: Count | None = None
    """Test examples; by default the data set's own test set, or all that the other two leave."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Cross-validation (appendix B of the paper): training and validation examples together are cut into so many
    folds, and the outer objective is the mean over folds of the validation loss of a model that is fitted to the other
    folds. By default one split."""


class SigmoidWeights(Spec):
    """Weights sigmoid(lam_i), free outer variables."""

    kind: Literal["sigmoid"] = "sigmoid"
    initial: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Weight of every example at hyperiteration 0."""


class ClippedWeights(Spec):
    """Weights lam_i in [0, 1] with sum at most `radius`; all radius / n at the start (Franceschi et al. 2017)."""

    kind: Literal["clipped"] = "clipped"
    radius: Annotated[float, Field(gt=0, le=1e7)] | None = None
    """Largest sum of the weights; by default the number of training examples less the corrupted ones (with `flip: any`,
    less as many as are to be expected)."""


class HyperCleaning(Spec):
    """Data hyper-cleaning: one weight for each training example, learned from a small clean validation set.

    Inner: 1/n sum_i weight(lam_i) loss_i(w) + l2/2 ||w||^2. Outer: mean loss of the validation set.
    Corruption: round(corruption * train) training examples, drawn without replacement by the seed,
    get a label drawn uniformly from the other classes (with `flip: any` from all of them).
    Found corruptions: examples whose weight is below 0.5 (`sigmoid`) or below half of the initial weight (`clipped`).
    """

    kind: Literal["hyper_cleaning"] = "hyper_cleaning"
    dataset: TableDataset = Field(default_factory=Digits, discriminator="kind")
    """The data, with classes as target."""
    standardize: bool = True
    """Whether features get mean 0 and deviation 1 on the training set; without, they stay as they are (the pixels of
    images in [0, 1])."""
    model: TableModel = Field(default_factory=Linear, discriminator="kind")
    """The ground model, whose parameters are the inner variables."""
    weights: Annotated[SigmoidWeights | ClippedWeights, Field(discriminator="kind")] = Field(
        default_factory=SigmoidWeights
    )
    """How the outer variables become weights of examples."""
    corruption: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Fraction of the training labels that are flipped to another class."""
    flip: Literal["other", "any"] = "other"
    """`other`: exactly that fraction, to a class other than its own; `any`: each label with that probability, to a
    class drawn from all of them, so that some keep theirs (benchmarks of stochastic bilevel optimization)."""
    l2: Annotated[float, Field(ge=0, le=1e3)] = 0.001
    """Strength of the regularizer of the inner objective."""
    train: Count = 800
    """Training examples, a part of them corrupted."""
    validation: Count = 400
    """Clean validation examples."""
    test: Count | None = None
    """Clean test examples; by default the data set's own test set, or all that the other two leave."""
    final_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Steps of the inner dynamics for the models that are compared at the end: noisy baseline (all weights 1), learned
    weights, clean oracle (weight 1 for the uncorrupted examples, 0 for the others)."""
    final_on: Literal["train", "train_and_validation"] = "train"
    """What these models are fitted to: the training examples, or those and the validation examples, which have weight 1
    (Franceschi et al. 2017)."""


class HyperRepresentation(Spec):
    """Few-shot learning with a representation as outer variables and a head per task, by default softmax, as inner.

    Equations (9)-(10) of the paper: mean over the tasks and examples of the cross-entropy, w_0 = 0.
    """

    kind: Literal["hyper_representation"] = "hyper_representation"
    dataset: EpisodeDataset = Field(default_factory=Omniglot)
    """Where episodes are sampled from."""
    model: Representation = Field(default_factory=Conv4, discriminator="kind")
    """The representation."""
    way: Annotated[int, Field(ge=2, le=100)] = 5
    """Classes of an episode; with `way_from`, the most that one may have."""
    way_from: Annotated[int, Field(ge=2, le=100)] | None = None
    """Fewest classes of an episode: each task draws its own number of classes, uniformly from `way_from` to `way`, or
    to as many as it can draw from. By default all tasks have `way` classes."""
    shot: Annotated[int, Field(ge=1, le=100)] = 1
    """Support examples of each class."""
    query: Annotated[int, Field(ge=1, le=100)] = 15
    """Query examples of each class, disjoint from the support examples."""
    meta_batch: Annotated[int, Field(ge=1, le=1024)] = 16
    """Episodes of a hyperiteration."""
    tasks: Count | None = None
    """Tasks of meta-training: so many episodes, drawn once by the seed, from which every meta-batch is drawn without
    replacement; by default each meta-batch is of new episodes. Few of them, and the outer objective overfits."""
    task_chunk: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Episodes that go through the network together, which memory is proportional to; the hypergradient is that of the
    whole meta-batch. By default all. For `reverse`, `reversible`, `unrolled`, `first_order` and `exact`."""
    l2: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """Strength of the regularizer of softmax heads; the paper has none. Implicit differentiation needs one."""
    heads: Heads = Field(default_factory=SoftmaxHeads, discriminator="kind")
    """What is fitted on the support features of a task."""
    outer_set: Literal["query", "support"] = "query"
    """What the outer objective sees in meta-training: `query`, other examples than the heads are fitted on; `support`,
    the same (`-train` in section 5.3 of the paper), and no query sets are drawn. Evaluations see the query sets."""
    training_way: Annotated[int, Field(ge=2, le=100)] | None = None
    """Classes of an episode of meta-training; by default `way`, as in evaluations. More of them are a harder task, and
    may teach more (Snell et al. 2017)."""
    training_shot: Annotated[int, Field(ge=1, le=100)] | None = None
    """Support examples of each class in meta-training; by default `shot`, as in evaluations. The paper has 16 where
    there are no query sets."""
    training_query: Annotated[int, Field(ge=1, le=100)] | None = None
    """Query examples of each class in meta-training; by default `query`, as in evaluations. Fewer cost less."""
    cross_fitting: bool = False
    """Whether each example of a task of meta-training is a support example once: its examples are cut into sets of
    `shot` of each class, each of which in turn is the support set with the others as the query set, and the outer
    objective is the mean over them. Their images go through the network once."""
    centred: bool = False
    """Whether the mean of their support or query set is taken from features, in meta-training and in evaluations: the
    query set is then seen as a whole (transductive), whatever the norms' statistics."""
    normalization: Literal["batch", "running"] = "batch"
    """Statistics of the norms when meta-validation chooses the checkpoint: `batch`, of each support or query set
    itself (the paper's convention, transductive); `running`, of meta-training images. Both are reported."""
    average_reflections: bool = False
    """Whether evaluations take the mean of the features of an image and of its mirror image, for twice the time.
    Meta-training does not."""
    start: FromExperiment | None = None
    """The representation of another experiment to start from, and its split of the characters; by default a fresh
    one."""


class Initialization(Spec):
    """Few-shot learning with a network's initialization as outer variables: MAML (Finn et al. 2017) and its family.

    Inner: sum over tasks of the support set's mean cross-entropy + proximal/2 ||w - w_0||^2, from w_0 = lam in each
    task. Outer: mean over tasks of the query set's. First-order MAML is the hypergradient `first_order`, Reptile is
    `reptile`, Meta-SGD the dynamics' `rate_per_parameter`, iMAML `implicit`, ANIL `adapt` = `head`. Norms take the
    statistics of each support or query set itself (transductive, as MAML does).
    """

    kind: Literal["initialization"] = "initialization"
    dataset: EpisodeDataset = Field(default_factory=Omniglot)
    """Where episodes are sampled from."""
    model: Representation = Field(default_factory=Conv4, discriminator="kind")
    """The network below the head, which is a linear softmax."""
    adapt: Literal["all", "head"] = "all"
    """What the inner steps move: `all`, network and head; `head`, the head alone (ANIL, Raghu et al. 2020), which
    is `hyper_representation` but for the head's w_0."""
    head_start: Literal["learned", "zero"] = "learned"
    """w_0 of the head: `learned`, outer variables that start as Glorot's; `zero`, 0 in every task and not learned."""
    proximal: Annotated[float, Field(ge=0, le=1e4)] = 0.0
    """Strength of the term that holds w near w_0 (iMAML, Rajeswaran et al. 2019); MAML has none. Implicit
    differentiation needs one."""
    way: Annotated[int, Field(ge=2, le=100)] = 5
    """Classes of an episode."""
    shot: Annotated[int, Field(ge=1, le=100)] = 1
    """Support examples of each class."""
    query: Annotated[int, Field(ge=1, le=100)] = 15
    """Query examples of each class, disjoint from the support examples."""
    meta_batch: Annotated[int, Field(ge=1, le=1024)] = 16
    """Episodes of a hyperiteration."""
    task_chunk: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Episodes that are fitted together, which memory is proportional to: each has a copy of what the inner steps move;
    the hypergradient is that of the whole meta-batch. By default all. For `reverse`, `unrolled`, `first_order` and
    `reptile`."""


class LinearRepresentation(Spec):
    """A linear representation Hx as outer variables and ridge regression on one-hot labels as inner problem.

    Section 5.1 of the paper, on characters of the meta-test set. Inner: mean over the training examples of
    1/2 ||w H x - y||^2, + strength/2 ||w||^2, from w_0 = 0. Outer: mean over the validation examples of
    1/2 ||w H x - y||^2. Features are centred on the training set's mean and scaled by one number, which makes the mean
    of ||x||^2 over the training set 1.
    """

    kind: Literal["linear_representation"] = "linear_representation"
    dataset: Omniglot = Field(default_factory=Omniglot)
    """Where the characters come from."""
    features: Features = Field(default_factory=Pixels)
    """What x is."""
    classes: Annotated[int, Field(ge=2, le=1000)] = 100
    """Characters, drawn by the seed from the meta-test set."""
    train: Annotated[int, Field(ge=1, le=18)] = 3
    """Training examples of each class."""
    validation: Annotated[int, Field(ge=1, le=18)] = 3
    """Validation examples of each class, disjoint from those."""
    test: Annotated[int, Field(ge=1, le=18)] = 14
    """Test examples of each class, disjoint from both."""
    dimension: Annotated[int, Field(ge=1, le=8192)] | None = None
    """Entries of Hx; by default as many as x has, so that H is square."""
    initial: Literal["identity", "glorot"] = "identity"
    """H at hyperiteration 0: the identity (H has to be square), or a Glorot draw by the seed."""
    strength: Annotated[float, Field(gt=0, le=1e4)] = 1e-3
    """Strength of the ridge penalty on w."""


FewShot = HyperRepresentation | MulticlassTransfer | Initialization
"""Problems whose evaluations are episodes."""

_Learned = LearnedOptimizer | LearnedData
_Problem = Quadratic | RandomQuadratics | Regularization | HyperCleaning | LinearRepresentation | FewShot | _Learned
if TYPE_CHECKING:
    Problem = _Problem | PluginProblem
else:
    Problem = Annotated[extended(_Problem, PluginProblem), Field(discriminator="kind")]
