"""Sweeps and comparisons in a browser, against what the service says of them."""

from typing import Any

import httpx
from playwright.sync_api import Page, expect

from bilevel_client.commands.numbers import around, measure
from core.store.finishing import Failure

BASE = {"problem": {"kind": "quadratic"}, "algorithm": {"hyperiterations": 100}}
SWEEP: dict[str, Any] = {
    "name": "how many steps",
    "labels": {"project": "a"},
    "base": BASE,
    "grid": {"steps": [1, 4], "hypergradient": [{"kind": "reverse"}, {"kind": "exact"}]},
    "seeds": [0, 1],
}
FAILURE = Failure("user", "diverged", "Lower the rate.", {})
ACCURACIES = (0.5, 0.6, "NaN", 0.7, 0.9, 0.8)
"""On validation data, of the members that succeed."""


def result(accuracy: float | str) -> dict[str, Any]:
    validation = {"accuracy": {"mean": accuracy, "ci95": 0.01}}
    return {
        "best": {"hyperiteration": 50, "validation": validation},
        "final": {"hyperiteration": 100, "validation": validation},
        "selection": {"metric": "accuracy", "better": "higher"},
        "test": {"accuracy": {"mean": accuracy, "ci95": 0.02}, "loss": {"mean": 1.5, "ci95": 0.1}},
        "report": {},
        "timing": {"total_seconds": 12.6},
        "memory": {"peak_mb": 300.4},
    }


def submit(address: str) -> dict[str, Any]:
    record: dict[str, Any] = httpx.post(f"{address}/v1/sweeps", json=SWEEP).json()
    return record


def play(address: str, slot: Any, record: dict[str, Any]) -> list[str]:
    """Six members succeed, one fails, one is left; returns the experiments."""
    members = httpx.get(f"{address}{record['links']['members']}").json()["members"]
    ids = [each["experiment_id"] for each in members]
    for place, accuracy in enumerate(ACCURACIES):
        attempt = slot.start(ids[place])
        curve = {k: float(accuracy) * k / 100 for k in (0, 50, 100)}
        slot.write(ids[place], attempt, {"validation/accuracy": curve, "outer_objective": {0: 1.0 + place}})
        slot.succeed(ids[place], attempt, result(accuracy))
    slot.fail(ids[6], slot.start(ids[6]), FAILURE)
    return ids


def cells(page: Page) -> Any:
    return page.locator("section").filter(has=page.get_by_role("heading", name="Cells")).locator("tbody tr")


def members(page: Page) -> Any:
    return page.locator("section").filter(has=page.get_by_role("heading", name="Members")).locator("tbody tr")


def test_the_list_leads_to_a_sweep(opened: Any, address: str) -> None:
    page = opened(address, "#/sweeps")
    expect(page.get_by_text("There are no sweeps yet")).to_be_visible()
    record = submit(address)
    row = page.locator("table.list tbody tr")
    expect(row).to_contain_text("8 queued")
    row.get_by_role("link", name="project:a").click()
    expect(row).to_have_count(1)
    row.get_by_role("link", name="how many steps").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("how many steps")
    assert page.url.endswith(record["id"])
    expect(page.get_by_text("They come with the first member that has succeeded")).to_be_visible()


