from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.statistics import Interval
from pnnbench.records.folders import read_records
from pnnbench.report import comparing, notes, text
from pnnbench.report import formatting as fmt
from pnnbench.report.page import write_page
from pnnbench.report.render import render

from ..record_factory import (
    METHODS,
    RECALIBRATED,
    make_failure,
    make_later_suite,
    make_mesh_record,
    make_mesh_suite,
    make_record,
    make_suite,
    write_job,
)

ROOT = Path(__file__).resolve().parents[2]
PICTURE = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/x">\n'
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><path id="a" d="M0 0h10"/></svg>'
)
EVIL = "</script><script>alert(1)</script><b>"


@pytest.fixture(scope="module")
def tables() -> list[ranking.Table]:
    suite = [r for r in make_suite([*METHODS, "BP 2x"]) if _key(r) != ("NAT", 2)]
    return ranking.build([*suite, make_failure("NAT", 2), *make_suite(["SAT", "BP"], tier="quick")])


def _key(record: dict) -> tuple[str, int]:
    return record["job"]["method"]["label"], record["job"]["seed"]


class Page(HTMLParser):
    """Collects what a test asks about; refuses tags that do not nest."""

    VOID = frozenset({"meta", "img", "br", "line", "link", "input", "hr"})

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.feed(source)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.data.setdefault(self.stack[-1], []).append(data)
        if "td" in self.stack or "th" in self.stack:
            self.rows[-1][-1] += " " + data.strip()


def test_table_is_aligned_and_fits_a_terminal(tables) -> None:
    assert max(map(len, render(tables, "table").splitlines())) <= text.WIDTH
    lines = render(tables[1:], "table").splitlines()
    head = next(i for i, line in enumerate(lines) if line.lstrip().startswith("rank"))
    rule = lines[head + 1]
    assert set(rule) == {"─", " "}
    ends = [match.end() for match in re.finditer("─+", rule)]
    body = lines[head + 2 : head + 8]
    for line in body:
        assert len(line) == len(rule)
        # Every gap between columns is blank on every line.
        assert all(line[end] == " " for end in ends[:-1])
    best = tables[1].rows[0]
    assert (best.rank_low, best.method) == (1, "SAT")
    assert body[0].split()[:2] == [comparing.rank(best), "SAT"]


def test_table_marks_ties_missing_seeds_failures_and_silent_groups(tables) -> None:
    shown = render(tables, "table")
    assert re.search(r"^ *\d–\d  BP 2x", shown, re.M)
    assert re.search(r"^\d–\d BP: (not told apart from .*BP 2x|told apart only from )", shown, re.M)
    assert re.search(r"^told apart: \d+ of 10 pairs of complete rows", shown, re.M)
    assert "smallest difference that shows with 80 % power: " in shown
    assert "NAT *" in shown
    assert "incomplete: NAT has 2 of 3 seeds (missing: 2)" in shown
    assert "failed: NAT, seed 2: diverged (Diverged: the loss is not finite at step 412)" in shown
    assert "1 of 13 cell groups carries no weight in the score, as the workload" in shown
    assert "robust and differences over seeds and devices" in shown
    assert shown.count("protocol pnnbench-2") == 2


def test_a_long_method_name_is_cut_and_the_table_still_fits(tables) -> None:
    record = make_record("SAT", sealed=False)
    record["job"]["method"]["label"] = "sharpness-aware training with an adaptive radius, " * 3
    shown = render(ranking.build([record]), "table")
    assert max(map(len, shown.splitlines())) <= text.WIDTH
    assert "…" in shown


def test_mesh_tables_show_device_and_cost_and_fit_a_terminal() -> None:
    shown = render(ranking.build(make_mesh_suite()), "table")
    assert max(map(len, shown.splitlines())) <= text.WIDTH
    assert "Training device, fresh devices of the same severity (0.15 rad)" in shown
    assert re.search(r"^method +training device % +fresh devices % +transfer", shown, re.M)
    assert re.search(r"^PAT +8\d\.\d\d ±", shown, re.M)
    assert (
        "training time relative to BP, CPU time where it ran on a CPU, paired by seed"
        in " ".join(shown.split())
    )


