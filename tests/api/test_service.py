"""The service as a whole: key, health, catalogue, OpenAPI document, outages, the process."""

import inspect
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from api.main import create_app
from api.schemas import SPEC_EXAMPLES
from api.sweep_schemas import SWEEP_EXAMPLES
from core.settings import Settings
from core.spec import KINDS, Experiment, Sweep, kind_of
from core.spec.paths import fields

Serve = Callable[[Settings], AbstractContextManager[str]]


class TestKey:
    @pytest.fixture
    def locked(self, settings: Settings, serve: Serve) -> Any:
        with (
            serve(settings.model_copy(update={"api_key": SecretStr("geheim")})) as address,
            httpx.Client(base_url=address) as client,
        ):
            yield client

    @pytest.mark.parametrize(
        "headers",
        [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic geheim"}, {"Authorization": "Bearer"}],
    )
    def test_without_the_key_nothing_is_shown(self, locked: httpx.Client, headers: dict[str, str]) -> None:
        for method, place in (
            ("GET", "/v1/experiments"),
            ("POST", "/v1/experiments"),
            ("GET", "/v1/catalog"),
            ("GET", "/v1/experiments/6f0c1f6e-0000-4000-8000-000000000000"),
            ("GET", "/v1/experiments/6f0c1f6e-0000-4000-8000-000000000000/events"),
            ("POST", "/v1/experiments/6f0c1f6e-0000-4000-8000-000000000000:cancel"),
            ("POST", "/v1/sweeps"),
            ("POST", "/v1/sweeps/6f0c1f6e-0000-4000-8000-000000000000:retry"),
        ):
            answer = locked.request(method, place, headers=headers)
            assert answer.status_code == 401, place
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.json()["code"] == "unauthorized"

    def test_every_operation_under_v1_asks_for_it(self, settings: Settings) -> None:
        for path, operations in create_app(settings).openapi()["paths"].items():
            for operation in operations.values():
                assert bool(operation.get("security")) == path.startswith("/v1/"), path

    def test_with_the_key_all_is_well(self, settings: Settings, serve: Serve) -> None:
        with serve(settings.model_copy(update={"api_key": SecretStr("secret")})) as address:
            headers = {"Authorization": "Bearer secret"}
            assert httpx.get(f"{address}/v1/experiments", headers=headers).status_code == 200
            assert httpx.get(f"{address}/healthz").status_code == 200


class TestNames:
    def test_without_a_key_it_has_no_name_of_another_machine(self, client: httpx.Client) -> None:
        for name in ("localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"):
            assert client.get("/v1/experiments", headers={"Host": name}).status_code == 200
        answer = client.post(
            "/v1/experiments", json={"problem": {"kind": "quadratic"}}, headers={"Host": "evil.example"}
        )
        assert answer.status_code == 403
        assert answer.json()["code"] == "unknown_host"
        assert "BILEVEL_API_KEY" in answer.json()["detail"]

    def test_with_a_key_it_has_any(self, settings: Settings, serve: Serve) -> None:
        with serve(settings.model_copy(update={"api_key": SecretStr("secret")})) as address:
            headers = {"Authorization": "Bearer secret", "Host": "bilevel.example"}
            assert httpx.get(f"{address}/v1/experiments", headers=headers).status_code == 200


class TestHealth:
    def test_probes_may_ask_for_the_head(self, client: httpx.Client) -> None:
        for place in ("/healthz", "/readyz"):
            answer = client.head(place)
            assert (answer.status_code, answer.content) == (200, b"")

    def test_all_is_well(self, client: httpx.Client) -> None:
        assert client.get("/healthz").json() == {"status": "ok"}
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json() == {"status": "ready", "checks": {"database": "ok", "broker": "ok"}}

    def test_what_is_amiss_is_named(self, settings: Settings, serve: Serve, empty_database_url: str) -> None:
        broken = settings.model_copy(
            update={"database_url": SecretStr(empty_database_url), "broker_url": SecretStr("redis://127.0.0.1:1")}
        )
        with serve(broken) as address:
            assert httpx.get(f"{address}/healthz").status_code == 200
            answer = httpx.get(f"{address}/readyz", timeout=20)
        assert answer.status_code == 503
        checks = answer.json()["checks"]
        assert "python -m migrations" in checks["database"]
        assert "BROKER_URL" in checks["broker"]

    def test_without_a_database_the_answer_is_try_again(self, settings: Settings, serve: Serve) -> None:
        nowhere = settings.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/nothing")})
        with serve(nowhere) as address:
            answer = httpx.get(f"{address}/v1/experiments", timeout=20)
            ready = httpx.get(f"{address}/readyz", timeout=20)
        assert answer.status_code == 503
        assert answer.json()["code"] == "database_unavailable"
        assert answer.headers["Retry-After"] == "2"
        assert "DATABASE_URL" in ready.json()["checks"]["database"]


class TestCatalog:
    def test_every_kind_is_there_with_a_schema_and_an_example_that_fit(self, refusing: httpx.Client) -> None:
        answer = refusing.get("/v1/catalog").json()
        assert set(answer["kinds"]) == set(KINDS)
        for section, members in KINDS.items():
            entries = answer["kinds"][section]
            assert [entry["kind"] for entry in entries] == [kind_of(member) for member in members]
            for entry, member in zip(entries, members, strict=True):
                assert entry["description"] == inspect.getdoc(member)
                Draft202012Validator(entry["schema"]).validate(entry["example"])
                assert member.model_validate(entry["example"]) == member()

    def test_every_other_field_of_an_experiment_is_there(self, refusing: httpx.Client) -> None:
        answer = refusing.get("/v1/catalog").json()
        pages = {"": answer["experiment"], **{f"{path}.": entry for path, entry in answer["parts"].items()}}
        described = [f"{path}{name}" for path, page in pages.items() for name in page["schema"]["properties"]]
        assert {"name", "seed", "evaluation.every", "resources.time_limit", "diagnostics.truncation.steps"} <= set(
            described
        )
        own = ("problem.", "algorithm.")
        canonical = answer["experiment"]["example"]
        assert set(described) == {path for path in fields(canonical) if not path.startswith(own)}
        for entry in answer["parts"].values():
            assert entry["description"]
            Draft202012Validator(entry["schema"]).validate(entry["example"])

    def test_the_schema_of_a_whole_experiment_fits_its_examples(self, refusing: httpx.Client) -> None:
        experiment = refusing.get("/v1/catalog").json()["experiment"]
        Draft202012Validator(experiment["schema"]).validate(experiment["example"])
        for example in experiment["examples"].values():
            Draft202012Validator(experiment["schema"]).validate(example)

    def test_the_schema_of_a_whole_sweep_fits_its_examples(self, refusing: httpx.Client) -> None:
        sweep = refusing.get("/v1/catalog").json()["sweep"]
        for example in sweep["examples"].values():
            Draft202012Validator(sweep["schema"]).validate(example)

    def test_data_sets_say_whether_they_are_there(self, refusing: httpx.Client) -> None:
        entries = {entry["kind"]: entry for entry in refusing.get("/v1/catalog").json()["kinds"]["dataset"]}
        assert entries["digits"]["built_in"]
        assert entries["digits"]["missing"] is None
        assert "bilevel data prepare mnist" in entries["mnist"]["missing"]


class TestPages:
    @pytest.mark.parametrize("page", ["/docs", "/redoc"])
    def test_all_that_a_page_shows_comes_with_the_service(self, refusing: httpx.Client, page: str) -> None:
        addresses = re.findall(r"""(?:src|href|spec-url|url)(?:=|: )["']([^"']*)["']""", refusing.get(page).text)
        assert "/openapi.json" in addresses
        assert any(address.endswith(".js") for address in addresses)
        for address in addresses:
            assert address.startswith("/")  # on this host
            assert refusing.get(address).status_code == 200


@pytest.fixture(scope="module")
def document(refusing: httpx.Client) -> dict[str, Any]:
    return dict(refusing.get("/openapi.json").json())


class TestOpenApi:
    def test_operations_have_ids_and_descriptions(self, document: dict[str, Any]) -> None:
        assert document["openapi"].startswith("3.1")
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        assert {operation["operationId"] for operation in operations} == {
            "submit_experiment",
            "plan_experiment",
            "plan_sweep",
            "list_experiments",
            "get_experiment",
            "cancel_experiment",
            "submit_sweep",
            "list_sweeps",
            "get_sweep",
            "list_sweep_members",
            "cancel_sweep",
            "retry_sweep",
            "get_curves",
            "get_result",
            "stream_events",
            "list_artifacts",
            "get_artifact",
            "get_catalog",
            "get_health",
            "get_readiness",
        }
        assert document["paths"]["/v1/experiments"]["post"]["summary"] == "Submit experiment"
        for operation in operations:
            assert operation["description"]
            for parameter in operation.get("parameters", ()):
                if parameter["in"] != "path" or parameter["name"] != "experiment_id":
                    assert parameter.get("description"), (operation["operationId"], parameter["name"])

    def test_refusals_are_problems(self, document: dict[str, Any]) -> None:
        for path, operations in document["paths"].items():
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    if status[0] == "4" and path.startswith("/v1"):
                        assert set(response["content"]) == {"application/problem+json"}, (path, status)

    def test_parameters_are_left_out_and_never_null(self, document: dict[str, Any]) -> None:
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        schemas = [parameter["schema"] for operation in operations for parameter in operation.get("parameters", ())]
        assert {"type": "null"} not in [choice for schema in schemas for choice in schema.get("anyOf", ())]
        (key,) = {
            str(parameter["schema"])
            for operation in operations
            for parameter in operation.get("parameters", ())
            if parameter["name"] == "Idempotency-Key"
        }
        assert "'maxLength': 255" in key

    def test_operations_with_a_body_may_not_understand_it(self, document: dict[str, Any]) -> None:
        for operations in document["paths"].values():
            for operation in operations.values():
                there = {"400", "415"} <= operation["responses"].keys()
                assert there == ("requestBody" in operation), operation["operationId"]

    def test_examples_can_be_submitted(self) -> None:
        for example in SPEC_EXAMPLES.values():
            Experiment.model_validate(example["value"])
        for example in SWEEP_EXAMPLES.values():
            Sweep.model_validate(example["value"])


def test_a_fault_of_ours_is_a_problem_that_tells_no_secrets(
    client: httpx.Client, submitted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret")

    monkeypatch.setattr("core.store.reading.get", broken)
    answer = client.get(f"/v1/experiments/{submitted}")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text


def test_settings_without_servers_are_refused(settings: Settings) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL is not set"):
        create_app(settings.model_copy(update={"database_url": SecretStr("")}))


def test_the_process_starts_without_torch_and_stays_small() -> None:
    program = """
import sys
import api.main
api.main.create_app().openapi()
assert not {"torch", "numpy", "scipy", "sklearn", "alembic"} & set(sys.modules)
import psutil
print(psutil.Process().memory_info().rss >> 20, psutil.Process().cpu_times().user)
"""
    environment = {"DATABASE_URL": "postgresql://nowhere", "BROKER_URL": "redis://nowhere", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    megabytes, seconds = ran.stdout.split()
    assert int(megabytes) < 150
    assert float(seconds) < 5  # about 0.7 on an idle core


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_without_a_key_it_listens_on_this_machine_only(host: str) -> None:
    environment = {"DATABASE_URL": "postgresql://nowhere", "BROKER_URL": "redis://nowhere"}
    command = [sys.executable, "-m", "api", "--host", host, "--port", "0"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "BILEVEL_API_KEY" in ran.stderr


def test_python_m_api_serves_and_stops_with_open_streams(settings: Settings, submitted: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "BROKER_URL": settings.broker_url.get_secret_value(),
    }
    command = [sys.executable, "-m", "api", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, env=environment)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{address}/healthz")
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with httpx.stream("GET", f"{address}/v1/experiments/{submitted}/events") as stream:
            assert next(stream.iter_lines()).startswith("event: queued")
            process.terminate()
            assert process.wait(15) in (0, -15)
    finally:
        process.kill()
        process.wait()
