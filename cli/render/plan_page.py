"""A plan as one HTML page: cost against latency, cost over the day, cost of other workloads, and the reasons.

Inline SVG, no script, nothing loaded from elsewhere; the same plan gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from cli.render import costs
from cli.render.page import folded, table, whole
from cli.render.parts.common import usd
from cli.render.parts.plots import GREY, INK, LIMIT, Plot, Scale, linear, logarithmic
from cli.render.plan import HEADS, MOST_REASONS, command_line, option_rows, reasons, sentence, trade_rows
from sizing.cost.bill import per_month
from sizing.planning.sensitivity import QUIETEST_HOUR, frontier
from sizing.units import HOURS_PER_DAY

if TYPE_CHECKING:
    from sizing.plan import Replicas
    from sizing.planning.sensitivity import Day, OptionPoint, PlanStudy, Step

Document = Mapping[str, Any]
BLUE, CHOSEN = "#3b6fb6", "#c77c11"
PALETTE = ("#3b6fb6", "#5a9e4b", "#9c4f96", "#3fa7a3", "#d9a441", "#c0473a", "#6b5ca5", "#7a6a53")
STYLE = """
body { max-width: 72rem } .two { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem }
.two svg, .wide svg { max-width: none } .facts { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 1rem 0 }
.facts div { color: #666; font-size: .85rem } .facts b { display: block; font-size: 1.25rem; color: #222 }
figure { margin: 0 } figcaption, .note { color: #666; font-size: .85rem } code { font-size: .85rem; color: #444 }
.choice tr:nth-child(2) { font-weight: bold } .key span { border-radius: 50% }
svg text { paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round; font-size: 11.5px }
"""
POINT_HEADS = ("option", "replicas", "USD a month", "TTFT p95 ms", "TPOT p95 ms", "meets")
STEP_HEADS = ("factor", "workload", "plan", "replicas", "USD a month: floor", "expected", "ceiling", "")
HOUR_HEADS = ("hour", "requests/s", "burst requests/s", "replicas", "in a burst", "USD an hour")


def html(document: Document, study: PlanStudy) -> str:
    """Return the page of a plan document and its study; every text of both is escaped."""
    title = f"{document['model']}: plan"
    body = (
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(sentence(document))}</p>",
        _facts(document, study),
        f"<p><code>{escape(command_line(document))}</code></p>",
        "<h2>Cost against latency</h2>",
        _latency(study),
        "<h2>Cost over the day</h2>",
        _day(study.day, study.max_monthly_usd),
        "<h2>Where the workload differs</h2>",
        _sensitivity(study),
        "<h2>Choice and alternatives</h2>",
        f'<div class="choice">{_choice(document)}</div>',
        "<h2>What it costs, and what else it could cost</h2>",
        _costs(document),
        "<h2>Why the others lost</h2>",
        _lost(document),
        "<h2>Figures</h2>",
        _figures(study),
        _inputs(document),
    )
    return whole(title, "".join(body), STYLE)


def _facts(document: Document, study: PlanStudy) -> str:
    plan, wanted, month = study.result.chosen, study.objectives, per_month(study.result.chosen.usd_per_hour)
    rows = (
        (usd(month.expected), f"a month expected; floor {usd(month.floor)}, ceiling {usd(month.ceiling)}"),
        (usd(document["chosen"]["usd_per_million_output_tokens"], 2), "per million output tokens"),
        (f"{plan.ttft_p95_ms:,.0f} ms", f"TTFT p95, promised {wanted.ttft_p95_ms:g}"),
        (f"{plan.tpot_p95_ms:,.1f} ms", f"TPOT p95, promised {wanted.tpot_p95_ms:g}"),
        (_counts(plan.replicas), "replicas: floor / expected / ceiling"),
    )
    return '<div class="facts">' + "".join(f"<div><b>{escape(a)}</b>{escape(b)}</div>" for a, b in rows) + "</div>"


def _costs(document: Document) -> str:
    """Return bill, purchase terms and hosts as tables, each of those that there are."""
    parts = [f"<p>{escape(said)}</p>" for said in costs.sentences(document)]
    parts.append(table(costs.BILL_HEADS, costs.bill_rows(document)))
    if document["purchase_terms"]:
        parts.append(table(costs.TERM_HEADS, costs.term_rows(document["purchase_terms"])))
    if document["hosted"]:
        parts.append(table(costs.HOST_HEADS, costs.host_rows(document["hosted"])))
    return "".join(parts)


def _counts(replicas: Replicas) -> str:
    return f"{replicas.floor} / {replicas.expected} / {replicas.ceiling}"


def _short(value: float) -> str:
    """Return an amount of dollars for an axis."""
    if value >= 1e6:
        return f"${value / 1e6:,.3g}M"
    return f"${value / 1e3:,.3g}k" if value >= 1e3 else f"${value:,.3g}"


def _milliseconds(value: float) -> str:
    return f"{value / 1e3:g} s" if value >= 1e3 else f"{value:g} ms"


def _latency(study: PlanStudy) -> str:
    wanted = study.objectives
    tpot = _scatter(study, "TPOT p95", lambda p: p.tpot_p95_ms, wanted.tpot_p95_ms)
    ttft = _scatter(study, "TTFT p95", lambda p: p.ttft_p95_ms, wanted.ttft_p95_ms)
    key = (
        f'<p class="key"><span style="background:{BLUE}"></span>meets both objectives'
        f'<span style="border:1.5px solid {GREY};box-sizing:border-box"></span>misses one'
        f'<span style="background:{CHOSEN}"></span>chosen; line: no other option is both cheaper and faster</p>'
    )
    note = (
        "Every option that fits, planned for the stated objectives and for half, twice and four times as much, at the"
        " planned traffic. A pointer on a mark shows what it is."
    )
    rows = [
        (p.name, _counts(p.replicas), f"{p.usd_per_month.expected:,.0f}", f"{p.ttft_p95_ms:,.0f}",
         f"{p.tpot_p95_ms:,.1f}", "yes" if p.meets else "no") for p in study.options
    ]  # fmt: skip
    listed = folded(f"All {len(rows)} options", table(POINT_HEADS, rows))
    return f'<div class="two">{tpot}{ttft}</div>{key}<p class="note">{escape(note)}</p>{listed}'


def _scatter(study: PlanStudy, name: str, latency: Callable[[OptionPoint], float], objective: float) -> str:
    points = study.options
    plot = Plot(
        title=f"monthly cost of each option against its {name}",
        width=560,
        height=380,
        x=logarithmic([objective, *(latency(point) for point in points)], 56, 548),
        y=logarithmic([point.usd_per_month.expected for point in points], 330, 34),
    )
    plot.axes(f"{name}, at the planned traffic", "USD a month, expected", _milliseconds, _short)
    plot.upright(objective, f"objective {objective:g} ms", colour=LIMIT)
    best = frontier(points, latency)
    places = {id(point): (plot.x.at(latency(point)), plot.y.at(point.usd_per_month.expected)) for point in points}
    plot.line([places[id(point)] for point in best], colour=INK, width=1.1)
    for point in sorted(points, key=lambda p: (p.chosen, p.meets)):
        colour = CHOSEN if point.chosen else BLUE if point.meets else GREY
        tooltip = f"{point.name}, {_counts(point.replicas)} replicas, {usd(point.usd_per_month.expected)}, "
        tooltip += f"{name} {latency(point):,.1f} ms"
        plot.dot(
            *places[id(point)],
            colour=colour,
            hollow=not point.meets,
            radius=6.0 if point.chosen else 3.2,
            tooltip=tooltip,
        )
    chosen = next(point for point in points if point.chosen)
    plot.label(*places[id(chosen)], f"{chosen.engine}, chosen", colour=CHOSEN, bold=True)
    for point in best:
        if not point.chosen:
            plot.label(*places[id(point)], point.engine, colour=INK)
    return f"<figure>{plot.svg()}</figure>"


def _day(day: Day, max_monthly_usd: float | None) -> str:
    rows = [
        (f"{hour.hour:02d}:00", f"{hour.requests_per_second:,.3g}", f"{hour.burst_requests_per_second:,.3g}",
         hour.replicas, hour.burst_replicas, f"{hour.usd_per_hour:,.2f}") for hour in day.hours
    ]  # fmt: skip
    cosine = f"a cosine between minimumShare at {QUIETEST_HOUR:02d}:00 and requestsPerSecond twelve hours later"
    note = (
        f"Traffic as {'dailyShape states it, hours UTC' if day.stated else cosine};"
        " pale: a burst of peakFactor at that hour. Nodes of the choice without disks and logs. A month of such days"
        f" costs {usd(day.mean_usd_per_month)}; all day at the busiest hour, {usd(day.busiest_usd_per_month)}."
    )
    figures = f'<div class="two">{_replicas_plot(day)}{_cost_plot(day, max_monthly_usd)}</div>'
    return f'{figures}<p class="note">{escape(note)}</p>{folded("Hour by hour", table(HOUR_HEADS, rows))}'


def _hours_plot(title: str, y_label: str, values: Sequence[float], y_text: Callable[[float], str]) -> Plot:
    plot = Plot(
        title=title,
        width=560,
        height=300,
        x=Scale(low=0, high=HOURS_PER_DAY, start=56, end=548),
        y=linear(values, 250, 34),
    )
    plot.axes("hour of the day", y_label, lambda hour: f"{hour:g}", y_text, x_ticks=range(0, HOURS_PER_DAY + 1, 4))
    return plot


def _bar(plot: Plot, hour: int, value: float, *, opacity: float, tooltip: str) -> None:
    left, right, base, top = plot.x.at(hour) + 0.8, plot.x.at(hour + 1) - 0.8, plot.y.start, plot.y.at(value)
    plot.area([(left, base), (left, top), (right, top), (right, base)], colour=BLUE, opacity=opacity, tooltip=tooltip)


def _levels(plot: Plot, levels: Sequence[tuple[float, str]], colour: str) -> None:
    for value, words in levels:
        plot.across(value, words, colour=colour)


def _replicas_plot(day: Day) -> str:
    counts = day.replicas
    most = [float(counts.ceiling), *(float(hour.burst_replicas) for hour in day.hours)]
    plot = _hours_plot("replicas over the day", "replicas", most, lambda n: f"{n:g}")
    for hour in day.hours:
        tooltip = f"{hour.hour:02d}:00, {hour.requests_per_second:,.3g} requests/s: {hour.replicas} replicas, "
        tooltip += f"{hour.burst_replicas} in a burst of {hour.burst_requests_per_second:,.3g}"
        _bar(plot, hour.hour, hour.burst_replicas, opacity=0.22, tooltip=tooltip)
        _bar(plot, hour.hour, hour.replicas, opacity=0.75, tooltip=tooltip)
    _levels(plot, _apart({"ceiling": counts.ceiling, "expected": counts.expected, "floor": counts.floor}, "{:g}"), INK)
    return f"<figure>{plot.svg()}</figure>"


def _cost_plot(day: Day, max_monthly_usd: float | None) -> str:
    bounds, limit = day.usd_per_hour, day.limit_usd_per_hour
    most = max(bounds.ceiling, *(hour.usd_per_hour for hour in day.hours))
    shown = limit is not None and limit <= 3 * most
    plot = _hours_plot("cost over the day", "USD an hour", [most, *([limit] if limit and shown else [])], _short)
    for hour in day.hours:
        tooltip = f"{hour.hour:02d}:00: {usd(hour.usd_per_hour, 2)} an hour for {hour.replicas} replicas"
        _bar(plot, hour.hour, hour.usd_per_hour, opacity=0.75, tooltip=tooltip)
    if limit is not None and max_monthly_usd is not None:
        words = f"limit {usd(max_monthly_usd)} a month leaves nodes {usd(limit, 2)}"
        plot.across(limit, words if shown else f"{words}: above this drawing", colour=LIMIT)
    named = {"ceiling": bounds.ceiling, "expected": bounds.expected, "floor": bounds.floor}
    _levels(plot, _apart(named, "${:,.2f}"), INK)
    return f"<figure>{plot.svg()}</figure>"


def _apart(levels: Mapping[str, float], shown: str) -> list[tuple[float, str]]:
    """Return one line for each level: names of equal levels together."""
    names: dict[float, list[str]] = {}
    for name, value in levels.items():
        names.setdefault(value, []).append(name)
    return [(value, f"{', '.join(them)} {shown.format(value)}") for value, them in names.items()]


def _sensitivity(study: PlanStudy) -> str:
    steps = (*study.traffic, *study.output_tokens)
    engines = list(dict.fromkeys(step.gpu for step in steps if step.gpu))
    colours = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(engines)}
    key = "".join(f'<span style="background:{colours[name]}"></span>{escape(name)}' for name in engines)
    traffic = _steps_plot(study.traffic, "times the traffic", colours, study.max_monthly_usd)
    length = _steps_plot(study.output_tokens, "times the output length", colours, study.max_monthly_usd)
    note = "Planned anew at each step; band: floor to ceiling. Hollow: the ceiling breaks the limit."
    listed = folded("Traffic, step by step", table(STEP_HEADS, _step_rows(study.traffic, "requests/s")))
    listed += folded("Output length, step by step", table(STEP_HEADS, _step_rows(study.output_tokens, "tokens")))
    return f'<div class="two">{traffic}{length}</div><p class="key">Wins:{key}</p><p class="note">{note}</p>{listed}'


def _steps_plot(steps: Sequence[Step], x_label: str, colours: Mapping[str, str], max_monthly_usd: float | None) -> str:
    planned = [(step, step.usd_per_month) for step in steps if step.usd_per_month is not None]
    plot = Plot(
        title=f"monthly cost at {x_label}",
        width=560,
        height=340,
        x=logarithmic([step.factor for step in steps], 56, 540, room=1.08),
        y=linear([bounds.ceiling for _, bounds in planned], 290, 34),
    )
    plot.axes(x_label, "USD a month", lambda f: f"x{f:g}", _short, x_ticks=[step.factor for step in steps])
    places = [(plot.x.at(step.factor), step, bounds) for step, bounds in planned]
    upper = [(x, plot.y.at(bounds.ceiling)) for x, _, bounds in places]
    lower = [(x, plot.y.at(bounds.floor)) for x, _, bounds in reversed(places)]
    plot.area([*upper, *lower], colour=BLUE, opacity=0.12)
    plot.line([(x, plot.y.at(bounds.expected)) for x, _, bounds in places], colour=INK)
    if max_monthly_usd is not None and max_monthly_usd <= plot.y.high:
        plot.across(max_monthly_usd, f"limit {usd(max_monthly_usd)}", colour=LIMIT)
    for x, step, bounds in places:
        tooltip = f"x{step.factor:g}: {step.name}, {usd(bounds.floor)} / {usd(bounds.expected)} / {usd(bounds.ceiling)}"
        plot.dot(
            x, plot.y.at(bounds.expected), colour=colours[step.gpu], hollow=step.over_limit, radius=5.0, tooltip=tooltip
        )
    before = ""
    for x, step, bounds in places:
        if step.gpu != before:
            before = step.gpu
            plot.label(x, plot.y.at(bounds.expected), step.gpu, colour=colours[step.gpu], bold=True)
    for step in steps:
        if step.refusal:
            plot.dot(plot.x.at(step.factor), plot.y.start - 6, colour=LIMIT, hollow=True, tooltip=step.refusal)
    return f"<figure>{plot.svg()}</figure>"


def _step_rows(steps: Sequence[Step], unit: str) -> Iterable[tuple[object, ...]]:
    for step in steps:
        head = (f"x{step.factor:g}", f"{step.value:,.4g} {unit}")
        if step.usd_per_month is None or step.replicas is None:
            yield (*head, "no plan", "", "", "", "", step.refusal)
            continue
        bounds = step.usd_per_month
        costs = (f"{value:,.0f}" for value in (bounds.floor, bounds.expected, bounds.ceiling))
        yield (*head, step.name, _counts(step.replicas), *costs, "over the limit" if step.over_limit else "")


def _choice(document: Document) -> str:
    trades = ["the choice", *(words for _, words in trade_rows(document))]
    rows = [(*row, words) for row, words in zip(option_rows(document), trades, strict=True)]
    return table((*HEADS, "what it trades"), rows)


def _lost(document: Document) -> str:
    rows = reasons(document)
    if len(rows) <= MOST_REASONS:
        return table(("option", "reason"), rows)
    rest = folded(f"{len(rows) - MOST_REASONS} other reasons", table(("option", "reason"), rows[MOST_REASONS:]))
    return table(("option", "reason"), rows[:MOST_REASONS]) + rest


def _figures(study: PlanStudy) -> str:
    plan = study.result.chosen
    parts = (("plan", plan.figures), ("speed", plan.throughput.figures), ("memory", plan.memory.figures))
    rows = [
        (figure.name, f"{_value(figure.value)} {figure.unit}", figure.rule, _words(figure.inputs), figure.source)
        for _, figures in parts
        for figure in figures
    ]
    return table(("figure", "value", "rule", "inputs", "source"), rows)


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.6g}"


def _words(inputs: Mapping[str, float | str]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in sorted(inputs.items()))


def _inputs(document: Document) -> str:
    stated = [
        (f"{part}: {key.replace('_', ' ')}", value)
        for part in ("workload", "objectives")
        for key, value in document["inputs"][part].items()
    ]
    prices = f"<p>Prices of {escape(document['catalogue_date'])}, {escape(document['region'])}.</p>"
    return folded("What was asked for", table(("", ""), stated)) + prices
