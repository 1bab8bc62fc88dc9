"""`gencomp study`: which of two reconstructions do people prefer? Made, served, exported, analysed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gencomp.commands.options import FilePath
from gencomp.files import RefusedError, check_new_folder, check_target

folder_argument = click.argument("folder", metavar="DIR", type=FilePath)
database_option = click.option(
    "--db", "database", metavar="FILE", type=FilePath, help="Of votes.  [default: DIR/votes.sqlite]"
)


@click.group()
def study() -> None:
    """Ask people which of two reconstructions they prefer, with the original in sight. docs/study.md has the whole way.

    \b
    Example:
      gencomp study collect evaluation/gc --anchors anchors/photos --originals data/shards/photos --output pictures
      gencomp study make pictures --model gc --against bpg --output study
      gencomp study serve study
      gencomp study analyse study
    """


@study.command()
@click.argument("models", metavar="EVALUATION...", nargs=-1, required=True, type=FilePath)
@click.option("--anchors", metavar="DIR", type=FilePath, help="Classical codecs of the same pictures.")
@click.option("--codec", "codecs", metavar="NAME", multiple=True, help="Of the anchors, these alone.")
@click.option("--originals", metavar="DIR", type=FilePath, required=True, help="Shards, or a folder of pictures.")
@click.option("--split", default="val", show_default=True, help="Of the shards.")
@click.option("--output", metavar="DIR", type=FilePath, required=True, help="A new folder.")
def collect(
    models: tuple[Path, ...], anchors: Path | None, codecs: tuple[str, ...], originals: Path, split: str, output: Path
) -> None:
    """Collect decoded pictures out of the pipeline's folders EVALUATION and DIR of the anchors, for `study make`.

    \b
    Example:
      gencomp study collect evaluation/gc --anchors anchors/photos --originals data/shards/photos --output pictures
    """
    with _refusals():
        from gencomp.evaluation.study.pictures import collect as run

        check_new_folder(output)
        count = run(models, anchors, originals, split, codecs, output)
    click.echo(f"{output}: {count} decoded pictures")


@study.command()
@click.argument("evaluation", metavar="EVALUATION", type=FilePath)
@click.option("--model", "models", metavar="CODEC", multiple=True, help="What is compared with the others; repeatable.")
@click.option("--against", metavar="CODEC", multiple=True, help="What it is compared with.  [default: all others]")
@click.option(
    "--ratio",
    "ratios",
    metavar="X",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    default=(1.0, 1.5, 2.0, 3.0, 4.0),
    show_default=True,
    help="Rungs: bytes of the other to bytes of the model.",
)
@click.option("--trials", type=click.IntRange(1), default=40, show_default=True, help="Pairs for one participant.")
@click.option("--catch", type=click.IntRange(1), default=6, show_default=True, help="Catch trials among them.")
@click.option("--repeats", type=click.IntRange(0), default=4, show_default=True, help="Pairs that are asked twice.")
@click.option("--schedules", type=click.IntRange(1), default=100, show_default=True, help="Different orders.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--title", default="Which copy is better?", show_default=True)
@click.option(
    "--question", default="Which of the two is the better copy of the original?", show_default=True, help="Every time."
)
@click.option("--welcome", metavar="FILE", type=FilePath, help="Text that participants read first: who asks, and why.")
@click.option("--output", metavar="DIR", type=FilePath, required=True, help="A new folder.")
def make(
    evaluation: Path,
    models: tuple[str, ...],
    against: tuple[str, ...],
    ratios: tuple[float, ...],
    trials: int,
    catch: int,
    repeats: int,
    schedules: int,
    seed: int,
    title: str,
    question: str,
    welcome: Path | None,
    output: Path,
) -> None:
    """Make a study in DIR out of EVALUATION: a pictures.csv, or a folder that holds one.

    Its columns are key, codec, setting, bytes, picture and original, the last two paths of picture files. For every
    picture and rung, the other codec's file that is nearest to so many times the model's bytes is shown against the
    model's. Several models are compared with each other too.

    \b
    Example:
      gencomp study make pictures --model gc --against bpg --ratio 1 --ratio 1.5 --ratio 2 --output study
    """
    with _refusals():
        from gencomp.evaluation.study.make import Wanted, make_study

        text = "" if welcome is None else welcome.read_text(encoding="utf-8").strip()
        wanted = Wanted(
            models, against, tuple(sorted(set(ratios))), trials, catch, repeats, schedules, seed, title, text, question
        )
        made = make_study(evaluation, wanted, output, lambda line: click.echo(f"gencomp: {line}", err=True))
    asked = len(made.schedules[0])
    click.echo(
        f"{output}: {len(made.pairs)} pairs, {len(made.catches)} catch trials, {len(made.schedules)} schedules "
        f"of {asked} questions"
    )


@study.command()
@folder_argument
@database_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="0 takes a free one.")
@click.option("--max-participants", type=click.IntRange(1), default=10_000, show_default=True)
def serve(folder: Path, database: Path | None, host: str, port: int, max_participants: int) -> None:
    """Serve the study in DIR to browsers; needs gencomp[serve]. Votes go to an SQLite database.

    \b
    Example:
      gencomp study serve study --port 8001
    """
    try:
        from gencomp.evaluation.study.ballots import DATABASE
        from gencomp.evaluation.study.server import Ready
        from gencomp.evaluation.study.server import serve as run
    except ModuleNotFoundError as error:
        raise RefusedError(f"serving needs {error.name}: pip install 'gencomp[serve]'") from None

    def announce(ready: Ready) -> None:
        participants, votes = ready.counts
        click.echo(
            f"{ready.url} serves {ready.title!r}, {participants} participants and {votes} votes so far; Ctrl-C ends it"
        )
        if not ready.loopback:
            click.echo("gencomp: other machines reach it, without password or encryption", err=True)

    with _refusals():
        run(folder, database or folder / DATABASE, host, port, max_participants, announce)


@study.command()
@folder_argument
@database_option
@click.option("--output", metavar="CSV", type=FilePath, help="A file.  [default: standard output]")
@click.option("--force", is_flag=True, help="Replace CSV if it exists.")
def export(folder: Path, database: Path | None, output: Path | None, force: bool) -> None:
    """Write every vote on the study in DIR as CSV, also while it is served.

    \b
    Example:
      gencomp study export study --output votes.csv
    """
    with _refusals():
        from gencomp.data.atomic import replacing
        from gencomp.evaluation.study.ballots import ballots_csv, read_ballots

        if output is not None:
            check_target(output, force)
        if not folder.is_dir():
            raise RefusedError(f"{folder}: no such folder")
        rows = read_ballots(folder, database)
        if output is None:
            click.echo(ballots_csv(rows), nl=False)
            return
        with replacing(output) as temporary:
            temporary.write_text(ballots_csv(rows), encoding="utf-8")
    click.echo(f"{output}: {len(rows)} votes")


@study.command()
@click.argument("place", metavar="DIR|CSV", type=FilePath)
@database_option
@click.option("--json", "json_file", metavar="FILE", type=FilePath, help="Write the numbers there too.")
@click.option("--html", "html_file", metavar="FILE", type=FilePath, help="Write them with a chart there too.")
@click.option(
    "--catch-share",
    type=click.FloatRange(0, 1),
    default=0.8,
    show_default=True,
    help="Of their catch trials, what participants must have got right to count.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
def analyse(
    place: Path,
    database: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    catch_share: float,
    seed: int,
) -> None:
    """Say what the votes on the study in DIR, or those in an exported CSV, tell.

    Preference by rate with Wilson intervals, a Bradley-Terry ranking and the rate at which the other codec is no longer
    beaten, both with intervals by a bootstrap over participants. All intervals are of 95 %.

    \b
    Example:
      gencomp study analyse study --json results.json --html results.html
    """
    with _refusals():
        from gencomp.data.atomic import replacing
        from gencomp.evaluation.study.analysis import analyse as run
        from gencomp.evaluation.study.ballots import read_ballots
        from gencomp.evaluation.study.results import results_html, results_json, results_text

        results = run(read_ballots(place, database), catch_share, seed)
        for file, render in ((json_file, results_json), (html_file, results_html)):
            if file is not None:
                with replacing(file) as temporary:
                    temporary.write_text(render(results), encoding="utf-8")
    click.echo(results_text(results), nl=False)


@contextmanager
def _refusals() -> Iterator[None]:
    """What is wrong with what was given ends in one line and exit code 2."""
    from gencomp.evaluation.held_out import HeldOutError
    from gencomp.evaluation.study.failure import StudyError

    try:
        yield
    except (StudyError, HeldOutError) as error:
        raise RefusedError(str(error)) from None
