"""Format the measurements as Markdown."""

from __future__ import annotations

import collections.abc as c
import statistics

from .footprint import IMPORT_GOAL, REQUESTS, Footprint
from .growth import GOAL, SIZES, Growth
from .load import CASES, Load
from .operations import Count
from .sites import Match
from .suite import Case, Measure, Ratio, Results, Suite


def tables(suite: Suite, measure: Measure, results: Results) -> str:
    """Return all tables of one measure. A value that misses its goal is bold."""
    parts = [
        _floor_table(suite, measure, results),
        _peer_table(suite, measure, results),
    ]
    if any(parity.measure == measure for parity in suite.parities):
        parts.append(_parity_table(suite, measure, results))
    return "\n\n".join(parts)


def _floor_table(suite: Suite, measure: Measure, results: Results) -> str:
    widest = max(
        ratio.spread for points in results.values() for pair in points for ratio in pair
    )
    rows = []
    for index, (case, payload) in enumerate(suite.points()):
        peer = statistics.median(points[index][0].value for points in results.values())
        goals = _goals(suite, measure, case, payload, "floor")
        cells = [
            _cell(points[index][1].value, goals.get(name))
            for name, points in results.items()
        ]
        rows.append([case.title, payload, _cell(peer), *cells, _shown(goals.values())])
    names = [suite.peer.title, *_titles(suite)]
    table = _table(["request", "payload", *names, "goal"], rows)
    return (
        f"**{measure.capitalize()} a request, times the floor** (repeated"
        f" measurements: within {widest:.1%})\n\n{table}"
    )


def _peer_table(suite: Suite, measure: Measure, results: Results) -> str:
    rows = []
    for index, (case, payload) in enumerate(suite.points()):
        goals = _goals(suite, measure, case, payload, "peer")
        cells = [
            _cell(_added(points[index][1]) / _added(points[index][0]), goals.get(name))
            for name, points in results.items()
        ]
        rows.append([case.title, payload, *cells, _shown(goals.values())])
    table = _table(["request", "payload", *_titles(suite), "goal"], rows)
    return (
        f"**{measure.capitalize()} added to the floor, in parts of what"
        f" {suite.peer.title} adds**\n\n{table}"
    )


def _parity_table(suite: Suite, measure: Measure, results: Results) -> str:
    parities = [parity for parity in suite.parities if parity.measure == measure]
    rows = []
    for parity in parities:
        compared = f"{suite.ours[parity.ours].title} : {suite.ours[parity.other].title}"
        for index, (case, payload) in enumerate(suite.points()):
            if case not in parity.cases:
                continue
            ours, other = (
                _added(results[name][index][1]) for name in (parity.ours, parity.other)
            )
            value = _cell(ours / other, parity.at_most)
            rows.append(
                [case.title, payload, compared, value, _shown([parity.at_most])]
            )
    table = _table(["request", "payload", "compared", "ratio", "goal"], rows)
    title = f"**{measure.capitalize()} added to the floor, ours with each other**"
    return f"{title}\n\n{table}"


def stores_table(results: list[tuple[Suite, list[tuple[Ratio, Ratio]]]]) -> str:
    """Return one table of all stores."""
    rows = []
    for suite, pairs in results:
        for (case, payload), (peer, ours) in zip(suite.points(), pairs, strict=True):
            goal = _goals(suite, "wall time", case, payload, "peer").get(suite.name)
            added = _cell(_added(ours) / _added(peer), goal)
            shown = _shown([] if goal is None else [goal])
            cells = [_cell(peer.value), _cell(ours.value), added, shown]
            rows.append([suite.title, case.title, *cells])
    widest = max(
        ratio.spread for _, pairs in results for pair in pairs for ratio in pair
    )
    head = ["store", "request", "Flask-Session", "ours", "added, ours : its", "goal"]
    return (
        "**Wall time a request, times the floor, and what ours adds to the floor in"
        " parts of what Flask-Session adds** (payload S; repeated measurements:"
        f" within {widest:.1%})\n\n{_table(head, rows)}"
    )


