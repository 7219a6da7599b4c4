"""The queries and the kinds of panel that the dashboards are made of.

Three rules are kept here, so that the tables of panels need not think of them:

- `max without (instance, pod)` comes first in every query: a partition that moves is shown by two processes for a moment.
- What says how things are now asks for an instant. A range would show the last value of a series that is long gone.
- A score of fewer than 30 answers is not coloured: it comes from a query of its own, `thin`, and is grey.
"""

NO_DATA = "no data"
# Counts as they are, 12,345, not 12 K: n is evidence.
COUNT = "locale"
CLOCK = "time:HH:mm"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# The group-bys that are exported by default, and the labels of each. The first two have a window more than the others:
# they are asked for by the variable `window`, the others by `recent`.
SLICES = {
    "all": [],
    "channel": ["channel"],
    "queue": ["channel", "queue"],
    "team": ["team"],
    "region": ["region"],
    "segment": ["segment"],
}
WIDE = ("all", "channel")

# From how many observations on a score may be believed a little, and well.
N_SOME, N_ENOUGH = 30, 100

# What is good and what is bad. Usual values, no standard: put your own goals here and run build.py.
GREY = "#6e6e6e"
PLAIN = [("text", None)]
EVIDENCE = [("orange", None), ("yellow", N_SOME), ("text", N_ENOUGH)]
AGE = [("green", None), ("orange", 60), ("red", 300)]
COVERED = [("orange", None), ("text", 0.95)]
ABANDONMENT = [("green", None), ("orange", 0.05), ("red", 0.1)]
SERVICE_LEVEL = [("red", None), ("orange", 0.7), ("green", 0.8)]
WAITING = [("green", None), ("orange", 60), ("red", 180)]
HOLD = [("green", None), ("orange", 60), ("red", 120)]
CSAT = [("red", None), ("orange", 0.7), ("green", 0.8)]
NPS = [("red", None), ("orange", 0), ("green", 30)]
EASE = [("red", None), ("orange", 0.6), ("green", 0.75)]
FAULTS = [("green", None), ("red", 1)]

# The observations that a figure is made of: counts of its window, or the name of a metric set for all of its samples.
SAMPLES = {
    "abandonment_ratio": "offered - short_abandoned",
    "ces_ease_ratio": "ces",
    "ces_score": "ces",
    "channel_share_ratio": "touches",
    "csat_ratio": "csat",
    "csat_score": "csat",
    "first_response_quantile_seconds": "first_response_known",
    "first_response_seconds": "first_response_known",
    "handle_time_seconds": "handle_known",
    "held_contacts_ratio": "hold_known",
    "hold_abandonment_ratio": "held",
    "hold_mean_seconds": "hold_positive",
    "hold_per_answered_seconds": "hold_known",
    "hold_quantile_seconds": "hold_positive",
    "nps_ratio": "nps",
    "queue_wait_quantile_seconds": "answered_wait_known + abandoned_wait_known",
    "resolution_ratio": "resolution_known",
    "service_level_ratio": "answered_wait_known + abandoned_wait_known",
    "speed_of_answer_seconds": "answered_wait_known",
    "time_to_abandon_seconds": "abandoned_wait_known",
}
METRIC_SETS = ("ces", "csat", "nps")


# Queries.


def selector(family, **labels):
    """`family{job=~"$job",..}`. A value that begins with ~ is a regular expression; `by` stands for `slice`."""
    matchers = {"job": "~$job", **labels}
    texts = [
        f'{name}=~"{value[1:]}"' if value.startswith("~") else f'{name}="{value}"' for name, value in matchers.items()
    ]
    return f"{family}{{{','.join(texts)}}}"


def one(expression):
    """Of the processes that show a series the one that is farthest."""
    return f"max without (instance, pod) ({expression})"


def least(expression):
    """Of the processes that show a lag the one that is least behind: the former owner shows where it stood."""
    return f"min without (instance, pod) ({expression})"


