"""`python -m migrations`: brings the database of DATABASE_URL to the newest revision."""

import logging
import sys

import migrations
from core.errors import SettingsInvalid
from core.settings import settings
from core.store.engine import UNAVAILABLE
from core.store.retrying import what_failed

logger = logging.getLogger("migrations")


def main() -> int:
    """Migrates; the exit status is 2 if a setting is missing or not possible, 1 if the database does not answer."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        url = settings().database_url.get_secret_value()
    except SettingsInvalid as error:
        logger.error("%s", error)
        return 2
    if not url:
        logger.error("DATABASE_URL is empty: set it to the database to migrate")
        return 2
    try:
        migrations.upgrade(url)
    except UNAVAILABLE as error:
        logger.error("the database of DATABASE_URL does not answer: %s", what_failed(error))
        return 1
    logger.info("the database is at revision %s", migrations.head())
    return 0


if __name__ == "__main__":
    sys.exit(main())
