"""One line a message, readable and easy to search."""

import logging
import sys


def configure(who: str) -> None:
    """Logs to standard error as `time level who module: message`."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s [{who}] %(name)s: %(message)s",
        force=True,
    )
    for chatty in ("celery.worker.strategy", "celery.app.trace"):  # a line for every hint, heard and done
        logging.getLogger(chatty).setLevel(logging.WARNING)
