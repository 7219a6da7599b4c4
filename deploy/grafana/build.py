#!/usr/bin/env python3
"""Writes the dashboards: `build.py [--into DIRECTORY] [--runbook URL]`.

The tables of panels are in wallboard.py, experience.py and pipeline.py; the kinds of panel in panels.py. Places, ids,
variables and links are made here. The same tables give the same bytes.
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True

import experience  # noqa: E402
import pipeline  # noqa: E402
import wallboard  # noqa: E402
from panels import DATASOURCE  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
DASHBOARDS = {
    "wallboard": wallboard,
    "customer-experience": experience,
    "pipeline-health": pipeline,
}

# Where the runbooks are served, as the rules of Prometheus name them. A link needs a whole URL: say yours with --runbook.
RUNBOOK = "docs/OPERATIONS.md"

QUANTILES = ["0.5", "0.9", "0.95", "0.99"]
WINDOWS = ["15m", "1h", "1d", "28d"]
WINDOWS_NARROW = ["15m", "1h", "1d"]


def custom(name, label, values, chosen, description):
    options = [{"selected": value == chosen, "text": value, "value": value} for value in values]
    return {
        "type": "custom", "name": name, "label": label, "description": description, "query": ",".join(values),
        "options": options, "current": {"selected": True, "text": chosen, "value": chosen},
        "hide": 0, "includeAll": False, "multi": False, "skipUrlSync": False,
    }


def labels(name, label, query, description, *, several, chosen):
    """A variable that lists the values of a label; where several may be chosen, all are at first."""
    first = {"selected": True, "text": ["All"], "value": ["$__all"]} if several else {
        "selected": True, "text": chosen, "value": chosen,
    }
    return {
        "type": "query", "name": name, "label": label, "description": description, "datasource": DATASOURCE,
        "definition": query, "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "current": first, "options": [], "refresh": 2, "regex": "", "sort": 1,
        "hide": 0, "includeAll": several, "allValue": ".*" if several else None, "multi": several, "skipUrlSync": False,
    }


def of_slice(label, by, metric_set):
    """The values of a label among the slices of a group-by. Of one metric set: others have events without it (`_none`)."""
    chosen = ',channel=~"$channel"' if by == "queue" else ""
    return f'label_values(cx_window_samples{{job=~"$job",slice="{by}",metric_set="{metric_set}"{chosen}}}, {label})'


VARIABLES = {
    "datasource": {
        "type": "datasource", "name": "datasource", "label": "Data source", "description": "The Prometheus that scrapes touchstone.",
        "query": "prometheus", "current": {"selected": True, "text": "Prometheus", "value": "prometheus"},
        "options": [], "refresh": 1, "regex": "", "hide": 0, "includeAll": False, "multi": False, "skipUrlSync": False,
    },
    "job": labels(
        "job", "Job", "label_values(touchstone_build_info, job)", "The scrape job of touchstone.",
        several=False, chosen="touchstone",
    ),
    "channel of contacts": labels(
        "channel", "Channel of contacts", of_slice("channel", "channel", "contacts"),
        "Calls and letters are not to be mixed: one channel's contacts at a time.", several=False, chosen="voice",
    ),
    "channel": labels(
        "channel", "Channel", of_slice("channel", "channel", "touchpoints"), "Channels, also of the queues.", several=True, chosen="",
    ),
    "queue": labels(
        "queue", "Queue", of_slice("queue", "queue", "contacts"), "Queues of the chosen channels.", several=True, chosen="",
    ),
    "team": labels(
        "team", "Team", of_slice("team", "team", "contacts"), "Teams.", several=True, chosen="",
    ),
    "region": labels(
        "region", "Region", of_slice("region", "region", "touchpoints"), "Where customers are.", several=True, chosen="",
    ),
    "segment": labels(
        "segment", "Segment", of_slice("segment", "segment", "touchpoints"), "Kinds of customers.", several=True, chosen="",
    ),
    "window 15m": custom("window", "Window", WINDOWS, "15m", "The window of every number but those of surveys."),
    "window 1h": custom("window", "Window", WINDOWS, "1h", "The window of numbers of all and by channel."),
    "survey_window": custom(
        "survey_window", "Window of surveys", WINDOWS, "1d", "Surveys are few: a score of minutes is chance.",
    ),
    "quantile": custom(
        "quantile", "Quantile", QUANTILES, "0.9", "Which share of contacts stays below the times that are shown.",
    ),
    "recent": custom(
        "recent", "Window of queues and teams", WINDOWS_NARROW, "1h",
        "The window of numbers by queue, team, region and segment: those that are exported by default.",
    ),
}


def hidden_runbook(url):
    return {
        "type": "constant", "name": "runbook", "label": "Runbook", "description": "Where the runbooks are served.",
        "query": url, "current": {"selected": True, "text": url, "value": url}, "options": [], "hide": 2, "skipUrlSync": True,
    }


def layout(rows):
    """Gives panels their places and ids: [(title, collapsed, [(height, [(width, panel)])])]. No title: no row above."""
    panels, y = [], 0

    def numbered(panel, height, width, x, y):
        nonlocal last
        last += 1
        return {"id": last, **panel, "gridPos": {"h": height, "w": width, "x": x, "y": y}}

    last = 0
    for title, collapsed, lines in rows:
        inside = panels
        if title:
            row = numbered({"type": "row", "title": title, "collapsed": collapsed, "panels": []}, 1, 24, 0, y)
            panels.append(row)
            y += 1
            inside = row["panels"] if collapsed else panels
        below = y
        for height, line in lines:
            x = 0
            for width, panel in line:
                inside.append(numbered(panel, height, width, x, below))
                x += width
            assert x <= 24, f"{title}: a line is {x} wide"
            below += height
        # What a collapsed row hides takes no room.
        y = y if collapsed else below
    return panels


def link(title, url, tooltip, **more):
    return {
        "type": "link", "title": title, "url": url, "tooltip": tooltip, "icon": "dashboard", "tags": [],
        "asDropdown": False, "includeVars": False, "keepTime": True, "targetBlank": False, **more,
    }


def annotations():
    builtin = {
        "builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
    }
    alerts = {
        "datasource": DATASOURCE, "enable": True, "hide": False, "iconColor": "red", "name": "Firing alerts",
        "expr": 'ALERTS{alertstate="firing",job=~"$job"}', "step": "60s", "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}} {{input}} {{metric_set}} {{channel}} {{queue}}", "tagKeys": "alertname,severity",
        "useValueForTime": False,
    }
    return {"list": [builtin, alerts]}


def dashboard(table, runbook):
    ids = "${datasource:queryparam}&${job:queryparam}"
    others = [
        link(other.TITLE, f"/d/{other.UID}/{name}?{ids}", other.DESCRIPTION)
        for name, other in DASHBOARDS.items() if other is not table
    ]
    book = link("Runbook", "${runbook:raw}", "What to do when something is wrong", icon="doc", keepTime=False, targetBlank=True)
    start, refresh = table.TIME
    return {
        "id": None, "uid": table.UID, "title": table.TITLE, "description": table.DESCRIPTION, "tags": ["touchstone"],
        "schemaVersion": 42, "editable": False, "graphTooltip": 1, "fiscalYearStartMonth": 0, "timezone": "browser",
        "time": {"from": start, "to": "now"}, "refresh": refresh, "timepicker": {}, "preload": False,
        "annotations": annotations(), "links": [*others, book],
        "templating": {"list": [*(VARIABLES[name] for name in table.VARIABLES), hidden_runbook(runbook)]},
        "panels": layout(table.ROWS),
    }


def main():
    parser = argparse.ArgumentParser(description="Writes the dashboards.")
    parser.add_argument("--into", type=pathlib.Path, default=HERE / "dashboards", help="where to write them")
    parser.add_argument("--runbook", default=RUNBOOK, help="the URL under which docs/OPERATIONS.md is served")
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    for name, table in DASHBOARDS.items():
        text = json.dumps(dashboard(table, arguments.runbook), indent=1, ensure_ascii=False)
        (arguments.into / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
