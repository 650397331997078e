"""Reports and their parts, and that every study's sweeps are ones that the service takes."""

import base64
import itertools
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from matplotlib.colors import to_rgb

from bilevel_client.commands.plotting import INK, PALETTE
from bilevel_client.commands.reproduce import NAMES, reproduce
from bilevel_client.records import Series
from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text, markdown, write
from bilevel_client.reproduction.figures import complement, lines, over_seeds
from bilevel_client.reproduction.meta_validation import choice_of_steps, chosen_steps
from bilevel_client.reproduction.running import sweeps_of, with_command
from bilevel_client.reproduction.studies import STUDIES
from bilevel_client.reproduction.study import NO_CHANGES, Changes, Found, Member, Stage, Study
from bilevel_client.reproduction.values import against, cost, ending, measured, student
from bilevel_client.specs import BadSpec
from core.spec import Sweep

STAGES = [(study, stage) for study in STUDIES.values() for stage in study.stages]


def member(seed: int, accuracy: float, **parameters: Any) -> Member:
    """One that has succeeded; its best validation accuracy is a tenth above the test accuracy."""
    metric = {"mean": accuracy, "ci95": 0.01, "episodes": 600}
    result = {
        "selection": {"metric": "accuracy", "better": "higher"},
        "best": {"hyperiteration": 10, "validation": {"accuracy": {"mean": accuracy + 0.1}}},
        "test": {"accuracy": metric},
    }
    return Member({**parameters, "seed": seed}, f"{seed:08d}-0000", "succeeded", None, result, {})


def done(member: Member) -> Member:
    """With all that a report wants to know."""
    test = {f"accuracy_{which}_statistics": member.result["test"]["accuracy"] for which in ("batch", "running")}
    made = {"git_revision": None, "device": "cpu", "bilevel": "1", "torch": "2", "python": "3", "threads": 1}
    more = {"timing": {"seconds_per_hyperiteration": 1.0}, "final": {"hyperiteration": 10}, "environment": made}
    return member._replace(result={**member.result, **more, "test": {**member.result["test"], **test}})


def test_a_report_says_that_files_had_changed() -> None:
    reached = done(member(0, 0.5))
    made = {**reached.result["environment"], "git_revision": f"{'0123456789' * 4}+dirty"}
    found = Found(Stage("s", {}), [reached._replace(result={**reached.result, "environment": made})], "")
    assert "Bilevel 1 (0123456789+dirty), torch 2" in str(ending({"s": found})[-1].parts)


def test_the_command_knows_every_study() -> None:
    assert tuple(STUDIES) == NAMES


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(("study", "stage"), STAGES, ids=lambda part: part.name)
def test_every_sweep_is_one_that_the_service_takes(study: Study, stage: Stage, quick: bool) -> None:
    chosen = Found(stage, [member(0, 0.5)._replace(experiment="0b86f29c-5e12-4f37-9c0e-6c1f1a0ce9a1")], "")
    before = dict.fromkeys(stage.follows.values(), chosen)
    sweep = Sweep.model_validate(*sweeps_of(study, Changes(quick).of(stage), before).values())
    assert len(sweep.members) >= 1
    whole = Sweep.model_validate(*sweeps_of(study, stage, before).values())
    work = [sum(each.experiment.algorithm.hyperiterations for each in sized.members) for sized in (sweep, whole)]
    assert (work[0] < work[1]) == quick


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_a_report_of_nothing_says_so(study: Study, tmp_path: Path) -> None:
    files = write(study.report({}), tmp_path)
    assert "Nothing has been run." in files[0].read_text()


FOLLOWED = Stage("first", {})
FOLLOWING = Stage("second", {"problem": {"kind": "quadratic"}}, follows={"problem.from": "first"}, seeds=(0, 1, 2))
CHAIN = Study("s", "S", [FOLLOWED, FOLLOWING], lambda results: Document("", []))


