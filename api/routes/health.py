"""Whether the process lives, and whether the service can do its work."""

from typing import Any

from fastapi import APIRouter, Response

from api.deps import Service, Uses
from core.errors import BrokerUnreachable
from core.store.engine import UNAVAILABLE

router = APIRouter(tags=["health"])

READINESS: dict[int | str, dict[str, Any]] = {
    503: {"description": "Something is amiss; the answer says what.", "content": {"application/json": {}}}
}


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", operation_id="get_health")
def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", operation_id="get_readiness", responses=READINESS)
def readiness(uses: Uses, response: Response) -> dict[str, Any]:
    """Each thing that the service needs, and whether it is as it has to be."""
    checks = {"database": _database(uses), "broker": _broker(uses)}
    ready = all(check == "ok" for check in checks.values())
    response.status_code = 200 if ready else 503
    return {"status": "ready" if ready else "not_ready", "checks": checks}


def _database(uses: Service) -> str:
    import migrations  # here, since Alembic would double the time that the process takes to start

    try:
        current = migrations.current(uses.engine)
    except UNAVAILABLE:
        return "it does not answer: see DATABASE_URL"
    expected = migrations.head()
    if current == expected:
        return "ok"
    return f"it is at revision {current or 'none'}, not {expected}: run `python -m migrations`"


def _broker(uses: Service) -> str:
    try:
        uses.check_broker()
    except BrokerUnreachable:
        return "it does not answer: see BROKER_URL; experiments are taken and wait"
    return "ok"
