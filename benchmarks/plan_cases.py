"""What plans are checked on: every hypergradient, solver, dynamics, algorithm, problem, model, head and data set."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from core.spec import Experiment

Fields = Mapping[str, Any]
CLEANING: Fields = {"kind": "hyper_cleaning", "final_steps": 1}
MNIST: Fields = {**CLEANING, "dataset": {"kind": "mnist"}, "train": 5000, "validation": 5000}
TABLE: Fields = {"kind": "regularization"}
MLP: Fields = {
    **TABLE,
    "dataset": {"kind": "digits"},
    "model": {"kind": "mlp", "hidden": [256, 256]},
    "strength": "layer",
}
CANCER: Fields = {**TABLE, "dataset": {"kind": "breast_cancer"}, "strength": "feature"}
NO_OFFSET: Fields = {**CANCER, "model": {"kind": "linear", "bias": False}}
FEW_SHOT: Fields = {"kind": "hyper_representation", "meta_batch": 4}
COLOURED: Fields = {**FEW_SHOT, "dataset": {"kind": "mini_imagenet"}, "meta_batch": 1, "query": 5}
QUADRATIC: Fields = {"kind": "quadratic"}

MEASURED: Fields = {name: {"every": 1} for name in ("stationarity", "truncation", "comparison", "contraction")}
UNROLLED: Fields = {"kind": "unrolled"}
REVERSE: Fields = {"kind": "reverse"}
FORWARD: Fields = {"kind": "forward"}
EXACT: Fields = {"kind": "exact"}
DESCENT: Fields = {"kind": "gradient_descent"}
STOCHASTIC = ("soba", "ma_soba", "saba", "srba", "stocbio", "amigo", "ttsa", "f2sa", "bome", "pbgd")


class Case(NamedTuple):
    """A setting to plan and to measure: few hyperiterations, and only the evaluations that there are always."""

    name: str
    problem: Fields
    algorithm: Fields
    precision: str = "float32"
    hyperiterations: int = 5
    diagnostics: Fields | None = None

    def spec(self) -> Experiment:
        """The experiment."""
        return Experiment.model_validate(
            {
                "problem": self.problem,
                "algorithm": {**self.algorithm, "hyperiterations": self.hyperiterations},
                "evaluation": {"every": self.hyperiterations, "episodes": 8},
                "resources": {"precision": self.precision},
                "diagnostics": self.diagnostics or {},
            }
        )


def nested(steps: int, hypergradient: Fields, dynamics: Fields = DESCENT) -> Fields:
    """The nested algorithm."""
    return {"steps": steps, "hypergradient": hypergradient, "dynamics": dynamics}


def implicit(solver: str = "cg", **settings: Any) -> Fields:
    """With a solver that makes all the products that it may, which a plan counts."""
    bound: Fields = {"cg": {"iterations": 20, "tolerance": 0}}.get(solver, {})
    return {"kind": "implicit", "solver": {"kind": solver, **bound, **settings}}


def cases() -> Iterator[Case]:
    """Small ones, where operators decide, and large ones."""
    yield from _methods()
    yield from _dynamics()
    yield from _solvers()
    yield from _problems()
    yield from _few_shot()
    yield from _initialization()
    yield from _other_representations()
    yield from _learned()
    yield from _kept_inner_variables()


def _methods() -> Iterator[Case]:
    for label, problem, steps, dynamics in (
        ("quadratic", QUADRATIC, 100, "gradient_descent"),
        ("mlp", MLP, 30, "gradient_descent"),
        ("cancer", CANCER, 200, "gradient_descent"),
        ("cancer, nesterov", CANCER, 200, "nesterov"),
    ):
        for method in ("unrolled", "reverse", "forward", "random_forward"):
            yield Case(f"{label}: {method}", problem, nested(steps, {"kind": method}, {"kind": dynamics}))
        yield Case(f"{label}: implicit", problem, nested(steps, implicit(), {"kind": dynamics}))
    for extra in ({"segment": 20}, {"segment": "auto"}, {"truncate": 50}, {"snapshots": 5}):
        name = ", ".join(f"{key} {value}" for key, value in extra.items())
        yield Case(f"mlp: reverse, {name}", MLP, nested(100, {**REVERSE, **extra}))
    yield Case("cancer: reverse, segments", CANCER, nested(200, {**REVERSE, "segment": "auto"}))
    yield Case("cancer: forward, 5 at a time", CANCER, nested(100, {**FORWARD, "chunk": 5}))
    yield Case("mlp: 8 random directions", MLP, nested(20, {"kind": "random_forward", "directions": 8}))
    for problem, steps in ((MLP, 50), (QUADRATIC, 100)):
        name = f"{problem.get('model', problem)['kind']}: reversible"
        yield Case(name, problem, nested(steps, {"kind": "reversible"}, {"kind": "heavy_ball"}))
    yield Case("mlp: reverse, all diagnostics", MLP, nested(20, REVERSE), diagnostics=MEASURED)
    many: Fields = {"kind": "random_forward", "directions": 16}
    yield Case("mlp: 16 random directions, truncation", MLP, nested(5, many), diagnostics={"truncation": {"every": 1}})


def _dynamics() -> Iterator[Case]:
    for kind in ("heavy_ball", "adam", "adamw", "rmsprop"):
        yield Case(f"mlp: reverse, {kind}", MLP, nested(50, REVERSE, {"kind": kind}))
        yield Case(f"mlp: unrolled, {kind}", MLP, nested(50, UNROLLED, {"kind": kind}))
    yield Case("cancer: line search", CANCER, nested(100, {"kind": "implicit"}, {"kind": "line_search"}))
    for method in ("unrolled", "reverse", "forward"):
        yield Case(f"mlp: {method}, minibatches", MLP, nested(50, {"kind": method}, {**DESCENT, "batch": 64}))
    yield Case("mlp: reverse, minibatches, adam", MLP, nested(50, REVERSE, {"kind": "adam", "batch": 64}))
    yield Case("cleaning of mnist: reverse, minibatches", MNIST, nested(100, REVERSE, {**DESCENT, "batch": 256}))
    for extra in ({"learn_rate": True}, {"learn_rate": True, "rate_per_step": True}):
        name = "rate of each step" if len(extra) > 1 else "rate"
        yield Case(f"cancer: reverse, learned {name}", CANCER, nested(100, REVERSE, {**DESCENT, **extra}))


def _solvers() -> Iterator[Case]:
    for solver in ("neumann", "fixed_point", "dense", "cg_normal"):
        bound: Fields = {"iterations": 40, "tolerance": 0} if solver == "cg_normal" else {}
        yield Case(f"cancer: implicit, {solver}", NO_OFFSET, nested(100, implicit(solver, **bound)))
    plain: Fields = {"preconditioner": "none"}
    mixed: Fields = {"mixed_precision": True, "tolerance": 1e-6}
    yield Case("cancer: implicit, no preconditioner", CANCER, nested(100, implicit(**plain)))
    yield Case("cleaning of mnist: implicit", MNIST, nested(50, implicit()))
    yield Case("cleaning of mnist: implicit, no preconditioner", MNIST, nested(50, implicit(**plain)))
    yield Case("cleaning of mnist: implicit, mixed precision", MNIST, nested(50, implicit(**mixed)), "float64")
    batches = {**DESCENT, "batch": 64}
    yield Case("mlp: implicit, stochastic", MLP, nested(50, implicit("stochastic"), batches))
    yield Case("cancer: implicit, stochastic", CANCER, nested(50, implicit("stochastic"), batches))
    falling: Fields = {**implicit(tolerance=1e-9), "schedule": {"kind": "exponential", "decay": 0.1}}
    yield Case("mlp: implicit, falling tolerance", MLP, nested(50, falling))
    yield Case("cancer: implicit, falling tolerance, warm", CANCER, nested(100, {**falling, "warm_start": True}))
    stopping = {**falling, "warm_start": True, "warm_start_inner": True, "stop_inner": True}
    yield Case("cancer: implicit, inner steps to the tolerance", CANCER, nested(100, stopping))


def _problems() -> Iterator[Case]:
    yield Case("quadratic 1000: reverse", {**QUADRATIC, "inner_dimension": 1000}, nested(50, REVERSE))
    yield Case("quadratic: exact", QUADRATIC, nested(100, EXACT))
    yield Case("random quadratics: reverse", {"kind": "random_quadratics"}, nested(100, REVERSE))
    yield Case("cleaning of digits: unrolled", CLEANING, nested(1000, UNROLLED))
    yield Case("cleaning of digits: reverse", CLEANING, nested(1000, REVERSE))
    yield Case("cleaning of digits, float64: unrolled", CLEANING, nested(1000, UNROLLED), "float64")
    yield Case("cleaning of mnist: unrolled", MNIST, nested(100, UNROLLED))
    yield Case("cleaning of mnist: reverse", MNIST, nested(100, REVERSE))
    ridge = {**TABLE, "dataset": {"kind": "mnist"}, "loss": "squared", "strength": "feature"}
    yield Case("ridge on mnist: exact", ridge, nested(1, EXACT))
    yield Case("cancer: reverse, logistic loss", {**CANCER, "loss": "logistic"}, nested(200, REVERSE))
    for kind in ("wine", "diabetes", "synthetic_regression", "20news", "a9a", "w8a", "german", "housing", "magic"):
        yield Case(f"{kind}: reverse", {**TABLE, "dataset": {"kind": kind}}, nested(20, REVERSE))


def _few_shot() -> Iterator[Case]:
    for steps, method in ((4, "reverse"), (64, "reverse"), (16, "unrolled")):
        yield Case(f"few-shot, T = {steps}: {method}", FEW_SHOT, nested(steps, {"kind": method}))
    yield Case("few-shot, segments", FEW_SHOT, nested(16, {**REVERSE, "segment": 4}))
    yield Case("few-shot, heavy ball", FEW_SHOT, nested(16, REVERSE, {"kind": "heavy_ball"}))
    yield Case("few-shot, random forward", FEW_SHOT, nested(4, {"kind": "random_forward"}))
    yield Case("few-shot, 16 tasks", {**FEW_SHOT, "meta_batch": 16}, nested(4, REVERSE))
    chunked = {**FEW_SHOT, "meta_batch": 16, "task_chunk": 2}
    yield Case("few-shot, 16 tasks, 2 at a time", chunked, nested(4, REVERSE))
    yield Case("few-shot, 20-way 5-shot", {**FEW_SHOT, "way": 20, "shot": 5}, nested(16, REVERSE))
    for precision in ("bf16", "float64"):
        yield Case(f"few-shot, {precision}", FEW_SHOT, nested(4, REVERSE), precision)
    pooled = {**FEW_SHOT, "model": {"kind": "conv4", "downsample": "max_pool"}}
    yield Case("few-shot, max-pool", pooled, nested(4, REVERSE))
    for filters in (8, 32):
        model: Fields = {"model": {"kind": "conv4", "filters": filters}}
        yield Case(f"few-shot, {filters} filters", {**FEW_SHOT, **model}, nested(4, REVERSE))
    yield Case("few-shot, mlp", {**FEW_SHOT, "model": {"kind": "mlp", "hidden": [256, 64]}}, nested(16, REVERSE))
    yield Case("few-shot, all diagnostics", FEW_SHOT, nested(4, REVERSE), diagnostics=MEASURED)
    yield Case("few-shot, 16 tasks, 2 at a time, all diagnostics", chunked, nested(4, REVERSE), diagnostics=MEASURED)
    yield Case("few-shot, implicit", {**FEW_SHOT, "l2": 0.01}, nested(16, implicit()))


def _initialization() -> Iterator[Case]:
    few: Fields = {"kind": "initialization", "meta_batch": 4, "query": 5}
    for method in ("unrolled", "reverse", "first_order", "reptile"):
        yield Case(f"initialization, T = 5: {method}", few, nested(5, {"kind": method}))
    bounded = implicit(iterations=5, tolerance=0)
    yield Case("initialization, T = 5: implicit", {**few, "proximal": 1.0}, nested(5, bounded))
    many: Fields = {**few, "meta_batch": 16}
    yield Case("initialization, 20 ways", {**few, "way": 20}, nested(5, UNROLLED))
    yield Case("initialization, 16 tasks", many, nested(5, UNROLLED))
    yield Case("initialization, 16 tasks, 4 at a time", {**many, "task_chunk": 4}, nested(5, UNROLLED))
    yield Case("initialization, mlp", {**many, "model": {"kind": "mlp", "hidden": [256, 64]}}, nested(20, REVERSE))
    watched: Fields = {**many, "task_chunk": 4}
    yield Case("initialization, 4 at a time, all diagnostics", watched, nested(5, REVERSE), diagnostics=MEASURED)
    yield Case("initialization of the head", {**many, "adapt": "head", "query": 15}, nested(16, REVERSE))


def _other_representations() -> Iterator[Case]:
    yield Case("few-shot, ridge: exact", {**FEW_SHOT, "heads": {"kind": "ridge"}}, nested(1, EXACT))
    yield Case("few-shot, ridge: reverse", {**FEW_SHOT, "heads": {"kind": "ridge"}}, nested(16, REVERSE))
    yield Case("few-shot, prototypes: exact", {**FEW_SHOT, "heads": {"kind": "prototypes"}}, nested(1, EXACT))
    together = {**FEW_SHOT, "outer_set": "support", "training_shot": 16}
    yield Case("joint: few-shot", together, {"kind": "joint"}, hyperiterations=6)
    residual: Fields = {"model": {"kind": "residual"}}
    yield Case("few-shot, residual", {**FEW_SHOT, **residual, "meta_batch": 1, "query": 5}, nested(4, REVERSE))
    pooled: Fields = {"model": {"kind": "conv4", "filters": 32, "downsample": "max_pool"}}
    yield Case("few-shot, mini_imagenet", {**COLOURED, **pooled}, nested(4, REVERSE))
    yield Case(
        "few-shot, mini_imagenet, residual", {**COLOURED, **residual, "query": 2}, nested(4, REVERSE), hyperiterations=3
    )
    yield Case("transfer: exact", {"kind": "multiclass_transfer"}, nested(16, EXACT))
    linear: Fields = {"kind": "linear_representation"}
    for method in ("reverse", "exact"):
        yield Case(f"linear representation: {method}", linear, nested(100, {"kind": method}))
    yield Case(
        "linear representation of all pixels: reverse",
        {**linear, "features": {"kind": "pixels", "size": 784}},
        nested(100, REVERSE),
    )


def _learned() -> Iterator[Case]:
    optimizer: Fields = {"kind": "learned_optimizer"}
    fitting: Fields = {**optimizer, "tasks": {"kind": "classification"}, "meta_batch": 4}
    yield Case("learned optimizer, lstm: unrolled", {**optimizer, "meta_batch": 256}, nested(20, UNROLLED))
    yield Case("learned optimizer, lstm, digits: reverse", fitting, nested(10, REVERSE))
    yield Case(
        "learned optimizer, mlp, digits: unrolled", {**fitting, "optimizer": {"kind": "mlp"}}, nested(10, UNROLLED)
    )
    data: Fields = {"kind": "learned_data", "draws": 1, "final_steps": 1}
    wide: Fields = {"model": {"kind": "mlp", "hidden": [256]}, "examples_per_class": 50}
    yield Case("learned data, digits: unrolled", {**data, **wide}, nested(100, UNROLLED))
    yield Case("learned data, digits: reverse", {**data, **wide}, nested(100, REVERSE))
    images: Fields = {"dataset": {"kind": "mnist"}, "train": 5000, "validation": 2000, "examples_per_class": 10}
    yield Case("learned data, mnist: reverse", {**data, **images}, nested(100, REVERSE))


def _kept_inner_variables() -> Iterator[Case]:
    real_time = {"kind": "real_time", "interval": 10}
    for method in ("forward", "reverse"):
        yield Case(f"real time, {method}: cancer", CANCER, {**real_time, "hypergradient": {"kind": method}})
    yield Case("real time, forward: mlp", MLP, real_time)
    yield Case("real time, reverse: cleaning", MNIST, {**real_time, "hypergradient": REVERSE})
    for kind in STOCHASTIC:
        # SRBA looks at all examples once in as many hyperiterations as there are minibatches, TTSA draws its terms.
        many = {"srba": 160, "ttsa": 60}.get(kind, 20)
        for name, problem in (("cancer", CANCER), ("cleaning", MNIST)):
            yield Case(f"{kind}: {name}", problem, {"kind": kind}, hyperiterations=many)
    yield Case("saba, batch 16: cleaning", MNIST, {"kind": "saba", "batch": 16}, hyperiterations=20)
    yield Case("saba, batch 4: mlp", MLP, {"kind": "saba", "batch": 4}, hyperiterations=300)
    yield Case("srba, period 1: cleaning", MNIST, {"kind": "srba", "period": 1}, hyperiterations=20)
    yield Case("srba, period 10: cancer", CANCER, {"kind": "srba", "period": 10}, hyperiterations=31)
    for kind in ("soba", "saba", "stocbio", "f2sa"):
        yield Case(f"{kind}: mlp", MLP, {"kind": kind}, hyperiterations=40)
    reference = {"kind": "implicit", "solver": implicit()["solver"]}
    looked: Fields = {"stationarity": {"every": 1}, "comparison": {"every": 1, "against": reference}}
    yield Case("soba, diagnostics: cleaning", MNIST, {"kind": "soba"}, hyperiterations=10, diagnostics=looked)
    at_rest: Fields = {name: {"every": 1} for name in ("stationarity", "contraction", "direction")}
    yield Case("real time, diagnostics: mlp", MLP, {**real_time, "hypergradient": REVERSE}, diagnostics=at_rest)
    yield Case("soba: random quadratics", {"kind": "random_quadratics"}, {"kind": "soba"}, hyperiterations=20)
