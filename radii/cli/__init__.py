"""The command ``radii``. Only what a command needs is imported, when it runs: ``radii --help`` answers at once."""

from radii.cli.main import main

__all__ = ["main"]
