"""The variables of the environment that radii reads: all that begin with RADII_, so a misspelt one is known as such."""

import os
import re

PREFIX = "RADII_"
CLIENT = {
    "RADII_URL": "Where the service is. Default: `http://127.0.0.1:8000`. `--url` wins.",
    "RADII_API_KEY": "The key. Default: what `radii up` wrote to `api-key` in the data folder (`RADII_DATA_DIR`).",
    "RADII_PATIENCE": "Seconds to wait for a service that is restarting or busy. Default: `600`.",
}
# Those of the service, whose code may not be installed here.
SERVICE = (
    "RADII_HOST",
    "RADII_PORT",
    "RADII_DATA_DIR",
    "RADII_WORKERS",
    "RADII_DATABASE_URL",
    "RADII_BROKER_URL",
    "RADII_BLOB_URL",
    "RADII_BLOB_CACHE",
    "RADII_NOISE_SECRET",
    "RADII_DEVICE",
    "RADII_BATCH_SIZE",
    "RADII_MAX_UPLOAD_BYTES",
    "RADII_MAX_DATASET_BYTES",
    "RADII_INTAKE_SECONDS",
    "RADII_INTAKE_MEMORY_BYTES",
    "RADII_LEASE_SECONDS",
    "RADII_STALL_SECONDS",
    "RADII_SHARD_SECONDS",
    "RADII_SWEEP_SECONDS",
    "RADII_MAX_ATTEMPTS",
    "RADII_KEEP_DAYS",
    "RADII_LOG_LEVEL",
    "RADII_LOG_FORMAT",
    "RADII_METRICS_OPEN",
    "RADII_FIRST_KEY_FILE",
)
# What Kubernetes and Docker tell every container of a service that is called radii-something.
LINKS = re.compile(r"_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP|SCTP)|=(tcp|udp|sctp)://")


def refuse_misspelt() -> None:
    """End the command (exit code 2) if there is a ``RADII_*`` variable that nothing reads; as the service does."""
    known = [name.removeprefix(PREFIX) for name in (*CLIENT, *SERVICE)]
    for name, value in sorted(os.environ.items()):
        rest = name.upper().removeprefix(PREFIX)
        if not name.upper().startswith(PREFIX) or rest in known or rest.startswith("TEST_"):
            continue
        if not LINKS.search(f"{name.upper()}={value}"):
            import difflib

            from radii.cli.console import fail

            nearest = difflib.get_close_matches(rest, known, n=1)
            meant = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "unset it."
            fail(f"{name} is no variable of radii: {meant} docs/settings.md lists them", code=2)
