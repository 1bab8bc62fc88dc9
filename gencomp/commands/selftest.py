"""`gencomp selftest`: whether this machine decodes as all others do."""

import json
import sys

import click

from gencomp.files import RefusedError


@click.command()
@click.option("--device", metavar="NAME", help="One device alone: cpu, cuda or mps.  [default: every one that is here]")
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
def selftest(device: str | None, as_json: bool) -> None:
    """Decode the shipped vectors and say whether this machine finds the same symbols, to the last one.

    Pictures may differ by rounding: of them, mean colours are compared, within 1 of 255. Exit code 1 if anything fails.

    \b
    Example:
      gencomp selftest
    """
    from gencomp.codec import conformance

    here = conformance.devices()
    if device is not None and device not in here:
        raise RefusedError(f"there is no {device} here; there is {', '.join(here)}")
    vectors = conformance.read_vectors()
    found = [one for name in here if device in (None, name) for one in conformance.verdicts(vectors, name)]
    if as_json:
        click.echo(json.dumps([one._asdict() | {"passed": one.passed} for one in found]))
    else:
        for one in found:
            symbols = "symbols match" if one.symbols_match else "SYMBOLS DIFFER"
            click.echo(
                f"{'ok  ' if one.passed else 'FAIL'}  {one.device:<4}  {one.model:<8}  {one.entropy:<7}  "
                f"{one.width:>4} x {one.height:<4}  {symbols}, colours within {one.largest_difference:.2f} of 255"
            )
        failed = sum(not one.passed for one in found)
        click.echo(f"{len(found)} vectors, {failed} failed")
    if not all(one.passed for one in found):
        sys.exit(1)
