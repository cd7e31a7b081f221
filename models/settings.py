"""The settings: one validated object, from ``RADII_*`` variables or the flags of ``radii up``."""

import difflib
import hashlib
import os
import re
import secrets
import shlex
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

GIB = 2**30
PREFIX = "RADII_"
CLIENT = ("RADII_URL", "RADII_API_KEY", "RADII_PATIENCE")  # variables of the client: no settings of the service
# What Kubernetes and Docker tell every container of a service that is called radii-something.
LINKS = re.compile(r"_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP|SCTP)|=(tcp|udp|sctp)://")
MOST_LINKS = 40  # that lead on to one another, as the system follows
BROKERS = ("redis:", "rediss:", "redis+socket:", "sentinel:", "amqp:", "amqps:")
ESCAPE = "In a password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, and % as %25"
MOST_PORT = 65535
NUMBERED = ("redis", "rediss", "sentinel")
LONGEST_SOCKET = 100  # bytes of a Unix socket's path: systems allow 104 to 108 with the closing NUL


class Settings(BaseSettings):
    """Settings of the service, the same for every process of an installation."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port that the API listens on.")
    data_dir: Path = Field(
        default=Path("~/.radii"),
        validate_default=True,
        description="Folder for the database, blobs, keys and the private Redis; its owner's alone (mode 0700).",
    )
    workers: int = Field(default=1, ge=1, le=256, description="Certification slots: shards computed at the same time.")
    database_url: str = Field(
        default="",
        description="SQLAlchemy URL, SQLite or postgresql+psycopg. Unset: SQLite in the data folder.",
    )
    broker_url: str = Field(
        default="",
        description="URL of the broker: Redis, Redis Sentinel or RabbitMQ. Unset: a private Redis in the data folder.",
    )
    blob_url: str = Field(
        default="",
        description="S3-compatible store of blobs, s3://BUCKET/PREFIX (credentials: AWS_* variables). Unset: a folder "
        "in the data folder.",
    )
    blob_cache: int = Field(
        default=20 * GIB, ge=1, description="Bytes of copies that a machine keeps of blobs in such a store."
    )
    noise_secret: SecretStr | None = Field(
        default=None,
        description="64 hex digits that key all certification noise. Unset: made once and kept in the data folder.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where certifications run.")
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Samples that go through the network at once. Unset: what a short search finds fastest.",
    )
    max_upload_bytes: int = Field(default=2 * GIB, ge=1, description="Largest upload accepted, in bytes.")
    max_dataset_bytes: int = Field(
        default=4 * GIB, ge=2**20, description="Largest data set accepted, in bytes of its inputs as float32."
    )
    intake_seconds: int = Field(
        default=120, ge=1, description="CPU time that reading one upload may take; a lower ulimit holds."
    )
    intake_memory_bytes: int = Field(
        default=8 * GIB, ge=GIB, description="Address space that reading one upload may take; a lower ulimit holds."
    )
    lease_seconds: float = Field(
        default=15.0, ge=1, description="A worker silent for this long has lost its work to the next one."
    )
    stall_seconds: float = Field(
        default=300.0,
        ge=2,
        description="A computing process that for this long ends no step, nor uses the CPU where it computes on it, "
        "hangs: it is ended, and the attempt has failed (stalled).",
    )
    shard_seconds: float = Field(
        default=30.0,
        gt=0,
        description="What a worker takes at a time is cut to be about so many seconds of work, by its measured pace; "
        "others wait that long at most twice.",
    )
    sweep_seconds: float = Field(default=2.0, gt=0, description="How often work without a worker is looked for.")
    max_attempts: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Attempts without progress after which work has failed, with the cause of the last one.",
    )
    keep_days: int | None = Field(
        default=None,
        ge=1,
        description="Days after which certifications that have ended, and models and data sets that none needs any "
        "more, are deleted. Unset: they are kept.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe log line."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Log lines for people, or one JSON object a line (docs/monitoring.md)."
    )
    metrics_open: bool = Field(
        default=False, description="Whether /metrics needs no key, from other machines neither (docs/monitoring.md)."
    )
    first_key_file: Path | None = Field(
        default=None, description="A file with the text of the first API key. Unset: made once, in the data folder."
    )

    @field_validator("port", mode="before")
    @classmethod
    def _no_link(cls, value: object) -> object:
        """Beside a service called radii, Kubernetes tells every pod RADII_PORT=tcp://10.0.0.1:8000: no setting."""
        return cls.model_fields["port"].default if isinstance(value, str) and LINKS.search(f"={value}") else value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:", "postgresql+psycopg:")):
            raise ValueError("use sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME")
        if value:
            from sqlalchemy import make_url  # late: most commands need no database
            from sqlalchemy.exc import ArgumentError

            try:
                url = make_url(value)
            except (ArgumentError, ValueError):  # whose message may hold a part of the password
                raise ValueError(f"the port is no number. {ESCAPE}") from None
            if not 0 < (url.port or 1) <= MOST_PORT:
                raise ValueError(f"there is no port {url.port}")
            if "@" in (url.host or ""):
                raise ValueError(f"there are two @ in it. {ESCAPE}")
            if not url.database:
                raise ValueError("it names no database: postgresql+psycopg://USER:PASSWORD@HOST/NAME, sqlite:///FILE")
        return value

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if value and not value.startswith(BROKERS):
            raise ValueError(
                "use redis://HOST:PORT/DB (rediss://, redis+socket:///PATH), "
                "sentinel://HOST:PORT;sentinel://HOST:PORT/DB?master_name=NAME, or amqp://USER:PASSWORD@HOST/VHOST "
                "(amqps://)"
            )
        sentinels = value.split(";") if value.startswith("sentinel:") else []
        for server in sentinels or filter(None, [value]):
            try:
                parts = urlsplit(server)
                _ = parts.port
            except ValueError:  # whose message may hold a part of the password
                raise ValueError(f"the port is no number. {ESCAPE}") from None
            if not (parts.hostname or parts.scheme == "redis+socket") or (sentinels and parts.scheme != "sentinel"):
                raise ValueError(
                    "it names no host, or not of each server: redis://HOST:PORT/DB, "
                    "sentinel://HOST:PORT;sentinel://HOST:PORT/DB, amqp://USER:PASSWORD@HOST/VHOST"
                )
            if parts.scheme in NUMBERED and not parts.path.strip("/").isdecimal() and parts.path.strip("/"):
                raise ValueError("behind the host of a Redis stands the number of a database: redis://HOST:PORT/0")
        return value

    @field_validator("blob_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/.*)?", value):
            raise ValueError("use s3://BUCKET or s3://BUCKET/PREFIX")
        return value

    @field_validator("noise_secret")
    @classmethod
    def _hex(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else "0" * 64
        if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
            raise ValueError("give 64 hex digits, e.g. from: openssl rand -hex 32")
        return value

    @model_validator(mode="after")
    def _no_misspelt_variable(self) -> Self:
        for said in misspelt(os.environ, [f"{PREFIX}{name.upper()}" for name in type(self).model_fields]):
            raise ValueError(said)
        return self

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'radii.sqlite'}"

    @property
    def broker(self) -> str:
        """The broker URL in force."""
        return self.broker_url or f"redis+socket://{self.redis_socket}"

    @property
    def redis_socket(self) -> Path:
        """Socket of the private Redis; in the folder for temporary files where the data folder's path is too long."""
        path = self.data_dir / "redis.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET:
            return path
        name = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"radii-{os.getuid()}-{name}" / "redis.sock"

    @property
    def blob_dir(self) -> Path:
        """Folder of the blob store; or, where that is elsewhere, of copies."""
        return self.data_dir / ("blob-cache" if self.blob_url else "blobs")

    @property
    def key_file(self) -> Path:
        """Where the first API key is written."""
        return self.data_dir / "api-key"

    def secret(self) -> bytes:
        """The 32 bytes of the noise secret; made on first use and kept (mode 0600) in the data folder when unset."""
        if self.noise_secret:
            return bytes.fromhex(self.noise_secret.get_secret_value())
        return bytes.fromhex(keep(self.data_dir / "noise-secret", secrets.token_hex(32)))

    def environment(self) -> dict[str, str]:
        """These settings as ``RADII_*`` variables, for child processes."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            f"RADII_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in values.items()
            if value not in (None, "")
        }


def from_environment() -> Settings:
    """The settings that the variables make. Ends the process (exit code 2) with a line for each that can't be right."""
    try:
        return Settings()
    except ValidationError as error:
        for one in error.errors():
            where = "".join(f"{PREFIX}{part}: ".upper() for part in one["loc"][:1])
            print(f"radii: {where}{one['msg'].removeprefix('Value error, ')}", file=sys.stderr)
    sys.exit(2)


