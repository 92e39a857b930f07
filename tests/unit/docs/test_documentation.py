"""README and docs/: links resolve, methods and attacks have pages with sources, results have commands."""

import re
from pathlib import Path

import pytest
import yaml

from gradleak.labels.registry import METHODS
from gradleak.workflow.config import ATTACKS

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
LIBRARY = ROOT / "scripts" / "gradleak"
PAGES = sorted(
    [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md"]
)
FAMILIES = sorted(page for page in (DOCS / "explanation" / "labels").glob("*.md") if page.name != "README.md")
ATTACK_PAGES = sorted((DOCS / "explanation" / "attacks").glob("*.md"))
RESULTS = sorted(
    page
    for page in (DOCS / "results").glob("*.md")
    if page.name not in ("README.md", "failed-experiments.md")
)
DOI = re.compile(r"\b10\.\d{4,}/[^\s)\]]+")
ORIGIN = re.compile(r"^Command: .*`.+`.*\. Date: \d{4}-\d\d-\d\d\. Commit: [0-9a-f]{7}(?:, [0-9a-f]{7})*\.$")
SECTIONS = ("Idea", "Formula", "Assumptions", "When it fails", "Source")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_and_images_resolve(page):
    text = without_code(page.read_text())
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name)
def test_every_page_can_be_reached_from_the_readme(page):
    seen, queue = set(), [ROOT / "README.md"]
    while queue:
        here = queue.pop()
        if here in seen or here.suffix != ".md":
            continue
        seen.add(here)
        links = re.findall(r"\]\(([^)\s#]+)", without_code(here.read_text()))
        queue += [
            (here.parent / link).resolve() for link in links if (here.parent / link).resolve().is_file()
        ]
    assert page in seen


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("method", METHODS)
def test_every_label_method_is_on_one_page(method):
    assert len([page for page in FAMILIES if f"| `{method}` |" in page.read_text()]) == 1


def test_label_pages_name_no_other_method():
    named = {method for page in FAMILIES for method in re.findall(r"^\| `(\w+)` \|", page.read_text(), re.M)}
    assert named == set(METHODS)


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"labels"}))
def test_every_attack_is_the_heading_of_one_page(attack):
    assert len([page for page in ATTACK_PAGES if f"# `{attack}`" in page.read_text()]) == 1


@pytest.mark.parametrize("page", [*FAMILIES, *ATTACK_PAGES], ids=name)
def test_explanations_have_their_sections_and_a_source(page):
    text = page.read_text()
    headings = re.findall(r"^## (.+)$", text, re.M)
    missing = [
        section
        for section in SECTIONS
        if not any(heading.replace("they fail", "it fails").startswith(section) for heading in headings)
    ]
    assert missing == []
    source = text[text.index("\n## Source") :]
    assert DOI.search(source) or "this project" in source


@pytest.mark.parametrize("page", FAMILIES, ids=name)
def test_every_published_method_has_its_source(page):
    text = page.read_text()
    source = text[text.index("\n## Source") :]
    methods = re.findall(r"^\| `(\w+)` \|", text, re.M)
    if DOI.search(source) and len(methods) > 1:
        assert [
            method for method in methods if METHODS[method].published and f"`{method}`" not in source
        ] == []


@pytest.mark.parametrize("page", RESULTS, ids=name)
def test_every_result_table_has_command_date_and_commit(page):
    lines = page.read_text().splitlines()
    starts = [
        number
        for number, line in enumerate(lines)
        if line.startswith("|") and not lines[number - 1].startswith("|")
    ]
    assert starts
    without = [
        lines[start] for start in starts if not (lines[start - 1] == "" and ORIGIN.match(lines[start - 2]))
    ]
    assert without == []


def test_commands_of_results_name_files_that_exist():
    commands = " ".join(re.findall(r"^Command: (.+)$", "\n".join(page.read_text() for page in RESULTS), re.M))
    assert [
        path for path in re.findall(r"tests/benchmarks/\w+\.py", commands) if not (ROOT / path).exists()
    ] == []
    studies = {study for study in re.findall(r"study=(\w+)", commands)}
    assert {
        study for study in studies if not (ROOT / "config" / "studies" / f"{study}.yaml").exists()
    } == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_of_the_project_that_pages_name_exist(page):
    """Paths from the root or from scripts/gradleak, and bare names of modules, in code spans."""
    text = page.read_text()
    paths = re.findall(r"`((?:scripts|rules|tests|config|docs|profiles)/[\w./-]+)`", text)
    modules = re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    planned = {"tests/unit/test_architecture.py"}
    written = set(re.findall(r"[Ss]ave this as `([\w./-]+)`", text))
    missing = [path for path in paths if not (ROOT / path).exists()]
    missing += [
        module
        for module in modules
        if not (ROOT / module).exists()
        and not (LIBRARY / module).exists()
        and not ("/" not in module and any(LIBRARY.rglob(module)))
    ]
    assert set(missing) - planned - written == set()


def test_the_citation_is_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == "gradleak: recovering labels from aggregated gradients"
    assert {"message", "authors", "version", "date-released", "preferred-citation"} <= citation.keys()


def test_every_row_on_reruns_names_a_test():
    page = (DOCS / "reference" / "reruns.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line][1:]
    folder = ROOT / "tests"
    sources = [*(folder / "workflow").glob("test_*.py"), *(folder / "unit" / "workflow").glob("test_*.py")]
    tests = {
        name
        for path in sources
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]
    assert all(named)
    assert {name for names in named for name in names} <= tests
