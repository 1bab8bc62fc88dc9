"""Decode the shipped vectors once for all gates: does this code find the symbols and colours that it must?"""

from pathlib import Path

import msgspec

from gencomp.codec.conformance import read_vectors, verdicts
from gencomp.data.atomic import replacing
from gencomp.evaluation.gate import SelfTest
from stages.entry import run

DEVICE = "cpu"


def main() -> None:
    """Write selftest/cpu.json; a vector that decodes otherwise is a result, on which the gates fail."""
    found = list(verdicts(read_vectors(), DEVICE))
    failed = [one for one in found if not one.passed]
    result = msgspec.json.encode(SelfTest(vectors=len(found), failed=len(failed)))
    with replacing(Path(f"selftest/{DEVICE}.json")) as temporary:
        temporary.write_bytes(msgspec.json.format(result) + b"\n")
    for one in failed:
        print(f"{one.model}, {one.entropy}, {one.width} x {one.height}: decodes otherwise")
    print(f"{len(found)} vectors, {len(failed)} failed")


if __name__ == "__main__":
    run(main)
