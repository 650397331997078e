"""The `bilevel` command: one file a group of commands; its help says what the exit statuses mean."""

import click

from bilevel_client.commands.curves import curves
from bilevel_client.commands.experiments import (
    cancel,
    compare,
    list_experiments,
    resubmit,
    result,
    show,
    submit,
    watch,
)
from bilevel_client.commands.files import artifact, catalog
from bilevel_client.commands.here import data, up
from bilevel_client.commands.planning import plan
from bilevel_client.commands.reproduce import reproduce
from bilevel_client.commands.sweeps import sweep, sweeps

EPILOG = """
\b
Exit status:
  0  all is well
  1  the experiment failed or was cancelled, or a member of the sweep did not succeed
  2  the request is not possible: usage, spec, id, key, state
  3  the service does not answer, or failed at it
  130  interrupted (Ctrl-C); what was submitted goes on

Where ID is asked for, its beginning is enough. --url and --api-key come after the command's name, or as BILEVEL_URL and
BILEVEL_API_KEY.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="bilevel")
def main() -> None:
    """Bilevel optimization as a service: submit experiments, watch their curves, take their results."""


_EXPERIMENTS = (submit, resubmit, list_experiments, show, watch, cancel, curves, result, compare, artifact)
for _command in (up, plan, *_EXPERIMENTS, sweep, sweeps, catalog, reproduce, data):
    main.add_command(_command)