def rate(family, **labels):
    """Per second. Counters are since ever, so every owner of a partition counts on from the same number."""
    return one(f"rate({selector(family, **labels)}[$__rate_interval])")


def window(family, by="all", span=None, **labels):
    """A family of a window: the slices of one group-by that are chosen by variables."""
    span = span or ("$window" if by in WIDE else "$recent")
    chosen = {name: f"~${name}" for name in SLICES[by]}
    return one(selector(family, window=span, slice=by, **{**chosen, **labels}))


def ever(family, by="all", **labels):
    """How fast a family since ever grows."""
    chosen = {name: f"~${name}" for name in SLICES[by]}
    return rate(family, slice=by, **{**chosen, **labels})


def figure(name, by="all", span=None, **labels):
    """A figure; the net promoter score in points, as everybody reads it."""
    return scaled(name, window(f"cx_{name}", by, span, **labels))


def bound(which, name, by="all", span=None, **labels):
    """The lower or the upper end of a figure's interval."""
    return scaled(name, window(f"cx_window_{which}", by, span, figure=name, **labels))


def scaled(name, expression):
    return f"100 * {expression}" if name.startswith("nps_") else expression


def samples(name, by="all", span=None):
    """How many observations a figure is made of."""

    def part(word):
        if word in "+-":
            return word
        if word in METRIC_SETS:
            return window("cx_window_samples", by, span, metric_set=word)
        return window(f"cx_window_{word}", by, span)

    return " ".join(part(word) for word in SAMPLES[name].split())


def evidence(by):
    return ", ".join(["job", "window", "slice", *SLICES[by]])


def sure(name, by="all", span=None, **labels):
    """A figure where it has at least 30 observations."""
    value, n = figure(name, by, span, **labels), samples(name, by, span)
    return f"{value}\nand on ({evidence(by)})\n({n} >= {N_SOME})"


def thin(name, by="all", span=None, **labels):
    """A figure where it has fewer, or nobody knows how many."""
    value, n = figure(name, by, span, **labels), samples(name, by, span)
    return f"{value}\nunless on ({evidence(by)})\n({n} >= {N_SOME})"


def watermark(metric_set):
    return one(selector("touchstone_watermark_timestamp_seconds", metric_set=metric_set))


def answering(expression):
    """0 where there is nothing, but only while a process answers: nothing at all must not look like nothing wrong."""
    return f"{expression}\nor on ()\n0 * count({selector('touchstone_build_info')})"


# Targets: one query of a panel.


def now(expression, legend="", ref="A"):
    return target(expression, ref, legend, instant=True)


def over(expression, legend="", ref="A"):
    return target(expression, ref, legend, instant=False)


def target(expression, ref, legend, instant, form="time_series"):
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression,
        "format": form,
        "instant": instant,
        "range": not instant,
        "legendFormat": legend or "__auto",
    }


def lines(name, by, legend, **labels):
    """A figure over time, what is thin apart."""
    return [
        over(sure(name, by, **labels), legend, "sure"),
        over(thin(name, by, **labels), f"{legend}, n < {N_SOME}", "thin"),
    ]


# Panels.


def steps(thresholds):
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in thresholds]}


def override(matcher, value, **properties):
    """Other properties for some fields; `__` in a name stands for a point."""
    named = [{"id": name.replace("__", "."), "value": setting} for name, setting in properties.items()]
    return {"matcher": {"id": matcher, "options": value}, "properties": named}


def named(name, **properties):
    return override("byName", name, **properties)


def of_query(ref, **properties):
    return override("byFrameRefID", ref, **properties)


def fixed(color):
    return {"mode": "fixed", "fixedColor": color}


NOT_IN_LEGEND = {"legend": True, "tooltip": False, "viz": False}
GREY_WHEN_THIN = of_query("thin", color=fixed(GREY))
DASHED_WHEN_THIN = of_query(
    "thin", color=fixed(GREY), custom__lineStyle={"fill": "dash", "dash": [4, 6]}, custom__lineWidth=1,
    custom__hideFrom=NOT_IN_LEGEND,
)