def followed(stage: Stage, *members: Member) -> dict[str, Any]:
    """Seed -> what it follows."""
    sweeps = sweeps_of(CHAIN, stage, {"first": Found(FOLLOWED, members, "")}).values()
    assert all(len(sweep["seeds"]) == 1 for sweep in sweeps)
    assert len({sweep["name"] for sweep in sweeps}) == len(sweeps)
    return {sweep["seeds"][0]: sweep["base"]["problem"]["from"] for sweep in sweeps}


def test_the_best_experiment_of_a_seed_goes_on() -> None:
    narrow, wide = [member(seed, 0.5 + seed / 10, width=1) for seed in (0, 1)], member(0, 0.7, width=2)
    wide = wide._replace(experiment="wide")
    assert followed(FOLLOWING, *narrow, wide) == {0: "wide", 1: narrow[1].experiment}
    assert followed(FOLLOWING, wide) == {0: "wide", 1: "wide", 2: "wide"}  # of the only seed
    lost = narrow[1]._replace(status="failed", result={})
    assert followed(FOLLOWING, narrow[0], lost) == {0: narrow[0].experiment}
    assert followed(FOLLOWING, lost) == {}


def test_the_lowest_loss_is_the_best() -> None:
    members = [member(0, 0.5, width=1), member(0, 0.7, width=2)._replace(experiment="wide")]
    lower = [
        each._replace(result={**each.result, "selection": {"metric": "accuracy", "better": "lower"}})
        for each in members
    ]
    assert followed(replace(FOLLOWING, seeds=(0,)), *lower) == {0: members[0].experiment}


def test_a_stage_is_asked_for_with_those_that_it_follows() -> None:
    stages = [
        Stage("first", {}),
        Stage("other", {}),
        Stage("second", {}, follows={"problem.from": "first"}),
        Stage("third", {}, follows={"problem.from": "second"}),
    ]
    study = Study("s", "S", stages, lambda results: Document("", []))
    assert study.chosen(["other"], all_stages=False) == {"other"}
    assert study.chosen(["third"], all_stages=False) == {"first", "second", "third"}
    with pytest.raises(BadSpec, match="has no stage 'fourth': its stages are 'first', 'other'"):
        study.chosen(["other", "fourth"], all_stages=False)


def test_a_report_says_the_command_that_makes_it() -> None:
    stages = [Stage("first one", {}), Stage("second", {}), Stage("long", {}, optional=True)]
    study = Study("s", "S", stages, lambda results: Document("", []))

    def command(names: list[str], **changes: Any) -> str:
        results = {name: Found(Stage(name, {}), [], "") for name in names}
        document = with_command(study, results, Changes(**changes))
        return markdown(document).partition("## Command")[2].strip().splitlines()[0]

    assert command(["first one", "second"]) == "`bilevel reproduce s`"
    assert command(["first one", "second", "long"]) == "`bilevel reproduce s --all-stages`"
    assert command(["first one", "long"]) == "`bilevel reproduce s --stage 'first one' --stage long`"
    assert command(["second"], quick=True).startswith("`bilevel reproduce s --quick --stage second`")
    changed = command(["first one", "second"], settings=("a.b=1", "c=[1, 2]"), seeds=[0, 1, 2])
    assert changed == "`bilevel reproduce s --set a.b=1 --set 'c=[1, 2]' --seeds 0,1,2`"
    document = with_command(study, {}, NO_CHANGES, "Bilevel 1.0 (0123456789)")
    assert "Submitted by Bilevel 1.0 (0123456789)." in markdown(document).partition("## Command")[2]


def test_what_is_changed_stands_below_the_title() -> None:
    study = Study("s", "S", [Stage("first", {})], lambda results: Document("Title", [Section("Made with", [])]))

    def notes(**changes: Any) -> list[str]:
        above = markdown(with_command(study, {}, Changes(**changes))).partition("## Made with")[0]
        return above.strip().split("\n\n")[1:]

    assert notes() == notes(seeds=(1,)) == []
    (quick,) = notes(quick=True)
    (changed,) = notes(settings=("a.b=1",))
    assert quick.startswith("**Quick**: ")
    assert changed.startswith("**Changed settings**: `a.b=1` in all experiments.")
    assert notes(quick=True, settings=("a.b=1",)) == [quick, changed]


