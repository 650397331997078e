"""Every refusal is a problem that names the field and says what is allowed."""

import json
from typing import Any

import httpx
import pytest

from api.errors import MEDIA_TYPE

CLEANING = {"kind": "hyper_cleaning"}


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return dict(problem)


SPECS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "/problem", "required, an object with a `kind`: use `quadratic`, `random_quadratics`, `regularization`"),
    (
        {"problem": {"kind": "quadratic"}, "algorithm": {"kind": "soba", "steps": 3}},
        "/algorithm/steps",
        "`soba` has no `steps`, a field of `nested`, `joint`: leave it out, or use `batch`",
    ),
    ({"problem": {"kind": "quadratic"}, "algorithm": {"kind": "soba", "T": 3}}, "/algorithm/T", "not known here: use"),
    (
        {"problem": {"kind": "quadratic"}, "algorithm": {"hypergradient": {"kind": "forward", "truncate": 3}}},
        "/algorithm/hypergradient/truncate",
        "`forward` has no `truncate`, a field of `reverse`: leave it out, or use",
    ),
    ({"problem": {"kind": "quadratic"}, "sed": 1}, "/sed", "did you mean `seed`?"),
    ({"problem": {"kind": "quadratic"}, "zzz": 1}, "/zzz", "use `algorithm`, `diagnostics`, `evaluation`, `labels`"),
    ({"problem": {"kind": "quadratic", "damp": 1}}, "/problem/damp", "did you mean `damping`?"),
    ({"problem": {"kind": "quadratic", "quadratic": 1}}, "/problem/quadratic", "`quadratic` is not known here"),
    ({"problem": {"kind": "quadratc"}}, "/problem/kind", "did you mean `quadratic`?"),
    (
        {"problem": {"kind": "?"}},
        "/problem/kind",
        "use `quadratic`, `random_quadratics`, `regularization`, `hyper_cleaning`, `linear_representation`, ",
    ),
    ({"problem": {}}, "/problem/kind", "`kind` is missing: use `quadratic`, `random_quadratics`, `regularization`"),
    ({"problem": {**CLEANING, "dataset": {"kind": "minst"}}}, "/problem/dataset/kind", "did you mean `mnist`?"),
    ({"problem": {**CLEANING, "dataset": {}}}, "/problem/dataset/kind", "use `digits`, `breast_cancer`"),
    (
        {"problem": {**CLEANING, "dataset": {"kind": "20news", "word": 3}}},
        "/problem/dataset/word",
        "did you mean `words`?",
    ),
    (
        {"problem": {**CLEANING, "model": {"kind": "mlp", "hidden": [64, 0]}}},
        "/problem/model/hidden/1",
        "greater than or equal to 1, not `0`",
    ),
    ({"problem": {**CLEANING, "corruption": 2}}, "/problem/corruption", "less than 1, not `2`"),
    ({"problem": {**CLEANING, "corruption": "half"}}, "/problem/corruption", "valid number"),
    ({"problem": {**CLEANING, "train": 100_000}}, "/problem/train", "lower `train` or `validation`"),
    (
        {"problem": {"kind": "hyper_representation", "dataset": {"kind": "omniglot", "split": "papr"}}},
        "/problem/dataset/split",
        "`papr` is not possible here (did you mean `paper`?): use `paper`, `vinyals` or `alphabets`",
    ),
    ({"problem": {"kind": "hyper_representation", "way": 1}}, "/problem/way", "greater than or equal to 2"),
    (
        {"problem": CLEANING, "algorithm": {"hypergradient": {"kind": "exact"}}},
        "/algorithm/hypergradient",
        "closed form",
    ),
    (
        {"problem": CLEANING, "algorithm": {"hypergradient": {"kind": "implicit", "solver": {"kind": "cgs"}}}},
        "/algorithm/hypergradient/solver/kind",
        "did you mean `cg`?",
    ),
    (
        {"problem": {"kind": "quadratic"}, "labels": {"a/b~c": ""}},
        "/labels/a~1b~0c",
        "at least 1 character",
    ),
    ({"problem": {"kind": "quadratic"}, "seed": -1}, "/seed", "greater than or equal to 0"),
    ({"problem": {"kind": "quadratic"}, "name": "a\x00b"}, "/name", "control character"),
    ({"problem": {"kind": "quadratic"}, "labels": {"a": "\x00"}}, "/labels/a", "control character"),
    ({"problem": {"kind": "quadratic"}, "name": "x" * 201}, "/name", "at most 200 characters"),
    (
        {
            "problem": {"kind": "quadratic"},
            "algorithm": {
                "hypergradient": {"kind": "implicit", "solver": {"kind": "cg_normal", "iterations": 2}},
            },
        },
        "/algorithm/hypergradient/solver/iterations",
        "greater than or equal to 3, not `2`",
    ),
    # What is said of an object depends on which one it is.
    ({"problem": {"kind": "quadratic"}, "evaluation": 10}, "/evaluation", 'such as {"every": ...}, not `10`'),
    ({"problem": {"kind": "quadratic"}, "labels": ["a"]}, "/labels", 'such as {"name": "value"}'),
    ({"problem": {**CLEANING, "dataset": "wine"}}, "/problem/dataset", 'such as {"kind": "wine"}, not `"wine"`'),
    (
        {"problem": {**CLEANING, "model": {"kind": "mlp", "hidden": 64}}},
        "/problem/model/hidden",
        "A list is wanted here, such as `[64]`",
    ),
    # Names of other libraries, other places and other kinds.
    ({"problem": {"kind": "maml"}}, "/problem/kind", "did you mean `initialization`?"),
    ({"problem": {"kind": "quadratic"}, "steps": 3}, "/steps", "did you mean `algorithm.steps`?"),
    (
        {"problem": {"kind": "quadratic"}, "algorithm": {"lr": 1}},
        "/algorithm/lr",
        "did you mean `algorithm.dynamics.rate` or `algorithm.optimizer.rate`?",
    ),
    ({"problem": {"kind": "quadratic"}, "algorithm": {"T": 1}}, "/algorithm/T", "did you mean `steps`?"),
    (
        {"problem": {"kind": "quadratic"}, "algorithm": {"kind": "reptile"}},
        "/algorithm/kind",
        "`reptile` is not possible here (it is a `hypergradient`): use `nested`",
    ),
    (
        {"problem": {"kind": "hyper_representation", "dataset": {"kind": "mnist"}}},
        "/problem/dataset/kind",
        "(it is a `dataset` of other experiments): use `omniglot`",
    ),
    (
        {"problem": {"kind": "quadratic"}, "resources": {"device": "gpu"}},
        "/resources/device",
        "did you mean `cuda`?",
    ),
    # Units and ids, by what the field is.
    (
        {"problem": {"kind": "quadratic"}, "resources": {"memory_limit": "4GB"}},
        "/resources/memory_limit",
        'not `"4GB"` (`memory_limit`: MiB of main memory',
    ),
    (
        {"problem": {"kind": "hyper_representation", "start": {"experiment": "58fe3f8b"}}},
        "/problem/start/experiment",
        "(`experiment`: Whole id of a few-shot experiment",
    ),
    # Several values are a sweep.
    ({"problem": {"kind": "quadratic"}, "seed": [0, 1]}, "/seed", "several values are a sweep, `bilevel sweep`"),
    ({"problem": {"kind": "quadratic"}, "seeds": [0, 1]}, "/seeds", "(it is a sweep's: `bilevel sweep`"),
]


