"""Which media type a client would rather have (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from starlette.exceptions import HTTPException


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that the client likes best; the first of those it likes equally.

    Raises:
        HTTPException: 406, it accepts none of them.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) == 0.0:
        raise HTTPException(406, f"None of the accepted media types is here: accept {' or '.join(offered)}.")
    return best


def _range(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_range, float(value)
            except ValueError:
                return media_range, 0.0
    return media_range, 1.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific range that the type is in."""
    main = media_type.split("/")[0]
    for candidate in (media_type, f"{main}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == candidate:
                return quality
    return 0.0