@pytest.mark.parametrize("changes", [Changes(quick=True), Changes(settings=("problem.l2=1",)), Changes(seeds=(1,))])
@pytest.mark.parametrize("stage", STUDIES["hyper-cleaning"].stages, ids=lambda stage: stage.name)
def test_bars_are_for_what_the_study_says_alone(stage: Stage, changes: Changes) -> None:
    each = done(member(0, 0.99))
    accuracy = {"accuracy": each.result["test"]["accuracy"]}
    parts = {"oracle": accuracy, "baseline": accuracy, "learned": accuracy, "f1": 0.95, "removed": {"f1": 0.92}}
    names = ("f1", "weight_clean", "weight_corrupted")
    curves = {f"outer/{name}": Series([0, 1, 2], [0.0, 0.9, 0.95], None) for name in names}
    each = each._replace(result={**each.result, "report": parts}, curves=curves)
    document = STUDIES["hyper-cleaning"].report({stage.name: Found(changes.of(stage), [each], "")})
    judged = [word in markdown(document) for word in ("(bar 90.2: met)", "(bar 0.93: met)", "(bar 0.93: missed)")]
    assert judged == [not (changes.quick or changes.settings)] * 3
    low, high = pictures(document)["f1"].figure.axes[0].get_ylim()
    assert (low, high) == (pytest.approx(0.85), pytest.approx(0.955))


def test_seeds_are_set_by_their_own_option() -> None:
    for stage in (Stage("first", {}), Stage("second", {}, seeds=(1, 2))):
        with pytest.raises(BadSpec, match="`seed=3`: every stage has seeds of its own: use --seeds instead"):
            Changes(settings=("seed=3",)).of(stage)
    ended = CliRunner().invoke(reproduce, ["hyper-cleaning", "--set", "seed=3"])
    assert ended.exit_code == 2
    assert "use --seeds" in ended.stderr


def test_stages_are_listed_as_one_may_name_them() -> None:
    ended = CliRunner().invoke(reproduce, ["omniglot", "--stages"])
    assert ended.exit_code == 0, ended.output
    listed = [shlex.split(line.partition("   (")[0]) for line in ended.stdout.splitlines()]
    assert listed == [["omniglot"], *([stage.name] for stage in STUDIES["omniglot"].stages)]
    assert "'5-way 1-shot, from 20 ways'   (follows '20-way 1-shot, our recipe')" in ended.stdout
    assert "'20-way 1-shot'   (only by --all-stages or --stage)" in ended.stdout
    ended = CliRunner().invoke(reproduce, ["all", "--stages", "--json"])
    assert json.loads(ended.stdout) == {name: [stage.name for stage in study.stages] for name, study in STUDIES.items()}


def test_what_did_not_succeed_has_a_section_with_its_remedy() -> None:
    lost = member(1, 0.5, **{"algorithm.steps": 4})._replace(
        status="failed", error="Lower the rate.", result={}, sweep="0b86f29c-5e12-4f37-9c0e-6c1f1a0ce9a1"
    )
    assert [each.heading for each in ending({"s": Found(Stage("s", {}), [done(member(0, 0.5))], "")})] == ["Made with"]
    first, second = ending({"s": Found(Stage("s", {}), [done(member(0, 0.5)), lost], "")})
    assert (first.heading, second.heading) == ("Did not succeed", "Made with")
    text = markdown(Document("", [first]))
    line = "- s (steps = 4, seed = 1; `00000001` of the sweep `0b86f29c`): failed. Lower the rate."
    assert line in text
    assert f"`bilevel sweeps retry {lost.sweep}`" in text


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_a_report_of_failures_alone_names_each(study: Study, tmp_path: Path) -> None:
    results = {}
    for stage in study.stages:
        values = list(stage.grid.items())
        combinations = itertools.product(*(each for _, each in values), stage.seeds)
        members = [
            member(found[-1], 0.0, **dict(zip((path for path, _ in values), found, strict=False)))
            for found in combinations
        ]
        lost = [each._replace(status="failed", error="Lost.", result={}) for each in members]
        results[stage.name] = Found(stage, lost, "")
    text = write(study.report(results), tmp_path)[0].read_text()
    tables = text.partition("## Did not succeed")[0]
    assert "not run" not in tables
    assert "failed" in tables


