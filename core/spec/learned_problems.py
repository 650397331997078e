"""Problems whose outer variables are an optimizer, or training data: what is learned is how a model is learned."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Count, Momentum, Rate, Spec
from core.spec.datasets import Digits, TableDataset
from core.spec.models import Linear, Mlp, TableModel

Scale = Annotated[float, Field(gt=0, le=1e3)]
LogRange = Annotated[float, Field(gt=0, le=30)]


class LstmOptimizer(Spec):
    """Layers of LSTM and an affine layer, the same for every coordinate, each with a memory of its own.

    In: log |g| / p and sign g of the coordinate's gradient g where |g| >= exp(-p), else -1 and exp(p) g (Andrychowicz
    et al. 2016, appendix A). Out: the coordinate's step.
    """

    kind: Literal["lstm"] = "lstm"
    hidden: Annotated[int, Field(ge=1, le=512)] = 20
    """Units of each layer."""
    layers: Annotated[int, Field(ge=1, le=8)] = 2
    """Layers of LSTM."""
    scale: Scale = 0.1
    """Factor of the output."""
    log_range: LogRange = 10.0
    """p: gradients below exp(-p) are seen as they are, larger ones by logarithm and sign."""


class MlpOptimizer(Spec):
    """A small network for every coordinate: step = <a, x> + scale N(x), x the gradient and its running means.

    N sees logarithm and sign of every entry of x, as the LSTM does of the gradient. At the start N is 0 and a is
    (-rate, 0, ..., 0): gradient descent.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=512)], ...], Field(min_length=1, max_length=4)] = (32,)
    """Units of each hidden layer."""
    decays: Annotated[tuple[Momentum, ...], Field(max_length=8)] = (0.5, 0.9, 0.99)
    """Decay b of each running mean, m_t = b m_{t-1} + (1 - b) g_t, m_0 = 0: the time scales that it sees."""
    rate: Rate = 0.01
    """Rate of the gradient descent that it starts as."""
    scale: Scale = 0.1
    """Factor of N."""
    log_range: LogRange = 10.0
    """p, as of the LSTM."""


class Quadratics(Spec):
    """||W theta - y||^2 with normal W [d, d] and y [d] of each task's own, theta_0 = 0 (Andrychowicz et al. 2016)."""

    kind: Literal["quadratics"] = "quadratics"
    dimension: Annotated[int, Field(ge=1, le=500)] = 10
    """Coordinates d of theta."""


class Classification(Spec):
    """Fitting a model to a data set: each task has initial parameters and minibatches of its own.

    Tasks of meta-training, meta-validation and meta-test see disjoint examples: half of the data set, a quarter, and
    its own test set or else the rest.
    """

    kind: Literal["classification"] = "classification"
    dataset: TableDataset = Field(default_factory=Digits, discriminator="kind")
    """The data, with classes as target; features are standardized with the meta-training part's mean and deviation."""
    model: Annotated[Linear | Mlp, Field(discriminator="kind")] = Mlp(hidden=(20,), activation="sigmoid")
    """What is fitted; the paper has 20 sigmoid units."""
    batch: Count | None = 64
    """Examples of a minibatch, drawn by (seed, task, step); null: all of the part."""


class LearnedOptimizer(Spec):
    """Learning to optimize: the inner dynamics are a network, whose parameters are the outer variables.

    theta_t = theta_{t-1} + g_t, (g_t, h_t) = N_lam(grad L_t(theta_{t-1}), h_{t-1}); E is the mean over tasks and steps
    of the loss after each step, L_{t+1}(theta_t).
    """

    kind: Literal["learned_optimizer"] = "learned_optimizer"
    optimizer: Annotated[LstmOptimizer | MlpOptimizer, Field(discriminator="kind")] = Field(
        default_factory=LstmOptimizer
    )
    """The network that makes the steps."""
    tasks: Annotated[Quadratics | Classification, Field(discriminator="kind")] = Field(default_factory=Quadratics)
    """What it learns to optimize; `episodes` of the evaluation says how many tasks that is judged on."""
    meta_batch: Annotated[int, Field(ge=1, le=1024)] = 16
    """Tasks of a hyperiteration, drawn by (seed, hyperiteration)."""
    unrolls: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Hyperiterations that a meta-batch lasts: each goes on for T more steps from where the last one ended, without a
    derivative of what was before (truncated backpropagation)."""
    second_order: bool = False
    """Whether the gradients that the network sees are differentiated, too; the paper drops that term."""
    horizon: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Steps of the longer test in the report; by default twice the T * `unrolls` that a task is trained for."""


class LearnedData(Spec):
    """Learning the training data: a few examples, as outer variables, that a model trained on them does well by.

    Inner: mean loss of the learned examples, whose labels are fixed, + l2/2 ||w||^2. Outer: mean loss of real examples
    (Maclaurin et al. 2015; dataset distillation, Wang et al. 2018). The dynamics' `learn_rate` learns the rate, too.
    """

    kind: Literal["learned_data"] = "learned_data"
    dataset: TableDataset = Field(default_factory=Digits, discriminator="kind")
    """The data, with classes as target; features are standardized with the training set's mean and deviation."""
    model: TableModel = Field(default_factory=Linear, discriminator="kind")
    """The model that is trained on the learned examples, always from the same w_0."""
    examples_per_class: Annotated[int, Field(ge=1, le=1000)] = 1
    """Learned examples of each class."""
    initial: Literal["noise", "class_means", "examples"] = "noise"
    """Learned examples at hyperiteration 0: `noise`, standard normal; `class_means`, the mean of the class's training
    examples, with a tenth of such noise where a class has more than one; `examples`, training examples of the class."""
    objective: Literal["training", "validation"] = "training"
    """Which real examples the outer objective sees; the validation set chooses the best in either case."""
    outer_batch: Count | None = None
    """Real examples of a hyperiteration, drawn by (seed, hyperiteration); by default all of them."""
    l2: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """Strength of the regularizer of the inner objective. Implicit differentiation needs one."""
    train: Count | None = None
    """Training examples; by default half of the data set's examples."""
    validation: Count | None = None
    """Validation examples; by default a quarter of the data set's examples."""
    test: Count | None = None
    """Test examples; by default the data set's own test set, or all that the other two leave."""
    draws: Annotated[int, Field(ge=1, le=100)] = 10
    """Times that the report draws as many real examples a class, to train the model on them for comparison."""
    final_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Gradient steps of the report's model that is trained on all real training examples."""


OPTIMIZERS = (LstmOptimizer, MlpOptimizer)
"""Networks that make steps."""
TASKS = (Quadratics, Classification)
"""What they are made for."""
