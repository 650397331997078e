"""What a server needs: compose file, image, lock file, scripts; checked as far as it goes without Docker."""

import importlib.metadata
import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from core.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
PYTHONS = ("3.11", "3.12", "3.13")


# --- compose --------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Validates against the schema that the compose specification publishes, as check-jsonschema carries it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_compose_file_fits_the_published_schema() -> None:
    done = validate(ROOT / "docker-compose.yml")
    assert done.returncode == 0, done.stdout


def test_the_schema_finds_a_mistake(tmp_path: Path) -> None:
    content = compose()
    content["services"]["api"]["port"] = content["services"]["api"].pop("ports")
    (tmp_path / "docker-compose.yml").write_text(json.dumps(content))
    done = validate(tmp_path / "docker-compose.yml")
    assert done.returncode == 1
    assert "'port' was unexpected" in done.stdout


def test_compose_has_the_services() -> None:
    services = compose()["services"]
    assert set(services) == {"postgres", "redis", "migrate", "api", "worker", "worker-gpu"}
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    assert services["worker-gpu"]["environment"]["BILEVEL_SLOTS"] == 0
    assert not any("profiles" in service for name, service in services.items() if name != "worker-gpu")


def test_compose_names_only_what_it_has() -> None:
    content = compose()
    for service in content["services"].values():
        for name, condition in service.get("depends_on", {}).items():
            needed = content["services"][name]
            assert condition["condition"] != "service_healthy" or "healthcheck" in needed
        named = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert named <= set(content["volumes"])


def test_secrets_come_from_the_environment() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    offered = dict(line.split("=") for line in (ROOT / "deploy/env.example").read_text().splitlines() if line[:1] > "#")
    assert asked == set(offered)
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required == {name for name, value in offered.items() if not value}
    assert {name for name in asked if re.search("PASSWORD|KEY", name)} == required


def test_containers_get_settings_that_exist() -> None:
    known = {f"BILEVEL_{name}".upper() for name in Settings.model_fields} | {"DATABASE_URL", "BROKER_URL"}
    for name, service in compose()["services"].items():
        if name not in ("postgres", "redis"):
            assert set(service["environment"]) <= known
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"\b(BILEVEL_\w+)=", dockerfile)) <= known


def commands() -> Iterator[list[str]]:
    yield from (service["command"] for name, service in compose()["services"].items() if "command" in service)
    yield json.loads(re.findall(r"^CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1])


def test_commands_exist() -> None:
    modules = set()
    for command in commands():
        if command[0] == "sh":
            assert command[1] == "-c"
            assert command[2].startswith("exec redis-server")
            continue
        assert command[:2] == ["python", "-m"]
        assert importlib.util.find_spec(f"{command[2]}.__main__") is not None
        modules.add(command[2])
    assert modules == {"api", "worker", "migrations"}


# --- image ----------------------------------------------------------------------------------------


def copied() -> list[str]:
    lines = re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_image_copies_what_exists_and_every_package() -> None:
    sources = copied()
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert set(PACKAGES) <= set(sources)
    assert {PYPROJECT["project"]["readme"], *PYPROJECT["project"]["license-files"]} <= set(sources)


def test_dockerignore_lets_through_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[lines.index("*") + 1 :]
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


def test_the_image_has_a_python_that_we_support_and_no_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    images = re.findall(r"^FROM python:(\d+\.\d+)-slim", text, re.MULTILINE)
    assert len(images) == 2
    assert set(images) <= set(PYTHONS)
    last = text.rpartition("FROM ")[2]
    assert last.index("USER bilevel") < last.index("CMD")


def test_the_wheel_has_every_module(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("bilevel-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert modules <= inside
    assert "migrations/script.py.mako" in inside


# --- lock file ------------------------------------------------------------------------------------


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def wanted() -> list[Requirement]:
    project = PYPROJECT["project"]
    lines = [*project["dependencies"], *PYPROJECT["build-system"]["requires"]]
    extras = project["optional-dependencies"]  # `bench` is pinned where it stands, for an environment of its own
    return [
        Requirement(line)
        for line in [*lines, *(one for name, some in extras.items() if name != "bench" for one in some)]
    ]


def applies(marker: Marker | None, python: str) -> bool:
    return marker is None or marker.evaluate({"python_version": python, "python_full_version": f"{python}.0"})


def test_the_lock_pins_exactly_and_has_no_addresses() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not any(line.startswith("-") for line in text.splitlines())
    for requirement in locked():
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        assert "*" not in pin.version
        assert Version(pin.version).local is None
        assert requirement.url is None


def test_the_lock_has_torch_but_not_cuda() -> None:
    pins = {requirement.name: str(requirement.specifier) for requirement in locked()}
    assert pins["torch"] == "==2.13.0"
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_serves_what_pyproject_asks_for(python: str) -> None:
    pins = {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in locked()
        if applies(one.marker, python)
    }
    for requirement in wanted():
        if applies(requirement.marker, python):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_the_lock_is_complete_for_what_is_installed() -> None:
    here = [one for one in locked() if one.marker is None or one.marker.evaluate()]
    pins = {canonicalize_name(one.name): next(iter(one.specifier)).version for one in here}
    for name, version in pins.items():
        distribution = importlib.metadata.distribution(name)
        assert Version(distribution.version).public == version, name
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                cuda = needed.name.startswith(("nvidia", "cuda", "triton"))
                assert cuda or canonicalize_name(needed.name) in pins, f"{name} needs {needed}"


# --- scripts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "good"), [((3, 10, 14), False), ((3, 11, 0), True), ((3, 13, 9), True), ((3, 14, 0), False)]
)
def test_the_python_version_is_checked(version: tuple[int, int, int], good: bool) -> None:
    problem = runpy.run_path(str(ROOT / "deploy/check_python.py"))["problem"]
    text = problem(version, "python3")
    assert (text == "") == good
    if not good:
        assert f"python3 is Python {'.'.join(map(str, version))}" in text
        assert "make PYTHON=" in text


def test_ci_runs_the_test_command() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    assert script.read_text().splitlines()[-1] == "exec make test"


@pytest.mark.parametrize("target", ["demo", "test", "up", "lint", "format", "bench"])
def test_make_targets_set_up_what_they_need(target: str, tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    first = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pip --disable-pip-version-check install" in first.stdout
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/installed").touch()
    (tmp_path / ".venv-bench").mkdir()
    (tmp_path / ".venv-bench/installed").touch()
    second = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "install" not in second.stdout


def test_pre_commit_runs_the_lint_command() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    assert [hook["entry"] for hook in repo["hooks"]] == ["make lint"]


def test_the_workers_health_check_looks_at_the_age_of_its_file(tmp_path: Path) -> None:
    services = compose()["services"]
    alive = tmp_path / "alive"
    for name in ("worker", "worker-gpu"):
        kind, command = services[name]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        command = command.replace("$$", "$").replace(services[name]["environment"]["BILEVEL_ALIVE_FILE"], str(alive))

        def healthy(command: str = command) -> bool:
            return subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0

        alive.unlink(missing_ok=True)
        assert not healthy()
        alive.touch()
        assert healthy()
        os.utime(alive, (time.time() - 300, time.time() - 300))
        assert not healthy()