def test_rows_of_which_all_members_failed_stay() -> None:
    groups = []
    for steps in (1, 4):
        for seed in (0, 1):
            each = done(member(seed, 0.5, **{"algorithm.steps": steps}))
            loss = {"loss": {"mean": 195931818.394 + seed, "ci95": 1.0}}
            curves = {
                name: Series([0], [0.5], None) for name in ("outer_objective", "test/loss", "validation/accuracy")
            }
            each = each._replace(result={**each.result, "test": {**each.result["test"], **loss}}, curves=curves)
            groups.append(each if steps == 1 else each._replace(status="failed", error="Lost.", result={}))
    ridge = Found(Stage("ridge", {}, {"algorithm.steps": (1, 4)}, seeds=(0, 1, 2)), groups, "")
    sections = STUDIES["effect-of-t"].report({"ridge": ridge}).sections
    assert sections[0].parts[0].rows == [
        ["T = 1", "1.959e+08 ± 6.353", "2 of 3", "10, 10", "0.5"],
        ["T = 4", "failed", "0 of 3", "", ""],
    ]
    table = choice_of_steps(ridge, "a toy").parts[0]
    assert isinstance(table, Table)
    assert [row[:4] for row in table.rows] == [
        ["T = 1 (chosen)", "60.00", "50.00 ± 0.00", "2"],
        ["T = 4", "", "failed", ""],
    ]


def test_a_stage_is_changed_where_it_is_asked_for() -> None:
    base = {"a": {"b": 1, "c": 2}}
    stage = Stage("first", base, {"d": (1, 2)}, seeds=(7,), quick={"a.b": 0, "seeds": (3,)})
    found = Changes(settings=("a.b=9",), seeds=[0, 1, 2]).of(stage)
    assert (found.base, found.grid, found.seeds) == ({"a": {"b": 9, "c": 2}}, {"d": (1, 2)}, [0, 1, 2])
    quick = Changes(quick=True, settings=("a.c=4",)).of(stage)
    assert (quick.base, quick.seeds) == ({"a": {"b": 0, "c": 4}}, (3,))
    assert NO_CHANGES.of(stage).base == base


@pytest.mark.parametrize("setting", ["d=3", "d.e=3", "x=3", "x.y=3", "x.y.z=3"])
def test_what_a_stage_has_values_of_its_own_for_cannot_be_set(setting: str) -> None:
    stage = Stage("first", {}, {"d": (1, 2)}, follows={"x.y": "before"})
    Changes(settings=("x.q=3", "dd=1")).of(stage)
    with pytest.raises(BadSpec, match="the stage `first` has values of its own for `"):
        Changes(settings=(setting,)).of(stage)


def test_values_over_seeds_and_over_episodes() -> None:
    assert measured([]) is None
    assert measured([member(0, 0.9)]) == (0.9, 0.01, 1)
    several = measured([member(0, 0.9), member(1, 0.8), member(2, 0.7)])
    assert several is not None
    assert several.mean == pytest.approx(0.8)
    assert several.interval == pytest.approx(4.3027 * 0.1 / 3**0.5)
    found = Found(Stage("s", {}), [], "")
    assert against("row", 89.0, found, measured([member(0, 0.9)]), bar=91) == [
        "row",
        "89.00",
        "90.00 ± 1.00 (bar 91: missed)",
        "+1.00",
        "1",
    ]
    assert against("row", 89.0, None, None) == ["row", "89.00", "not run", "", ""]
    lost = found._replace(members=[member(0, 0.9)._replace(status="cancelled", result={})])
    assert against("row", 89.0, lost, None) == ["row", "89.00", "cancelled", "", ""]


def test_a_cost_says_what_its_numbers_are() -> None:
    each = done(member(0, 0.9))
    assert cost([each]) == "10 hyperiterations of 1 s"
    once = each._replace(result={**each.result, "final": {"hyperiteration": 1}})
    assert cost([once, once]) == "1 hyperiteration of 1 s"
    assert cost([]) == ""


