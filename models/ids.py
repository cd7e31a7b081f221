"""Ids: a prefix that names the noun, then a UUIDv7 (RFC 9562), so that ids sort by creation time."""

import os
import re
import time
import uuid
from datetime import UTC, datetime

UPLOAD, MODEL, DATASET, CERTIFICATION, BATCH, SHARD, KEY = "upl", "mdl", "dat", "cert", "bat", "shd", "key"

PATTERN = re.compile(r"^[a-z]{3,4}_[0-9a-f]{32}$")


def new_id(prefix: str) -> str:
    """A fresh id such as ``mdl_0198f3c2...`` (prefix, underscore, 32 hex digits)."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76  # version 7
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant of RFC 9562
    return f"{prefix}_{uuid.UUID(int=value).hex}"


def made_at(row_id: str) -> datetime:
    """When an id was made, to the millisecond."""
    return datetime.fromtimestamp((uuid.UUID(row_id.rpartition("_")[2]).int >> 80) / 1000, UTC)
