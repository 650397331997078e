"""Lists read page by page, and things found by the beginning of their ids."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bilevel_client.errors import Invalid, NotFound
from bilevel_client.records import Record
from bilevel_client.transport import Transport

LARGEST = 100
"""Records of a page, at most."""


def pages(transport: Transport, path: str, given: Mapping[str, Any], limit: int | None) -> Iterator[Record]:
    """The records of a list, newest first.

    Args:
        transport: to the service.
        path: place of the list.
        given: filters; those that are empty are left out.
        limit: stop after so many.
    """
    params = {field: value for field, value in given.items() if value}
    left = limit
    while left is None or left > 0:
        size = LARGEST if left is None else min(left, LARGEST)
        page = transport.json("GET", path, params={**params, "page_size": size})
        yield from page["items"]
        left = None if left is None else left - len(page["items"])
        if page["next"] is None:
            return
        params["cursor"] = page["next"]


def find(transport: Transport, what: str, path: str, beginning: str) -> str:
    """The id in a list that begins so.

    Raises:
        NotFound: there is none.
        Invalid: there are several, nothing is given, or no id begins so.
    """
    if not beginning:
        raise Invalid(f"The id of the {what} is empty: give at least its first digits.")
    if len(beginning) == 36:
        return beginning
    if not re.fullmatch("[0-9a-f]{1,32}", beginning.replace("-", "").lower()):
        raise Invalid(f"ID `{beginning}`: give the id of the {what} or its first digits, which are 0 to 9 and a to f.")
    found = [record["id"] for record in pages(transport, path, {"id_prefix": beginning}, limit=2)]
    if not found:
        raise NotFound(f"There is no {what} whose id begins with {beginning}.")
    if len(found) > 1:
        raise Invalid(f"Several ids begin with {beginning}: give more of it.")
    return str(found[0])


def labelled(labels: Mapping[str, str] | None) -> list[str]:
    """Labels as a list is filtered by them, `name:value`."""
    return [f"{label}:{value}" for label, value in (labels or {}).items()]
