"""What the pages write and draw together is what the `bilevel` command writes and draws together."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from api.web import STATIC
from bilevel_client.commands import comparing, numbers, panels, standing
from bilevel_client.commands.sweep_tables import short_names
from core.spec import Experiment

NAMES = [
    "outer_objective",
    "hypergradient_norm",
    "inner_objective_start",
    "inner_objective_end",
    "inner_gradient_norm",
    "outer/rate/0",
    "outer/rate/2",
    "outer/rate/10",
    "outer/weight_clean",
    "outer/weight_corrupted",
    "outer/H/mean",
    "validation/accuracy",
    "validation/accuracy_running_statistics",
    "test/accuracy",
    "validation/loss",
    "truncation_error",
    "solver_residual",
    "contraction_factor",
    "seconds",
    "of_a_package",
]


@pytest.fixture(scope="module")
def call(browser: Browser) -> Any:
    """Calls a function of a module of the dashboard for each list of arguments."""
    page: Page = browser.new_page()
    page.route("http://modules/*.js", lambda route: route.fulfill(path=STATIC / route.request.url.rpartition("/")[2]))
    page.route("http://modules/", lambda route: route.fulfill(body="", content_type="text/html"))
    page.goto("http://modules/")

    def each(module: str, function: str, arguments: list[list[Any]]) -> Any:
        script = """async ([module, name, all]) => {
            const { [name]: of } = await import(module);
            const told = (value) => (value instanceof Map ? Object.fromEntries(value) : value);
            return all.map((each) => told(of(...each)));
        }"""
        return page.evaluate(script, [f"./{module}", function, arguments])

    yield each
    page.close()


def agree(call: Any, module: str, function: str, ours: Callable[..., Any], arguments: list[list[Any]]) -> None:
    assert call(module, function, arguments) == [ours(*each) for each in arguments]


def plain(value: Any) -> Any:
    """As JSON has it, and without the signs of formulas."""
    return json.loads(json.dumps(value).replace("$", ""))


def test_numbers(call: Any) -> None:
    drawn = random.Random(0)
    values = [drawn.uniform(-1, 1) * 10 ** drawn.uniform(-9, 9) for _ in range(500)]
    special = [0.0, 1.0, -1.0, 0.1, 12346.0, 99995.0, 1e5, 1e-4, 9.9995e-5, "NaN", "Infinity", "-Infinity"]
    agree(call, "format.js", "number", numbers.number, [[value] for value in [*values, *special]])
    agree(call, "format.js", "number", numbers.number, [[value, 2] for value in [*values, *special]])
    agree(call, "format.js", "percent", numbers.percent, [[drawn.random()] for _ in range(100)] + [["NaN"]])
    means = [
        ["accuracy", 0.93456, 0.0123456],
        ["loss", 0.93456, 0.0123456],
        ["loss", 2.0, None],
        ["loss", "NaN", "NaN"],
        ["loss", 233.8, 104.6],
    ]
    agree(call, "format.js", "around", numbers.around, means)


def test_times(call: Any) -> None:
    seconds = [0.0, 0.04, 9.94, 10.0, 99.4, 99.6, 100.0, 125.0, 5999.0, 6000.0, 86399.0, 1e6]
    agree(call, "format.js", "duration", numbers.duration, [[each] for each in seconds])


def test_order_of_names(call: Any) -> None:
    shuffled = random.Random(0).sample(NAMES, len(NAMES))
    assert set(call("format.js", "inOrder", [[shuffled]])[0]) == set(NAMES)
    rates = [name for name in call("format.js", "inOrder", [[shuffled]])[0] if "rate" in name]
    assert rates == ["outer/rate/0", "outer/rate/2", "outer/rate/10"]


def test_panels(call: Any) -> None:
    for names in (NAMES, NAMES[::2], NAMES[:1], []):
        found = call("panels.js", "panels", [[names]])[0]
        assert found == plain([panel._asdict() for panel in panels.panels(names)])
    agree(call, "panels.js", "label", lambda name: plain(panels.label(name)), [[name] for name in NAMES])
    for panel in panels.panels(NAMES):
        ours = [each._asdict() for each in panels.apart(panel)]
        assert call("panels.js", "apart", [[plain(panel._asdict())]])[0] == plain(ours)


def test_thresholds(call: Any) -> None:
    diagnostics = {"truncation": {"every": 5}, "contraction": {"every": 5, "warn_above": 0.5}}
    spec = {"problem": {"kind": "hyper_cleaning"}, "diagnostics": diagnostics}
    specs = [Experiment.model_validate(spec).canonical(), {}]
    for panel in panels.panels(NAMES):
        assert call("panels.js", "thresholds", [[plain(panel._asdict()), specs]]) == [panels.thresholds(panel, specs)]


def test_what_comes_next(call: Any) -> None:
    progress = {"hyperiteration": 5, "hyperiterations": 10, "eta_seconds": 12.6}
    record = {"status": "running", "progress": progress, "waiting_for": None, "lost_attempt": None}
    records = [
        record,
        {**record, "progress": {**progress, "hyperiteration": 9}},
        {**record, "progress": {**progress, "eta_seconds": None}},
        {**record, "status": "queued", "waiting_for": "a free slot"},
        {**record, "status": "succeeded"},
    ]
    agree(call, "format.js", "toCome", standing.to_come, [[each] for each in records])


def test_names_of_fields(call: Any) -> None:
    paths = ["algorithm.steps", "algorithm.optimizer.rate", "algorithm.dynamics.rate", "problem.steps", "seed"]
    agree(call, "comparing.js", "shortNames", short_names, [[paths[:count]] for count in range(1, 6)])


def test_differences_and_names_of_experiments(call: Any) -> None:
    drawn = random.Random(0)
    for _ in range(50):
        records = [_record(drawn, place) for place in range(drawn.randint(2, 4))]
        specs = [record["spec"] for record in records]
        agree(call, "comparing.js", "differences", comparing.differences, [[specs]])
        agree(call, "comparing.js", "namesApart", comparing.names_apart, [[records]])


def _record(drawn: random.Random, place: int) -> dict[str, Any]:
    hypergradients = [
        {"kind": "reverse"},
        {"kind": "reverse", "segment": 5},
        {"kind": "implicit", "solver": {"kind": "cg"}},
    ]
    algorithm = {"steps": drawn.randint(1, 2), "hypergradient": drawn.choice(hypergradients)}
    spec = {
        "name": f"n{place}",
        "seed": drawn.randint(0, 1),
        "algorithm": algorithm,
        "labels": {"a": drawn.choice("xy")},
    }
    name = drawn.choice(["toy one", "toy two", "toy one [seed=0]"])
    return {"id": f"{place}" * 8 + "-0", "name": name, "spec": spec, "sweep": drawn.choice([None, {"id": "s"}])}
