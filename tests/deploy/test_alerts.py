"""Alerts, dashboard and runbook speak of metrics that exist, and of each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import promql_parser
import pytest
import yaml

from strangler.domain.delivery import DeliveryState
from strangler.domain.exceptions import KINDS
from strangler.domain.exchange import AttemptOutcome
from strangler.domain.process import State
from strangler.operations import series
from strangler.operations.catalogue import FAMILIES
from strangler.operations.metrics import Counts, Exposition
from tests.deploy.material import DEPLOY, ROOT, document, judged, tool

RULES = DEPLOY / "prometheus" / "strangler.rules.yaml"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "strangler.json").read_text())

OF_PROMETHEUS = {"job", "instance", "alertname"}
VALUES = {
    "code": set(series.CODES),
    "state": {str(state) for state in State} | set(series.CIRCUIT_STATES),
    "outcome": {str(outcome) for outcome in AttemptOutcome},
    "status": set(series.STATUS_CLASSES),
    "resource": set(series.RESOURCES),
    "settled": {"yes", "no"},
    "answer": set(series.ANSWERS),
    "run": set(series.RUNS),
    "kind": {*KINDS, *series.LIMITED, "events", "socket", "list"},
    "delivery": {str(state) for state in DeliveryState},
}
PARTS = ("Means.", "See.", "Do.", "Over.")


class Metric(NamedTuple):
    """A sample as it is scraped."""

    labels: frozenset[str]
    bounds: frozenset[str] = frozenset()  # of a histogram's buckets


def metrics() -> dict[str, Metric]:
    """Every sample by name: those of the catalogue, and what a scrape has beside them."""
    known = {"up": Metric(frozenset())}
    for family in FAMILIES:
        labels = frozenset(family.labels)
        if family.kind == "histogram":
            bounds = frozenset([*(str(float(bound)) for bound in family.buckets), "+Inf"])
            known[f"{family.name}_bucket"] = Metric(labels | {"le"}, bounds)
            known[f"{family.name}_sum"] = known[f"{family.name}_count"] = Metric(labels)
        else:
            known[family.shown_name] = Metric(labels)
    for line in Exposition(Counts("1", 0)).render().decode().splitlines():
        name = re.match(r"(process|python)_\w+", line)
        if name is not None:
            known[name[0]] = Metric(frozenset())
    return known


METRICS = metrics()


def alerts() -> list[dict[str, Any]]:
    return [rule for group in document("prometheus/strangler.rules.yaml")["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def shown() -> Iterator[str]:
    """Every expression of the dashboard, its variables filled in as Grafana does."""
    written = [target["expr"] for panel in panels() for target in panel["targets"]]
    written += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert selector is not None
            written.append(selector[1])
    for expression in written:
        yield re.sub(r"\$\w+", ".*", re.sub(r"\[\$__\w+\]", "[5m]", expression))


class Read(NamedTuple):
    """What an expression asks of one metric: label and value of each matcher."""

    name: str
    matchers: list[tuple[str, str]]


def selectors(expression: str) -> Iterator[Read]:
    """What an expression reads. Raises ValueError where it is none."""
    nodes: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), nodes.append)
    for node in nodes:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = [(matcher.name, matcher.value) for matcher in node.matchers.matchers]
            names = [node.name] if node.name else dict(matchers)["__name__"].split("|")
            for name in names:
                yield Read(name, [each for each in matchers if each[0] != "__name__"])


def grouped(expression: str) -> set[str]:
    """The labels that an expression groups by."""
    return {label for found in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r",\s*", found)}


def assert_it_is_about_what_there_is(expression: str) -> None:
    read = list(selectors(expression))
    for selector in read:
        assert selector.name in METRICS, expression
        metric = METRICS[selector.name]
        for label, value in selector.matchers:
            assert label in metric.labels | OF_PROMETHEUS, f"{label} in {expression}"
            if label == "le":
                assert value in metric.bounds, f"{value} in {expression}"
            if label in VALUES:
                assert set(value.split("|")) <= VALUES[label], f"{value} in {expression}"
    for label in grouped(expression):
        assert label in OF_PROMETHEUS or any(label in METRICS[each.name].labels for each in read), (
            f"{label}: {expression}"
        )


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_reads_what_there_is_and_says_where_to_read_on(rule: dict[str, Any]) -> None:
    assert_it_is_about_what_there_is(rule["expr"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    labels = {label for each in selectors(rule["expr"]) for label in METRICS[each.name].labels} | OF_PROMETHEUS
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels


def test_an_expression_about_nothing_is_found() -> None:
    for wrong in (
        "strangler_nothing > 0",
        'strangler_ended_total{state="ended"}',
        'strangler_completion_seconds_bucket{le="900"}',
        'strangler_draining{route="a"}',
        "sum by (place) (strangler_draining)",
    ):
        with pytest.raises(AssertionError):
            assert_it_is_about_what_there_is(wrong)


def test_prometheus_takes_the_rules_and_they_fire_when_they_should() -> None:
    promtool = tool("promtool")
    judged(promtool, "check", "rules", RULES)
    judged(promtool, "check", "config", DEPLOY / "prometheus" / "scrape.yaml")
    judged(promtool, "test", "rules", ROOT / "tests" / "deploy" / "alerts.yaml")


def test_the_example_for_promtool_fires_every_alert() -> None:
    *sick, well = yaml.safe_load((ROOT / "tests" / "deploy" / "alerts.yaml").read_text())["tests"]
    fired = [name for test in sick for name in re.findall(r'alertname="(\w+)"', str(test["promql_expr_test"]))]
    assert sorted(fired) == sorted(rule["alert"] for rule in alerts())
    assert well["promql_expr_test"][0]["exp_samples"] == []
    for expression in (given["series"] for test in (*sick, well) for given in test["input_series"]):
        assert_it_is_about_what_there_is(expression)


def test_every_alert_has_its_section_of_the_runbook_and_every_section_its_alert() -> None:
    sections = dict(re.findall(r"^### (Strangler\w+)\n(.*?)(?=^#|\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL))
    assert sorted(sections) == sorted(rule["alert"] for rule in alerts())
    for name, text in sections.items():
        assert tuple(re.findall(r"^\*(\w+\.)\*", text, flags=re.MULTILINE)) == PARTS, name


BLOCKS = re.findall(r"```\n(.*?)```", RUNBOOK, flags=re.DOTALL)
SPANS = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", RUNBOOK, flags=re.DOTALL))
CODE = [line.partition("  ")[0] for block in BLOCKS for line in block.splitlines()] + [
    " ".join(s.split()) for s in SPANS
]


def test_the_runbook_speaks_of_metrics_that_there_are() -> None:
    for name in re.findall(r"\bstrangler_[a-z_]+\b", "\n".join(CODE)):
        assert name in METRICS or f"{name}_count" in METRICS, name


def test_the_dashboard_shows_what_there_is() -> None:
    for expression in shown():
        assert_it_is_about_what_there_is(expression)
    assert set(re.findall(r"\bStrangler\w+", json.dumps(panels()))) <= {rule["alert"] for rule in alerts()}


def test_panels_have_names_of_their_own_and_lie_side_by_side() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
    assert all(panel["description"] and panel["datasource"]["uid"] == "${datasource}" for panel in panels())