def test_the_published_protocol_says_that_it_is_not_ranked() -> None:
    tables = ranking.build(make_mesh_suite(protocol="published"))
    shown = render(tables, "table")
    assert max(map(len, shown.splitlines())) <= text.WIDTH
    assert "protocol published · not ranked" in shown
    assert notes.NOT_RANKED in shown
    for words in ("rank  ", "robust", "worst tenth", "vs BP", "told apart"):
        assert words not in shown
    # What does not fit beside goes below, with the methods in front again.
    heads = [line.split() for line in shown.splitlines() if line.startswith("method")]
    assert len(heads) == 3
    assert heads[1][-3:] == ["time", "/", "BP"]
    assert heads[2][1:3] == ["0.03", "rad"]
    labels = [line for line in shown.splitlines() if line.startswith("SAT in situ")]
    assert len(labels) == 3
    markdown = render(tables, "markdown")
    assert "not ranked" in markdown
    assert "| rank" not in markdown
    data = json.loads(render(tables, "json"))
    assert {row["rank_low"] for row in data["rows"]} == {None}
    assert "comparisons" not in data["tables"][0]
    assert data["tables"][0]["ranked"] is False


def test_a_long_label_leaves_room_for_the_columns_beside() -> None:
    records = [make_mesh_record("PAT", sealed=False), make_mesh_record("BP")]
    records[0]["job"]["method"]["label"] = "physics-aware training on the chip, " * 4
    shown = render(ranking.build(records), "table")
    assert max(map(len, shown.splitlines())) <= text.WIDTH
    assert "time / BP" in shown


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40, 10])
def test_a_table_fits_any_width_and_cuts_no_figure(tables, width: int) -> None:
    every = [*tables, *ranking.build(make_mesh_suite())]
    shown = render(every, "table", width=width)
    assert max(map(len, shown.splitlines())) <= max(width, text.NARROWEST)
    words = set(re.findall(r"[^\s,;]+", shown))
    for table in every:
        for row in table.rows:
            for interval in (row.clean, row.robust, row.worst_decile):
                assert fmt.plus_minus(interval, share=True).split()[0] in words
            assert any(word.startswith(row.method.split()[0].strip(",")[:8]) for word in words)
    if width == 40:
        heads = [line for line in shown.splitlines() if re.match(r"(rank +)?method ", line)]
        assert len(heads) > len(every) * 3, "columns stand below each other"


def test_a_wide_table_is_cut_at_its_labels_first() -> None:
    record = make_record("SAT", sealed=False)
    record["job"]["method"]["label"] = "sharpness-aware training, adaptive radius"
    built = ranking.build([record, make_record("BP")])
    natural = max(map(len, render(built, "table", width=200).splitlines()[2:6]))
    shown = render(built, "table", width=natural - 10)
    assert "sharpness-aware training, adap…" in shown
    assert sum(line.startswith("rank") for line in shown.splitlines()) == 1


def test_csv_has_the_fields_of_the_json_rows(tables) -> None:
    lines = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    rows = [row.as_dict() for table in tables for row in table.rows]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert line["method"] == row["method"]
        for key in ("clean", "robust", "worst_decile"):
            for part in ("mean", "low", "high"):
                value = row[key][part]
                assert line[f"{key}.{part}"] == ("" if value is None else str(value))
        assert line["seeds"] == ";".join(map(str, row["seeds"]))
        assert line["data.fingerprint"] == row["data"]["fingerprint"]


def test_json_is_the_rows_and_reads_back(tables) -> None:
    data = json.loads(render(tables, "json"))
    rows = [row for table in tables for row in table.rows]
    assert data["rows"] == [row.as_dict() for row in rows]
    assert len(data["tables"]) == 2
    assert {"groups", "correlations", "provenance"} <= set(data["tables"][0])


