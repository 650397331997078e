"""The editor of specs and the catalogue, in a browser."""

import json
import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import Engine, func, select

from core.spec import KINDS, kind_of
from core.store.engine import transaction
from core.store.tables import ExperimentRow


def editor(page: Page) -> Any:
    return page.get_by_label("Spec, as JSON")


def count(engine: Engine) -> int:
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(ExperimentRow)) or 0


def test_an_example_is_planned_changed_and_submitted(opened: Any, address: str) -> None:
    page = opened(address, "#/new")
    submit = page.get_by_role("button", name="Submit the experiment")
    expect(page.get_by_role("status")).to_contain_text("It needs about")
    spec = json.loads(editor(page).input_value())
    assert spec["problem"]["kind"] == "hyper_cleaning"
    plan = httpx.post(f"{address}/v1/experiments:plan", json=spec).json()
    expect(page.get_by_role("status")).to_have_text(plan["verdict"].replace("`", ""))
    expect(page.get_by_role("row", name="peak")).to_contain_text(f"{plan['memory']['peak_mb']:.1f}")
    for way in plan["ways"]:
        if way["reason"] is None:
            expect(page.get_by_role("row", name=way["name"]).first).to_contain_text(f"{way['memory_mb']:.0f}")

    editor(page).fill(json.dumps({**spec, "name": "changed", "seed": 7}, indent=2))
    expect(submit).to_be_enabled()
    submit.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("changed")
    stored = httpx.get(f"{address}/v1/experiments").json()["items"]
    assert [(each["name"], each["spec"]["seed"]) for each in stored] == [("changed", 7)]


def test_what_is_wrong_is_shown_where_it_stands(opened: Any, address: str, engine: Engine) -> None:
    page = opened(address, "#/new")
    text = '{\n  "problem": {"kind": "quadratic"},\n  "algorithm": {"stepz": 5, "hyperiterations": 3}\n}'
    editor(page).fill(text)
    expect(page.get_by_text("did you mean")).to_be_visible()
    expect(page.get_by_role("button", name="Submit the experiment")).to_be_disabled()
    page.get_by_role("button", name="/algorithm/stepz").click()
    start, end = editor(page).evaluate("area => [area.selectionStart, area.selectionEnd]")
    assert text[start:end] == "5"

    editor(page).fill(text.replace("}\n}", "}"))
    expect(page.get_by_text("This is not JSON yet.")).to_contain_text("is wanted at line 3, column 50")
    editor(page).fill(text.replace("stepz", "steps"))
    expect(page.get_by_role("status")).to_contain_text("It needs about")
    assert count(engine) == 0


def test_a_lost_answer_does_not_submit_twice(opened: Any, address: str, engine: Engine) -> None:
    page = opened(address, "#/new?kind=experiment.quadratic")
    keys = []

    def lose(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) < 2:
            route.fetch()  # it arrives, and nobody hears so
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/experiments", lambda route: lose(route) if route.request.method == "POST" else route.continue_())
    submit = page.get_by_role("button", name="Submit the experiment")
    submit.click()
    expect(page.get_by_role("alert")).to_contain_text("to submit it again does not submit it twice")
    submit.click()
    expect(page.get_by_text("waits for a free slot")).to_be_visible()
    assert len(keys) == 2
    assert len({*keys}) == 1
    assert count(engine) == 1


def test_a_reload_loses_nothing(opened: Any, address: str) -> None:
    page = opened(address, "#/new")
    editor(page).fill('{"problem": {"kind": "quadratic"}, "name": "half wri')
    page.reload()
    expect(editor(page)).to_have_value('{"problem": {"kind": "quadratic"}, "name": "half wri')
    page.get_by_role("button", name="Undo all changes").click()
    expect(page.get_by_text("The text is thrown away.")).to_be_visible()
    page.get_by_role("button", name="Undo all changes").click()
    expect(page.get_by_role("status")).to_contain_text("It needs about")


def test_what_was_submitted_is_not_begun_again(opened: Any, address: str) -> None:
    page = opened(address, "#/new")
    editor(page).fill('{"problem": {"kind": "quadratic"}, "name": "once"}')
    expect(page.get_by_role("status")).to_contain_text("It needs about")
    editor(page).press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("once")
    page.get_by_role("link", name="New", exact=True).click()
    expect(editor(page)).to_have_value(re.compile("hyper_cleaning"))


