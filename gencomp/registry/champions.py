"""Who reigns: versions judged, crowned, promoted and rolled back by hand, and the history of a model's champions.

A version carries all that a comparison needs as tags, so that no model is downloaded for one. Aliases say which
version is `champion` (used) and which is `challenger` (passed the gate, and lost or not yet met the champion). An
alias moves in one write, from one version to another, so there is a champion between any two steps. Each reign is a
tag of the registered model; one that an interruption left out is written by whoever comes next.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from gencomp.config import ConfigError, convert
from gencomp.evaluation.gate import Check, Measured, Tolerances, Verdict, compare, passed
from gencomp.registry.release import CHAMPION, SCHEME, find_reference, reader, store_errors
from gencomp.registry.store import RegistryError, now, store_uri

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHALLENGER = "challenger"
MEASURED_TAG = "gencomp.measured."
"""Head of the tags that hold the latest evaluation, one per field of `Measured`."""
GATE_TAG = "gencomp.gate"
COMPARISON_TAG = "gencomp.comparison"
CROWNING_TAG = "gencomp.crowning"
"""How and why a version was last made champion, written before it is."""
WITHDRAWN_TAG = "gencomp.withdrawn"
"""Why a version lost its place by hand; it then gets it back by hand alone."""
REIGN_TAG = "gencomp.reign."
"""Head of the tags of a registered model that tell of its champions; the rest is the time, by which they are sorted."""
LONGEST_REASON = 1000
"""Characters."""
NOT_JUDGED = ("evaluation_digest", "package", "fingerprint", "max_bpp", "encoder")
"""Fields of `Measured` that are no results."""

State = Literal["champion", "challenger", "rejected", "withdrawn"]
How = Literal["promoted", "rolled back"]


class Promotion(NamedTuple):
    """What a version is after it was judged, and why."""

    state: State
    reasons: list[str]


class Crowning(msgspec.Struct, frozen=True):
    """How a version became champion."""

    how: How
    reason: str


class Reign(NamedTuple):
    """A version's time as champion, which ends where the next one begins."""

    version: str
    time: int
    """Of its beginning, milliseconds since 1970; of one that an interruption left out, when that was noticed."""
    how: How
    reason: str


class Change(NamedTuple):
    """What a move by hand did; equal versions where there was nothing to do."""

    name: str
    before: str | None
    """The version that was champion."""
    after: str
    """The version that is champion now."""


def record(client: "MlflowClient", version: "ModelVersion", measured: Measured, verdict: Verdict) -> None:
    """Write evaluation and verdict to the tags of a version, where they differ."""
    outcome = {GATE_TAG: "passed" if verdict.passed else "failed"}
    set_tags(client, version, measured_tags(measured) | outcome | _reason_tags(GATE_TAG, verdict.checks))


def promote(
    client: "MlflowClient",
    version: "ModelVersion",
    measured: Measured,
    verdict: Verdict,
    tolerances: Tolerances,
    evaluate: Callable[["ModelVersion"], Measured],
) -> Promotion:
    """Give a recorded version the alias that it has earned; at no moment is there no champion.

    `evaluate` measures another version on the current evaluation; it is asked only when that one's tags tell of
    another evaluation.
    """
    champion = alias_holder(client, version.name, CHAMPION)
    if champion is not None and _same(champion, version):
        _note(client, version.name)
        _drop_challenger(client, version)
        return Promotion("champion", _failures(verdict.checks))
    if not verdict.passed:
        _drop_challenger(client, version)
        return Promotion("rejected", _failures(verdict.checks))
    if WITHDRAWN_TAG in version.tags:
        _drop_challenger(client, version)
        back = f"`gencomp models promote {SCHEME}{version.name}/{version.version}` takes it back"
        return Promotion("withdrawn", [version.tags[WITHDRAWN_TAG], back])
    if champion is None:
        first = "there was no champion"
        set_tags(client, version, {COMPARISON_TAG: first})
        _crown(client, version, Crowning("promoted", first))
        return Promotion("champion", [])
    _set_alias(client, version, CHALLENGER)
    try:
        checks = compare(measured, _measured(client, champion, measured, evaluate), tolerances)
    except RegistryError as error:
        why = f"champion version {champion.version} could not be evaluated: {error}"
        set_tags(client, version, {COMPARISON_TAG: why})
        return Promotion("challenger", [why])
    against = f"{'not worse' if passed(checks) else 'worse'} than version {champion.version}"
    set_tags(client, version, {COMPARISON_TAG: against} | _reason_tags(COMPARISON_TAG, checks))
    if passed(checks):
        _crown(client, version, Crowning("promoted", against))
        return Promotion("champion", [against])
    return Promotion("challenger", [against, *_failures(checks)])


