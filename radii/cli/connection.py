"""The service as commands see it: what they say while it is away, and where they end before their job does."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from radii.cli.console import err, plain
from radii.client import Client, command, following


def connected(url: str | None) -> Client:
    """A client that says on the console when the service does not answer."""
    return Client(url, on_trouble=lambda message: err.print(plain(message), soft_wrap=True))


@contextmanager
def before_it_started() -> Iterator[None]:
    """Ctrl-C ends the command (exit code 130) before there is a job; say so."""
    try:
        yield
    except KeyboardInterrupt:
        # It may fall into the moment in which the service has started it and we don't know its id yet.
        err.print("\nInterrupted before a certification was known to have started; those that have: radii jobs")
        raise typer.Exit(130) from None


@contextmanager
def outliving_us(client: Client, job_id: str) -> Iterator[None]:
    """The job goes on without us: whatever keeps us from its end says how to follow it. Ctrl-C ends the command alone
    (exit code 130)."""
    follow, end = f"{command(job_id)}{client.at}", f"{command(job_id).removesuffix(' --wait')} --cancel{client.at}"
    noun = "batch" if job_id.startswith("bat_") else "certification"
    client.on_trouble = lambda message: err.print(plain(f"{message}. Or follow it later: {follow}"), soft_wrap=True)
    try:
        with following(job_id, client.at):
            yield
    except KeyboardInterrupt:
        err.print(
            f"\nThe {noun} goes on. Follow it: {follow}; end it: {end}",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
