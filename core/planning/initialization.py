"""What learned initializations cost: a copy of the network, or of its head, for each task."""

from core.planning.costs import Costs, item_size
from core.planning.episodes import changed, episodes_at_once, evaluated, heads_gradient, held, kept, network, stored
from core.planning.networks import GRADIENT_HOLDS, VALUE, first_patches, values_of_an_image
from core.planning.work import NOTHING, Work
from core.spec import Experiment
from core.spec.models import Conv4
from core.spec.problems import Initialization
from core.spec.sizes import adapted, features, inner_variables, outer_variables

LEAVES = 13
"""Tensors of a network of four layers, as conv4 is, and its head; the others have about as many."""


def initialization(spec: Experiment, problem: Initialization) -> Costs:
    """A meta-batch a hyperiteration: support sets through the copies at every inner step, query sets once.

    Where the head alone moves, both go through the one network once.
    """
    item, copies = item_size(spec), problem.adapt == "all"
    tasks = min(problem.task_chunk or problem.meta_batch, problem.meta_batch)
    support, query = evaluated(problem)
    made, pixels, moved = features(problem), values_of_an_image(problem.dataset), tasks * adapted(problem)
    on_support, on_query = (heads_gradient(tasks, n, made, problem.way, item) for n in (support, query))
    kept_of_support = 3.0 * item * problem.way
    at_the_end = tasks * (query if copies else support + query)
    embedding, graph = NOTHING, item * kept(problem)
    if copies:
        graph += item * _patches(problem)
        kept_of_support = graph
        on_support += network(problem, tasks * support, item) + Work(0, 4 * item * moved, 0)
        on_query += network(problem, tasks * query, item)
    else:
        embedding = network(problem, at_the_end, item) + Work(0, 0, 20)
    images_stored, loading = stored(problem)
    episodes = spec.evaluation.episodes
    at_once = episodes_at_once(spec, problem, problem.task_chunk)
    return Costs(
        item=item,
        variables=inner_variables(problem) * tasks // problem.meta_batch,
        leaves=LEAVES if copies else 1,
        seen=outer_variables(problem, spec.algorithm) if copies else at_the_end * made,
        outer=outer_variables(problem, spec.algorithm),
        gradient=on_support,
        graph=tasks * support * kept_of_support + item * moved,
        objective=on_query,
        watching=GRADIENT_HOLDS * item * moved,
        data=images_stored,
        loading=loading,
        embedding=embedding + changed(problem, tasks * (support + query), item),
        features=at_the_end * graph + 2 * item * tasks * (support + query) * pixels,
        looking=0.0 if copies else item * at_the_end * (held(problem, item) + 2 * pixels),
        judging=item * tasks * query * held(problem, item) if copies else 0.0,
        # The query sets twice, with their own statistics and with those of the support sets; copies have seen these.
        scoring=VALUE * network(problem, 2 * episodes * (support * (1 if copies else 2) + 2 * query), item),
        scoring_memory=item * at_once * (support * kept(problem) + query * held(problem, item) + 4 * adapted(problem)),
        walks=2 * episodes / tasks,
        repeats=-(-problem.meta_batch // tasks),
    )


def _patches(problem: Initialization) -> float:
    """Numbers an image that the first convolution of a copy takes beside."""
    return first_patches(problem.model, problem.dataset) if isinstance(problem.model, Conv4) else 0.0
