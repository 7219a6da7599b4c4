"""Pipeline health: is what the other dashboards show there, and is it live? Causes from left to right, what waits for "
"whom."""

from panels import (
    AGE, COUNT, COVERED, EVIDENCE, FAULTS, WIDE,
    answering, chart, colored, fixed, least, named, now, one, over, rate, selector, stat, table,
)

UID = "touchstone-pipeline"
TITLE = "Touchstone: pipeline health"
DESCRIPTION = "Whether the numbers are there and live, and what holds them up."
TIME = ("now-1h", "10s")
VARIABLES = ["datasource", "job"]


def runbook(*anchors):
    return [(f"Runbook: {anchor}", "${runbook:raw}#" + anchor) for anchor in anchors]


def health(family, **labels):
    return one(selector(f"touchstone_{family}", **labels))


def per_source(family, by="input, partition"):
    return over(f"sum by ({by}) ({rate(f'touchstone_{family}')})", " ".join(f"{{{{{label}}}}}" for label in by.split(", ")))


def process(family, **labels):
    """A family that belongs to a process, not to what it owns: as each one shows it."""
    return selector(f"touchstone_{family}", **labels)


def commit_quantile(q):
    buckets = f"rate({process('commit_seconds_bucket')}[$__rate_interval])"
    return over(f"histogram_quantile({q}, sum by (worker, le) ({buckets}))", f"{{{{worker}}}} {q}", f"q{q}")


def commits(suffix):
    return f"rate({process('commit_seconds_' + suffix)}[$__rate_interval])"


OVERFLOW = one(f"increase({selector('touchstone_slice_overflow_total')}[$__range])")
ITEMS = f"sum by (result) ({rate('touchstone_items_total')})"
DOORS = [("accepted", "green"), ("late", "yellow"), ("duplicate", "blue"), ("rejected", "red"), ("skipped", "#6e6e6e")]
SET = [("metric_set", "Metric set")]
SLICE = [*SET, ("slice", "Slice")]
PLACE = [("input", "Input"), ("partition", "Partition")]


def share(result):
    door = rate("touchstone_items_total", result=result)
    return f"sum by (input) ({door}) / sum by (input) ({rate('touchstone_items_total')} > 0)"


def shown(family, by):
    """What is said of the windows of the slices `all` or `channel`, all four of them."""
    return one(selector(f"cx_window_{family}", slice=by, window="~15m|1h|1d|28d"))


HEAD = [(4, [
    (4, stat(
        "Data age", "How far event time lies behind the clock, for the metric set that is farthest behind. Above five "
        "minutes no "
        "number is live.", "s", [now(f"time() - min({health('watermark_timestamp_seconds')})")],
        fill=True, thresholds=AGE, decimals=0, links=runbook("touchstonewatermarkstalled"),
    )),
    (4, stat(
        "Final until, ago", "Windows that ended before then never change again: event time less the lateness that is "
        "allowed "
        "(10 minutes by default).", "s", [now(f"time() - min({health('final_until_timestamp_seconds')})")], decimals=0,
        thresholds=[("text", None), ("orange", 900), ("red", 1800)], links=runbook("touchstonewatermarkstalled"),
    )),
    (4, stat(
        "Processes", "Processes that answer their scrape, and those that do not.", COUNT,
        [
            now("count(up{job=~\"$job\"} == 1)", "answer", "up"),
            now(answering("count(up{job=~\"$job\"} == 0)"), "do not", "down"),
        ],
        names=True, decimals=0, links=runbook("touchstoneabsent", "touchstoneinstancedown"),
        overrides=[named("do not", thresholds={"mode": "absolute", "steps": [{"color": "text", "value": None}, {"color": "red", "value": 1}]})],
    )),
    (3, stat(
        "Halted tasks", "Tasks that take nothing any more, until somebody mends them. 0 is shown only while a process "
        "answers.", COUNT,
        [now(answering(f"count({health('task_halted')} == 1)"))], fill=True, thresholds=FAULTS, decimals=0, links=runbook("halts"),
    )),
    (3, stat(
        "Workers cut off", "Workers that cannot reach their log; /readyz of their process says why.", COUNT,
        [now(f"sum({process('worker_unavailable')})")], fill=True, thresholds=FAULTS, decimals=0,
        links=runbook("touchstoneworkerunavailable"),
    )),
    (3, stat(
        "Series left out", "Series that are not shown because of export.series_max: the finest group-bys are missing.",
        COUNT,
        [now(f"sum({process('series_left_out')})")], fill=True, thresholds=FAULTS, decimals=0, links=runbook("touchstoneseriesleftout"),
    )),
    (3, stat(
        "Version", "Which builds run. Two of them are an upgrade on its way.", COUNT,
        [now(f"count by (version) ({process('build_info')})", "{{version}}")], names=True, decimals=0, links=runbook("upgrades"),
    )),
])]

