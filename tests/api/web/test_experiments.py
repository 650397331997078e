"""The list of experiments and the page of one, in a browser, while the worker's part is played step by step."""

import re
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from core.store.finishing import Failure

QUADRATIC = {"problem": {"kind": "quadratic"}, "algorithm": {"hyperiterations": 100}}
RESULT = {
    "best": {"hyperiteration": 40, "validation": {"accuracy": {"mean": 0.93, "ci95": 0.024, "examples": 400}}},
    "final": {"hyperiteration": 100, "validation": {"accuracy": {"mean": 0.9, "ci95": 0.025, "examples": 400}}},
    "test": {"accuracy": {"mean": 0.91, "ci95": 0.02, "examples": 597}, "loss": {"mean": "NaN", "ci95": None}},
    "report": {"f1": 0.123456, "learned": {"accuracy": {"mean": 0.88, "ci95": 0.01}}, "curve": [1.5] * 11},
    "diagnostics": {"truncation_error": {"last": 0.2, "worst": 0.5, "warnings": 3, "worst_hyperiteration": 7}},
    "timing": {"total_seconds": 125.0, "seconds_per_hyperiteration": 0.5},
    "memory": {"peak_mb": 310.2},
    "environment": {"torch": "2.13.0", "device": "cpu"},
}
MARKUP = "<img src=x onerror=alert(1)> & <b>bold</b>"


def submit(address: str, **changes: Any) -> str:
    answer = httpx.post(f"{address}/v1/experiments", json=QUADRATIC | changes)
    assert answer.status_code == 202
    return str(answer.json()["id"])


def rows(page: Page) -> Any:
    return page.locator("table.list tbody tr")


def panel(page: Page, title: str) -> Any:
    return page.locator("figure.panel").filter(has=page.get_by_text(title, exact=True))


