"""Entry points of packages: what is good joins the unions, what is broken is left out with a warning that names it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packages import install

ROOT = Path(__file__).parents[3]
GOOD = '''
from typing import Literal
from core.spec.plugins import PluginModel, PluginProblem

class Good(PluginProblem):
    """A problem."""
    build = "nowhere:build"
    kind: Literal["good"] = "good"
    def inner_variables(self): return 3
    def outer_variables(self): return 2
'''
SHOW = """
import json, sys
from core.spec import KINDS, kind_of
print(json.dumps([kind_of(member) for member in KINDS["problem"]]))
"""


def kinds(folder: Path, modules: dict[str, str], points: dict[str, str]) -> tuple[list[str], str]:
    """Kinds of problem and what is logged, where a package with these modules and problems is installed."""
    install(folder, modules, points)
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=ROOT,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    assert {"quadratic", "regularization"} <= set(found)
    return found, done.stderr


BROKEN = {
    # name: text of the module, a part of the warning
    "raises": ("raise RuntimeError('no licence found')", "RuntimeError: no licence found"),
    "syntax": ("class", "SyntaxError"),
    "no class": ("Good = 3", "derives from core.spec.plugins.PluginProblem"),
    "other base": (GOOD.replace("Good(PluginProblem)", "Good(PluginModel)"), "derives from"),
    "kind exists": (GOOD.replace('"good"', '"quadratic"'), "the kind `quadratic` exists already"),
    "kind missing": (GOOD.replace('kind: Literal["good"] = "good"', ""), 'Literal["name"]'),
    "no build": (GOOD.replace('build = "nowhere:build"', ""), "build"),
    "build of another form": (GOOD.replace("nowhere:build", "nowhere.build"), "package.module:function"),
    "size missing": (GOOD.replace("inner_variables", "variables"), "abstract method"),
    "size wrong": (GOOD.replace("return 3", "return 'three'"), "whole numbers"),
    "yardstick wrong": (f"{GOOD}    def yardstick(self): return {{'a': {{1}}}}\n", "not JSON serializable"),
    "needs a field": (GOOD.replace('"""A problem."""', "needed: int"), "needed"),
    "imports torch": ("import torch\n" + GOOD, "imports torch"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_left_out_and_named_and_others_stay(name: str, tmp_path: Path) -> None:
    text, warning = BROKEN[name]
    modules = {"broken": text, "whole": GOOD}
    found, logged = kinds(tmp_path, modules, {"a": "broken:Good", "b": "whole:Good"})
    assert found[-1] == "good"
    assert found.count("quadratic") == 1
    assert "The entry point a = broken:Good in bilevel.problems is left out" in logged
    (line,) = logged.splitlines()  # whatever was raised
    assert warning in line
    assert "entry point b" not in logged


def test_the_first_of_two_packages_with_one_kind_has_it(tmp_path: Path) -> None:
    found, logged = kinds(tmp_path, {"one": GOOD, "two": GOOD}, {"a": "one:Good", "b": "two:Good"})
    assert found.count("good") == 1
    assert "b = two:Good" in logged
    assert "`good` exists already" in logged


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    found, logged = kinds(tmp_path, {}, {"a": "gone:Good"})
    assert "good" not in found
    assert "No module named 'gone'" in logged
