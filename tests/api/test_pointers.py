"""What a package's own validators say reaches a person as they say it."""

from typing import Any, Self

import pytest
from pydantic import ValidationError, field_validator, model_validator

from api.pointers import describe
from core.spec.base import Spec


class Problem(Spec):
    low: int = 0
    """Lowest value."""
    high: int = 1

    @field_validator("low")
    @classmethod
    def _even(cls, low: int) -> int:
        if low % 2:
            raise ValueError("write an even number")
        return low

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high: lower `low`")
        if self.high == 100:
            raise AssertionError("lower `high`")
        return self


class Whole(Spec):
    problem: Problem
    """The problem."""


@pytest.mark.parametrize(
    ("problem", "pointer", "detail"),
    [
        ({"low": 4, "high": 3}, "/problem", "low is above high: lower `low`"),
        ({"high": 100}, "/problem", "lower `high`"),
        ({"low": 1}, "/problem/low", "write an even number, not `1` (`low`: Lowest value)"),
    ],
)
def test_a_validators_words_are_told_without_the_whole_problem(
    problem: dict[str, Any], pointer: str, detail: str
) -> None:
    body = {"problem": problem}
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(body)
    (error,) = caught.value.errors()
    told = describe({**error, "loc": ("body", *error["loc"])}, body, spec=Whole)
    assert told == {"pointer": pointer, "detail": detail}