def panel(kind, title, description, unit, targets, options, *, thresholds=PLAIN, overrides=(), links=(), **more):
    """Anything that is drawn. `more`: decimals, min, max, color, custom, and what lies beside fieldConfig."""
    beside = {name: more.pop(name) for name in ("transformations", "repeat", "maxPerRow") if name in more}
    if "repeat" in beside:
        beside["repeatDirection"] = "h"
    defaults = {
        "color": more.pop("color", {"mode": "thresholds"}),
        "custom": more.pop("custom", {}),
        "links": [{"title": name, "url": url} for name, url in links],
        "mappings": [NOTHING],
        "noValue": NO_DATA,
        "thresholds": steps(thresholds),
        "unit": unit,
        **more,
    }
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
        **beside,
    }


# Nothing known is grey, not the colour of the lowest threshold, which may be green. In large letters it must not break.
NOTHING_TEXT = NO_DATA.replace(" ", "\N{NO-BREAK SPACE}")
NOTHING = {"type": "special", "options": {"match": "null+nan", "result": {"color": GREY, "index": 0, "text": NOTHING_TEXT}}}
LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}


def stat(title, description, unit, targets, *, fill=False, names=False, stacked=False, **more):
    """How things are now, large. `fill` colours the whole panel, `names` says what each value is."""
    # Several values in one panel are of one size; one alone is as large as it can be.
    sizes = {"titleSize": 24, "valueSize": 64} if stacked else {"titleSize": 18, "valueSize": 30}
    options = {
        "colorMode": "background_solid" if fill else "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "horizontal" if stacked else "vertical",
        "reduceOptions": LAST,
        "showPercentChange": False,
        "text": sizes if names else {},
        "textMode": "value_and_name" if names else "value",
        "wideLayout": False,
    }
    return panel("stat", title, description, unit, targets, options, **more)


def score(title, description, name, unit, *, by="all", span=None, guard="", thresholds, links=(), fill=True, **labels):
    """A score that is grey while it is thin."""
    targets = [
        now(sure(name, by, span, **labels) + guard, title, "sure"),
        now(thin(name, by, span, **labels) + guard, title, "thin"),
    ]
    decimals = 0 if unit == "none" else 1
    return stat(
        title,
        description,
        unit,
        targets,
        fill=fill,
        thresholds=thresholds,
        overrides=[GREY_WHEN_THIN],
        links=links,
        decimals=decimals,
    )


def proof(title, description, name, unit, *, by="all", span=None, guard="", links=()):
    """What a score is worth: how many, and the ends of its 95 % interval."""
    targets = [
        now(f"({samples(name, by, span)}){guard}", "n", "n"),
        now(bound("lower", name, by, span) + guard, "at least", "lower"),
        now(bound("upper", name, by, span) + guard, "at most", "upper"),
    ]
    only_n = of_query("n", unit=COUNT, decimals=0, thresholds=steps(EVIDENCE))
    decimals = 0 if unit == "none" else 1
    return stat(title, description, unit, targets, names=True, overrides=[only_n], links=links, decimals=decimals)