def test_markdown_has_one_cell_per_column(tables) -> None:
    lines = render(tables, "markdown").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    # Scores, and below them each row against the baseline and what training took.
    assert counts == {9, 4}
    assert len(rows) == 3 * (2 + 6) + 3 * (2 + 2)


def test_markdown_escapes_a_label() -> None:
    record = make_record("SAT", sealed=False)
    record["job"]["method"]["label"] = "a|b*c"
    assert "a\\|b\\*c" in render(ranking.build([record]), "markdown")


def test_an_unknown_format_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'markdown'"):
        render([], "markdwon")


@pytest.mark.parametrize("format", ["table", "markdown", "html", "json"])
def test_no_records_render_too(format: str) -> None:
    assert render([], format).strip()


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (0.98765, {"share": True}, "98.77"),
        (-0.012, {"share": True, "sign": True}, "−1.20"),
        (0.012, {"share": True, "sign": True}, "+1.20"),
        (-1e-9, {"share": True, "sign": True}, "0.00"),
        (None, {}, "–"),
        (12.3456, {}, "12.35"),
    ],
)
def test_numbers(value: float | None, options: dict, expected: str) -> None:
    assert fmt.number(value, **options) == expected


def test_intervals_of_a_share_are_cut_for_display_only() -> None:
    interval = Interval(0.99, 0.97, 1.01, ("seeds",))
    assert fmt.ends(interval, share=True) == "97.00 to 100.00"
    assert fmt.plus_minus(interval, share=True) == "99.00 ±2.00"
    assert fmt.ends(Interval(0.5), share=True) == ""
    assert fmt.eigenvalue(Interval(1.234, 0.81, 1.9)) == "1.23 (0.81 to 1.9)"
    assert (fmt.count(18_740), fmt.count(0), fmt.count(2.5e6)) == (
        "18.7 k",
        "0",
        "2.5 M",
    )
    assert (fmt.seconds(61.24), fmt.seconds(600), fmt.seconds(12_600)) == (
        "61.2 s",
        "10 min",
        "3.5 h",
    )


def test_page_loads_nothing_and_embeds_its_own_data(tables) -> None:
    source = render(tables, "html", pictures={"Degradation": PICTURE})
    page = Page(source)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            value = attributes.get(name)
            if value is not None and tag != "a":
                assert value.startswith(("data:", "#"))
    assert "@import" not in source
    assert "url(" not in source
    embedded = json.loads("".join(page.data["script"][:1]))
    assert embedded == text.as_json(tables)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["Degradation"]
    assert "prefers-color-scheme: dark" in source


def test_page_shows_the_figures_of_the_rows(tables) -> None:
    page = Page(render(tables, "html"))
    row = tables[0].rows[0]
    line = next(r for r in page.rows if len(r) == 10 and "SAT" in r[1] and "rho = 0.05" in r[1])
    share = {"share": True}
    assert fmt.number(row.robust.mean, **share) in line[2]
    assert fmt.ends(row.robust, **share) in line[2]
    assert fmt.number(row.difference.mean, **share, sign=True) in line[3]
    assert fmt.ends(row.simultaneous, **share, clip=False, sign=True) in line[3]
    assert "alone " + fmt.ends(row.difference, **share, clip=False, sign=True) in line[3]
    assert f"{100 * row.superiority.share:.0f} %" in line[4]
    assert line[8].strip() == "–"  # the records do not say what they know
    assert "3 × 20" in line[9]
    everything = " ".join(piece for pieces in page.data.values() for piece in pieces)
    for words in ("no weight", "Diverged: the loss is not finite", "torch 2.15.0", "0123456789ab"):
        assert words in everything
    titles = [a.get("title", "") for tag, a in page.tags if tag == "td" and a.get("title")]
    assert any(title.startswith("not told apart from") and "BP 2x" in title for title in titles)
    assert "95 % interval over seeds and devices" in titles
    grey = [a for tag, a in page.tags if tag == "tr" and a.get("class") == "chance"]
    silent = sum(not group.counted for table in tables for group in table.groups)
    assert len(grey) == silent > 0