def promote_by_hand(ref: str, reason: str, *, force: bool = False, uri: str | None = None) -> Change:
    """Make the version `models:/name/version` or `models:/name@alias` the champion, whatever it is compared with.

    The former champion is withdrawn: later runs of the pipeline leave it alone. Raises RegistryError, also for a
    version that did not pass the gate, unless `force` is given.
    """
    uri = uri or store_uri()
    with store_errors(uri):
        client = reader(uri)
        version = find_reference(client, ref, uri)
        champion = alias_holder(client, version.name, CHAMPION)
        if champion is not None and _same(champion, version):
            _note(client, version.name)
            return Change(version.name, str(version.version), str(version.version))
        if version.tags.get(GATE_TAG) != "passed" and not force:
            raise RegistryError(f"{ref} did not pass the gate ({_refusal(version)}): --force promotes it nevertheless")
        why = f"by hand: {reason}"
        if champion is not None:
            _withdraw(client, champion, f"version {version.version} took its place {why}")
        _crown(client, version, Crowning("promoted", _shortened(why)))
        return Change(version.name, None if champion is None else str(champion.version), str(version.version))


def roll_back(name: str, reason: str, *, uri: str | None = None) -> Change:
    """Give the place of champion back to the one before; again, to the one before that.

    The version that loses it is withdrawn: later runs of the pipeline leave it alone. A call that was interrupted is
    finished by the next one, not repeated. Raises RegistryError.
    """
    uri = uri or store_uri()
    with store_errors(uri):
        client = reader(uri)
        champion = alias_holder(client, _known(client, name, uri), CHAMPION)
        if champion is None:
            raise RegistryError(f"{name} has no champion: `gencomp models promote {SCHEME}{name}/VERSION` makes one")
        noted = _reigns(client, name)
        _note(client, name)
        if noted and noted[-1].version != str(champion.version) and _crowning(champion).how == "rolled back":
            return Change(name, noted[-1].version, str(champion.version))
        there = {str(version.version): version for version in client.search_model_versions(f"name = '{name}'")}
        former = next((number for number in predecessors(_reigns(client, name)) if number in there), None)
        if former is None:
            raise RegistryError(
                f"{name}: no champion before version {champion.version} is known: "
                f"`gencomp models promote {SCHEME}{name}/VERSION` makes another one"
            )
        _withdraw(client, champion, f"rolled back by hand: {reason}")
        _crown(client, there[former], Crowning("rolled back", _shortened(f"by hand: {reason}")))
        return Change(name, str(champion.version), former)


def history(name: str, *, uri: str | None = None) -> list[Reign]:
    """The champions of a registered model, the first one first. Raises RegistryError."""
    uri = uri or store_uri()
    with store_errors(uri):
        client = reader(uri)
        return _reigns(client, _known(client, name, uri))


def predecessors(reigns: Iterable[Reign]) -> list[str]:
    """The versions to roll back to, the nearest first: what was rolled back is forgotten."""
    line: list[str] = []
    for reign in reigns:
        if reign.how == "rolled back" and reign.version in line:
            while line[-1] != reign.version:
                line.pop()
        else:
            line.append(reign.version)
    return line[-2::-1]


