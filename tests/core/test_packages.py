"""The place of a failure: the last line in a package that it came through, unless the service's storage failed."""

from collections.abc import Callable

import pytest

from core.packages import place

Call = Callable[[], None]


def function(module: str, file: str, body: str, **names: Call) -> Call:
    """A function of a module, on the second line of its file."""
    scope: dict[str, object] = {"__name__": module, **names}
    exec(compile(f"def fit():\n    {body}", file, "exec"), scope)
    found = scope["fit"]
    assert callable(found)
    return found


FAILING = function("elsewhere", "/lib/elsewhere.py", "1 / 0")
STORING = function("core.store.blobs", "/srv/core/store/blobs.py", "raise OSError")
LOADING = function("core.datasets.mnist", "/srv/core/datasets/mnist.py", "raise OSError")
STORED = function("core.storefront", "/srv/core/storefront.py", "raise OSError")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (FAILING, None),
        (function("mine", "/lib/mine.py", "1 / 0"), "mine.py:2, in fit"),
        (function("mine", "/lib/mine/__init__.py", "1 / 0"), "mine/__init__.py:2, in fit"),
        (function("mine.a.b", "/home/mine/lib/mine/a/b.py", "1 / 0"), "mine/a/b.py:2, in fit"),
        (function("mine.a", "/lib/mine/a.py", "call()", call=FAILING), "mine/a.py:2, in fit"),
        (function("mine.a", "/lib/mine/a.py", "call()", call=STORING), None),
        (function("mine.a", "/lib/mine/a.py", "call()", call=LOADING), None),
        (function("mine.a", "/lib/mine/a.py", "call()", call=STORED), "mine/a.py:2, in fit"),
        (function("miner", "/lib/miner.py", "1 / 0"), None),
    ],
)
def test_the_place_of_a_failure(code: Call, expected: str | None) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  whatever is raised
        code()
    assert place(caught.value, frozenset({"mine"})) == expected