@pytest.mark.parametrize(("spec", "pointer", "message"), SPECS, ids=[f"{pointer}:{m[:20]}" for _, pointer, m in SPECS])
def test_a_spec_is_refused_with_its_field_and_what_is_allowed(
    refusing: httpx.Client, spec: dict[str, Any], pointer: str, message: str
) -> None:
    problem = refusal(refusing.post("/v1/experiments", json=spec), 422)
    assert problem["code"] == "invalid"
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert message in problem["errors"][0]["detail"]
    assert problem["detail"].startswith(f"{pointer}: ")


def test_every_wrong_field_is_listed(refusing: httpx.Client) -> None:
    spec = {"problem": {"kind": "quadratic", "damping": -1, "condition": 0}, "seed": "x"}
    problem = refusal(refusing.post("/v1/experiments", json=spec), 422)
    assert {error["pointer"] for error in problem["errors"]} == {"/problem/damping", "/problem/condition", "/seed"}
    assert "and 2 more" in problem["detail"]


def test_a_field_of_a_sweeps_base_is_looked_for_there(refusing: httpx.Client) -> None:
    body = {"base": {"problem": {"kind": "quadratic"}}, "grid": {"seed": [0, 1]}, "steps": 3}
    (error,) = refusal(refusing.post("/v1/sweeps", json=body), 422)["errors"]
    assert error["pointer"] == "/steps"
    assert "did you mean `base.algorithm.steps`?" in error["detail"]


