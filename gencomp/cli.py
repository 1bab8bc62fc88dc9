"""`gencomp`: compress and decompress pictures, look into streams; the other commands are in `gencomp.commands`.

Exit codes: 0 done, 1 failed, 2 refused input. Errors are one line on stderr. Network libraries are imported by the
commands that run networks, so that the others start fast.
"""

import functools
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
from gencomp.commands.data import data
from gencomp.commands.ending import ended_in_order
from gencomp.commands.evaluate import evaluate
from gencomp.commands.export import export
from gencomp.commands.models import cache, has_store, models
from gencomp.commands.options import FilePath, effort_option, model_option
from gencomp.commands.selftest import selftest
from gencomp.commands.serve import serve
from gencomp.commands.study import study
from gencomp.commands.weights import weights
from gencomp.files import (
    PIPE,
    FileOrPipe,
    RefusedError,
    called,
    check_paths,
    check_source,
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

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Of pictures that are written."""
READ_ENDINGS = (*PICTURE_ENDINGS, ".avif", ".bmp", ".gif", ".jp2", ".pgm", ".ppm", ".tif", ".tiff")
"""Of pictures that are looked for in folders."""
STREAM_ENDING = ".gnc"

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
            with ended_in_order():
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except BrokenPipeError:  # whoever read has seen enough; click then says nothing
            raise
        except Exception as error:  # users get one line, whatever failed
            click.echo(f"gencomp: {one_line(error)}", err=True)
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


for command in (compare, data, evaluate, export, models, selftest, serve, study, weights):
    main.add_command(command)


@main.command()
@click.argument("source", metavar="IN", type=FileOrPipe())
@click.argument("target", metavar="OUT", type=FileOrPipe())
@model_option
@click.option("--channels", metavar="C", type=click.IntRange(1, MAX_CHANNELS), help="Code the first C channels.")
@click.option(
    "--max-bpp",
    metavar="X",
    type=click.FloatRange(0, min_open=True),
    help=f"Fill X bits per pixel with as many channels as they take.  [default: {DEFAULT_MAX_BPP}]",
)
@click.option(
    "--max-bytes",
    metavar="N",
    type=click.IntRange(1),
    help="Fill N bytes with as many channels as they take.",
)
@effort_option
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
    are coded, as the shipped ones are; where a limit has room for most of one more, it is thinned until it fits. Other
    models code all of theirs: to them, a limit is a check, and there is none by default.

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
