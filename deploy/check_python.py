"""Says whether this Python will do, and what to do if not. Written so that every Python can read it."""

import sys


def problem(version, name):
    """What is wrong with a Python of that version, as a text; empty if nothing is."""
    if (3, 11) <= tuple(version[:2]) < (3, 14):
        return ""
    found = ".".join(str(part) for part in version[:3])
    wanted = "Bilevel needs Python 3.11, 3.12 or 3.13, but " + name + " is Python " + found + "."
    return wanted + "\nSay which one to use, for example: make PYTHON=python3.12"


if __name__ == "__main__":
    sys.exit(problem(sys.version_info, sys.argv[1] if len(sys.argv) > 1 else "python3") or 0)
