"""The demo: starts Bilevel in a temporary folder, runs real experiments over HTTP, shows them live, draws a picture.

    python examples/demo.py [--out demo-output]

Half of the training labels of scikit-learn's digits are wrong. Bilevel learns one weight an example, such that training
with these weights does well on a small clean validation set, and so finds the wrong labels. Where Omniglot is in
BILEVEL_DATA_DIR, a few-shot experiment runs beside it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.numpy
from demo_figure import Cleaning, draw
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bilevel_client import Client, Invalid, Series

EXAMPLES = Path(__file__).resolve().parent
OTHERS = ("DATABASE_URL", "BROKER_URL", "BILEVEL_API_KEY")
ENDED = ("succeeded", "failed", "cancelled")
SHOWN = (
    ("outer_objective", "outer objective", False),
    ("validation/accuracy", "validation accuracy", True),
    ("outer/f1", "F1 of found labels", True),
)
"""Series, what it is called on the screen, whether it is shown in per cent."""
BLOCKS = "▁▂▃▄▅▆▇█"


class Shown(NamedTuple):
    """An experiment on the screen."""

    experiment: Mapping[str, Any]
    curves: Mapping[str, Series]


@contextmanager
def service(console: Console) -> Iterator[str]:
    """`bilevel up` in a temporary home on a free port; yields its address and leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="bilevel-demo-") as home:
        command = [sys.executable, "-m", "local", "up", "--home", home, "--port", "0", "--slots", "2"]
        # A service of its own, whatever the environment says of others.
        environment = {name: value for name, value in os.environ.items() if name not in OTHERS}
        with subprocess.Popen(
            command, env=environment, cwd=EXAMPLES.parent, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            try:
                yield _address(process, console)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(90)


def _address(process: subprocess.Popen[str], console: Console) -> str:
    assert process.stdout is not None
    address = ""
    for line in process.stdout:
        if line.startswith("API "):
            address = line.split()[1]
        if line.startswith("ready"):
            return address
        console.print(f"  {line.rstrip()}", style="dim", highlight=False)
    raise SystemExit("the service did not start")


def few_shot() -> dict[str, Any]:
    """The Omniglot example, made short: half the filters and tasks, longer steps, few hyperiterations and episodes."""
    spec: dict[str, Any] = json.loads((EXAMPLES / "omniglot_5way_1shot.json").read_text())
    spec["name"] = "omniglot 5-way 1-shot, a taste"
    spec["problem"].update(meta_batch=8, model={"kind": "conv4", "filters": 32})
    spec["algorithm"]["dynamics"]["rate"] = 0.1
    spec["algorithm"]["optimizer"]["rate"] = 0.003
    spec["algorithm"]["hyperiterations"] = 240
    spec["evaluation"] = {"every": 40, "episodes": 60}
    return spec


def submit(client: Client, console: Console) -> list[str]:
    """Submits the experiments; the few-shot one only where its data are."""
    submitted = [client.submit(json.loads((EXAMPLES / "hyper_cleaning_digits.json").read_text()))["id"]]
    try:
        submitted.append(client.submit(few_shot())["id"])
    except Invalid as error:
        if error.code != "data_missing":
            raise
        console.print("  No Omniglot here, so no few-shot experiment (bilevel data prepare omniglot --download).\n")
    return submitted


# --- on the screen --------------------------------------------------------------------------------


def watch(client: Client, ids: Sequence[str], console: Console) -> list[Shown]:
    """Shows the experiments live until all have ended."""
    with Live(console=console, refresh_per_second=8) as live:
        while True:
            shown = [Shown(client.get(one), client.curves(one, [name for name, _, _ in SHOWN]).series) for one in ids]
            live.update(Group(*map(panel, shown)))
            if all(one.experiment["status"] in ENDED for one in shown):
                return shown
            time.sleep(0.4)


def panel(shown: Shown) -> Panel:
    """One experiment: progress, and its main curves in small."""
    experiment, curves = shown
    progress = experiment["progress"]
    done, total, eta = progress["hyperiteration"], progress["hyperiterations"], progress["eta_seconds"]
    grid = Table.grid(padding=(0, 2))
    rest = f"{eta:.0f} s left" if eta and experiment["status"] == "running" else ""
    grid.add_row("hyperiterations", ProgressBar(total=total, completed=done, width=40), f"{done}/{total}", rest)
    for name, label, in_percent in SHOWN:
        if name in curves:
            values = curves[name].value
            last = f"{100 * values[-1]:.1f} %" if in_percent else f"{values[-1]:.3g}"
            grid.add_row(label, Text(sparkline(values), style="cyan"), last, "")
    colour = {"succeeded": "green", "failed": "red", "running": "cyan"}.get(experiment["status"], "yellow")
    title = f"[bold]{experiment['name']}[/] · [{colour}]{experiment['status']}[/]"
    return Panel(grid, title=title, title_align="left", border_style="dim", width=92, padding=(0, 1))


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The curve in one line of text."""
    picked = [values[i * len(values) // width] for i in range(width)] if len(values) > width else list(values)
    low, high = min(picked), max(picked)
    scale = (len(BLOCKS) - 1) / ((high - low) or 1.0)
    return "".join(BLOCKS[round((value - low) * scale)] for value in picked)


def percent(metric: Mapping[str, float]) -> str:
    """A fraction and its confidence interval in per cent."""
    return f"{100 * metric['mean']:.1f} % ± {100 * metric['ci95']:.1f}"


def tables(results: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Prints what came out."""
    report = results[0]["report"]
    table = Table(
        box=box.SIMPLE_HEAD, title="  Digits: training on 800 labels, of which half are wrong", title_justify="left"
    )
    table.add_column("trained on")
    table.add_column("test accuracy", justify="right")
    for name, label in (
        ("baseline", "all labels as they are (noisy baseline)"),
        ("learned", "all labels with learned weights"),
        ("oracle", "the right labels only (clean oracle)"),
    ):
        table.add_row(label, percent(report[name]["accuracy"]), style="bold green" if name == "learned" else "")
    console.print(table)
    console.print(
        f"  Wrong labels found: F1 [bold green]{report['f1']:.3f}[/] (precision {report['precision']:.3f}, "
        f"recall {report['recall']:.3f}) of {report['corrupted']}\n",
        highlight=False,
    )
    for result in results[1:]:
        seconds = result["timing"]["total_seconds"]
        console.print(
            f"  Omniglot, new characters from one example each: [bold green]{percent(result['test']['accuracy'])}[/] "
            f"after {seconds:.0f} s (chance: 20 %)\n",
            highlight=False,
        )


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description="Starts Bilevel, runs real experiments, draws a picture.")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the picture")
    out = parser.parse_args().out
    console = Console(width=100)
    console.print("\n[bold]Bilevel[/]: starting the service (Postgres, Redis, API, worker)")
    with service(console) as address:
        console.print()
        client = Client(address)
        ids = submit(client, console)
        shown = watch(client, ids, console)
        for experiment, _ in shown:
            if experiment["status"] != "succeeded":
                raise SystemExit(f"{experiment['name']} has {experiment['status']}: {experiment['error']}")
        results = [client.result(one) for one in ids]
        curves = [client.curves(one).series for one in ids]
        examples = safetensors.numpy.load(client.artifact(ids[0], "examples.safetensors"))
        spec = shown[0].experiment["spec"]
        console.print()
        tables(results, console)
        client.close()
    corrupted = examples["corrupted"].astype(bool)
    cleaning = Cleaning(spec, curves[0], results[0]["report"], examples["weights"].astype(float), corrupted)
    out.mkdir(parents=True, exist_ok=True)
    draw(out / "demo.png", cleaning, curves[1] if len(curves) > 1 else None)
    console.print(f"  Learning curves and weights: [bold]{out / 'demo.png'}[/]", highlight=False)
    console.print(
        "  The service has been stopped; nothing is left running.\n"
        "  Start your own with [bold]make up[/] and open it in a browser.\n"
    )


if __name__ == "__main__":
    main()
