"""What the documents say is there: files, anchors, problem codes, and policies that load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strangler.config.load import load_policy
from strangler.domain.problem import TITLES
from strangler.policy import conditions, follow, follow_up, interpret, probe, translate
from strangler.policy.model import Mode

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{document.name} links to {link}"


def test_the_documents_that_the_readme_names_are_all_there_are() -> None:
    readme = (ROOT / "README.md").read_text()

    for document in DOCUMENTS:
        if document.name != "README.md":
            assert f"]({document.relative_to(ROOT)})" in readme


def test_the_http_contract_names_every_problem_and_its_status() -> None:
    table = re.findall(r"^\| (\d{3}) \| (`.+`) \|$", (ROOT / "docs/http.md").read_text(), re.MULTILINE)

    named = {code: int(status) for status, codes in table for code in re.findall(r"`([a-z-]+)`", codes)}

    assert named == {code: status for code, (status, _) in TITLES.items()}


def test_the_http_contract_names_every_reason_of_ours() -> None:
    document = (ROOT / "docs/http.md").read_text()
    modules = (conditions, follow, follow_up, interpret, probe, translate)
    words = {value for module in modules for name, value in vars(module).items() if name.isupper()}
    reasons = {word for word in words if isinstance(word, str) and re.fullmatch(r"[a-z]+(-[a-z]+)+", word)}

    assert {"worker-lost", "deadline-passed", "follow-nowhere", "probe-not-asked"} <= reasons
    assert sorted(reason for reason in reasons if f"`{reason}`" not in document) == []


def test_every_dependency_is_accounted_for_with_its_lower_bound() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    document = (ROOT / "docs/dependencies.md").read_text()
    runtime = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    development = re.search(r"^dev = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert runtime is not None
    assert development is not None

    for name, bound in re.findall(r'"([\w-]+)>=([\d.]+)', runtime[1]):
        assert re.search(rf"^\| {name} \| .+ \| {re.escape(bound)}\b", document, re.MULTILINE), name
    for name in re.findall(r'"([\w-]+)', development[1]):
        assert re.search(rf"^\|.*\b{name}\b.*\|", document, re.MULTILINE), name


def test_the_first_route_of_the_readme_loads(tmp_path: Path) -> None:
    [policy] = re.findall(r"^```yaml\n(.+?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "first.yaml").write_text(policy)

    loaded = load_policy([tmp_path], {})

    assert loaded.table.routes["submit-claim"].mode is Mode.ASYNC
    assert loaded.table.default is not None
    assert len(policy.splitlines()) <= 10


def test_the_example_loads_without_a_warning_wherever_the_legacy_system_is() -> None:
    here = load_policy([ROOT / "routes"], {})
    there = load_policy([ROOT / "routes"], {"LEGACY_URL": "http://legacy.example:8000"})

    assert not here.warnings
    assert {name: route.mode for name, route in here.table.routes.items()} == {
        "submit-claim": Mode.ASYNC,
        "documents": Mode.COMPAT,
        "policies": Mode.PASSTHROUGH,
    }
    assert here.table.upstreams["insurer"].authority == "127.0.0.1:8081"
    assert there.table.upstreams["insurer"].authority == "legacy.example:8000"