def test_a_query_parameter_is_no_field_of_a_spec(refusing: httpx.Client) -> None:
    (error,) = refusal(refusing.get("/v1/experiments", params={"steps": 3}), 422)["errors"]
    assert error["parameter"] == "steps"
    assert "algorithm" not in error["detail"]


def test_non_finite_numbers_are_refused(refusing: httpx.Client) -> None:
    body = '{"problem": {"kind": "quadratic", "damping": NaN}}'
    answer = refusing.post("/v1/experiments", content=body, headers={"Content-Type": "application/json"})
    assert refusal(answer, 422)["errors"][0]["pointer"] == "/problem/damping"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"problem":\n {"kind" "quadratic"}}', "line 2, column 10"),
        (b"{", "line 1, column 2"),
        (b"nonsense", "line 1, column 1"),
    ],
)
def test_malformed_json_says_where(refusing: httpx.Client, body: bytes, where: str) -> None:
    answer = refusing.post("/v1/experiments", content=body, headers={"Content-Type": "application/json"})
    problem = refusal(answer, 400)
    assert problem["code"] == "malformed_json"
    assert where in problem["detail"]


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}"])
def test_bodies_that_no_parser_takes_are_bad_requests(refusing: httpx.Client, body: bytes) -> None:
    answer = refusing.post("/v1/experiments", content=body, headers={"Content-Type": "application/json"})
    assert refusal(answer, 400)["code"] in ("bad_request", "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"3"])
def test_a_body_that_is_no_object_is_refused(refusing: httpx.Client, body: bytes) -> None:
    answer = refusing.post("/v1/experiments", content=body, headers={"Content-Type": "application/json"})
    assert refusal(answer, 422)["errors"][0]["pointer"] == ""


def test_no_body_is_refused(refusing: httpx.Client) -> None:
    problem = refusal(refusing.post("/v1/experiments"), 422)
    assert "required" in problem["detail"]


def test_a_body_not_marked_as_json_is_refused_with_the_remedy(refusing: httpx.Client) -> None:
    answer = refusing.post("/v1/experiments", content=b"{}", headers={"Content-Type": "text/plain"})
    problem = refusal(answer, 415)
    assert "Content-Type: application/json" in problem["detail"]


def test_a_lone_surrogate_is_refused(refusing: httpx.Client) -> None:
    body = b'{"problem": {"kind": "quadratic"}, "name": "\\ud800"}'
    answer = refusing.post("/v1/experiments", content=body, headers={"Content-Type": "application/json"})
    assert refusal(answer, 422)["errors"][0]["pointer"] == "/name"


def test_a_body_that_is_too_large_is_refused(refusing: httpx.Client) -> None:
    body = json.dumps({"problem": {"kind": "quadratic"}, "name": "x" * (1 << 20)})
    problem = refusal(refusing.post("/v1/experiments", content=body, headers={"Content-Type": "application/json"}), 413)
    assert problem["code"] == "body_too_large"


def test_a_body_without_announced_size_is_counted(refusing: httpx.Client) -> None:
    chunks = (b" " * (1 << 16) for _ in range(20))
    answer = refusing.post("/v1/experiments", content=chunks, headers={"Content-Type": "application/json"})
    assert refusal(answer, 413)["code"] == "body_too_large"


def test_a_body_of_just_the_largest_size_is_taken(refusing: httpx.Client) -> None:
    body = json.dumps({"problem": {"kind": "quadratic"}}).ljust(1 << 20)
    answer = refusing.post("/v1/experiments", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202


def test_places_that_are_not_there(refusing: httpx.Client) -> None:
    assert refusal(refusing.get("/v1/nowhere"), 404)["code"] == "not_found"


@pytest.mark.parametrize("room", ["", "/curves", "/result", "/events", "/artifacts", "/artifacts/x"])
@pytest.mark.parametrize("experiment_id", ["6f0c1f6e-0000-4000-8000-000000000000", "xyz", "%00"])
def test_experiments_that_are_not_there(refusing: httpx.Client, experiment_id: str, room: str) -> None:
    problem = refusal(refusing.get(f"/v1/experiments/{experiment_id}{room}"), 404)
    assert problem["code"] == "not_found"


def test_cancelling_what_is_not_there(refusing: httpx.Client) -> None:
    assert refusal(refusing.post("/v1/experiments/6f0c1f6e-0000-4000-8000-000000000000:cancel"), 404)


def test_methods_that_are_not_there(refusing: httpx.Client) -> None:
    answer = refusing.put("/v1/experiments", json={})
    assert refusal(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["Allow"] == "GET, POST"


def test_bodies_that_cannot_be_read(refusing: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b'{"name": "\xff"}', b'{"seed": ' + 5000 * b"1" + b"}", 20_000 * b"[" + 20_000 * b"]"):
        problem = refusal(refusing.post("/v1/experiments", content=body, headers=headers), 400)
        assert "UTF-8" in problem["detail"] or "not JSON" in problem["detail"]


def test_of_very_many_faults_the_first_are_described(refusing: httpx.Client) -> None:
    body = {"problem": {"kind": "quadratic"}, **{f"field{n}": n for n in range(5000)}}
    problem = refusal(refusing.post("/v1/experiments", json=body), 422)
    assert len(problem["errors"]) == 100
    assert "(and 4999 more, see `errors` for the first 100)" in problem["detail"]


def test_a_name_of_an_artifact_that_is_too_long(refusing: httpx.Client) -> None:
    place = f"/v1/experiments/6f0c1f6e-0000-4000-8000-000000000000/artifacts/{201 * 'a'}"
    assert "is not the name of an artifact" in refusal(refusing.get(place), 404)["detail"]


@pytest.mark.parametrize(
    ("query", "parameter", "message"),
    [
        ("stauts=running", "stauts", "did you mean `status`?"),
        ("status=runing", "status", "did you mean `running`?"),
        ("kind=quadratc", "kind", "did you mean `quadratic`?"),
        ("label=paper", "label", "`name:value`"),
        ("page_size=0", "page_size", "greater than or equal to 1"),
        ("page_size=1001", "page_size", "less than or equal to 1000"),
        ("cursor=nonsense", "cursor", "not one that a page gave"),
        ("cursor=WzEsMl0=", "cursor", "not one that a page gave"),
        ("id_prefix=xyz", "id_prefix", "hexadecimal"),
        ("created_after=yesterday", "created_after", "valid datetime"),
        ("created_after=2026-01-01T00:00:00", "created_after", "timezone"),
        ("name=%00", "name", "match"),
    ],
)
def test_query_parameters_are_refused_by_name(refusing: httpx.Client, query: str, parameter: str, message: str) -> None:
    problem = refusal(refusing.get(f"/v1/experiments?{query}"), 422)
    assert problem["errors"][0]["parameter"] == parameter
    assert message in problem["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("change", "pointer", "remedy"),
    [
        (
            {"algorithm": {"optimizer": "adam"}},
            "/algorithm/optimizer",
            'An object is wanted here, such as {"kind": "adam"}',
        ),
        ({"labels": {"try": 1}}, "/labels/try", "A text is wanted here, not `1`: write it in quotes"),
        ({"algorithm": None}, "/algorithm", "not `null`"),
    ],
)
def test_a_value_of_the_wrong_type_says_what_to_write(
    refusing: httpx.Client, change: dict[str, Any], pointer: str, remedy: str
) -> None:
    answer = refusing.post("/v1/experiments", json={"problem": {"kind": "quadratic"}} | change)
    found = refusal(answer, 422)["errors"][0]
    assert found["pointer"] == pointer
    assert remedy in found["detail"]
