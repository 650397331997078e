"""What the problem `linear_representation` costs."""

from core.planning.costs import Costs, item_size
from core.planning.episodes import LOADED
from core.planning.networks import values_of_an_image
from core.planning.work import Work, product
from core.spec import Experiment
from core.spec.algorithms import Stepped
from core.spec.problems import LinearRepresentation
from core.spec.sizes import dimension, outer_variables


def linear_representation(spec: Experiment, problem: LinearRepresentation) -> Costs:
    """Steps are products with the k x k matrix of the features' second moments, which the embedding makes."""
    item, k, d, classes = item_size(spec), dimension(problem), problem.features.size, problem.classes
    n, m, tested = (classes * count for count in (problem.train, problem.validation, problem.test))
    variables = k * classes
    z = k * k + variables + m * k
    pixels = values_of_an_image(problem.dataset)
    stored = sum(problem.dataset.class_counts()) * problem.dataset.images_per_class * pixels  # u8
    step = product(classes, k, k, item) + Work(0, 6 * item * variables, 4)
    forward = product(n + m, d, k, item) + product(k, n, k, item) + product(classes, n, k, item)
    scored = product(m + tested, d, k, item) + product(m + tested, k, classes, item)
    return Costs(
        item=item,
        variables=variables,
        leaves=1,
        seen=z,
        outer=outer_variables(spec.problem, spec.algorithm),
        gradient=step,
        graph=item * 3 * variables,
        objective=3 * product(m, k, classes, item) + Work(0, 4 * item * m * classes, 15),
        data=item * (n + m + tested) * (d + classes),
        loading=LOADED * stored + item * (n + m + tested) * (pixels + d),
        embedding=3 * forward + Work(0, 6 * item * z, 25),
        features=item * ((n + m) * k + 2 * z),
        looking=item * (n + m) * k,
        solution=product(k, k, k, item) + 2 * product(classes, k, k, item) + Work(0, 0, 15),
        solution_memory=item * 3 * k * k,
        scoring=forward + scored + Work(operators=40 + 0.03 * (m + tested)),
        scoring_memory=item * (m + tested) * (k + 3 * classes) + item * z,
        walks=float(spec.algorithm.kind == "nested"),
        closing_steps=spec.algorithm.steps if isinstance(spec.algorithm, Stepped) else 0,
    )