def test_settings_of_a_board_are_folded_for_all_rows_or_for_none() -> None:
    (table,) = ranking.build(make_suite(["SAT", "BP", "NAT"]))

    def folded(params: dict[str, float]) -> int:
        first, *others = table.rows
        with_some = [dataclasses.replace(row, params={"lr": 0.1}) for row in others]
        rows = [dataclasses.replace(first, params=params), *with_some]
        shown = render([dataclasses.replace(table, rows=rows)], "html")
        return shown.count('<details class="set">')

    assert folded({f"a_setting_with_a_long_name_{i}": 0.1 for i in range(3)}) == 3
    assert folded({"rho": 0.1}) == 0


@pytest.fixture(scope="module")
def later() -> list[ranking.Table]:
    return ranking.build(make_later_suite(headline=RECALIBRATED))


def score_tables(page: Page) -> list[list[list[str]]]:
    """The tables of scores of a page, each as its rows below the heading."""
    found: list[list[list[str]]] = []
    for row in page.rows:
        if row and row[0].strip() == "Rank":
            found.append([])
        elif found and len(row) == 10:
            # On narrow screens the rank stands below the method.
            row = [re.sub(r" rank \d+(–\d+)?(?= |$)", "", cell).strip() for cell in row]
            found[-1].append(row)
    return found


def test_page_has_a_switch_without_script_for_rows_that_know_the_tested_law(later) -> None:
    page = Page(render(later, "html"))
    assert [tag for tag, _ in page.tags].count("details") == 4  # two per deployment
    whole, kept = score_tables(page)[:2]
    assert {row[1] for row in whole} - {row[1] for row in kept} == {
        row[1] for row in whole if row[8] == "tested law"
    }
    # The figures are the same; ranks and what holds for all rows at once are of the rows shown.
    figures = {row[1]: row for row in whole}
    for row in kept:
        assert row[2:3] + row[4:] == figures[row[1]][2:3] + figures[row[1]][4:]
        assert row[3].split()[0] == figures[row[1]][3].split()[0]
    assert (whole[0][0][0], whole[0][8]) == ("1", "tested law")
    assert kept[0][0][0] == "1"
    assert [row[0] for row in kept] == [
        comparing.rank(row) for row in ranking.without(later[0], ("tested law",)).rows
    ]
    assert "337 k queries" in next(row for row in whole if row[1] == "Pruning")[8]


def test_every_format_shows_both_deployments_with_their_queries(later) -> None:
    page = render(later, "html")
    assert "<small>offset-calibrated (headline)</small>" in page
    assert "<small>frozen</small>" in page
    assert 'href="#table-2">frozen' in page
    for shown in (render(later, "table"), render(later, "markdown")):
        first, second = shown.index("offset-calibrated (headline)"), shown.index("· frozen")
        assert first < second
        assert "queries/device" in shown[first:second]
        assert "queries/device" not in shown[second:]
    assert "with 256 images and 512 hardware queries" in render(later, "table").replace("\n  ", " ")
    data = json.loads(render(later, "json"))
    assert [table["deployment"] for table in data["tables"]] == [RECALIBRATED, "frozen"]
    assert [table["headline"] for table in data["tables"]] == [True, False]
    for name in (RECALIBRATED, "frozen"):
        mine = [row for row in data["rows"] if row["deployment"] == name]
        assert {row["method"] for row in mine} == set(METHODS)
        assert {row.get("calibration", {}).get("queries") for row in mine} == {
            512 if name == RECALIBRATED else None
        }