class TestList:
    def test_of_nothing_it_says_how_to_begin(self, opened: Any, address: str) -> None:
        page = opened(address)
        expect(page.get_by_text("There are no experiments yet")).to_be_visible()
        expect(page.get_by_role("link", name="Submit the first one")).to_have_attribute("href", "#/new")

    def test_it_is_narrowed_and_widened(self, opened: Any, address: str, slot: Any) -> None:
        failed = submit(address, name="one that fails", labels={"project": "a"})
        slot.fail(failed, slot.start(failed), Failure("user", "diverged", "not finite", {}))
        waiting = submit(address, name="one that waits", labels={"project": "b"})
        page = opened(address)
        expect(rows(page)).to_have_count(2)
        expect(rows(page).first).to_contain_text("one that waits")
        expect(rows(page).first).to_contain_text("waits for a free slot")

        page.get_by_role("button", name="failed", exact=True).click()
        expect(rows(page)).to_have_count(1)
        expect(rows(page)).to_contain_text("one that fails")
        assert page.url.endswith("#/experiments?status=failed")
        page.get_by_role("button", name="failed", exact=True).click()
        expect(rows(page)).to_have_count(2)

        page.get_by_role("link", name="project:b").click()
        expect(rows(page)).to_have_count(1)
        page.get_by_role("button", name="project:b").click()
        expect(rows(page)).to_have_count(2)

        search = page.get_by_role("searchbox")
        search.fill("WAITS")
        search.press("Enter")
        expect(rows(page)).to_have_count(1)
        search.fill(failed[:8])
        search.press("Enter")
        expect(rows(page)).to_contain_text("one that fails")
        search.fill("nothing like this")
        search.press("Enter")
        expect(page.get_by_text("No experiment is like that")).to_be_visible()
        page.go_back()
        expect(rows(page)).to_contain_text("one that fails")
        page.get_by_role("link", name=failed[:8]).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("one that fails")
        expect(page.get_by_role("alert")).to_contain_text("not finite (user: diverged, attempt 1)")
        assert waiting not in page.url

    def test_it_keeps_itself_up_to_date(self, opened: Any, address: str, slot: Any) -> None:
        page = opened(address)
        expect(page.get_by_text("There are no experiments yet")).to_be_visible()
        experiment_id = submit(address, name="comes later")
        expect(rows(page)).to_contain_text("comes later")
        attempt = slot.start(experiment_id)
        slot.write(experiment_id, attempt, {"outer_objective": dict.fromkeys(range(30), 1.0)})
        expect(rows(page)).to_contain_text("running")
        expect(rows(page)).to_contain_text("/100")
        slot.succeed(experiment_id, attempt, RESULT)
        expect(rows(page)).to_contain_text("succeeded")
        expect(rows(page)).to_contain_text("100/100")

    def test_page_by_page(self, opened: Any, address: str) -> None:
        grid = {"steps": list(range(1, 61))}
        assert httpx.post(f"{address}/v1/sweeps", json={"base": QUADRATIC, "grid": grid}).status_code == 202
        page = opened(address)
        expect(rows(page)).to_have_count(50)
        page.get_by_role("link", name="Older", exact=True).click()
        expect(rows(page)).to_have_count(10)
        expect(page.get_by_role("link", name="Older", exact=True)).to_have_count(0)
        page.get_by_role("link", name="Newest").click()
        expect(rows(page)).to_have_count(50)

    def test_names_are_text(self, opened: Any, address: str) -> None:
        experiment_id = submit(address, name=MARKUP, labels={"<i>": MARKUP})
        page = opened(address)
        expect(rows(page)).to_contain_text(MARKUP)
        page.get_by_role("link", name=MARKUP, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(MARKUP)
        page.get_by_role("link", name=f"<i>:{MARKUP}").click()
        expect(rows(page)).to_have_count(1)
        assert quote("<i>") in page.url
        assert page.locator("b:has-text('bold'), img[src=x]").count() == 0
        assert experiment_id[:8] in rows(page).inner_text()


class TestExperiment:
    def test_it_is_followed_to_its_result(self, opened: Any, address: str, slot: Any) -> None:
        experiment_id = submit(address, name="followed")
        page = opened(address, f"#/experiments/{experiment_id}")
        expect(page.get_by_text("waits for a free slot")).to_be_visible()
        expect(page.get_by_text("The first points come with the first hyperiterations")).to_be_visible()

        attempt = slot.start(experiment_id)
        slot.write(experiment_id, attempt, {"outer_objective": {k: 2.0 - k / 100 for k in range(10)}})
        expect(panel(page, "Outer objective").locator("b")).to_have_text("1.91")
        warning = ("warning", {"message": "T too short", "hyperiteration": 9, "attempt": attempt})
        slot.write(experiment_id, attempt, {"outer_objective": {k: 2.0 - k / 100 for k in range(10, 20)}}, warning)
        expect(panel(page, "Outer objective").locator("b")).to_have_text("1.81")
        expect(page.get_by_text("1 warning: T too short")).to_be_visible()
        expect(page.locator(".progress .count")).to_have_text("19/100")

        slot.succeed(experiment_id, attempt, RESULT)
        expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded")
        result = page.locator("section").filter(has=page.get_by_role("heading", name="Result"))
        expect(result.get_by_role("row", name="best, hyperiteration 40: validation")).to_contain_text("93.00 ± 2.40 %")
        expect(result.get_by_role("row", name="best, hyperiteration 40: test")).to_contain_text("91.00 ± 2.00 %")
        expect(result.get_by_role("row", name="best, hyperiteration 40: test")).to_contain_text("NaN")
        expect(result.get_by_role("row", name="last, hyperiteration 100: validation")).to_contain_text("90.00 ± 2.50 %")
        expect(result.get_by_role("row", name="learned")).to_contain_text("88.00 ± 1.00 %")
        expect(result.locator("dl")).to_have_text(
            re.compile(r"f10\.1235truncation error3 warnings: last 0\.2, worst 0\.5 at hyperiteration 7")
        )
        expect(result).to_contain_text("2 min 05 s, 0.5 s a hyperiteration, 310 MB, on cpu, torch 2.13.0")

    def test_another_attempt_goes_on(self, opened: Any, address: str, slot: Any) -> None:
        experiment_id = submit(address)
        attempt = slot.start(experiment_id)
        slot.write(experiment_id, attempt, {"outer_objective": dict.fromkeys(range(30), 1.0)})
        page = opened(address, f"#/experiments/{experiment_id}")
        expect(panel(page, "Outer objective").locator("b")).to_have_text("1")
        slot.release(experiment_id, attempt)
        attempt = slot.start(experiment_id)
        slot.write(experiment_id, attempt, {"outer_objective": {**dict.fromkeys(range(20, 40), 0.5), 40: float("nan")}})
        expect(panel(page, "Outer objective").locator("b")).to_have_text("NaN")
        expect(page.get_by_text("attempt 2", exact=True)).to_be_visible()

    def test_what_is_read_bit_by_bit_is_the_whole(self, opened: Any, address: str, slot: Any) -> None:
        experiment_id = submit(address)
        page = opened(address)
        page.evaluate(
            "id => import('./curves.js').then(({ Curves }) => { window.curves = new Curves(id); })", experiment_id
        )

        def read() -> Any:
            record = httpx.get(f"{address}/v1/experiments/{experiment_id}").json()
            script = "record => curves.read(record).then(() => Object.fromEntries(curves.series))"
            return page.evaluate(script, record)

        attempt = slot.start(experiment_id)
        for start in range(0, 30, 10):
            slot.write(experiment_id, attempt, {"outer_objective": dict.fromkeys(range(start, start + 10), 1.0)})
            read()
        slot.release(experiment_id, attempt)
        read()
        attempt = slot.start(experiment_id)
        read()
        for start in range(20, 36, 4):
            slot.write(experiment_id, attempt, {"outer_objective": dict.fromkeys(range(start, start + 4), 0.5)})
            found = read()
        whole = httpx.get(f"{address}/v1/experiments/{experiment_id}/curves").json()["series"]
        assert found == whole
        assert whole["outer_objective"]["value"] == [1.0] * 20 + [0.5] * 16
        assert whole["outer_objective"]["attempt"] == [1] * 20 + [2] * 16

    def test_it_is_cancelled_after_a_question(self, opened: Any, address: str) -> None:
        experiment_id = submit(address)
        page = opened(address, f"#/experiments/{experiment_id}")
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("there will be no result")).to_be_visible()
        page.get_by_role("button", name="no", exact=True).click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)

    def test_its_curves_are_taken_away(self, opened: Any, address: str, slot: Any) -> None:
        experiment_id = submit(address, name="taken")
        slot.write(experiment_id, slot.start(experiment_id), {"outer_objective": {0: 1.5, 1: float("inf")}})
        page = opened(address, f"#/experiments/{experiment_id}")
        with page.expect_download() as download:
            page.get_by_role("button", name="every point of the curves, CSV").click()
        assert download.value.suggested_filename == f"{experiment_id[:8]} curves.csv"
        lines = ["series,step,value,attempt", "outer_objective,0,1.5,1", "outer_objective,1,Infinity,1"]
        assert download.value.path().read_text().splitlines() == lines

    def test_one_that_is_not_there(self, opened: Any, address: str) -> None:
        page = opened(address, "#/experiments/6f0c1f6e-0000-4000-8000-000000000000")
        expect(page.get_by_role("alert")).to_contain_text("There is no such experiment")
        page.goto(f"{address}/ui/#/nowhere")
        expect(page.get_by_text("There is no such page")).to_be_visible()


