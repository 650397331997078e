"""The dashboard's files: what is served, with which headers, and that nothing of them is missing."""

import hashlib
import re
from pathlib import Path

import httpx
import pytest

from api.web import STATIC

SCRIPTS = sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts)
IMPORT = re.compile(r'^(?:import|export) .*?from "([^"]+)";|^import "([^"]+)";', re.MULTILINE)


def test_the_root_leads_to_the_dashboard(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 307
    assert answer.headers["Location"] == "ui/"
    assert client.get("/ui").headers["Location"] == "ui/"  # from where it is, whatever a proxy puts before
    page = client.get("/ui/")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")


def test_only_scripts_of_the_service_run(client: httpx.Client) -> None:
    page = client.get("/ui/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r"script-src 'self' 'sha256-[\w+/=]+';", policy)  # the import map, and nothing else
    assert not re.search(r"https?:|\son\w+=", page.text)
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_modules_of_one_version_belong_together(client: httpx.Client) -> None:
    first = client.get("/ui/main.js")
    assert first.headers["Cache-Control"] == "no-cache"
    assert "javascript" in first.headers["Content-Type"]
    again = client.get("/ui/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert "javascript" in client.get("/ui/vendor/preact.mjs").headers["Content-Type"]


@pytest.mark.parametrize("path", ["nothing.js", "../main.py", "%2e%2e/main.py", "..%2f..%2fmain.py"])
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/ui/{path}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.relative_to(STATIC).as_posix())
def test_what_a_module_imports_is_there(script: Path) -> None:
    mapped = set(re.findall(r'^ +"([^"]+)": "./vendor/', (STATIC / "index.html").read_text(), re.MULTILINE))
    text = script.read_text()
    found = [first or second for first, second in IMPORT.findall(text)]
    assert len(found) == len(re.findall(r"^import ", text, re.MULTILINE))
    for name in found:
        assert name in mapped or (script.parent / name).is_file(), name
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text)


def test_every_module_is_used() -> None:
    used = {
        (script.parent / name).resolve()
        for script in SCRIPTS
        for found in IMPORT.findall(script.read_text())
        if (name := "".join(found)).startswith(".")
    }
    assert {script.resolve() for script in SCRIPTS} == used | {(STATIC / "main.js").resolve()}


def test_vendored_libraries_are_as_they_were_published() -> None:
    table = (STATIC / "vendor" / "README.md").read_text()
    told = dict(re.findall(r"^\| `([^`]+)` .*\| `([0-9a-f]{64})` \|$", table, re.MULTILINE))
    files = {path.name: path for path in (STATIC / "vendor").iterdir() if path.suffix in (".mjs", ".css")}
    assert told == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