def test_every_format_says_how_many_pairs_change_their_order(later) -> None:
    sentence = "1 of 10 pairs of rows changes order between half and all of the steps"
    for form in ("table", "markdown", "html"):
        assert render(later, form).count(sentence) == 1
    frozen = json.loads(render(later, "json"))["tables"][1]["earlier"]
    assert frozen["order_changes"][1] == {"share": 0.5, "changed": 1, "pairs": 10}
    page = Page(render(later, "html"))
    head = next(i for i, r in enumerate(page.rows) if len(r) > 1 and r[1].strip() == "A quarter")
    line = next(r for r in page.rows[head:] if r[0].strip() == "NAT")
    stages = next(row for row in later[1].rows if row.method == "NAT").earlier
    for cell, stage in zip(line[1:], stages, strict=True):
        assert fmt.number(stage.score.mean, share=True) in cell


def test_what_the_worst_tenth_is_stands_beside_it(later, tables) -> None:
    assert "of each device's robust score, over all conditions" in _unwrapped(later)
    assert "it can lie above robust" in _unwrapped(tables)
    assert "can lie above" not in render(later, "html")
    assert "can lie above" in render(tables, "html")


def _unwrapped(tables: list[ranking.Table]) -> str:
    return render(tables, "table").replace("\n  ", " ")


def test_page_shows_device_and_cost_of_a_mesh() -> None:
    tables = ranking.build(make_mesh_suite())
    page = Page(render(tables, "html"))
    heads = [[cell.strip() for cell in row] for row in page.rows if row and "Method" in row[0]]
    assert heads[0][:4] == ["Method", "Training device", "Fresh devices same severity", "Transfer"]
    assert heads[0][4:] == [
        "Gradient evaluations",
        "Forward passes",
        "Hardware queries",
        "Training time CPU time on a CPU",
        "Time / BP",
    ]
    row = next(row for row in tables[0].rows if row.method == "PAT")
    line = next(r for r in page.rows if r[0].strip() == "PAT" and len(r) == 9)
    share = {"share": True}
    for cell, interval in ((line[1], row.training_device), (line[2], row.fresh_devices)):
        assert fmt.number(interval.mean, **share) in cell
        assert fmt.ends(interval, **share) in cell
    assert fmt.number(row.transfer.mean, **share, sign=True) in line[3]
    assert fmt.ends(row.transfer, **share, clip=False, sign=True) in line[3]
    assert [cell.strip() for cell in line[4:7]] == ["5.62 k", "5.62 k", "337 k"]
    assert f"{row.time_ratio.mean:.3g}" in line[8]
    # Costs stand in one place only.
    assert next(r for r in page.rows if len(r) > 1 and r[0].strip() == "Rank")[-1].strip() == (
        "Seeds × dev."
    )
    everything = " ".join(piece for pieces in page.data.values() for piece in pieces)
    assert "fresh devices of the same severity (0.15 rad)" in everything
    assert "loses here" in everything


def test_page_of_the_published_protocol_has_no_ranks() -> None:
    tables = ranking.build(make_mesh_suite(protocol="published"))
    page = Page(render(tables, "html"))
    heads = [[cell.strip() for cell in row] for row in page.rows if row and "Method" in row[0]]
    assert heads[0][:3] == ["Method", "Clean", "Training device"]
    assert not any("Rank" in cell for row in page.rows for cell in row)
    assert not any(cell.strip() in ("Robust", "Worst tenth") for row in page.rows for cell in row)
    everything = " ".join(piece for pieces in page.data.values() for piece in pieces)
    assert "Not ranked." in everything
    start = next(i for i, r in enumerate(page.rows) if r and "Method" in r[0]) + 1
    shown = page.rows[start : start + len(tables[0].rows)]
    assert all(len(r) == len(heads[0]) for r in shown)
    for line, row in zip(shown, tables[0].rows, strict=True):
        assert line[0].split("  ")[0].strip().startswith(row.method)
        assert fmt.number(row.clean.mean, share=True) in line[1]
    grid = [r for r in page.rows if r and r[0].strip().startswith("0.03 rad")]
    assert len(grid) == 1
    assert len(grid[0]) == 1 + len(tables[0].rows)


