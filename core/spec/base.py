"""What every part of a spec has in common: frozen, closed, finite, described."""

from functools import cache
from typing import Annotated, Any, NoReturn, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Spec(BaseModel):
    """A frozen piece of an experiment's description; unknown fields and non-finite numbers are refused.

    So are true and false for a number, which pydantic alone would take for 1 and 0.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, data: Any) -> Any:
        found = [name for name in _numbers(cls) if isinstance(data.get(name), bool)] if isinstance(data, dict) else []
        if found:
            error = PydanticCustomError("number", "Input should be a number")
            wrong = [InitErrorDetails(type=error, loc=(name,), input=data[name]) for name in found]
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return data


@cache
def _numbers(member: type[Spec]) -> tuple[str, ...]:
    """The fields that can be numbers, and neither true nor false."""
    types = {name: _leaves(field.annotation) for name, field in member.model_fields.items()}
    return tuple(name for name, leaves in types.items() if leaves & {int, float} and bool not in leaves)


def _leaves(annotation: Any) -> set[Any]:
    """The types that a union or a container is made of."""
    parts = get_args(annotation)
    return set().union(*map(_leaves, parts)) if parts else {annotation}


def kind_of(member: type[Spec]) -> str:
    """The value of the `kind` field that selects the class."""
    return str(member.model_fields["kind"].default)


def refuse(pointer: str, detail: str, **facts: Any) -> NoReturn:
    """Refuses an impossible combination of fields, naming the field (a JSON pointer) and the remedy.

    Raises:
        PydanticCustomError: always; pydantic turns it into a ValidationError whose `ctx` holds `pointer`.
    """
    raise PydanticCustomError("impossible", "{detail}", {"pointer": pointer, "detail": detail, **facts})


Rate = Annotated[float, Field(gt=0, le=1e4)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


def _printable(text: str) -> str:
    if any(character < " " or character == "\x7f" for character in text):
        raise PydanticCustomError("control_character", "Input should hold no control character")
    return text


Label = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": "^[^\\x00-\\x1f\\x7f]*$"}),
    AfterValidator(_printable),
]
"""A short text for people, on one line."""
