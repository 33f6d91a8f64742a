"""Draws a comparison as SVG: a panel for each figure and a bar for each server, with its minimum and maximum."""

import statistics
from xml.sax.saxutils import escape

# key, title, unit, format
PANELS = [
    ("rate", "Highest rate with p99 < 100 ms", "acks/s: more is better", "{:,.0f}"),
    ("back_s", "10,000 connections cut: all back", "seconds: less is better", "{:.1f}"),
    ("others_p99_ms", "Latency of all other connections meanwhile", "p99 of acks, ms: less is better", "{:,.0f}"),
    ("lost", "Messages lost in that storm", "less is better", "{:,.0f}"),
    ("kib", "Memory for an idle connection", "KiB: less is better", "{:.1f}"),
    ("cpu_s", "Processor for 100,000 deliveries", "seconds at 1,000 messages/s: less is better", "{:.1f}"),
]
PANELS_PER_ROW = 2
NAME, BAR, VALUE, GAP = 300, 190, 80, 24
WIDTH = NAME + BAR + VALUE
HEAD, LINE, FOOT = 48, 22, 20
OURS, THEIRS, SPREAD, INK, FAINT = "#1a9a94", "#a9b4bd", "#33424d", "#1d2a33", "#5b6a75"


def panel(runs, names, key, title, unit, form):
    """Draws one panel at the origin. Leaves out servers without this figure."""
    found = {name: [run[key] for run in runs[name] if key in run] for name in names}
    found = {name: values for name, values in found.items() if values}
    most = max((max(values) for values in found.values()), default=0) or 1
    parts = [f'<text y="18" class="title">{escape(title)}</text><text y="36" class="unit">{escape(unit)}</text>']
    for at, (name, values) in enumerate(found.items()):
        top, middle = HEAD + at * LINE, statistics.median(values)
        along = lambda value: NAME + BAR * value / most
        colour = OURS if name.startswith("wardroom") else THEIRS
        parts.append(f'<text x="{NAME - 8}" y="{top + 15}" text-anchor="end">{escape(names[name])}</text>')
        parts.append(f'<rect x="{NAME}" y="{top + 3}" width="{along(middle) - NAME:.1f}" height="{LINE - 6}" fill="{colour}"/>')
        if max(values) > min(values):
            parts.append(f'<path d="M{along(min(values)):.1f} {top + LINE / 2}H{along(max(values)):.1f}" class="spread"/>')
        parts.append(f'<text x="{along(max(values)) + 6:.1f}" y="{top + 15}">{form.format(middle)}</text>')
    return "\n".join(parts)


def svg(runs, names):
    """Draws all panels. `runs` maps each server to the figures of its rounds, `names` to its title, in order."""
    names = {name: called for name, called in names.items() if runs.get(name)}
    high = HEAD + len(names) * LINE + FOOT
    rows = -(-len(PANELS) // PANELS_PER_ROW)
    wide, tall = PANELS_PER_ROW * WIDTH + (PANELS_PER_ROW + 1) * GAP, rows * high + 2 * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" role="img" aria-label="Wardroom beside its competitors">',
        f"<style>text{{font:13px system-ui,sans-serif;fill:{INK}}}.title{{font-weight:600;font-size:15px}}"
        f".unit{{fill:{FAINT}}}.spread{{stroke:{SPREAD};stroke-width:2}}</style>",
        f'<rect width="{wide}" height="{tall}" fill="#fff"/>',
    ]
    for at, (key, title, unit, form) in enumerate(PANELS):
        left, top = GAP + at % PANELS_PER_ROW * (WIDTH + GAP), GAP + at // PANELS_PER_ROW * high
        parts.append(f'<g transform="translate({left} {top})">{panel(runs, names, key, title, unit, form)}</g>')
    return "\n".join([*parts, "</svg>\n"])