def operations_table(
    counts: list[tuple[Count, dict[Case, tuple[float, float]]]],
) -> str:
    rows = []
    for count, cases in counts:
        for case, (peer, ours) in cases.items():
            goal = count.goals.get(case)
            missed = goal is not None and ours > goal
            cell = f"**{ours:g}**" if missed else f"{ours:g}"
            shown = "" if goal is None else f"≤ {goal}"
            rows.append([count.title, case.title, f"{peer:g}", cell, shown])
    table = _table(["store", "request", "Flask-Session", "ours", "goal"], rows)
    return f"**Operations a request, counted by the store**\n\n{table}"


def gains_table(results: list[tuple[Match, dict[str, Load]]]) -> str:
    """Return what users gain: one row for each match."""
    rows = [
        [
            match.title,
            match.other,
            *(_times(loads[case].requests.value) for case in CASES),
            _times(loads["mix"].slow.value),
        ]
        for match, loads in results
    ]
    head = ["sessions in", "compared with", *CASES, "slowest 1 % of the mix"]
    return _table(head, rows)


def load_table(results: list[tuple[Match, str, dict[str, Load]]]) -> str:
    """Return one table of all matches under load.

    :param results: each match, the kind of gunicorn's workers and the loads by case.
    """
    rows = []
    for match, worker, loads in results:
        for case, load in loads.items():
            goal = match.goals.get(case)
            requests = _times(load.requests.value)
            missed = goal is not None and load.requests.value < goal
            rows.append(
                [
                    *(match.title, worker, case),
                    f"**{requests}**" if missed else requests,
                    f"{load.requests.spread:.0%}",
                    _times(load.slow.value),
                    f"{load.slow.spread:.0%}",
                    "" if goal is None else f"≥ {goal}",
                ]
            )
    head = [
        *("sessions in", "workers", "requests"),
        *("requests a second, ours : peer's", "within"),
        *("99th percentile, ours : peer's", "within", "goal"),
    ]
    return _table(head, rows)


def footprint_table(measured: dict[str, Footprint]) -> str:
    """Return one table of all processes."""
    found = list(measured.values())
    rows = [
        [
            "time of the import, times the first",
            *(_cell(each.imported, IMPORT_GOAL) for each in found),
            _shown([IMPORT_GOAL]),
        ],
        ["memory after the import", *(f"{each.loaded:.1f} MB" for each in found), ""],
        [
            f"memory after {REQUESTS:,} requests",
            *(f"{each.served:.1f} MB" for each in found),
            "",
        ],
        [
            "an open session, untouched",
            *(f"{each.untouched:,.0f} bytes" for each in found),
            "",
        ],
        ["an open session, read", *(f"{each.read:,.0f} bytes" for each in found), ""],
    ]
    return _table(["what", *measured, "goal"], rows)


def growth_table(measured: dict[str, Growth]) -> str:
    rows = [
        [
            title,
            operation,
            *(_cell(ratio, GOAL) for size, ratio in ratios.items() if size > SIZES[0]),
            _shown([GOAL]),
        ]
        for title, growth in measured.items()
        for operation, ratios in growth.items()
    ]
    sizes = [f"among {size:,}" for size in SIZES[1:]]
    table = _table(["store", "operation", *sizes, "goal"], rows)
    return f"**Time of one operation, times that among {SIZES[0]:,}**\n\n{table}"


def _goals(
    suite: Suite, measure: Measure, case: Case, payload: str, against: str
) -> dict[str, float]:
    return {
        name: goal.at_most
        for goal in suite.goals
        if (goal.measure, goal.case, goal.against) == (measure, case, against)
        and payload in goal.payloads
        for name in goal.ours
    }


def _added(ratio: Ratio) -> float:
    return ratio.value - 1


def _titles(suite: Suite) -> list[str]:
    return [contender.title for contender in suite.ours.values()]


def _cell(value: float, goal: float | None = None) -> str:
    text = f"{value:.2f}" if value >= 2 else f"{value:.3f}"
    return text if goal is None or value <= goal else f"**{text}**"


def _times(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"


def _shown(goals: c.Iterable[float]) -> str:
    return ", ".join(f"≤ {goal:g}" for goal in sorted(set(goals)))


def _table(head: list[str], rows: list[list[str]]) -> str:
    if not any(row[-1] for row in rows):
        # No row has a goal.
        head, rows = head[:-1], [row[:-1] for row in rows]
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
