import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from click.testing import CliRunner, Result

from core.datasets import catalog
from core.spec.datasets import OwnTable
from local import data as command


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command.data, [str(argument) for argument in arguments])


def write_magic(path: Path, examples: int = 19_020) -> Path:
    path.write_text("".join(f"{n % 7}.5" + ",0" * 9 + (",g\n" if n % 3 else ",h\n") for n in range(examples)))
    return path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the files under tmp_path / "site"."""
    (tmp_path / "site").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def publish(monkeypatch: pytest.MonkeyPatch, kind: str, *addresses: str) -> None:
    entries = catalog.ENTRIES | {kind: catalog.ENTRIES[kind]._replace(originals=addresses)}  # type: ignore[operator]
    for module in (
        "core.datasets.catalog",
        "core.datasets.finding",
        "core.datasets.originals",
        "core.datasets.preparing",
        "local.data",
    ):
        monkeypatch.setattr(f"{module}.ENTRIES", MappingProxyType(entries))


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "grades.csv"
    file.write_text("hours,grade\n1,low\n2,low\n9,high\n8,high\n")
    done = invoke("add", "grades", file, "--to", tmp_path / "data")
    assert done.exit_code == 0, done.output
    sizes = '"rows": 4, "columns": 1, "labels": 2, "test_rows": 0, "validation_rows": 0'
    dataset = f'{{"kind": "table", "name": "grades", {sizes}}}'
    assert done.output == f'Classes: 0 = high, 1 = low\nIn a spec: "dataset": {dataset}\n'
    alone = json.loads(invoke("add", "grades", file, "--to", tmp_path / "data", "--json").output)
    assert OwnTable.model_validate(alone).rows == 4
    assert (
        "grades         yours     4 examples, 1 features, 2 classes" in invoke("list", "--in", tmp_path / "data").output
    )
    listed = {row["name"]: row for row in json.loads(invoke("list", "--in", tmp_path / "data", "--json").output)}
    assert json.loads(listed["grades"]["dataset"]) == alone


def test_a_table_that_is_damaged_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "grades.csv").write_text("hours,grade\n1,low\n2,low\n9,high\n8,high\n")
    for name in ("first", "second"):
        assert invoke("add", name, tmp_path / "grades.csv", "--to", tmp_path).exit_code == 0
    (tmp_path / "tables" / "first.json").write_text("{")
    rows = {row["name"]: row for row in json.loads(invoke("list", "--in", tmp_path, "--json").output)}
    assert [rows[name]["state"] for name in ("first", "second")] == ["damaged", "yours"]
    assert "add the table again" in rows["first"]["problem"]
    assert "first          damaged   a table of your own: add it again" in invoke("list", "--in", tmp_path).output


def test_tables_that_cannot_be_added(tmp_path: Path) -> None:
    file = tmp_path / "grades.csv"
    file.write_text("hours,grade\nmany,low\n")
    for name, message in (
        ("grades", "`many` is not a number"),
        ("../grades", "a name is up to 64"),
        ("G", "a name is"),
    ):
        done = invoke("add", name, file, "--to", tmp_path / "data")
        assert done.exit_code in (1, 2)
        assert message in done.output
    assert not (tmp_path / "data").exists()


def test_list_says_what_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "magic.npz").write_bytes(b"rubbish")
    np.savez(tmp_path / "german.npz", german_X=np.zeros(1), german_y=np.zeros(1))
    done = invoke("list", "--in", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row for row in json.loads(done.output)}
    assert set(rows) == set(catalog.ENTRIES) - {"table"}
    states = {name: rows[name]["state"] for name in ("digits", "mnist", "magic", "german")}
    assert states == {"digits": "built in", "mnist": "missing", "magic": "damaged", "german": "ready"}
    assert "bilevel data prepare mnist" in rows["mnist"]["problem"]


def test_list_for_people(tmp_path: Path) -> None:
    done = invoke("list", "--in", tmp_path)
    assert done.exit_code == 0
    assert "omniglot       missing   1623 handwritten characters" in done.output
    assert "bilevel data prepare NAME" in done.output


def test_prepare_from_a_file(tmp_path: Path) -> None:
    done = invoke("prepare", "magic", "--from", write_magic(tmp_path / "magic04.data"), "--to", tmp_path / "data")
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "data" / "magic.npz") in done.output
    assert "sha256 " in done.output
    assert "not the content of the published data set" in done.output
    states = json.loads(invoke("list", "--in", tmp_path / "data", "--json").output)
    assert next(row["state"] for row in states if row["name"] == "magic") == "ready"


def test_prepare_from_several_files_after_one_option(tmp_path: Path) -> None:
    (tmp_path / "a9a").write_text("-1 3:1\n" * 32_561)
    (tmp_path / "a9a.t").write_text("+1 5:1\n" * 16_281)
    done = invoke("prepare", "a9a", "--json", "--to", tmp_path, "--from", tmp_path / "a9a", tmp_path / "a9a.t")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.output)
    assert answer["path"] == str(tmp_path / "a9a.npz")
    assert answer["published"] is False
    with np.load(tmp_path / "a9a.npz") as arrays:
        assert arrays["a9a_t_y"].tolist() == [1] * 16_281


def test_the_folder_is_that_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILEVEL_DATA_DIR", str(tmp_path / "mine"))
    done = invoke("prepare", "magic", "--from", write_magic(tmp_path / "magic04.data"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "mine" / "magic.npz").is_file()


def test_files_that_are_not_the_originals_end_with_an_error_that_says_why(tmp_path: Path) -> None:
    part = write_magic(tmp_path / "magic04.data", examples=10)
    done = invoke("prepare", "magic", "--from", part, "--to", tmp_path / "data")
    assert done.exit_code == 1
    assert "not the whole of magic" in done.output
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["prepare", "magic"], ["prepare", "magic", "--download", "--from", __file__], ["prepare", "digits", "--download"]],
)
def test_commands_that_cannot_be_are_usage_errors(arguments: list[str]) -> None:
    assert invoke(*arguments).exit_code == 2


def test_a_file_that_is_not_there_is_named_with_its_argument() -> None:
    for arguments in (["nothing.data"], ["--from", __file__, "nothing.data"]):
        done = invoke("prepare", "a9a", *arguments)
        assert done.exit_code == 2
        assert "Invalid value for '[FILES]...': Path 'nothing.data' does not exist." in done.output


def test_what_its_licence_keeps_from_being_fetched_is_not_tried() -> None:
    done = invoke("prepare", "mini_imagenet", "--download")
    assert done.exit_code == 2
    assert "non-commercial research" in done.output
    assert "give its files with --from" in done.output


def test_a_folder_is_an_original_only_where_it_says_so(tmp_path: Path) -> None:
    done = invoke("prepare", "magic", "--from", tmp_path, "--to", tmp_path / "data")
    assert done.exit_code == 1
    assert "is not a file" in done.output


def test_download(tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "magic", f"{site}/magic04.data")
    write_magic(tmp_path / "site" / "magic04.data")
    done = invoke("prepare", "magic", "--download", "--to", tmp_path / "data")
    assert done.exit_code == 0, done.output
    assert f"Fetching {site}/magic04.data" in done.output
    assert (tmp_path / "data" / "magic.npz").is_file()


def test_a_file_that_is_not_published_any_more(tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "magic", f"{site}/gone.data")
    done = invoke("prepare", "magic", "--download", "--to", tmp_path / "data")
    assert done.exit_code == 1
    assert "404" in done.output
    assert "give the file with --from" in done.output
    assert not (tmp_path / "data").exists()


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "magic", "http://127.0.0.1:9/magic04.data")
    done = invoke("prepare", "magic", "--download", "--to", tmp_path)
    assert done.exit_code == 1
    assert "cannot be fetched" in done.output
    assert "give the file with --from" in done.output
