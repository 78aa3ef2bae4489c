from __future__ import annotations

import pytest

from pnnbench.errors import UserError
from pnnbench.records.index import Claim
from pnnbench.running.suite_claims import claims_of

LABELS = ["BP", "SAT", "NAT"]


def test_claims_are_read_in_their_order() -> None:
    given = [{"better": "SAT", "than": "BP"}, {"than": "SAT", "better": "NAT"}]
    assert claims_of("s.yaml: claims", given, LABELS) == (Claim("SAT", "BP"), Claim("NAT", "SAT"))
    assert claims_of("s.yaml: claims", [], LABELS) == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"better": "SAT"}, "s.yaml: claims is"),
        (["SAT"], r"claims\[0\] is 'SAT'"),
        ([{"better": "SAT"}], "the key 'than' is missing"),
        ([{"better": "SAT", "then": "BP"}], "did you mean 'than'"),
        ([{"better": "SATT", "than": "BP"}], "did you mean 'SAT'"),
        ([{"better": "SAT", "than": "SAT"}], "with itself"),
        ([{"better": "SAT", "than": ["BP"]}], "than"),
        ([{"better": "SAT", "than": "BP"}, {"better": "BP", "than": "SAT"}], "compared twice"),
        ([{"better": "SAT", "than": "BP"}] * 2, "compared twice"),
    ],
)
def test_one_clear_error_for_each_mistake(given: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        claims_of("s.yaml: claims", given, LABELS)