def test_a_service_that_comes_back_is_followed_again(opened: Any, settings: Any, serve: Any, slot: Any) -> None:
    with serve(settings) as address:
        experiment_id = submit(address)
        attempt = slot.start(experiment_id)
        slot.write(experiment_id, attempt, {"outer_objective": {0: 2.0}})
        page = opened(address, f"#/experiments/{experiment_id}")
        expect(panel(page, "Outer objective").locator("b")).to_have_text("2")
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer. Trying again.")
    expect(panel(page, "Outer objective").locator("b")).to_have_text("2")
    with serve(settings, urlsplit(address).port):
        slot.write(experiment_id, attempt, {"outer_objective": {1: 1.0}})
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(panel(page, "Outer objective").locator("b")).to_have_text("1")


def test_a_key_is_asked_for_and_kept(opened: Any, settings: Any, serve: Any) -> None:
    with serve(settings.model_copy(update={"api_key": SecretStr("geheim")})) as address:
        headers = {"Authorization": "Bearer geheim"}
        assert httpx.post(f"{address}/v1/experiments", json=QUADRATIC, headers=headers).status_code == 202
        page = opened(address)
        page.get_by_label("Key").fill("falsch")
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_role("alert")).to_contain_text("This service has a key")
        page.get_by_label("Key").fill("geheim")
        page.get_by_role("button", name="Enter").click()
        expect(rows(page)).to_have_count(1)
        page.reload()
        expect(rows(page)).to_have_count(1)
        page.get_by_role("button", name="Forget the key").click()
        expect(page.get_by_label("Key")).to_be_visible()


