"""Our request parser beside Node's (llhttp) over a generated corpus: what both accept they must
understand alike, to the byte; where only one accepts, a named rule must say why."""
import collections
import json
import os
import struct
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# pylint: disable=wrong-import-position
import corpus
import rules
from lib.lintel import BUILD
from lib.servers import find_program

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = int(os.environ.get("DIFFERENTIAL_CASES", "24000"))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "2026"))


def run(command, cases):
    """What a parser makes of the cases."""
    data = b"".join(struct.pack("<I", len(case)) + case for case in cases)
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(cases):
    return run([os.path.join(BUILD, "tests/differential/parse_request")], cases)


def theirs(cases):
    node = find_program("node", "nodejs", package="nodejs")
    return run([node, os.path.join(HERE, "llhttp.js")], cases)


def meaning(request):
    """Everything that the two must agree on."""
    return {name: request[name] for name in ("method", "target", "minor", "fields", "body")}


def whole(found):
    return [request for request in found["requests"] if request["whole"]]


def verdict(found, i):
    """What became of the i-th request."""
    if i < len(whole(found)):
        return "accept"
    return {"reject": "reject", "more": "more"}.get(found["end"], "end")


def agreed(case, us, them):
    """How many requests both accept, all of them understood alike; None when only one goes on
    after the last of them, for a reason that is known."""
    n = 0
    for mine, other in zip(whole(us), whole(them)):
        assert meaning(mine) == meaning(other), f"{case!r}\n{mine}\n{other}"
        n += 1
        if mine["keep"] != other["keep"]:
            assert rules.is_kept_otherwise(mine, other), f"{case!r}\n{mine}\n{other}"
            return None
    return n


def differences(cases, our_results, their_results):
    """The first point of each case at which the two part."""
    for case, us, them in zip(cases, our_results, their_results):
        i = agreed(case, us, them)
        if i is not None and verdict(us, i) != verdict(them, i):
            at = us["requests"][i]["at"] if i < len(us["requests"]) else us["at"]
            yield rules.Difference(case, at, verdict(us, i), verdict(them, i), us["fault"],
                                   them["fault"])


@pytest.fixture(scope="module")
def compared():
    cases = corpus.make(CASES, SEED)
    our_results, their_results = ours(cases), theirs(cases)
    assert len(cases) == len(our_results) == len(their_results)
    return cases, our_results, their_results


def test_every_difference_is_explained(compared):
    counts, unexplained = collections.Counter(), []
    for difference in differences(*compared):
        names = rules.explain(difference)
        counts.update(names[:1])
        if not names:
            unexplained.append(str(difference))
    print(counts)
    assert unexplained == [], f"{len(unexplained)}:\n" + "\n".join(
        sorted(unexplained, key=len)[:20])


def test_the_corpus_reaches_all_of_the_parser(compared):
    """Enough of it is accepted, refused for each reason, and differs for most of the reasons."""
    _, our_results, _ = compared
    accepted = [r for found in our_results for r in found["requests"] if r["whole"]]
    assert len(accepted) > CASES // 5
    assert len([r for r in accepted if r["body"]]) > CASES // 20
    faults = collections.Counter(f["fault"] for f in our_results if f["end"] == "reject")
    assert len(faults) >= 12, faults


def test_a_wrong_parser_would_be_noticed(compared):
    """The comparison itself: a body that is one byte short, and an accepted smuggling attempt."""
    cases, our_results, their_results = compared
    at = next(i for i, (us, them) in enumerate(zip(our_results, their_results))
              if whole(us) and whole(them) and whole(us)[0]["body"])
    broken = json.loads(json.dumps(our_results[at]))
    broken["requests"][0]["body"] = broken["requests"][0]["body"][:-2]
    with pytest.raises(AssertionError):
        list(differences([cases[at]], [broken], [their_results[at]]))
    smuggled = rules.Difference(
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n", 0, "accept", "reject", "none", "")
    assert rules.explain(smuggled) == []
