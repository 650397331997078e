"""A plan is an answer to the body of a submission, and stores nothing."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from api.errors import MEDIA_TYPE
from core.planning import DEVICES

PLACE = "/v1/experiments:plan"
CLEANING: dict[str, Any] = {
    "problem": {"kind": "hyper_cleaning"},
    "algorithm": {"steps": 20_000, "hypergradient": {"kind": "unrolled"}},
    "resources": {"memory_limit": 1000},
}


def plan(client: httpx.Client, spec: dict[str, Any], **device: str | float) -> dict[str, Any]:
    answer = client.post(PLACE, json=spec, params=device)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_plan_says_what_fits_and_stores_nothing(client: httpx.Client, engine: Engine) -> None:
    found = plan(client, CLEANING)
    assert found["memory"]["limit_mb"] == 1000
    assert found["memory"]["fits"] is False
    assert found["remedy"]["same"]
    assert found["remedy"]["memory_mb"] < 1000
    assert found["remedy"]["name"] in found["verdict"]
    assert found["device"]["name"] == "cpu"
    assert {each["status"] for each in found["assumptions"]} <= {"by construction", "measured", "not met"}
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM experiments")).scalar_one() == 0


def test_the_remedy_can_be_submitted(refusing: httpx.Client) -> None:
    remedy = plan(refusing, CLEANING)["remedy"]
    mended = {**CLEANING, "algorithm": {"steps": 20_000, "hypergradient": remedy["set"]["algorithm.hypergradient"]}}
    again = plan(refusing, mended)
    assert again["memory"]["fits"]
    assert again["memory"]["peak_mb"] == remedy["memory_mb"]


def test_the_remedy_of_an_algorithm_that_remembers_too_much_can_be_planned(refusing: httpx.Client) -> None:
    saba = {**CLEANING, "algorithm": {"kind": "saba", "batch": 1}, "resources": {"memory_limit": 430}}
    remedy = plan(refusing, saba)["remedy"]
    again = plan(refusing, {**saba, "algorithm": remedy["set"]["algorithm"]})
    assert remedy["name"] == "soba"
    assert again["memory"]["fits"]
    assert again["memory"]["peak_mb"] == remedy["memory_mb"]


def test_rates_may_be_given(refusing: httpx.Client) -> None:
    slow = plan(refusing, CLEANING, operator_seconds=1e-3)
    assert slow["device"]["name"] == "cpu, with given rates"
    assert slow["time"]["total_seconds"] > 10 * plan(refusing, CLEANING)["time"]["total_seconds"]
    unlimited = {name: value for name, value in CLEANING.items() if name != "resources"}
    assert plan(refusing, unlimited)["memory"]["fits"] is None
    assert plan(refusing, unlimited, memory_mb=100_000)["memory"]["fits"] is True


@pytest.mark.parametrize("name", DEVICES)
def test_whatever_a_device_says_may_be_given(refusing: httpx.Client, name: str) -> None:
    """As `bilevel plan --rates` sends what `python -m benchmarks rates` prints."""
    device = DEVICES[name].model_copy(update={"memory_mb": 1000.0, "evaluated_together": 3}).model_dump()
    given = {field: value for field, value in device.items() if field != "name" and value is not None}
    assert plan(refusing, CLEANING, **given)["device"] == device | {"name": "cpu, with given rates"}


def test_refusals_are_those_of_a_submission(refusing: httpx.Client) -> None:
    for body in ({"problem": {"kind": "quadratc"}}, {"problem": {"kind": "hyper_representation"}}, {}):
        submitted = refusing.post("/v1/experiments", json=body)
        planned = refusing.post(PLACE, json=body)
        assert planned.status_code == submitted.status_code == 422
        assert planned.headers["Content-Type"] == MEDIA_TYPE
        assert planned.json() == submitted.json()


def test_an_unknown_device_is_refused(refusing: httpx.Client) -> None:
    for query in ({"device": "abacus"}, {"bytes_per_second": 0}, {"flops": 1}):
        answer = refusing.post(PLACE, json=CLEANING, params=query)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["parameter"] == next(iter(query))


def test_a_device_with_rates_of_its_own_has_no_others_of_a_gpu(refusing: httpx.Client) -> None:
    spec = {"problem": {"kind": "quadratic"}}
    assert plan(refusing, spec, device="cuda")["device"]["replayed_seconds"]
    found = plan(refusing, spec, device="cuda", operations_per_second=8e12, operator_seconds=1e-5)["device"]
    assert (found["bf16_operations_per_second"], found["replayed_seconds"]) == (None, None)


SWEEP: dict[str, Any] = {
    "base": CLEANING,
    "grid": {"steps": [100, 20_000], "hypergradient": [{"kind": "unrolled"}, {"kind": "reverse"}]},
    "seeds": [0, 1, 2],
}


def test_a_sweeps_plan_is_that_of_its_combinations(client: httpx.Client, engine: Engine) -> None:
    answer = client.post("/v1/sweeps:plan", json=SWEEP, params={"operator_seconds": 1e-5})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [cell["seeds"] for cell in found["cells"]] == [3] * 4
    for cell in found["cells"]:
        steps, method = cell["parameters"].values()
        alone = plan(
            client, {**CLEANING, "algorithm": {"steps": steps, "hypergradient": method}}, operator_seconds=1e-5
        )
        assert cell["memory"] == alone["memory"]
        assert cell["time"] == alone["time"]
        assert found["devices"] == [alone["device"]]
    assert found["members"] == 12
    assert found["peak_mb"] == max(cell["memory"]["peak_mb"] for cell in found["cells"])
    assert found["total_seconds"] == pytest.approx(3 * sum(cell["time"]["total_seconds"] for cell in found["cells"]))
    assert "12 members, one after the other: about" in found["verdict"]
    assert "Above the memory limit: 1 of 4 combinations; the plan of one says what would fit." in found["verdict"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM experiments")).scalar_one() == 0


def test_a_sweep_over_devices_is_reckoned_for_each(refusing: httpx.Client) -> None:
    swept = {"base": CLEANING, "grid": {"resources.device": ["cpu", "cuda"]}}
    found = refusing.post("/v1/sweeps:plan", json=swept).json()
    assert [cell["device"] for cell in found["cells"]] == ["cpu", "cuda"]
    assert [device["name"] for device in found["devices"]] == ["cpu", "cuda"]


def test_refusals_of_a_sweeps_plan_are_those_of_its_submission(refusing: httpx.Client) -> None:
    few_shot = {"kind": "hyper_representation"}
    gone = {**few_shot, "start": {"experiment": "2f7bbd3c-36b9-4d8a-8f1c-6a4f6f0bb6a1"}}
    for body in (
        {**SWEEP, "grid": {"steps": [1, 0]}},
        {"base": {"problem": few_shot}},
        {"base": CLEANING, "grid": {"problem": [few_shot]}},
        {"base": {"problem": gone}},
    ):
        submitted = refusing.post("/v1/sweeps", json=body)
        planned = refusing.post("/v1/sweeps:plan", json=body)
        assert planned.status_code == submitted.status_code == 422
        assert planned.json() == submitted.json()
