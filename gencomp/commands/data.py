"""`gencomp data`: look into training data, publish it, find pictures that are in two sets."""

import sys
from pathlib import Path

import click

from gencomp.commands.options import FilePath
from gencomp.files import check_folder, check_target, write


@click.group()
def data() -> None:
    """Look into training data, and put it where others read it.

    \b
    Example:
      gencomp data inspect data/shards/photos
    """


@data.command("inspect")
@click.argument("shards", metavar="SHARDS")
@click.option("--sheet", metavar="PNG", type=FilePath, help="Write a contact sheet there, labels in colour below.")
@click.option("--pictures", type=click.IntRange(1, 400), default=24, show_default=True, help="On the contact sheet.")
@click.option("--force", is_flag=True, help="Replace PNG if it exists.")
def inspect_data(shards: str, sheet: Path | None, pictures: int, force: bool) -> None:
    """Count what SHARDS holds, a folder or its URL: samples, sizes, formats, licences, rejects by reason, classes.

    \b
    Example:
      gencomp data inspect data/shards/photos --sheet sheet.png
    """
    from gencomp.data.overview import overview
    from gencomp.data.places import place

    if sheet is not None:
        check_folder(sheet)
        check_target(sheet, force)
    found = overview(place(shards), pictures)
    known = found.manifest
    click.echo(f"{known.dataset}, recipe {known.recipe}: {known.counts.kept} of {known.counts.asked} images asked for")
    for split_name, split in known.splits.items():
        size = sum(shard.bytes for shard in split.shards) / 1e6
        click.echo(f"  {split_name:<12} {split.samples:>9} samples, shards: {len(split.shards)}, {size:.1f} MB")
    for title, (least, median, most) in (("width", found.widths), ("height", found.heights)):
        click.echo(f"  {title:<12} {least} to {most} pixels, median {median}")
    for title, counts in (("format", found.formats), ("licence", found.licenses), ("rejected", known.counts.rejected)):
        for name, count in sorted(counts.items(), key=lambda item: -item[1]):
            click.echo(f"  {title:<12} {count:>9} {name}")
    pixels = sum(share.pixels for share in found.classes)
    for share in found.classes:
        click.echo(f"  class        {share.pixels / pixels:>9.2%} {share.name}, label maps: {share.images}")
    if sheet is not None:
        write(sheet, found.png(), force)
        click.echo(f"{sheet}: {found.sheet.width} x {found.sheet.height}")


@data.command("publish")
@click.argument("folder", metavar="FOLDER", type=FilePath)
@click.argument("target", metavar="URL")
@click.option("--private", is_flag=True, help="Nobody else can read URL: pictures that may not be passed on may go.")
def publish_data(folder: Path, target: str, private: bool) -> None:
    """Copy FOLDER, a folder of data/shards or data/raw, to URL: s3://BUCKET/PREFIX, or what else fsspec knows.

    Files appear whole or not at all, manifest.json last. A copy that was interrupted goes on, and one of an earlier
    version is replaced. Credentials and endpoints are the environment's, such as AWS_PROFILE and AWS_ENDPOINT_URL.

    \b
    Example:
      gencomp data publish data/shards/photos s3://lab/photos
    """
    from gencomp.data.places import place
    from gencomp.data.publish import publish

    done = publish(folder, place(target), lambda line: click.echo(line, err=True), private=private)
    click.echo(f"{target}: {done.files} files, {done.bytes:,} bytes, {done.sent} of them sent now")


@data.command("duplicates")
@click.argument("first", metavar="TRAINING", type=FilePath)
@click.argument("second", metavar="EVALUATION", type=FilePath)
@click.option("--training-split", metavar="NAME", help="Of the shards TRAINING, only train, val or test.")
@click.option("--evaluation-split", metavar="NAME", help="Of the shards EVALUATION, only train, val or test.")
@click.option("--distance", type=click.IntRange(0, 32), default=8, show_default=True, help="Most bits of 64 apart.")
def find_duplicates(
    first: Path, second: Path, training_split: str | None, evaluation_split: str | None, distance: int
) -> None:
    """List pictures of EVALUATION that TRAINING holds too, or nearly; exit code 1 if there are any.

    Both are folders of shards or of pictures, compared by perceptual hash; two splits of one folder of shards too.

    \b
    Example:
      gencomp data duplicates data/shards/photos kodak
      gencomp data duplicates data/shards/photos data/shards/photos --training-split train --evaluation-split val
    """
    from gencomp.data.duplicates import hashes, near_duplicates

    sets = hashes(first, training_split), hashes(second, evaluation_split)
    pairs = list(near_duplicates(*sets, distance))
    for pair in pairs:
        click.echo(f"{pair.first}  {pair.second}  {pair.distance}")
    click.echo(f"{len(sets[0].names)} pictures against {len(sets[1].names)}, near-duplicates: {len(pairs)}", err=True)
    if pairs:
        sys.exit(1)
