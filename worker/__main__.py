"""`python -m worker`: runs experiments of the service at DATABASE_URL and BROKER_URL until it is told to stop."""

import logging
import sys

from core.errors import SettingsInvalid
from core.settings import settings
from worker.app import Worker
from worker.logs import configure


def main() -> int:
    """Works; the exit status is 2 if the settings do not allow it."""
    configure("worker")
    logger = logging.getLogger("worker")
    try:
        found = settings()
    except SettingsInvalid as error:
        logger.error("%s", error)
        return 2
    for name, url in (("DATABASE_URL", found.database_url), ("BROKER_URL", found.broker_url)):
        if not url.get_secret_value():
            logger.error("%s is empty: set it to the service's address", name)
            return 2
    try:
        worker = Worker(found)
    except ValueError as error:
        logger.error("%s", error)
        return 2
    return worker.serve()


if __name__ == "__main__":
    sys.exit(main())
