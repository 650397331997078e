"""How long a user waits before anything happens: for `bilevel --help`, and from a claim to its first hyperiteration.

The experiment has one hyperiteration, so its end comes after the first hyperiteration, an evaluation and the result;
times of the service are those of the database's clock.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Comparison, Row, compare
from bilevel_client import Client

BIN = Path(__file__).parents[1] / ".venv" / "bin"
"""Where `make install` puts the commands."""
TINY: dict[str, Any] = {
    "problem": {"kind": "quadratic"},
    "algorithm": {"kind": "nested", "steps": 1, "hyperiterations": 1},
}


def main(rounds: int) -> Iterator[Comparison]:
    """A Python that does nothing is the baseline of both."""
    yield compare(
        "start-up",
        "commands",
        {
            "python -c pass": lambda: _run("python", "-c", "pass"),
            "bilevel --help": lambda: _run("bilevel", "--help"),
            "python -c 'import torch'": lambda: _run("python", "-c", "import torch"),
        },
        rounds,
    )
    with service() as client:
        _claim_to_end(client)  # the first one warms the worker
        seconds = median(_claim_to_end(client) for _ in range(rounds))
    row = Row("start-up", "a warm worker", "from the claim to the end of one hyperiteration", seconds, 1.0, None)
    yield Comparison([row], True)


def _run(command: str, *arguments: str) -> None:
    subprocess.run([str(BIN / command), *arguments], check=True, stdout=subprocess.DEVNULL)


def _claim_to_end(client: Client) -> float:
    record = client.wait(client.submit(TINY)["id"])
    if record["status"] != "succeeded":
        raise RuntimeError(f"the experiment ended as {record['status']}")
    started, finished = (datetime.fromisoformat(str(record[name])) for name in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


@contextmanager
def service() -> Iterator[Client]:
    """`bilevel up` in a temporary home."""
    with tempfile.TemporaryDirectory(prefix="bilevel-bench-") as home:
        command = [str(BIN / "bilevel"), "up", "--home", home, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            try:
                assert process.stdout is not None
                lines = iter(process.stdout.readline, "")
                address = next(line.split()[1] for line in lines if line.startswith("API "))
                next(line for line in lines if line.startswith("ready"))
                with Client(address) as client:
                    yield client
            finally:
                process.terminate()
                process.wait(90)
