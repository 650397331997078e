"""What the documents list is what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from core.bilevel import trees
from core.build import build
from core.checkpointing import MemoryCheckpoints
from core.models import conv4 as networks
from core.models.image_sets import one_set
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.settings import Settings
from core.spec import KINDS, Experiment, kind_of
from tests.core.small import PROBLEMS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def first_cells(name: str) -> str:
    """The first cells of all rows of a document's tables."""
    rows = re.findall(r"^\| (.+?) \|", (DOCS / name).read_text(), re.MULTILINE)
    return "\n".join(rows)


def test_every_setting_is_in_its_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", (DOCS / "settings.md").read_text(), re.MULTILINE))
    fields = Settings.model_fields
    assert rows.keys() == {str(field.validation_alias or f"BILEVEL_{name.upper()}") for name, field in fields.items()}
    for name, field in fields.items():
        said = rows[str(field.validation_alias or f"BILEVEL_{name.upper()}")]
        if isinstance(field.default, int | float):
            assert float(said) == field.default
        elif isinstance(field.default, Path):
            assert Path(said.strip("`")).expanduser() == field.default


@pytest.mark.parametrize("kind", ["regularization", "hyper_cleaning", "hyper_representation"])
def test_every_part_of_a_result_and_every_series_is_described(kind: str, synthetic_omniglot: Path) -> None:
    problems: dict[str, dict[str, Any]] = {
        "hyper_cleaning": {"train": 30, "validation": 20, "final_steps": 5},
        "hyper_representation": {"model": {"kind": "mlp", "hidden": [2]}, "query": 2, "meta_batch": 2},
    }
    spec = {
        "problem": {"kind": kind, **problems.get(kind, {})},
        "algorithm": {"steps": 2, "hyperiterations": 2},
        "evaluation": {"episodes": 3},
    }
    recorder = MemoryRecorder()
    knobs: dict[str, Any] = {"recorder": recorder, "checkpoints": MemoryCheckpoints()}
    ended = run(Experiment.model_validate(spec), device="cpu", data_dir=synthetic_omniglot, **knobs)
    assert isinstance(ended, Finished)
    described, whole = first_cells("reading-results.md"), (DOCS / "reading-results.md").read_text()
    assert [part for part in ended.result if f"`{part}`" not in described] == []
    assert [part for part in (*ended.result["timing"], *ended.result["memory"]) if f"`{part}`" not in whole] == []
    known = [name for name in recorder.curves if f"`{name}`" in described]
    others = set(recorder.curves) - set(known)
    assert {name.split("/")[0] for name in others} <= {"outer", "validation", "test"}
    assert {"outer_objective", "hypergradient_norm", "seconds"} <= set(known)


@pytest.mark.parametrize("part", ["hypergradient", "dynamics", "solver", "algorithm"])
def test_every_method_is_in_a_section_with_a_figure(part: str) -> None:
    _, *sections = (DOCS / "methods.md").read_text().split("\n## ")
    shown = "\n".join(section for section in sections if re.search(r"\]\(results/[^)#]+\.png\)", section))
    assert [kind for kind in map(kind_of, KINDS[part]) if f"`{kind}`" not in shown] == []


@pytest.mark.parametrize("name", ["methods.md", "results/README.md", "results/methods/README.md"])
def test_every_linked_file_is_there(name: str) -> None:
    page = DOCS / name
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


LAYOUTS: list[dict[str, Any]] = [
    *({"problem": {"kind": kind, **small}} for kind, small in PROBLEMS.items()),
    *({"problem": {"kind": "hyper_representation", "model": {"kind": model}}} for model in ("conv4", "residual")),
    {"problem": {"kind": "hyper_representation", "heads": {"kind": "ridge"}}},
    {
        "problem": {
            "kind": "hyper_cleaning",
            "dataset": {"kind": "wine"},
            "weights": {"kind": "clipped"},
            "train": 30,
            "validation": 20,
        }
    },
    {"problem": {"kind": "learned_optimizer", "optimizer": {"kind": "lstm"}, "tasks": {"kind": "quadratics"}}},
    {
        "problem": {"kind": "initialization"},
        "algorithm": {"dynamics": {"kind": "gradient_descent", "rate_per_parameter": True, "learn_rate": True}},
    },
    {
        "problem": {"kind": "regularization"},
        "algorithm": {"dynamics": {"kind": "heavy_ball", "learn_rate": True, "learn_momentum": True}},
    },
]


def test_layouts_are_of_every_problem() -> None:
    assert {layout["problem"]["kind"] for layout in LAYOUTS} >= {kind_of(member) for member in KINDS["problem"]}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout["problem"]["kind"])
def test_every_tensor_of_an_artifact_is_described(layout: dict[str, Any], synthetic_omniglot: Path) -> None:
    built = build(Experiment.model_validate(layout), device="cpu", data_dir=synthetic_omniglot)
    table = re.search(r"### What the tensors are\n(.*)", (DOCS / "reading-results.md").read_text(), re.DOTALL)
    assert table is not None
    described = set(re.findall(r"`([^`\n]+)`", table[1]))
    beginnings = [name.removesuffix("...") for name in described if name.endswith("/...")]

    def is_described(name: str) -> bool:
        found = [name.removeprefix(beginning) for beginning in beginnings if name.startswith(beginning)]
        return name in described or any(is_described(rest) for rest in found)

    names = {re.sub(r"\d+", "0", name) for name in trees.named_leaves(built.instance.initial)}
    assert [name for name in names if not is_described(name)] == []


@pytest.mark.parametrize("max_pool", [False, True])
@pytest.mark.parametrize("norm_scale", [False, True])
def test_the_network_in_plain_torch_makes_the_same_features(max_pool: bool, norm_scale: bool) -> None:
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", (DOCS / "reading-results.md").read_text(), re.DOTALL)
    generator = torch.Generator().manual_seed(3)
    model = networks.conv4(
        5, channels=2, downsample="max_pool" if max_pool else "stride", norm_scale=norm_scale, dtype=torch.float64
    )
    parameters = trees.map_leaves(
        lambda leaf: leaf + torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype), model.init(generator)
    )
    images = torch.rand(6, 2, 30, 35, generator=generator, dtype=torch.float64)
    outer = trees.named_leaves({"representation": parameters})
    names: dict[str, Any] = {"outer": outer, "images": images}
    exec(code, names)
    made = names["conv4"](outer, max_pool)(images).movedim(1, -1).flatten(1)
    assert made.shape[1] == 5 * (2 if max_pool else 6)
    torch.testing.assert_close(made, model.apply(parameters, images, one_set(images)))
    if not max_pool:
        torch.testing.assert_close(names["features"], made)