@pytest.mark.parametrize(("values", "quantile"), [(2, 12.706), (10, 2.262), (11, 2.228), (21, 2.086), (1000, 1.962)])
def test_quantiles_of_students_t(values: int, quantile: float) -> None:
    assert student(values) == pytest.approx(quantile, abs=3e-3)


def test_members_are_found_by_the_end_of_a_field() -> None:
    members = [member(seed, 0.5, **{"algorithm.steps": steps}) for steps in (1, 4) for seed in (0, 1)]
    members[3] = members[3]._replace(status="failed", result={})
    found = Found(Stage("s", {}), members, "")
    assert [each.parameters["seed"] for each in found.at(steps=1)] == [0, 1]
    assert [each.parameters["seed"] for each in found.at(steps=4)] == [0]
    assert [(parameters, len(each)) for parameters, each in found.cells()] == [
        ({"algorithm.steps": 1}, 2),
        ({"algorithm.steps": 4}, 1),
    ]


def test_t_is_chosen_on_meta_validation_alone() -> None:
    members = []
    for steps, validation, test in ((1, 0.6, 0.9), (4, 0.7, 0.5), (16, 0.65, 0.8)):
        for seed in (0, 1):
            each = member(seed, test, **{"algorithm.steps": steps})
            best = {"hyperiteration": 10, "validation": {"accuracy": {"mean": validation + 0.01 * seed}}}
            result = {**each.result, "best": best, "final": {"hyperiteration": 20}}
            result["timing"] = {"seconds_per_hyperiteration": 0.1 * steps}
            curve = {"validation/accuracy": Series([0, 10], [0.2, validation], None)}
            members.append(each._replace(result=result, curves=curve))
    table, picture = choice_of_steps(Found(Stage("by T", {}), members, ""), "a toy").parts
    assert isinstance(table, Table)
    assert isinstance(picture, Picture)
    assert [row[:3] for row in table.rows] == [
        ["T = 1", "60.50", "90.00 ± 0.00"],
        ["T = 4 (chosen)", "70.50", "50.00 ± 0.00"],
        ["T = 16", "65.50", "80.00 ± 0.00"],
    ]


def test_a_band_is_over_the_steps_that_all_seeds_have() -> None:
    band = over_seeds([Series([0, 5, 10], [1.0, 2.0, 3.0], None), Series([0, 10], [3.0, 5.0], None)])
    assert band == ([0.0, 10.0], [2.0, 4.0], [1.0, 3.0], [3.0, 5.0])


