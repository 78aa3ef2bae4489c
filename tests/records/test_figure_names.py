"""Names of metrics: what is in them, and headings that never stand for two figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.metrics.extractors import EXTRACTORS
from pnnbench.metrics.images import generation_names
from pnnbench.records.figure_names import heads, parsed


@pytest.mark.parametrize("network", sorted(EXTRACTORS))
def test_the_names_that_the_metrics_give_are_read_whole(network: str) -> None:
    full = EXTRACTORS[network].full_name()
    for kind, name in zip(("fid", "kid"), generation_names(full), strict=True):
        part = parsed(name)
        assert (part.kind, part.images, part.higher_is_better) == (kind, None, False)
        size, side = part.features, part.side
        assert f"{part.extractor}-{size}-{side}px-{part.digest}" == full
        assert size == EXTRACTORS[network].size
        assert EXTRACTORS[network].weights.sha256.startswith(part.digest)
    part = parsed(f"recall-{full}-n360")
    assert (part.kind, part.images, part.higher_is_better) == ("recall", 360, True)
    assert part.words.endswith(", 360 images a side")
    assert part.digest in part.source
    assert part.as_dict()["weights"] == part.digest


@pytest.mark.parametrize("name", ["mse", "psnr_db", "accuracy", "my metric", "fid", "fid-3"])
def test_a_name_without_an_extractor_is_its_own_kind(name: str) -> None:
    part = parsed(name)
    assert (part.kind, part.extractor, part.source) == (name, "", "")


def test_one_figure_of_a_kind_has_a_short_heading() -> None:
    full = "digits-32-8px-17af51a9"
    names = [f"kid-{full}", f"precision-{full}-n360", f"recall-{full}-n360", "psnr_db"]
    assert list(heads(names).values()) == ["KID", "precision", "recall", "PSNR dB"]


def test_figures_of_two_extractors_never_share_a_heading() -> None:
    names = ["kid-digits-32-8px-17af51a9", "kid-inception-v3-2048-299px-6726825d"]
    assert list(heads(names).values()) == ["KID digits", "KID inception-v3"]
    again = ["kid-digits-32-8px-17af51a9", "kid-digits-32-8px-00000000"]
    assert list(heads(again).values()) == ["KID digits 17af51a9", "KID digits 00000000"]
    counts = ["recall-digits-32-8px-17af51a9-n360", "recall-digits-32-8px-17af51a9-n80"]
    assert list(heads(counts).values()) == ["recall digits n360", "recall digits n80"]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["mse", "psnr_db", "ssim", "KID", "FID", "PSNR dB"]),
            st.builds(
                "{}-{}-{}-8px-{}{}".format,
                st.sampled_from(["fid", "kid", "precision", "recall"]),
                st.sampled_from(["digits", "net"]),
                st.sampled_from([16, 32]),
                st.sampled_from(["0a", "0b"]),
                st.sampled_from(["", "-n8", "-n9"]),
            ),
        ),
        unique=True,
    )
)
def test_headings_are_all_different(names: list[str]) -> None:
    made = heads(names)
    assert list(made) == names
    assert len(set(made.values())) == len(names)


@pytest.mark.parametrize(
    ("name", "least"),
    [("mse", 0.0), ("accuracy", 0.0), ("ssim", -1.0), ("psnr_db", None), ("my metric", None)],
)
def test_the_least_that_a_figure_can_be_is_that_of_its_bounds(
    name: str, least: float | None
) -> None:
    assert parsed(name).least == least


def test_unbiased_distances_have_no_bounds() -> None:
    full = EXTRACTORS[sorted(EXTRACTORS)[0]].full_name()
    assert [parsed(name).bounds for name in generation_names(full)] == [None, None]