def keep(path: Path, fresh: str) -> str:
    """The text kept in ``path`` (mode 0600); ``fresh`` if there was none. Two callers at once get one answer."""
    with suppress(FileNotFoundError):  # first, for a full disk takes no draft
        return path.read_text().strip()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(fresh + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # fails if another process was first: then its text is the one that counts
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()


def misspelt(environment: Mapping[str, str], settings: list[str]) -> Iterator[str]:
    """What to say of each ``RADII_*`` variable that is neither one of the ``settings`` nor one of the client's."""
    known = [name.removeprefix(PREFIX) for name in (*settings, *CLIENT)]
    for name, value in sorted(environment.items()):
        rest = name.upper().removeprefix(PREFIX)
        if not name.upper().startswith(PREFIX) or rest in known or rest.startswith("TEST_"):
            continue
        if not LINKS.search(f"{name.upper()}={value}"):
            nearest = difflib.get_close_matches(rest, known, n=1)
            meant = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "unset it."
            yield f"{name} is no variable of radii: {meant} docs/settings.md lists them"


class NotPrivate(Exception):
    """Somebody else may read or change the data folder, in which there are to be keys. Nothing was written there."""


def private_folder(folder: Path) -> None:
    """Make ``folder``, for its owner's eyes alone (mode 0700). One that is there, or that a link of his leads to, is
    taken if it is so, or tightened if it is empty. Raises ``NotPrivate``."""
    another = f"choose another data folder (--data-dir, RADII_DATA_DIR), e.g. {folder / 'radii'}, which radii makes"
    place, links = folder, 0
    while place.is_symlink() and links < MOST_LINKS:
        _owned(place, place.lstat(), another)  # another's link may lead elsewhere tomorrow
        place, links = place.parent / place.readlink(), links + 1
    with suppress(FileExistsError):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(f"{folder} is no folder: choose another data folder (--data-dir, RADII_DATA_DIR)")
    _owned(place, found, another)
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077 and not mode & stat.S_ISVTX and not any(place.iterdir()):
        place.chmod(0o700)
        mode = stat.S_IMODE(place.lstat().st_mode)
    if mode & 0o077:
        # A sticky folder is everybody's: such as /tmp, which other programs need as it is.
        alone = (
            "" if mode & stat.S_ISVTX else f"If it is for radii alone: chmod 700 {shlex.quote(str(place))}; otherwise "
        )
        raise NotPrivate(
            f"other users of this machine can look into {place} (mode {mode:04o}), where radii keeps keys and data. "
            f"{alone}{another}"
        )


def _owned(place: Path, found: os.stat_result, another: str) -> None:
    """Refuse what is another user's."""
    if found.st_uid != os.geteuid():
        raise NotPrivate(
            f"{place} belongs to another user (uid {found.st_uid}; this process is of uid {os.geteuid()}), who could "
            f"read the keys and the data that radii keeps there: {another}"
        )
