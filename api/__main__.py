"""`python -m api`: serves the application with uvicorn."""

import argparse
from ipaddress import ip_address

import uvicorn

from core.errors import SettingsInvalid
from core.settings import settings


def main() -> None:
    """Reads the address from the command line and serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serves the HTTP API of Bilevel.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at (default: %(default)s)")
    parser.add_argument("--fd", type=int, help="number of an open socket to listen at, instead of an address")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    arguments = parser.parse_args()
    try:
        found = settings()
    except SettingsInvalid as error:
        parser.error(str(error))
    if arguments.fd is None and not _loopback(arguments.host) and found.api_key is None:
        parser.error(f"{arguments.host} can be reached by others: set BILEVEL_API_KEY, or listen at 127.0.0.1")
    uvicorn.run(
        "api.main:create_app",
        factory=True,
        host=arguments.host,
        port=arguments.port,
        fd=arguments.fd,
        log_level=arguments.log_level,
        # Event streams stay open until their experiment ends: they are cut when the service stops.
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
