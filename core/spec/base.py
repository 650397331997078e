"""What every part of a spec has in common: frozen, closed, finite, described."""

from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


class Spec(BaseModel):
    """A frozen piece of an experiment's description; unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )


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
