"""What every part of a spec has in common: frozen, closed, finite, described."""

from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field
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


def refuse(pointer: str, detail: str, **facts: Any) -> NoReturn:
    """Refuses an impossible combination of fields, naming the field (a JSON pointer) and the remedy.

    Raises:
        PydanticCustomError: always; pydantic turns it into a ValidationError whose `ctx` holds `pointer`.
    """
    raise PydanticCustomError("impossible", "{detail}", {"pointer": pointer, "detail": detail, **facts})


Rate = Annotated[float, Field(gt=0, le=1e4)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Label = Annotated[str, Field(min_length=1, max_length=200)]