def test_errors_are_what_is_left_of_accuracies() -> None:
    band = over_seeds([Series([0, 5], [0.25, 0.5], None), Series([0, 5], [0.75, 1.0], None)])
    assert complement({"a": band}) == {"a": ([0.0, 5.0], [0.5, 0.25], [0.25, 0.0], [0.75, 0.5])}
    figure = lines(complement({"a": band}), title="Error", y="1 - accuracy", fraction=True, logarithmic=True)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize(
    ("low", "high", "fraction", "labels"),
    [
        (0.32, 0.61, False, ["0.35", "0.4", "0.45", "0.5", "0.55", "0.6"]),
        (0.011, 0.38, False, ["0.01", "0.02", "0.05", "0.1", "0.2"]),
        (0.011, 0.38, True, ["1 %", "2 %", "5 %", "10 %", "20 %"]),
        (3e-5, 0.3, False, [f"$\\mathdefault{{10^{{{power}}}}}$" for power in (-4, -3, -2, -1)]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_few_and_each_has_its_line(
    low: float, high: float, fraction: bool, labels: list[str]
) -> None:
    band = over_seeds([Series([0, 1], [high, low], None)])
    figure = lines({"a": band}, title="Loss", y="loss", fraction=fraction, logarithmic=True)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    seen = [tick for tick in axes.yaxis.get_major_ticks() if axes.get_ylim()[0] <= tick.get_loc() <= axes.get_ylim()[1]]
    assert [tick.label1.get_text() for tick in seen] == labels
    assert all(tick.gridline.get_visible() for tick in seen)
    assert not axes.yaxis.get_minor_ticks()


def test_the_legend_stands_beside_the_lines() -> None:
    band = over_seeds([Series([0, 1], [0.5, 0.6], None), Series([0, 1], [0.7, 0.8], None)])
    names = [f"number {number}" for number in range(11)] + ["a rate and a momentum for each of 100 steps"]
    figure = lines(dict.fromkeys(names, band), title="Accuracy", y="accuracy", fraction=True)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    box = legend.get_window_extent()
    assert not box.overlaps(axes.bbox)
    assert figure.bbox.containsx(box.x1)
    assert figure.bbox.containsy(box.y0)
    assert axes.bbox.width > figure.bbox.width / 2
    assert legend.get_title().get_text() == "mean and range\nover seeds"


def test_colours_of_an_ordered_quantity_are_ordered() -> None:
    band = over_seeds([Series([0, 1], [0.5, 0.6], None)])
    figure = lines(dict.fromkeys(["T = 1", "T = 4", "T = 16", "exact"], band), title="Loss", y="loss")
    *ordered, exact = figure.axes[0].lines
    lightness = [sum(to_rgb(line.get_color())) for line in ordered]
    assert lightness == sorted(lightness, reverse=True)
    assert len(set(lightness)) == 3
    assert [line.get_linestyle() for line in (*ordered, exact)] == ["-", "-", "-", "--"]
    assert exact.get_color() == INK
    unordered = lines(dict.fromkeys(["a", "b"], band), title="Loss", y="loss")
    assert tuple(line.get_color() for line in unordered.axes[0].lines) == PALETTE[:2]


def pictures(document: Document) -> dict[str, Picture]:
    return {part.name: part for section in document.sections for part in section.parts if isinstance(part, Picture)}


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ((0.5, 0.4), "Here |f_T - f| ends at 0.3 (T = 1), 0.2 (T = 4): smaller with every larger T."),
        ((0.5, 0.6), "Here |f_T - f| ends at 0.3 (T = 1), 0.4 (T = 4): not smaller with every larger T."),
    ],
)
def test_whether_f_t_tends_to_f_is_computed(last: tuple[float, float], said: str) -> None:
    def found(stage: str, *members: tuple[float, dict[str, int]]) -> Found:
        made = []
        for value, parameters in members:
            accuracies = Series([0, 10], [0.2, 0.3], None)
            curves = {"outer_objective": Series([0, 10], [0.6, value], None)}
            curves |= {"test/accuracy": accuracies, "validation/accuracy": accuracies}
            made.append(done(member(0, 0.5, **parameters))._replace(curves=curves))
        return Found(Stage(stage, {}), made, "")

    by_steps = found("pixels, unrolled to T", *zip(last, ({"steps": 1}, {"steps": 4}), strict=True))
    exact = found("pixels, exact", (0.2, {}))
    report = STUDIES["effect-of-t"].report({"pixels, exact": exact, "pixels, unrolled to T": by_steps})
    assert pictures(report)["outer_objective_pixels"].caption.endswith(said)
    alone = STUDIES["effect-of-t"].report({"pixels, unrolled to T": by_steps})
    assert "Here" not in pictures(alone)["outer_objective_pixels"].caption


def test_heads_of_several_t_have_the_row_of_the_t_that_meta_validation_chooses() -> None:
    stage = next(
        each for each in STUDIES["mini-imagenet"].stages if each.name == "C4L 1-shot, T of four by meta-validation"
    )
    members = []
    for steps, validation, tests in ((4, 0.5, (0.8, 0.8)), (16, 0.6, (0.3, 0.5)), (64, 0.4, (0.9, 0.9))):
        for seed, test in enumerate(tests):
            each = done(member(seed, test, **{"algorithm.steps": steps}))
            best = {"hyperiteration": 0, "validation": {"accuracy": {"mean": validation + 0.05 * seed}}}
            curve = {"validation/accuracy": Series([0, 1], [validation, 0.1], None)}
            members.append(each._replace(result={**each.result, "best": best}, curves=curve))
    sections = STUDIES["mini-imagenet"].report({stage.name: Found(stage, members, "2026-11-27")}).sections
    rows = {row[0]: row[2] for row in sections[0].parts[0].rows}
    assert rows[stage.name].startswith("40.00 ± ")
    assert [row[0] for row in sections[1].parts[0].rows] == ["T = 4", "T = 16 (chosen)", "T = 64"]
    assert len(sections[1].parts) == 1, "one hyperiteration is no curve"


def test_t_is_chosen_among_those_for_which_most_seeds_have_succeeded() -> None:
    groups = {4: [member(0, 0.5), member(1, 0.4)], 16: [member(0, 0.49)]}
    assert chosen_steps(groups) == 4
    assert chosen_steps({**groups, 64: [member(0, 0.3), member(1, 0.7)]}) == 64


def test_one_hyperiteration_is_not_drawn_as_a_curve() -> None:
    results = {}
    for stage, last in (("C4L 1-shot, our recipe", 18_000), ("C4L 1-shot, T by meta-validation", 1)):
        curves = {"validation/accuracy": Series([0, last], [0.3, 0.5], None)}
        results[stage] = Found(Stage(stage, {}), [done(member(0, 0.5))._replace(curves=curves)], "")
    figure = pictures(STUDIES["mini-imagenet"].report(results))["mini-imagenet"].figure
    assert [line.get_label() for line in figure.axes[0].lines] == ["C4L 1-shot, our recipe"]


def test_one_report_as_markdown_and_as_one_file(tmp_path: Path) -> None:
    band = over_seeds([Series([0, 1], [0.5, 0.6], None)])
    figure = lines({"a < b": band}, title="Accuracy", y="accuracy", fraction=True)
    parts = [
        Text("A `code` and **bold** & <angle>."),
        Table(("", "n"), [["a|b", "1"]]),
        Picture("shape", "What it shows.", figure),
    ]
    document = Document("Title", [Section("Heading", parts)], [Text("**Mind** this.")])
    files = write(document, tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "report.md",
        "report.html",
        "figures/shape.png",
        "figures/shape.svg",
    ]
    assert all(file.stat().st_size > 100 for file in files)
    text = files[0].read_text()
    assert text == markdown(document)
    assert "| a\\|b | 1 |" in text
    assert text.startswith("# Title\n\n**Mind** this.\n\n## Heading\n")
    page = files[1].read_text()
    assert '<meta name="viewport"' in page
    assert "<h1>Title</h1>\n<p><strong>Mind</strong> this.</p>" in page
    assert "A <code>code</code> and <strong>bold</strong> &amp; &lt;angle&gt;." in page
    assert not re.search(r'(src|href)="(?!data:)', page), "it needs no other file"
    (image,) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert base64.b64decode(image) == files[2].read_bytes()


def test_times_are_over_the_mean_of_all_seeds_of_one_step_and_tell_that_of_a_step() -> None:
    members = []
    for steps, times in ((1, (0.01, 0.03)), (4, (0.05, 0.07))):
        for seed, seconds in enumerate(times):
            each = done(member(seed, 0.5, steps=steps))
            curves = {name: Series([0], [0.5], None) for name in ("outer_objective", "test/accuracy")}
            result = {**each.result, "timing": {"seconds_per_hyperiteration": seconds}}
            members.append(each._replace(result=result, curves=curves))
    found = Found(Stage("unrolled to T", {}, seeds=(0, 1, 2)), members, "2026-11-27")
    sections = STUDIES["effect-of-t"].report({"unrolled to T": found}).sections
    table, _ = next(section for section in sections if section.heading == "Time against T").parts
    assert table.rows == [
        ["T = 1", "20.00 ms", "1.0", "", "2 of 3", "60 s", "1.0", ""],
        ["T = 4", "60.00 ms", "3.0", "13.3 ms", "2 of 3", "119 s", "2.0", "19.7 s"],
    ]
    accuracies, intervals = sections[0].parts[1:3]
    assert [row[2] for row in accuracies.rows] == ["2 of 3", "2 of 3"]
    assert "over seeds" in intervals.words