def test_what_is_nested_too_deeply_is_told(opened: Any, address: str) -> None:
    page = opened(address, "#/new")
    for text in ("[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000):
        editor(page).fill(text)
        expect(page.get_by_text("This is not JSON yet.")).to_contain_text("in each other is wanted")
    page.goto(f"{address}/ui/#/new?kind=experiment.constructor")
    expect(page.get_by_role("status")).to_contain_text("It needs about")


def test_a_way_is_taken(opened: Any, address: str) -> None:
    page = opened(address, "#/new")
    page.get_by_role("button", name="take unrolled").click()
    expect(editor(page)).to_have_value(re.compile('"hypergradient": {"kind": "unrolled"}'))
    expect(page.get_by_role("status")).to_contain_text("It needs about")
    assert json.loads(editor(page).input_value())["algorithm"]["steps"] == 100


def test_a_grid_without_a_base_is_a_sweep_that_lacks_it(opened: Any, address: str) -> None:
    page = opened(address, "#/new")
    editor(page).fill('{"problem": {"kind": "quadratic"}, "grid": {"steps": [1, 2]}, "seed": [1]}')
    expect(page.get_by_role("heading", level=1)).to_have_text("New sweep")
    expect(page.get_by_role("listitem").filter(has_text="/seed")).to_contain_text("did you mean seeds")
    expect(page.get_by_role("listitem").filter(has_text="/problem")).to_contain_text("did you mean base.problem")


def test_a_sweep_is_planned_and_submitted(opened: Any, address: str) -> None:
    page = opened(address, "#/new?kind=sweep")
    expect(page.get_by_role("status")).to_contain_text("18 members")
    page.get_by_role("button", name="Submit the sweep").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("inner steps of a quadratic")
    assert httpx.get(f"{address}/v1/sweeps").json()["items"][0]["members"] == 18


@pytest.mark.parametrize("kind", ["quadratic", "hyper_cleaning", "regularization", "learned_data"])
def test_an_experiment_begins_another_without_its_defaults(opened: Any, address: str, kind: str) -> None:
    given = {"problem": {"kind": kind}, "algorithm": {"steps": 7, "hyperiterations": 3}, "labels": {"a": "b"}}
    first = httpx.post(f"{address}/v1/experiments", json=given).json()
    page = opened(address, f"#/experiments/{first['id']}")
    page.get_by_role("link", name="Change and submit").click()
    expect(page.get_by_role("status")).to_be_visible()
    begun = json.loads(editor(page).input_value())
    assert len(json.dumps(begun)) < 0.5 * len(json.dumps(first["spec"]))
    page.get_by_role("button", name="Submit the experiment").click()
    expect(page.get_by_text("waits for a free slot")).to_be_visible()
    specs = [each["spec"] for each in httpx.get(f"{address}/v1/experiments").json()["items"]]
    assert specs == [first["spec"]] * 2


def test_the_catalogue_has_every_kind(opened: Any, address: str) -> None:
    page = opened(address, "#/catalog")
    kinds = [kind_of(member) for section in KINDS.values() for member in section]
    for kind in kinds:
        expect(page.get_by_role("link", name=kind, exact=True).first).to_be_visible()
    page.get_by_role("searchbox").fill("learned rate")
    expect(page.get_by_role("link", name="gradient_descent", exact=True)).to_be_visible()
    page.get_by_role("searchbox").fill("warm_start_inner")
    expect(page.get_by_role("link", name="implicit", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="quadratic", exact=True)).to_have_count(0)
    page.get_by_role("link", name="implicit", exact=True).click()
    row = page.get_by_role("row", name="warm_start_inner")
    expect(row).to_contain_text("true | false; default false")
    page.get_by_role("link", name="cg", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("solver / cg")
    page.goto(f"{address}/ui/#/catalog/dataset/mnist")
    expect(page.get_by_text("Not prepared here.")).to_contain_text("bilevel data prepare mnist")
    page.goto(f"{address}/ui/#/catalog/problem/initialization")
    page.get_by_role("link", name="Use in a new experiment").click()
    expect(editor(page)).to_have_value(re.compile('"initialization"'))
