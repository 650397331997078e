"""The demo with an experiment made small: the same service, client, screen and picture."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import demo

    return demo


@pytest.mark.service
def test_demo(
    demo: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    left_behind: Callable[[], set[psutil.Process]],
) -> None:
    for name in ("hyper_cleaning_digits", "omniglot_5way_1shot"):
        spec = json.loads((EXAMPLES / f"{name}.json").read_text())
        if name == "hyper_cleaning_digits":
            spec["algorithm"].update(hyperiterations=4, steps=20)
            spec["problem"]["final_steps"] = 50
            spec["evaluation"]["every"] = 2
        (tmp_path / f"{name}.json").write_text(json.dumps(spec))
    monkeypatch.setattr(demo, "EXAMPLES", tmp_path)
    monkeypatch.setenv("BILEVEL_DATA_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("BILEVEL_DEVICES", "cpu")
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody.else/precious")
    monkeypatch.setattr(sys, "argv", ["demo.py", "--out", str(tmp_path / "out")])
    demo.main()
    printed = capsys.readouterr().out
    for text in ("noisy baseline", "learned weights", "clean oracle", "F1", "No Omniglot here", "4/4", "succeeded"):
        assert text in printed
    with Image.open(tmp_path / "out/demo.png") as picture:
        assert picture.size == (1800, 1200)
    assert not left_behind()


@pytest.mark.parametrize(
    ("values", "line"),
    [([1.0], "▁"), ([0.0, 1.0], "▁█"), ([2.0, 2.0, 2.0], "▁▁▁"), ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█")],
)
def test_sparkline(demo: ModuleType, values: list[float], line: str) -> None:
    assert demo.sparkline(values) == line
    assert len(demo.sparkline(values * 100)) == 40
