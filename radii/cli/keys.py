"""`radii keys`: who may use the service. Each command imports its own modules when it runs."""

from typing import Annotated

import typer

from radii.cli.options import AsJson, Limit, Url

app = typer.Typer(name="keys", help="List, create or revoke API keys.", no_args_is_help=True)


@app.command("list")
def list_(limit: Limit = 20, url: Url = None, as_json: AsJson = False) -> None:
    """List the keys. Their texts are nowhere: the service keeps digests."""
    from itertools import islice

    from rich.table import Column, Table

    from radii.cli.connection import connected
    from radii.cli.console import out, plain, print_json

    with connected(url) as client:
        found = list(islice(client.list("keys"), limit))
    if as_json:
        return print_json(found)
    whole = [Column(name, no_wrap=True) for name in ("id", "created", "state")]
    table = Table(whole[0], "name", *whole[1:], box=None, header_style="bold", padding=(0, 1))
    for key in found:
        state = f"revoked {key['revoked_at'][:10]}" if key["revoked_at"] else "valid"
        table.add_row(key["id"], plain(key["name"]), key["created_at"][:10], state + ", this one" * key["current"])
    return out.print(table)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, or what it is for.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Create a key, and print its text on standard output, this once."""
    from radii.cli.connection import connected
    from radii.cli.console import err, print_json

    with connected(url) as client:
        key = client.create_key(name)
    if as_json:
        return print_json(key)
    typer.echo(key["key"])
    return err.print(f"This is {key['id']}. Keep the text: it is shown this once. To use it: RADII_API_KEY=...")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="A key (key_...).")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: whoever carries it is refused from now on."""
    from radii.cli.connection import connected
    from radii.cli.console import out, plain, print_json

    with connected(url) as client:
        key = client.revoke_key(key_id)
    if as_json:
        return print_json(key)
    return out.print(f"{key['id']} ({plain(key['name'])}) is revoked", soft_wrap=True)