def test_it_is_followed_and_every_figure_is_that_of_the_service(opened: Any, address: str, slot: Any) -> None:
    record = submit(address)
    page = opened(address, f"#/sweeps/{record['id']}")
    expect(cells(page)).to_have_count(4)
    ids = play(address, slot, record)
    expect(page.get_by_text("6 succeeded")).to_be_visible()
    expect(page.get_by_text("1 failed")).to_be_visible()

    told = httpx.get(f"{address}{record['links']['self']}").json()
    for place, cell in enumerate(told["cells"]):
        row = cells(page).nth(place)
        expect(row).to_contain_text(f"{cell['succeeded']}/{cell['seeds']}")
        if cell["metric"]:
            spread = around("accuracy", cell["validation"]["mean"], cell["validation"]["deviation"])
            expect(row.locator("td").nth(3)).to_have_text(spread)
    best = told["best"]
    expect(page.get_by_text("Best member")).to_be_visible()
    facts = page.locator("dl.facts")
    expect(facts).to_contain_text("steps=4, hypergradient=reverse, seed=0")
    expect(facts).to_contain_text(f"validation accuracy {measure('accuracy', best['validation'])}")
    expect(facts).to_contain_text("85.00 ± 7.07 %")
    expect(page.locator("tr.best")).to_have_count(1)
    expect(page.locator("tr.best")).to_contain_text("85.00 ± 7.07 %")

    expect(members(page)).to_have_count(8)
    expect(members(page).nth(2)).to_contain_text("NaN")
    expect(members(page).nth(6)).to_contain_text("diverged")
    legend = page.locator("figure.panel").filter(has_text="Accuracy, validation").locator(".key")
    expect(legend).to_have_count(3)
    expect(legend.first).to_contain_text("55.00 %")
    expect(legend.last).to_contain_text("85.00 %")

    page.get_by_role("button", name="validation accuracy").last.click()
    page.get_by_role("button", name="validation accuracy").last.click()
    expect(members(page).first).to_contain_text(ids[4][:8])
    expect(members(page).nth(5)).to_contain_text("NaN")  # what is not a number comes after what is

    for name in ("compare member 4", "compare member 5"):
        page.get_by_label(name).check()
    page.get_by_role("link", name="Compare 2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 experiments: how many steps")


def test_what_failed_is_tried_again_and_what_waits_is_cancelled(opened: Any, address: str, slot: Any) -> None:
    record = submit(address)
    play(address, slot, record)
    page = opened(address, f"#/sweeps/{record['id']}")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("1 member is submitted again.")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("2 queued")).to_be_visible()
    expect(members(page).nth(6)).to_contain_text("queued")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("2 cancelled")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_experiments_side_by_side(opened: Any, address: str, slot: Any) -> None:
    record = submit(address)
    ids = play(address, slot, record)
    unknown = "6f0c1f6e-0000-4000-8000-000000000000"
    page = opened(address, f"#/compare?id={ids[0]}&id={ids[3]}&id={unknown}&id={ids[7]}")
    expect(page.get_by_role("alert")).to_contain_text("There is no such experiment")
    rows = page.locator("table.compared tbody")
    expect(rows.get_by_role("row", name="hypergradient")).to_have_text("hypergradientreverseexactexact")
    expect(rows.get_by_role("row", name="seed")).to_have_text("seed011")
    expect(rows.get_by_role("row", name="steps")).to_have_text("steps114")
    expect(rows.get_by_role("row", name="validation accuracy")).to_contain_text("50.00 ± 1.00 %70.00 ± 1.00 %–")
    expect(rows.get_by_role("row", name="test loss")).to_contain_text("1.5 ± 0.1")
    expect(rows.get_by_role("row", name="took")).to_contain_text("13 s13 s–")
    expect(page.locator("figure.panel").filter(has_text="Outer objective").locator("b")).to_have_text(["1", "4"])

    slot.write(ids[7], slot.start(ids[7]), {"outer_objective": {0: 9.0}})
    expect(page.locator("figure.panel").filter(has_text="Outer objective").locator("b")).to_have_text(["1", "4", "9"])
    page.get_by_role("link", name="Compare the others", exact=True).click()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert unknown not in page.url


def test_fewer_than_two_are_not_compared(opened: Any, address: str) -> None:
    page = opened(address, "#/compare")
    expect(page.get_by_text("Choose from two to 16")).to_be_visible()


def test_a_thousand_members_stay_usable(opened: Any, address: str) -> None:
    spec = {"base": BASE, "grid": {"steps": list(range(1, 101))}, "seeds": list(range(10))}
    record = httpx.post(f"{address}/v1/sweeps", json=spec, timeout=60).json()
    page = opened(address, f"#/sweeps/{record['id']}")
    expect(cells(page)).to_have_count(40)
    page.get_by_text("All 1000, the newest trial of each").click()
    expect(members(page)).to_have_count(100)
    page.get_by_role("button", name="100 more of 1000").click()
    expect(members(page)).to_have_count(200)
