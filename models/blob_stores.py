"""Which blob store the settings say."""

from models.blobs import Announce, Blobs, Confirm, unannounced, unconfirmed
from models.settings import Settings


def stored(settings: Settings, *, announce: Announce = unannounced, confirm: Confirm = unconfirmed) -> Blobs:
    """The store, as this machine has it. Raises ``ValueError`` if a package for it is not installed."""
    if not settings.blob_url:
        return Blobs(settings.blob_dir, announce=announce, confirm=confirm)
    try:
        from models.remote_blobs import RemoteBlobs

        cache = settings.blob_cache
        return RemoteBlobs(settings.blob_url, settings.blob_dir, cache=cache, announce=announce, confirm=confirm)
    except ModuleNotFoundError as error:
        raise ValueError(f"RADII_BLOB_URL takes the package {error.name}: pip install 'radii[s3]'") from error
