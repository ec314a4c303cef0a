"""What cannot be known here: a part of a policy in which variables are unresolved, for `check --offline`.

A stand-in takes the place of such a value. What is said of the stand-in is not true of the policy, so it is not told.
Where one had to be made up, because the text that is left does not fit its place, neither is what is said of any other
key and may be due to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from strangler.config.located import Finding, KeyPath, Node, Report, below_any
from strangler.config.section import Section

Built = TypeVar("Built")


def unknown(node: Node) -> bool:
    """Whether any of it is a stand-in."""
    return any(each.unresolved for _, each in node.walk())


def made_up(node: Node) -> bool:
    """Whether any of it is a stand-in that was made up."""
    return any(each.made_up for _, each in node.walk())


def build_known(section: Section, build: Callable[[Section], Built], alone: tuple[tuple[str, ...], ...]) -> Built:
    """What ``build`` makes of a section, which is told what is wrong or unwise as far as it is known.

    ``alone``: keys whose values are right or wrong whatever the other keys say.
    """
    if not unknown(section.node):
        return build(section)
    report = Report()
    built = build(section._replace(report=report))
    guessed = made_up(section.node)

    def known(finding: Finding, path: KeyPath) -> bool:
        below = path[len(section.path) :]
        at = section.node.at(below)
        if below and at is not section.node.at(below[:-1]) and unknown(at):
            return False
        return not guessed or finding.level == "note" or below_any(below, alone)

    section.report.take_over(report, known)
    return built