def chart(title, description, unit, targets, *, stacked=False, fill=0, log=False, seldom=False, **more):
    """Over time. Where nothing is known there is a gap. What happens seldom has an axis up to 1 while it does not."""
    custom = {
        **({"axisSoftMax": 1} if seldom else {}),
        "axisPlacement": "auto",
        "drawStyle": "line",
        "fillOpacity": 60 if stacked else fill,
        "gradientMode": "none",
        "lineInterpolation": "linear",
        "lineWidth": 1 if stacked else 2,
        "pointSize": 5,
        "scaleDistribution": {"type": "log", "log": 10} if log else {"type": "linear"},
        "showPoints": "never" if stacked else "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off"},
    }
    options = {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    more.setdefault("color", {"mode": "palette-classic"})
    return panel("timeseries", title, description, unit, targets, options, custom=custom, **more)


def band(title, description, name, unit, *, by="all", **more):
    """A score over time within its 95 % interval."""
    targets = [
        over(bound("upper", name, by), "at most", "upper"),
        over(bound("lower", name, by), "at least", "lower"),
        *lines(name, by, "score"),
    ]
    edge = {"color": fixed("blue"), "custom__lineWidth": 0, "custom__showPoints": "never", "custom__hideFrom": NOT_IN_LEGEND}
    overrides = [
        named("at most", custom__fillBelowTo="at least", custom__fillOpacity=20, **edge),
        named("at least", custom__fillOpacity=0, **edge),
        named("score", color=fixed("blue")),
        DASHED_WHEN_THIN,
    ]
    return chart(title, description, unit, targets, overrides=overrides, **more)


def heat(title, description, expression):
    """A distribution over time, from the buckets of a histogram."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "cps"},
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "scale": "exponential",
            "exponent": 0.5,
            "reverse": False,
            "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    }
    custom = {"hideFrom": {"legend": False, "tooltip": False, "viz": False}, "scaleDistribution": {"type": "linear"}}
    targets = [target(expression, "A", "{{le}}", instant=False, form="heatmap")]
    return panel("heatmap", title, description, "s", targets, options, custom=custom)


def bars(title, description, unit, targets, **more):
    """How things are now, side by side."""
    options = {
        "displayMode": "basic",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
        "maxVizHeight": 300,
        "minVizHeight": 12,
        "minVizWidth": 8,
        "namePlacement": "auto",
        "orientation": "horizontal",
        "reduceOptions": LAST,
        "showUnfilled": True,
        "sizing": "auto",
        "text": {"titleSize": 11, "valueSize": 20},
        "valueMode": "text",
    }
    return panel("bargauge", title, description, unit, targets, options, **more)


def table(title, description, keys, columns, *, sort=None, links=(), only=""):
    """One row per value of the labels `keys`: [(label, heading)].

    A column: (heading, query, unit, how it looks: {} for plain). `only` chooses the rows. Links go on the last key's cells.
    """
    labels = ", ".join(label for label, _ in keys)
    refs = [chr(ord("A") + place) if place < 26 else f"A{chr(ord('A') + place - 26)}" for place in range(len(columns))]
    targets = [
        target(f"max by ({labels}) ({query}){only}", ref, "", instant=True, form="table")
        for ref, (_, query, _, _) in zip(refs, columns)
    ]
    # Grafana names the values by their query, but not where there is one alone.
    values = ["Value"] if len(refs) == 1 else [f"Value #{ref}" for ref in refs]
    order = [label for label, _ in keys] + values
    rename = dict(keys) | {value: column[0] for value, column in zip(values, columns)}
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(order)},
        "renameByName": rename,
    }
    overrides = [named(heading, unit=unit, **looks) for heading, _, unit, looks in columns]
    if links:
        overrides.append(named(keys[-1][1], links=[{"title": name, "url": url} for name, url in links]))
    options = {
        "cellHeight": "sm",
        "showHeader": True,
        "sortBy": [{"displayName": sort, "desc": True}] if sort else [],
    }
    custom = {
        "align": "auto",
        "cellOptions": {"type": "auto"},
        "filterable": False,
        "inspect": False,
        "minWidth": 60,
        "wrapHeaderText": True,
    }
    return panel(
        "table",
        title,
        description,
        "short",
        targets,
        options,
        overrides=overrides,
        custom=custom,
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
    )


def judged(thresholds, decimals=1):
    """The cell of a score that is there only where it is sure: what is not says so."""
    too_few = {"color": GREY, "index": 0, "text": f"n < {N_SOME}"}
    mappings = [{"type": "special", "options": {"match": "null+nan", "result": too_few}}]
    return {**colored(thresholds, decimals), "mappings": mappings}


def colored(thresholds, decimals=1):
    """A cell whose text has the colour of its value."""
    return {
        "decimals": decimals,
        "thresholds": steps(thresholds),
        "color": {"mode": "thresholds"},
        "custom__cellOptions": {"type": "color-text"},
    }
