"""Make or revoke an API key of a deployment (the environment says which one; the key is read from standard input).

``python deploy/api_key.py make --name gate --tenant default --role analyst`` prints a new key, once: only its keyed hash
is stored. ``python deploy/api_key.py revoke`` makes the key on standard input worthless.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from causal_orchestrator.backends import connect
from causal_orchestrator.http.auth import SCOPES, add_key, make_key, revoke_key
from causal_orchestrator.settings import Settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Make or revoke a key."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    make = actions.add_parser("make")
    make.add_argument("--name", required=True)
    make.add_argument("--tenant", required=True)
    make.add_argument("--role", choices=sorted(SCOPES), required=True)
    actions.add_parser("revoke")
    given = parser.parse_args(arguments)
    settings = Settings.from_environment()
    backends = connect(settings)
    if given.action == "revoke":
        revoke_key(backends, sys.stdin.readline().strip())
        return
    key = make_key(settings.environment)
    add_key(backends, key, name=given.name, tenant=given.tenant, role=given.role)
    sys.stdout.write(key + "\n")


if __name__ == "__main__":
    main()
