"""`gencomp serve`: the codec over HTTP."""

import click

from gencomp.commands.models import cache
from gencomp.commands.options import model_option
from gencomp.files import RefusedError
from gencomp.references import DEFAULT_REFERENCE


@click.command()
@model_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Pictures worked on at once.")
@click.option("--queue", type=click.IntRange(0, 10_000), default=16, show_default=True, help="Requests that may wait.")
@click.option("--timeout", type=click.FloatRange(0.01), default=60, show_default=True, help="Seconds for an answer.")
@click.option(
    "--receive-timeout", type=click.FloatRange(0.01), default=15, show_default=True, help="Seconds for a request."
)
@click.option("--max-body", type=click.IntRange(1), default=1 << 25, show_default=True, help="Bytes of a request.")
@click.option("--max-pixels", type=click.IntRange(1), default=1 << 24, show_default=True, help="Of a picture.")
@click.option("--max-connections", type=click.IntRange(1), default=256, show_default=True, help="Open at once.")
def serve(
    model: str | None,
    host: str,
    port: int,
    workers: int,
    queue: int,
    timeout: float,
    receive_timeout: float,
    max_body: int,
    max_pixels: int,
    max_connections: int,
) -> None:
    """Serve the codec over HTTP, with a page to try it on; needs gencomp[serve]. docs/serving.md has the endpoints.

    \b
    Example:
      gencomp serve --port 8000
    """
    from gencomp.serving.limits import Limits

    limits = Limits(workers, queue, timeout, receive_timeout, max_body, max_pixels, max_connections)
    try:
        from gencomp.serving.models import Models
        from gencomp.serving.server import Ready
        from gencomp.serving.server import serve as run
    except ModuleNotFoundError as error:
        raise RefusedError(f"serving needs {error.name}: pip install 'gencomp[serve]'") from None

    def announce(ready: Ready) -> None:
        click.echo(f"{ready.url} serves {ready.model}, model {ready.fingerprint}; Ctrl-C ends it")
        if not ready.loopback:
            click.echo("gencomp: other machines reach it, without password or encryption", err=True)

    run(lambda: Models(model or DEFAULT_REFERENCE, cache=cache()), limits, host, port, announce)