def alias_holder(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    """The version that carries an alias."""
    number = client.get_registered_model(name).aliases.get(alias)
    return None if number is None else client.get_model_version(name, str(number))


def set_tags(client: "MlflowClient", version: "ModelVersion", tags: Mapping[str, str]) -> None:
    """Set those tags of a version that differ."""
    for name, value in tags.items():
        if version.tags.get(name) != value:
            client.set_model_version_tag(version.name, version.version, name, value)


def measured_tags(measured: Measured) -> dict[str, str]:
    """An evaluation as tags; numbers keep all their digits."""
    fields = msgspec.to_builtins(measured)
    return {f"{MEASURED_TAG}{name}": msgspec.json.encode(value).decode() for name, value in fields.items()}


def read_measured(tags: Mapping[str, str]) -> Measured:
    """The evaluation that tags tell of. Raises RegistryError when they do not."""
    try:
        fields = {
            name.removeprefix(MEASURED_TAG): msgspec.json.decode(value)
            for name, value in tags.items()
            if name.startswith(MEASURED_TAG)
        }
        return convert(fields, Measured, "tags")
    except (ConfigError, msgspec.DecodeError) as error:
        raise RegistryError(str(error)) from None


def _measured(
    client: "MlflowClient",
    champion: "ModelVersion",
    candidate: Measured,
    evaluate: Callable[["ModelVersion"], Measured],
) -> Measured:
    """The champion on the candidate's pictures, within its limit, by the same encoder and all of its metrics: as
    recorded, or measured now and recorded."""
    recorded, current = champion.tags, measured_tags(candidate)
    same = [f"{MEASURED_TAG}{name}" for name in ("evaluation_digest", "max_bpp", "encoder")]
    lacks = [tag for tag, value in current.items() if value != "null" and recorded.get(tag, "null") == "null"]
    judged = [tag for tag in lacks if tag.removeprefix(MEASURED_TAG) not in NOT_JUDGED]
    if not judged and all(recorded.get(tag) == current[tag] for tag in same):
        return read_measured(recorded)
    measured = evaluate(champion)
    set_tags(client, champion, measured_tags(measured))
    return measured


def _crown(client: "MlflowClient", version: "ModelVersion", crowning: Crowning) -> None:
    """Make a version champion: who reigns so far is noted, why it ends is written down, the alias moves, that is noted.

    Interrupted anywhere and repeated, it ends in the same tags and aliases, of which `champion` is never absent.
    """
    _note(client, version.name)
    if WITHDRAWN_TAG in version.tags:
        client.delete_model_version_tag(version.name, version.version, WITHDRAWN_TAG)
    set_tags(client, version, {CROWNING_TAG: msgspec.json.encode(crowning).decode()})
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    _drop_challenger(client, version)
    _note(client, version.name)


def _withdraw(client: "MlflowClient", version: "ModelVersion", reason: str) -> None:
    set_tags(client, version, {WITHDRAWN_TAG: _shortened(reason)})


def _note(client: "MlflowClient", name: str) -> None:
    """Write the present champion's reign down, if it is not yet."""
    champion = alias_holder(client, name, CHAMPION)
    reigns = _reigns(client, name)
    if champion is None or (reigns and reigns[-1].version == str(champion.version)):
        return
    time = max(now(), reigns[-1].time + 1 if reigns else 0)
    crowning = _crowning(champion)
    value = {"version": str(champion.version), "how": crowning.how, "reason": crowning.reason}
    client.set_registered_model_tag(name, f"{REIGN_TAG}{time:013d}", msgspec.json.encode(value).decode())


def _crowning(version: "ModelVersion") -> Crowning:
    """As its tag tells; a version may have been crowned by something else, such as MLflow's own pages."""
    try:
        return msgspec.json.decode(version.tags.get(CROWNING_TAG, ""), type=Crowning)
    except msgspec.DecodeError:
        return Crowning("promoted", "not by gencomp")


def _reigns(client: "MlflowClient", name: str) -> list[Reign]:
    found = []
    for tag, value in client.get_registered_model(name).tags.items():
        if tag.startswith(REIGN_TAG):
            fields = msgspec.json.decode(value)
            time = int(tag.removeprefix(REIGN_TAG))
            found.append(Reign(fields["version"], time, fields["how"], fields["reason"]))
    return sorted(found, key=lambda reign: reign.time)


def _known(client: "MlflowClient", name: str, uri: str) -> str:
    """The name of a registered model, which must be there."""
    find = [model.name for model in client.search_registered_models(max_results=1000)]
    if name not in find:
        raise RegistryError(f"there is no model {name}; there are: {', '.join(sorted(find)) or 'none'}")
    return name


def _refusal(version: "ModelVersion") -> str:
    failed = [
        f"{tag.removeprefix(f'{GATE_TAG}.')}: {value.removeprefix('failed: ')}"
        for tag, value in sorted(version.tags.items())
        if tag.startswith(f"{GATE_TAG}.") and value.startswith("failed: ")
    ]
    return "; ".join(failed) or "it has no verdict"


def _shortened(reason: str) -> str:
    return " ".join(reason.split())[:LONGEST_REASON]


def _same(one: "ModelVersion", other: "ModelVersion") -> bool:
    return str(one.version) == str(other.version)


def _set_alias(client: "MlflowClient", version: "ModelVersion", alias: str) -> None:
    holder = alias_holder(client, version.name, alias)
    if holder is None or not _same(holder, version):
        client.set_registered_model_alias(version.name, alias, version.version)


def _drop_challenger(client: "MlflowClient", version: "ModelVersion") -> None:
    holder = alias_holder(client, version.name, CHALLENGER)
    if holder is not None and _same(holder, version):
        client.delete_registered_model_alias(version.name, CHALLENGER)


def _reason_tags(head: str, checks: list[Check]) -> dict[str, str]:
    return {f"{head}.{check.name}": f"{'passed' if check.passed else 'failed'}: {check.reason}" for check in checks}


def _failures(checks: list[Check]) -> list[str]:
    return [f"{check.name}: {check.reason}" for check in checks if not check.passed]