def test_another_key_is_asked_for_when_the_first_is_no_longer_right(opened: Any, settings: Any, serve: Any) -> None:
    with serve(settings.model_copy(update={"api_key": SecretStr("first")})) as address:
        page = opened(address)
        page.get_by_label("Key").fill("ключ")
        page.get_by_role("button", name="Enter").click()  # no header can hold it
        expect(page.get_by_label("Key")).to_have_value("ключ")
        page.get_by_label("Key").fill("first")
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_text("There are no experiments yet")).to_be_visible()
    with serve(settings.model_copy(update={"api_key": SecretStr("second")}), urlsplit(address).port):
        page.get_by_label("Key").fill("second")
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_text("There are no experiments yet")).to_be_visible()


class TestWhatIsAskedFor:
    """Requests of pages that nobody looks at, and of those that fail."""

    @pytest.fixture
    def asked(self, opened: Any, address: str, slot: Any) -> Any:
        """The page of an experiment that runs, and the requests that it has made and that are open."""
        experiment_id = submit(address)
        slot.write(experiment_id, slot.start(experiment_id), {"outer_objective": {0: 1.0}})
        page = opened(address)
        made: list[str] = []
        streams: list[str] = []
        page.on("request", lambda request: made.append(request.url))
        page.on("request", lambda request: streams.append(request.url) if "/events" in request.url else None)
        for ended in ("requestfailed", "requestfinished"):
            page.on(ended, lambda request: streams.remove(request.url) if "/events" in request.url else None)
        page.goto(f"{address}/ui/#/experiments/{experiment_id}")
        expect(panel(page, "Outer objective").locator("b")).to_have_text("1")
        return page, made, streams

    def test_a_page_that_is_left_asks_for_nothing(self, asked: Any) -> None:
        page, made, streams = asked
        assert len(streams) == 1
        page.get_by_role("link", name="Catalogue").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Catalogue")
        page.wait_for_timeout(500)
        assert streams == []
        made.clear()
        page.wait_for_timeout(3000)
        assert made == []

    def test_a_page_in_the_background_asks_for_nothing(self, asked: Any, address: str) -> None:
        page, made, streams = asked
        script = """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        page.evaluate(script, True)
        page.wait_for_timeout(500)
        assert streams == []
        made.clear()
        page.wait_for_timeout(3000)
        assert made == []
        page.evaluate(script, False)
        page.wait_for_timeout(1500)
        assert len(streams) == 1
        assert made

    def test_curves_that_cannot_be_read_leave_no_stream_behind(self, asked: Any, address: str) -> None:
        page, _, streams = asked
        page.route("**/curves?*", lambda route: route.fulfill(status=503, json={"detail": "not now", "code": "busy"}))
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("not now")
        page.wait_for_timeout(4000)
        assert len(streams) <= 1
        page.unroute("**/curves?*")
        expect(page.get_by_role("alert")).to_have_count(0)
        page.wait_for_timeout(500)
        assert len(streams) == 1


@pytest.mark.parametrize("place", ["%", "..%2Fcatalog", "constructor", "a/b"])
def test_an_address_that_cannot_be_is_told(opened: Any, address: str, place: str) -> None:
    for page_of in ("experiments", "sweeps"):
        page = opened(address, f"#/{page_of}/{place}")
        expect(page.get_by_text("There is no such page").or_(page.get_by_role("alert"))).to_be_visible()
        page.get_by_role("link", name="Catalogue").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Catalogue")


def test_names_of_every_kind_are_names(opened: Any, address: str, slot: Any) -> None:
    names = ["constructor", "toString", "__proto__", "outer/valueOf", "validation/constructor"]
    first = submit(address, labels={"constructor": "x", "toString": "y"})
    slot.write(first, slot.start(first), {name: {0: 1.0, 1: 1.0 + 2.3e-16} for name in names})
    second = submit(address)
    page = opened(address, f"#/experiments/{first}")
    expect(page.locator("figure.panel")).to_have_count(len(names))
    page.goto(f"{address}/ui/#/compare?id={first}&id={second}")
    expect(page.get_by_role("row", name="constructor x –")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_telephone_nothing_is_cut_off(opened: Any, address: str, slot: Any, scheme: str) -> None:
    experiment_id = submit(address, name="x" * 200, labels={"a" * 60: "b" * 60})
    slot.write(experiment_id, slot.start(experiment_id), {"outer_objective": {0: 1.0, 1: 0.5}})
    narrow = {"viewport": {"width": 390, "height": 800}, "color_scheme": scheme}
    for place in ("#/experiments", f"#/experiments/{experiment_id}"):
        page = opened(address, place, **narrow)
        expect(page.get_by_text("x" * 200).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