def test_older_records_show_no_column_that_they_have_nothing_for() -> None:
    tables = ranking.build(
        read_records(ROOT / "leaderboards" / "pnnbench-1" / "mrr_mnist" / "records")
    )
    assert len(tables[0].rows) == 8
    for format in ("table", "markdown", "html", "json"):
        shown = render(tables, format).lower()
        assert "λmax" in shown or "lambda_max" in shown
        for words in ("fresh devices", "training_device", "time / ", "time_ratio"):
            assert words not in shown


def test_page_escapes_what_records_bring() -> None:
    record = make_record("SAT", sealed=False)
    record["job"]["method"]["label"] = EVIL
    record["job"]["method"]["params"] = {EVIL: EVIL}
    record["provenance"]["versions"] = {EVIL: EVIL}
    failure = make_failure("NAT")
    failure["error"]["message"] = EVIL
    source = render(ranking.build([record, failure]), "html", pictures={EVIL: PICTURE})
    assert "<script>alert" not in source
    page = Page(source)
    assert [tag for tag, _ in page.tags if tag == "b"] == []
    assert json.loads(page.data["script"][0])["rows"][0]["method"] == EVIL


def test_page_refuses_a_picture_that_is_no_svg(tables) -> None:
    with pytest.raises(ValueError, match="is not SVG"):
        render(tables, "html", pictures={"x": "PNG"})


def test_write_page_is_repeatable_and_leaves_no_temporary_files(tables, tmp_path: Path) -> None:
    path = write_page(tmp_path / "board", tables, {"Degradation": PICTURE})
    names = sorted(p.name for p in path.parent.iterdir())
    assert names == ["index.html", "leaderboard.json", "leaderboard.md"]
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    write_page(tmp_path / "board", tables, {"Degradation": PICTURE})
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    assert json.loads(before["leaderboard.json"]) == text.as_json(tables)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the page's script")
def test_sorting_script_orders_numbers_names_and_blanks(tables, tmp_path: Path) -> None:
    """Runs the page's own script against a small stand-in for the browser's tables."""
    script = re.findall(r"<script>(.*?)</script>", render(tables, "html"), re.S)[-1]
    harness = (
        "const rows=['9','10','','b','-2'].map(s=>({cells:[{dataset:{sort:s}}],s}));\n"
        "let click,attr={};const head={querySelector:()=>({addEventListener:(_,f)=>{click=f}}),"
        "getAttribute:k=>attr[k]??null,setAttribute:(k,v)=>{attr[k]=v},"
        "removeAttribute:k=>{}};\n"
        "let shown;const table={tHead:{rows:[{cells:[head]}]},"
        "tBodies:[{rows:rows.filter(r=>r.s!=='b'),append:(...x)=>{shown=x.map(r=>r.s)}}]};\n"
        "globalThis.document={querySelectorAll:()=>[table]};\n" + script + "\nclick();"
        "console.log(JSON.stringify(shown));click();console.log(JSON.stringify(shown));"
    )
    (tmp_path / "sort.js").write_text(harness)
    out = subprocess.run(
        ["node", str(tmp_path / "sort.js")], capture_output=True, text=True, check=True
    ).stdout.split()
    assert json.loads(out[0]) == ["-2", "9", "10", ""]
    assert json.loads(out[1]) == ["10", "9", "-2", ""]


def test_the_whole_leaderboard_needs_no_heavy_imports(tmp_path: Path) -> None:
    for record in make_suite([*METHODS, "BP 2x"], (0, 1, 2, 3, 4)):
        write_job(tmp_path, record)
    code = (
        "import sys\n"
        "from pnnbench.leaderboard import ranking\n"
        "from pnnbench.records import folders\n"
        "from pnnbench.report import render\n"
        "import pnnbench.report.mirror\n"
        "tables = ranking.build(folders.read_records(sys.argv[1]))\n"
        "out = render.render(tables, 'table')\n"
        "heavy = {'torch', 'lightning', 'pandas', 'matplotlib', 'wandb', 'scipy.stats', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert sum(len(row.seeds) for row in tables[0].rows) == 30\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