ROWS = [
    ("", False, HEAD),
    ("What comes in", False, [
        (8, [
            (10, chart(
                "Items by door", "Every item leaves through exactly one of five doors: accepted, late, duplicate, "
                "rejected, skipped.", "cps",
                [over(ITEMS, "{{result}}")], stacked=True, min=0,
                overrides=[named(door, color=fixed(color)) for door, color in DOORS], links=runbook("touchstonelateitems"),
            )),
            (7, chart(
                "Late and rejected, share", "Share of the items of each input that came later than lateness allows, or "
                "were rejected.", "percentunit",
                [over(share("late"), "{{input}} late", "late"), over(share("rejected"), "{{input}} rejected", "rejected")],
                min=0, links=runbook("touchstonelateitems", "touchstonerejecteditems"),
            )),
            (7, chart(
                "Rejected by reason", "Rejected items. Each lies in the topic of dead letters, with its reason and its "
                "place.", "cps",
                [over(f"sum by (reason) ({rate('touchstone_rejected_total')})", "{{reason}}")], stacked=True, min=0,
                links=runbook("touchstonerejecteditems"),
            )),
        ]),
        (7, [
            (8, chart("Records by partition", "Records taken. A record is one item, or as many as its mapping makes.",
                "cps", [per_source("records_total")], min=0)),
            (8, chart(
                "Newest event, ago", "How old the newest accepted event of an input is, per channel.", "s",
                [over(f"time() - {health('source_newest_event_timestamp_seconds')}", "{{input}} {{channel}}")], min=0,
                links=runbook("touchstonesourcesilent"),
            )),
            (8, chart(
                "Conflicting duplicates", "Duplicates whose content differs from that of the first: the first one "
                "counts.", "cps",
                [per_source("conflicting_total")], min=0, seldom=True,
            )),
        ]),
    ]),
    ("How far time has come", False, [
        (8, [
            (8, chart(
                "Watermark behind the clock, by partition", "How far the watermark of a source lies behind the clock. "
                "Windows wait for the "
                "slowest.", "s", [over(least(selector("touchstone_watermark_lag_seconds")), "{{input}} {{partition}}")], min=0,
                links=runbook("touchstonesourcebehind"),
            )),
            (8, chart(
                "Data age by metric set", "How far event time lies behind the clock over all sources of a metric set.", "s",
                [over(f"time() - {health('watermark_timestamp_seconds')}", "{{metric_set}}")], min=0,
                links=runbook("touchstonewatermarkstalled"),
            )),
            (8, chart(
                "Final until, ago, by metric set", "Windows that ended before then never change again.", "s",
                [over(f"time() - {health('final_until_timestamp_seconds')}", "{{metric_set}}")], min=0,
                links=runbook("touchstonewatermarkstalled"),
            )),
        ]),
        (7, [
            (8, chart(
                "Consumer lag", "Offsets that lie beyond what was taken, at the last look.", COUNT,
                [over(least(selector("touchstone_consumer_lag")), "{{input}} {{partition}}")], min=0, decimals=0,
                links=runbook("touchstonelaggrowing"),
            )),
            (8, table(
                "Phase of each partition", "Where a source is in its life, and whether it stands still because it is too "
                "far ahead of what has been "
                "merged. 1: it is so.", PLACE,
                [
                    *(
                        (phase.capitalize(), health("source_phase", phase=phase), COUNT, {"decimals": 0})
                        for phase in ("joining", "live", "left", "retired")
                    ),
                    ("Held", health("source_held"), COUNT, colored([("text", None), ("orange", 1)], 0)),
                ],
            )),
            (8, chart(
                "Held partitions", "1 while a partition stands still because it is too far ahead of what has been merged: "
                "memory stays bounded.",
                COUNT, [over(health("source_held"), "{{input}} {{partition}}")], min=0, max=1, decimals=0,
                links=runbook("faults-that-mend-themselves"),
            )),
        ]),
    ]),
    ("What is wrong", False, [
        (6, [
            (8, table(
                "Halted tasks and why", "Tasks that take nothing any more. The runbook says, for each reason, what to do.",
                [("stage", "Stage"), ("partition", "Partition"), ("reason", "Reason")],
                [("Halted", health("task_halted"), COUNT, colored(FAULTS, 0))], links=runbook("halts"),
            )),
            (8, chart(
                "Restoring", "Offsets that a task still has to read before its numbers are shown, at most.", COUNT,
                [over(least(selector("touchstone_restore_remaining_records")), "{{stage}} {{partition}}")], min=0, decimals=0,
                links=runbook("touchstonerestoreslow"),
            )),
            (8, table(
                "Firing alerts", "Alerts of this job, where Prometheus has the rules.",
                [("severity", "Severity"), ("alertname", "Alert")],
                [("Series", 'ALERTS{alertstate="firing",job=~"$job"}', COUNT, {"decimals": 0})],
                links=runbook("alerts-about-the-data"),
            )),
        ]),
    ]),
    ("Commits", False, [
        (7, [
            (8, chart(
                "How long commits take", "Quantiles per worker, from a histogram: no finer than its buckets.", "s",
                [commit_quantile(q) for q in ("0.5", "0.99")], min=0, links=runbook("touchstonelaggrowing"),
            )),
            (8, chart(
                "Commits per second", "How often each worker commits, and the mean time a commit takes (right).", "cps",
                [
                    over(f"sum by (worker) ({commits('count')})", "{{worker}}", "commits"),
                    over(f"sum by (worker) ({commits('sum')}) / sum by (worker) ({commits('count')} > 0)", "{{worker}} mean", "mean"),
                ],
                min=0, overrides=[{
                    "matcher": {"id": "byFrameRefID", "options": "mean"},
                    "properties": [
                        {"id": "unit", "value": "s"},
                        {"id": "custom.axisPlacement", "value": "right"},
                        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [4, 6]}},
                    ],
                }],
            )),
            (8, chart(
                "Commits that failed", "Commits that were aborted or whose outcome was unknown; the worker takes up again "
                "at what is committed.",
                "cps", [over(f"sum by (worker) (rate({process('commit_failures_total')}[$__rate_interval]))", "{{worker}}")], min=0,
                seldom=True, links=runbook("faults-that-mend-themselves"),
            )),
        ]),
    ]),
    ("What is held in memory", False, [
        (8, [
            (8, chart(
                "Panes", "Cells held in memory, per metric set; the table below has the slices.", COUNT,
                [over(f"sum by (metric_set) ({health('cells')})", "{{metric_set}}")], stacked=True, min=0, decimals=0,
            )),
            (8, chart(
                "Ids", "Ids remembered to tell duplicates, about 40 bytes each.", COUNT,
                [over(health("dedup_ids"), "{{input}} {{partition}}")], stacked=True, min=0, decimals=0,
                links=runbook("touchstoneidspushedout"),
            )),
            (8, chart(
                "Ids pushed out", "Ids forgotten before their time because of dedup_ids_max: a copy of one counts "
                "twice.", "cps",
                [per_source("dedup_pushed_out_total")], min=0, seldom=True, links=runbook("touchstoneidspushedout"),
            )),
        ]),
        (8, [
            (8, table(
                "Slices", "Distinct slices and panes held in memory, and events that were counted under _other in the "
                "time that the dashboard shows.", SLICE,
                [
                    ("Slices", health("slices"), COUNT, {"decimals": 0}),
                    ("Panes", health("cells"), COUNT, {"decimals": 0}),
                    ("Under _other", OVERFLOW, COUNT, colored([("text", None), ("orange", 1)], 0)),
                ],
                sort="Panes", links=runbook("input-that-does-harm"),
            )),
            (8, chart(
                "Events under _other", "Events counted under _other because a group-by has more values than values_max.",
                "cps",
                [over(f"sum by (metric_set) ({rate('touchstone_slice_overflow_total')})", "{{metric_set}}")], min=0, seldom=True,
                links=runbook("input-that-does-harm"),
            )),
            (8, chart(
                "Sections dropped", "Sections of deltas that had been taken in before: a first stage began again. Nothing "
                "is counted twice.", "cps",
                [over(f"sum by (partition) ({rate('touchstone_sections_dropped_total')})", "partition {{partition}}")], min=0,
                seldom=True,
            )),
        ]),
    ]),
    ("What the windows say of themselves", False, [
        (9, [
            (24 // len(WIDE), table(
                f"Windows of {by}", "Samples, watched part, end and finality of each window. 1d and 28d are open: their "
                "end is yet to come.",
                [("window", "Window"), *SET] + ([("channel", "Channel")] if by == "channel" else []),
                [
                    ("n", shown("samples", by), COUNT, colored(EVIDENCE, 0)),
                    ("Watched", shown("covered_ratio", by), "percentunit", colored(COVERED, 0)),
                    ("Ends", f"1000 * {shown('end_timestamp_seconds', by)}", "time:MMM D, HH:mm", {}),
                    ("Final", shown("final", by), COUNT, {"decimals": 0}),
                ],
                sort="n",
            ))
            for by in WIDE
        ]),
    ]),
]
