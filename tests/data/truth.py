#!/usr/bin/env python3
"""What `touchstone replay` must print for the real data sets, computed by the plainest code possible.

    truth.py DATA_DIRECTORY [DATA_SET ..]          (all five without names)

For each data set it reads the RAW rows, first reproduces every figure of its truth.json under that file's own
definitions (a difference ends the program with code 1), then counts the cells that touchstone must print, by the
definitions of touchstone and with the decisions that stand in config/mappings/*.jq as comments. It shares no code with
either: Python's own csv, datetime and fractions only. The result is one JSON object per data set:

    {"data_set": .., "zone": .., "items": {..}, "cells": {"contacts|total|all": {"samples": .., "events": ..,
     "counts": {..}, "ratios": {"abandonment_ratio": {"value": .., "numerator": .., "denominator": ..}},
     "means": {..}, "quantiles": {"queue_wait_quantile_seconds": {"0.5": .., "samples": ..}}},
     "contacts|calendar_day|1999-01-03|queue|voice|PS": {..}}}

Quotients are exact until the last step: `value` is the double nearest to the true quotient. Quantiles are of rank
ceil(q n) over the raw values, so touchstone's may lie up to its bucket error beside them.
"""

import bz2
import collections
import csv
import datetime
import gzip
import io
import json
import math
import pathlib
import re
import sys
import urllib.parse
import zoneinfo
from fractions import Fraction

SERVICE_LEVEL_MS = 20_000
SHORT_ABANDON_MS = 5_000
QUANTILES = ("0.5", "0.9", "0.95", "0.99")
SLICES = {"all": (), "channel": ("channel",), "queue": ("channel", "queue")}
UTC = datetime.timezone.utc


# ---------------------------------------------------------------------------------------------- what is checked


class Truth:
    """The figures of one truth.json, each of which must be reproduced."""

    def __init__(self, directory):
        parsed = json.loads((directory / "truth.json").read_text())
        self.name = parsed["dataset"]
        self.values = {truth["id"]: truth["value"] for truth in parsed["truths"]}
        self.open = set(self.values)

    def check(self, identity, found):
        expected = self.values[identity]
        self.open.discard(identity)
        where = differs(expected, found, identity)
        if where:
            sys.exit(f"{self.name}: {where}")

    def check_part(self, identity, key, found):
        """For tables of which some rows are about other files."""
        self.open.discard(identity)
        where = differs(self.values[identity][key], found, f"{identity}.{key}")
        if where:
            sys.exit(f"{self.name}: {where}")

    def close(self, not_about_these_rows=()):
        left = self.open - set(not_about_these_rows)
        if left:
            sys.exit(f"{self.name}: not reproduced: {sorted(left)}")


def differs(expected, found, path):
    """Where two values differ; numbers may differ by the six digits that truth.json keeps."""
    if isinstance(expected, bool) or isinstance(expected, str) or expected is None:
        return None if expected == found else f"{path}: expected {expected!r}, found {found!r}"
    if isinstance(expected, (int, float)):
        near = isinstance(found, (int, float, Fraction)) and abs(expected - found) <= 5.1e-7 * max(1, abs(expected) / 1e6)
        return None if near else f"{path}: expected {expected!r}, found {found!r}"
    if isinstance(expected, list):
        if len(expected) != len(found):
            return f"{path}: expected {len(expected)} entries, found {len(found)}"
        pairs = enumerate(zip(expected, found))
        return next((w for i, (e, f) in pairs if (w := differs(e, f, f"{path}[{i}]"))), None)
    if set(expected) != set(found):
        return f"{path}: other keys: {sorted(set(expected) ^ set(found))[:5]}"
    return next((w for key in expected if (w := differs(expected[key], found[key], f"{path}.{key}"))), None)


def stats(values):
    """The stats object of truth.json."""
    ordered = sorted(values)
    result = {"n": len(ordered), "sum": sum(ordered), "mean": mean(ordered), "min": ordered[0], "max": ordered[-1]}
    for name, quantile in (("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        place = (len(ordered) - 1) * Fraction(str(quantile))
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        result[f"{name}_linear"] = float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))
        result[f"{name}_nearest_rank"] = ordered[rank(str(quantile), len(ordered)) - 1]
    return {key: float(value) if key != "n" else value for key, value in result.items()}


def rank(quantile, n):
    return max(1, math.ceil(Fraction(quantile) * n))


def mean(values):
    return float(Fraction(sum(values)) / len(values))


def counted(values):
    return dict(collections.Counter(values))


def grouped(rows, key):
    groups = collections.defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)


# ------------------------------------------------------------------------------------------------------- events
#
# An event here is a dictionary: set ("contacts", "interactions", "csat", "nps", "ces"), local (a civil datetime),
# the dimensions it has, and what its set measures, durations in ms.


def cells_of(events, zone):
    cells = {}
    groups = collections.defaultdict(list)
    for event in events:
        metric_sets = {"contacts": ("contacts", "touchpoints"), "interactions": ("touchpoints",)}
        day = event["local"].astimezone(zone).date().isoformat() if event["local"].tzinfo else event["local"].date().isoformat()
        for metric_set in metric_sets.get(event["set"], (event["set"],)):
            for name, dimensions in SLICES.items():
                values = [event.get(dimension) or "_none" for dimension in dimensions]
                by = "|".join([name] + [urllib.parse.quote(value, safe="-._~") for value in values])
                groups[f"{metric_set}|total|{by}"].append(event)
                groups[f"{metric_set}|calendar_day|{day}|{by}"].append(event)
    for key, members in sorted(groups.items()):
        metric_set, by = key.split("|")[0], key.split("|")[3 if "|calendar_day|" in key else 2]
        cell = MEASURES[metric_set](members, by)
        cells[key] = {"samples": cell["samples"], "events": len(members)} | cell
    return cells


def ratio(numerator, denominator):
    return {"value": float(Fraction(numerator, denominator)), "numerator": numerator, "denominator": denominator}


def ratios(**named):
    return {name: ratio(*parts) for name, parts in named.items() if parts[1]}


def seconds(**named):
    """Means of ms, in seconds; the numerator stays in ms."""
    return {
        name: ratio(ms, n) | {"value": float(Fraction(ms, n * 1000))} for name, (ms, n) in named.items() if n
    }


def quantiles(**named):
    result = {}
    for name, values in named.items():
        if values:
            ordered = sorted(values)
            result[name] = {q: ordered[rank(q, len(ordered)) - 1] / 1000 for q in QUANTILES} | {"samples": len(ordered)}
    return result


def measure_touchpoints(events, by):
    channels = counted(event.get("channel") or "_none" for event in events)
    shares = {channel: ratio(n, len(events)) for channel, n in channels.items()}
    figures = {} if by in ("channel", "queue") else {"channel_share_ratio": shares}
    return {
        "samples": len(events),
        "counts": {"touches": len(events), "touches_by_channel": channels},
        "ratios": figures,
    }


def measure_contacts(events, _):
    """Every inbound contact; waits, holds, talk and handle of answered ones, waits also of abandoned ones."""
    in_menu = [e for e in events if e.get("stage") == "ivr"]
    offered = [e for e in events if e.get("stage") != "ivr"]
    answered = [e for e in offered if e["outcome"] == "answered"]
    abandoned = [e for e in offered if e["outcome"] == "abandoned"]

    def known(group, name):
        return [e[name] for e in group if e.get(name) is not None]

    answered_waits, abandoned_waits = known(answered, "wait"), known(abandoned, "wait")
    holds, talks, wrapups = known(answered, "hold"), known(answered, "talk"), known(answered, "wrapup")
    gave_up_on_hold = [e for e in answered if e.get("stage") == "hold"]
    handled = [e for e in answered if e.get("talk") is not None or e.get("wrapup") is not None]
    handle = sum((e.get("talk") or 0) + (e.get("hold") or 0) + (e.get("wrapup") or 0) for e in handled)
    responses = known(offered, "first_response")
    resolution = known(offered, "resolved")
    counts = {
        "offered": len(offered),
        **{o: sum(e["outcome"] == o for e in offered) for o in ("answered", "abandoned", "flow_out", "callback", "voicemail", "failed")},
        "ivr_abandoned": len(in_menu),
        "short_abandoned": sum(wait < SHORT_ABANDON_MS for wait in abandoned_waits),
        "abandoned_on_hold": len(gave_up_on_hold),
        "answered_within": sum(wait <= SERVICE_LEVEL_MS for wait in answered_waits),
        "answered_wait_known": len(answered_waits),
        "abandoned_within": sum(wait <= SERVICE_LEVEL_MS for wait in abandoned_waits),
        "abandoned_wait_known": len(abandoned_waits),
        "held": sum((e.get("hold") or 0) > 0 or e.get("stage") == "hold" for e in answered),
        "hold_positive": sum(hold > 0 for hold in holds),
        "hold_known": sum(e.get("hold") is not None or e.get("stage") == "hold" for e in answered),
        "talk_known": len(talks),
        "handle_known": len(handled),
        "first_response_known": len(responses),
        "resolved": sum(resolution),
        "resolution_known": len(resolution),
        "transfers": sum(known(offered, "transfers")),
        "answered_wait_ms": sum(answered_waits),
        "abandoned_wait_ms": sum(abandoned_waits),
        "hold_ms": sum(holds),
        "talk_ms": sum(talks),
        "wrapup_ms": sum(wrapups),
        "handle_ms": handle,
        "first_response_ms": sum(responses),
    }
    c = counts
    return {
        "samples": len(offered),
        "counts": counts,
        "ratios": ratios(
            abandonment_ratio=(c["abandoned"] - c["short_abandoned"], c["offered"] - c["short_abandoned"]),
            service_level_ratio=(c["answered_within"], c["answered_wait_known"] + c["abandoned_wait_known"]),
            held_contacts_ratio=(c["held"], c["hold_known"]),
            hold_abandonment_ratio=(c["abandoned_on_hold"], c["held"]),
            resolution_ratio=(c["resolved"], c["resolution_known"]),
        ),
        "means": seconds(
            speed_of_answer_seconds=(c["answered_wait_ms"], c["answered_wait_known"]),
            time_to_abandon_seconds=(c["abandoned_wait_ms"], c["abandoned_wait_known"]),
            hold_mean_seconds=(c["hold_ms"], c["hold_positive"]),
            hold_per_answered_seconds=(c["hold_ms"], c["hold_known"]),
            handle_time_seconds=(c["handle_ms"], c["handle_known"]),
            first_response_seconds=(c["first_response_ms"], c["first_response_known"]),
        ),
        "quantiles": quantiles(
            queue_wait_quantile_seconds=answered_waits + abandoned_waits,
            hold_quantile_seconds=[hold for hold in holds if hold > 0],
            first_response_quantile_seconds=responses,
        ),
    }


def answers_per_scale(events):
    scales = collections.defaultdict(collections.Counter)
    for event in events:
        scales["{}..{}".format(*event["scale"])][str(event["score"])] += 1
    return {scale: dict(scores) for scale, scores in scales.items()}


def raw_means(events, name):
    scales = grouped(events, lambda event: "{}..{}".format(*event["scale"]))
    return {name: {s: ratio(sum(e["score"] for e in group), len(group)) for s, group in scales.items()}}


def ease(event):
    low, high = event["scale"]
    return Fraction(event["score"] - low, high - low)


def measure_csat(events, _):
    satisfied = sum(ease(event) >= Fraction(3, 4) for event in events)
    return {
        "samples": len(events),
        "counts": {"answers": answers_per_scale(events)},
        "ratios": ratios(csat_ratio=(satisfied, len(events))),
        "means": raw_means(events, "csat_score"),
    }


def measure_ces(events, _):
    return {
        "samples": len(events),
        "counts": {"answers": answers_per_scale(events)},
        "ratios": {"ces_ease_ratio": {"value": float(sum(map(ease, events)) / len(events)), "denominator": len(events)}},
        "means": raw_means(events, "ces_score"),
    }


def measure_nps(events, _):
    n = len(events)
    promoters = sum(event["score"] >= 9 for event in events)
    detractors = sum(event["score"] <= 6 for event in events)
    return {
        "samples": n,
        "counts": {"answers": counted(str(event["score"]) for event in events)},
        "ratios": ratios(
            nps_ratio=(promoters - detractors, n),
            nps_promoter_ratio=(promoters, n),
            nps_passive_ratio=(n - promoters - detractors, n),
            nps_detractor_ratio=(detractors, n),
        ),
    }


MEASURES = {
    "touchpoints": measure_touchpoints,
    "contacts": measure_contacts,
    "csat": measure_csat,
    "ces": measure_ces,
    "nps": measure_nps,
}


# ---------------------------------------------------------------------------------------------------- bank_calls


def bank_calls_1999(directory, truth):
    rows, malformed = [], []
    lines_per_file = {}
    for file in ("january.txt", "october.txt"):
        lines = gzip.decompress((directory / f"{file}.gz").read_bytes()).decode("ascii").split("\n")
        assert lines.pop() == "", "every file ends with a newline"
        names = lines[0].rstrip("\r").split("\t")
        lines_per_file[file] = len(lines) - 1
        for number, line in enumerate(lines[1:], start=2):
            fields = line.rstrip("\r").split("\t")
            if len(fields) != 17:
                malformed.append({"file": file, "line": number, "fields": len(fields), "text": line.rstrip("\r")})
                continue
            row = {name: field.strip() for name, field in zip(names, fields)}
            rows.append(row | {"file": file, "line": number, "start": bank_start(row)})
    truth.check("lines", lines_per_file)
    truth.check("malformed_lines", {"count": len(malformed), "lines": malformed})
    check_bank_counts(rows, truth)
    check_bank_times(rows, truth)
    truth.close()
    events = [bank_event(row) for row in rows if row["outcome"] != "PHANTOM"]
    items = {
        "consumed": len(rows) + len(malformed),
        "accepted": len(events),
        "rejected": {"mapping_failed": len(malformed)},
        "skipped": len(rows) - len(events),
    }
    return events, items


def clock(text):
    hours, minutes, seconds_ = text.split(":")
    return datetime.timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds_))


def bank_start(row):
    return datetime.datetime.strptime("19" + row["date"], "%Y%m%d") + clock(row["vru_entry"])


def bank_event(row):
    queued = row["q_start"] != "0:00:00"
    served = row["outcome"] == "AGENT" and row["ser_exit"] != "0:00:00"
    end_clock = clock(row["ser_exit"] if served else row["q_exit"] if queued else row["vru_exit"])
    end = row["start"].replace(hour=0, minute=0, second=0) + end_clock
    if row["start"] - end > datetime.timedelta(hours=12):
        end += datetime.timedelta(days=1)
    # The rule of the mapping (after noon, before noon) and this one must mean the same.
    assert -datetime.timedelta(minutes=2) < end - row["start"] < datetime.timedelta(hours=3), row
    event = {"set": "contacts", "local": end, "channel": "voice", "queue": row["type"]}
    if row["outcome"] == "AGENT":
        return event | {"outcome": "answered", "wait": int(row["q_time"]) * 1000, "talk": int(row["ser_time"]) * 1000}
    if queued:
        return event | {"outcome": "abandoned", "stage": "queue", "wait": int(row["q_time"]) * 1000}
    return event | {"outcome": "abandoned", "stage": "ivr"}


def bank_kpi(rows):
    answered = sum(row["outcome"] == "AGENT" for row in rows)
    abandoned = sum(row["outcome"] == "HANG" for row in rows)
    offered = answered + abandoned
    return {"offered": offered, "answered": answered, "abandoned": abandoned, "abandonment_rate": abandoned / offered}


def check_bank_counts(rows, truth):
    calls = [row for row in rows if row["outcome"] != "PHANTOM"]
    queued = [row for row in calls if row["q_start"] != "0:00:00"]
    month = lambda row: row["start"].strftime("%Y-%m")  # noqa: E731
    truth.check("rows_valid", {"total": len(rows), "by_file": counted(row["file"] for row in rows)})
    truth.check("rows_by_outcome", counted(row["outcome"] for row in rows))
    per_file = grouped(rows, lambda row: row["file"])
    truth.check("rows_by_outcome_and_file", {f: counted(r["outcome"] for r in g) for f, g in per_file.items()})
    truth.check("rows_by_type", counted(row["type"] for row in rows))
    truth.check("rows_by_priority", counted(row["priority"] for row in rows))
    truth.check("kpi_total", bank_kpi(calls))
    for identity, key in (
        ("kpi_by_month", month),
        ("kpi_by_type", lambda row: row["type"]),
        ("kpi_by_priority", lambda row: row["priority"]),
        ("kpi_by_hour_of_day", lambda row: str(row["start"].hour)),
    ):
        truth.check(identity, {name: bank_kpi(group) for name, group in grouped(calls, key).items()})
    truth.check("kpi_queue_only", bank_kpi(queued))
    truth.check("abandoned_in_vru", sum(r["outcome"] == "HANG" and r["q_start"] == "0:00:00" for r in calls))
    answered = [row for row in calls if row["outcome"] == "AGENT"]
    wait = lambda group: [int(row["q_time"]) for row in group]  # noqa: E731
    truth.check("wait_answered_sec", stats(wait(answered)))
    truth.check("wait_answered_queued_sec", stats(wait(r for r in queued if r["outcome"] == "AGENT")))
    truth.check("wait_abandoned_queued_sec", stats(wait(r for r in queued if r["outcome"] == "HANG")))
    by_type, by_month = grouped(answered, lambda row: row["type"]), grouped(answered, month)
    truth.check("wait_answered_sec_by_type", {name: stats(wait(group)) for name, group in by_type.items()})
    truth.check("wait_answered_sec_by_month", {name: stats(wait(group)) for name, group in by_month.items()})
    level = lambda group: sum(r["outcome"] == "AGENT" and int(r["q_time"]) <= 20 for r in group) / len(group)  # noqa: E731
    truth.check("service_level_20s", level(calls))
    truth.check("service_level_20s_by_month", {name: level(group) for name, group in grouped(calls, month).items()})
    served = [int(row["ser_time"]) for row in answered]
    truth.check("handle_time_sec", stats(served))
    truth.check("handle_time_sec_capped_4h", stats([s for s in served if s <= 14_400]))
    agents = grouped(answered, lambda row: row["server"])
    top = [{"server": a, "answered": len(g), "ser_time_sum": sum(int(r["ser_time"]) for r in g)} for a, g in agents.items()]
    truth.check("top_agents", sorted(top, key=lambda agent: (-agent["answered"], agent["server"]))[:10])
    truth.check("agents_distinct", len(set(agents) - {"NO_SERVER"}))


def check_bank_times(rows, truth):
    calls = [row for row in rows if row["outcome"] != "PHANTOM"]
    truth.check("calls_by_date", counted(row["start"].date().isoformat() for row in rows))
    hours = grouped(calls, lambda row: row["start"].strftime("%Y-%m-%dT%H:00:00"))
    windows = sorted(({"window_start": h} | bank_kpi(g) for h, g in hours.items()), key=lambda w: (-w["abandoned"], w["window_start"]))
    truth.check("hourly_windows", {"windows": len(windows), "top5": windows[:5]})
    known = [row for row in calls if row["customer_id"] != "0"]
    customers = grouped(known, lambda row: row["customer_id"])
    truth.check("identified_callers", {"rows": len(known), "distinct": len(customers)})
    repeated = recalled = 0
    for group in customers.values():
        group.sort(key=lambda row: (row["start"], row["file"], row["line"]))
        for before, after in zip(group, group[1:]):
            gap = (after["start"] - before["start"]).total_seconds()
            repeated += gap <= 86_400
            recalled += gap <= 1_800 and before["outcome"] == "HANG"
    truth.check("repeat_contact_24h", {"repeat_calls": repeated, "rate": repeated / len(known)})
    truth.check("recall_after_abandon_30min", recalled)
    per_file = grouped(rows, lambda row: row["file"])
    order = {file: lateness([row["start"] for row in group]) for file, group in per_file.items()}
    truth.check("out_of_order", {f: {"late_rows": late, "max_lateness_sec": most} for f, (late, most) in order.items()})
    days = {row["start"].date() for row in rows}
    january = [datetime.date(1999, 1, day) for day in range(1, 32)]
    backwards = lambda r, a, b: r[a] != "0:00:00" and clock(r[b]) < clock(r[a])  # noqa: E731
    truth.check(
        "anomalies",
        {
            "vru_time_negative": sum(int(r["vru_time"]) < 0 for r in rows),
            "q_exit_before_q_start": sum(backwards(r, "q_start", "q_exit") for r in rows),
            "ser_exit_before_ser_start": sum(backwards(r, "ser_start", "ser_exit") for r in rows),
            "q_time_over_3600": sum(int(r["q_time"]) > 3_600 for r in rows),
            "ser_time_over_14400": sum(int(r["ser_time"]) > 14_400 for r in rows),
            "hang_with_ser_time": sum(r["outcome"] == "HANG" and int(r["ser_time"]) > 0 for r in rows),
            "agent_with_no_server": sum(r["outcome"] == "AGENT" and r["server"] == "NO_SERVER" for r in rows),
            "agent_with_zero_ser_time": sum(r["outcome"] == "AGENT" and int(r["ser_time"]) == 0 for r in rows),
            "duplicate_call_id_rows": len(rows) - len({r["call_id"] for r in rows}),
            "duplicate_file_vru_call_id_rows": len(rows) - len({(r["file"], r["vru+line"], r["call_id"]) for r in rows}),
            "duplicate_vru_call_id_rows": len(rows) - len({(r["vru+line"], r["call_id"]) for r in rows}),
            "days_with_no_calls_in_january": [d.isoformat() for d in january if d not in days],
        },
    )


def lateness(times):
    """How many times lie before the greatest one so far, and by how many seconds at most."""
    newest, late, most = None, 0, 0
    for time in times:
        if newest is not None and time < newest:
            late += 1
            most = max(most, int((newest - time).total_seconds()))
        newest = time if newest is None else max(newest, time)
    return late, most


# -------------------------------------------------------------------------------------------------------- la311


LA311_CHANNELS = {
    "Call": "voice",
    "Mobile App": "app",
    "Self Service": "web",
    "Email": "email",
    "Walk-in": "in_person",
    "Voicemail": "voicemail",
    "Council's Office": "council_office",
}


def la311_2017(directory, truth):
    text = gzip.decompress(next(directory.glob("*.csv.gz")).read_bytes()).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in rows:
        row["created"] = american_time(row["CreatedDate"])
        closed = row["ClosedDate"] and american_time(row["ClosedDate"])
        row["hours"] = Fraction(int((closed - row["created"]).total_seconds()), 3600) if closed else None
    check_la311(rows, truth)
    truth.close()
    customers = [row for row in rows if row["RequestSource"] != "Driver Self Report"]
    events = [
        {"set": "interactions", "local": row["created"], "channel": LA311_CHANNELS[row["RequestSource"]]}
        for row in customers
    ]
    return events, {"consumed": len(rows), "accepted": len(events), "rejected": {}, "skipped": len(rows) - len(events)}


def american_time(text):
    return datetime.datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p")


def check_la311(rows, truth):
    n = len(rows)
    source = lambda row: row["RequestSource"]  # noqa: E731
    share = lambda group: {name: count / len(group) for name, count in counted(map(source, group)).items()}  # noqa: E731
    by_source, by_type = grouped(rows, source), grouped(rows, lambda row: row["RequestType"])
    by_date = grouped(rows, lambda row: row["created"].date().isoformat())
    truth.check("rows", n)
    truth.check("by_source", counted(map(source, rows)))
    truth.check("channel_share", share(rows))
    truth.check("channel_share_customer_only", share([r for r in rows if source(r) != "Driver Self Report"]))
    truth.check("by_mobile_os", counted(row["MobileOS"] for row in rows))
    truth.check("by_type", {name: len(group) for name, group in by_type.items()})
    truth.check("by_status", counted(row["Status"] for row in rows))
    truth.check("by_source_and_type", {s: counted(r["RequestType"] for r in g) for s, g in by_source.items()})
    truth.check("created_by_date", {name: len(group) for name, group in by_date.items()})
    truth.check("created_by_date_and_source", {d: counted(map(source, g)) for d, g in by_date.items()})
    truth.check("created_by_hour_of_day", counted(str(row["created"].hour) for row in rows))
    hours = lambda group: [r["hours"] for r in group if r["hours"] is not None and r["hours"] >= 0]  # noqa: E731
    truth.check("resolution_hours", stats(hours(rows)))
    truth.check("resolution_hours_by_source", {s: stats(hours(g)) for s, g in by_source.items() if hours(g)})
    truth.check("resolution_hours_by_type", {t: stats(hours(g)) for t, g in by_type.items() if hours(g)})
    truth.check("closed_within_72h_rate", sum(h <= 72 for h in hours(rows)) / n)
    truth.check("cancelled_rate", sum(row["Status"] == "Cancelled" for row in rows) / n)
    truth.check("anonymous_rate", sum(row["Anonymous"] == "Y" for row in rows) / n)
    truth.check(
        "anomalies",
        {
            "not_closed": sum(row["hours"] is None for row in rows),
            "closed_before_created": sum(row["hours"] is not None and row["hours"] < 0 for row in rows),
            "dup_srnumber": n - len({row["SRNumber"] for row in rows}),
        },
    )
    truth.check("order", all(a["created"] >= b["created"] for a, b in zip(rows, rows[1:])))
    truth.check("hourly_windows", len({(row["created"].strftime("%Y%m%d%H"), source(row)) for row in rows}))


# ---------------------------------------------------------------------------------------------------- sfo_survey


SFO_METHODS = {"1": "in_person", "2": "mail", "3": "web"}
SFO_QUESTIONS = (
    ("csat", "Q7ALL", (1, 5)),
    ("nps", "NETPRO", (0, 10)),
    ("ces", "Q14FIND", (1, 5)),
    ("ces", "Q14PASSTHRU", (1, 5)),
)


def sfo_survey(directory, truth):
    events, consumed, skipped = [], 0, 0
    for year in ("2017", "2018"):
        text = (directory / f"{year}_SFO_Customer_Survey_20250817.csv").read_bytes().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if year == "2018":
            truth.check_part("anomalies", "header_trailing_space_2018", [n for n in reader.fieldnames if n != n.strip()])
        rows = [{k.strip(): v for k, v in row.items()} for row in reader]
        for row in rows:
            row["day"] = datetime.date(int(year), 5, int(row["INTDATE"]))
            row["method"] = row.get("METHOD") or row.get("METH")
        check_sfo(year, rows, truth)
        for row in rows:
            found = list(sfo_events(row))
            consumed += max(1, len(found))
            skipped += not found
            events += found
    truth.close()
    return events, {"consumed": consumed, "accepted": len(events), "rejected": {}, "skipped": skipped}


def point(text, scale):
    """The score, if the text is a point of the scale."""
    return next((score for score in range(scale[0], scale[1] + 1) if text == str(score)), None)


def sfo_events(row):
    for metric_set, question, scale in SFO_QUESTIONS:
        score = point(row[question], scale)
        if score is not None:
            noon = datetime.datetime.combine(row["day"], datetime.time(12))
            yield {"set": metric_set, "local": noon, "channel": SFO_METHODS[row["method"]], "score": score, "scale": scale}


def nps_of(rows):
    scores = [s for row in rows if (s := point(row["NETPRO"], (0, 10))) is not None]
    promoters, detractors = sum(s >= 9 for s in scores), sum(s <= 6 for s in scores)
    passives = len(scores) - promoters - detractors
    nps = 100 * (promoters - detractors) / len(scores)
    return {"n": len(scores), "promoters": promoters, "passives": passives, "detractors": detractors, "nps": nps}


def check_sfo(year, rows, truth):
    truth.check_part("rows", year, len(rows))
    scores = [s for row in rows if (s := point(row["Q7ALL"], (1, 5))) is not None]
    csat = {"column": "Q7ALL", "n": len(scores), "sum": sum(scores), "mean": mean(scores)}
    truth.check_part("csat_overall_by_year", year, csat | {"top2_share": sum(s >= 4 for s in scores) / len(scores)})
    ces = {}
    for name, column in (("finding_way", "Q14FIND"), ("security", "Q14PASSTHRU")):
        ease_ = [s for row in rows if (s := point(row[column], (1, 5))) is not None]
        ces[name] = {
            "column": column,
            "n": len(ease_),
            "sum": sum(ease_),
            "mean": mean(ease_),
            "easy_share": sum(s >= 4 for s in ease_) / len(ease_),
            "difficult_share": sum(s <= 2 for s in ease_) / len(ease_),
        }
    truth.check_part("ces_by_year", year, ces)
    truth.check(f"nps_{year}", nps_of(rows))
    for name, key in (("day", lambda r: r["day"].isoformat()), ("boarding_area", lambda r: r["BAREA"]), ("method", lambda r: r["method"])):
        truth.check(f"nps_{year}_by_{name}", {k: nps_of(g) for k, g in grouped(rows, key).items()})
    truth.check(f"netpro_{year}_histogram", counted(row["NETPRO"] for row in rows))
    weights = [(s, Fraction(row["WEIGHT"])) for row in rows if (s := point(row["NETPRO"], (0, 10))) is not None]
    balance = sum(w * ((s >= 9) - (s <= 6)) for s, w in weights)
    weighted = float(100 * balance / sum(w for _, w in weights))
    truth.check(f"nps_{year}_weighted", round(weighted, 4))
    days = {}
    for day, group in grouped(rows, lambda row: row["day"].isoformat()).items():
        answers = [s for row in group if (s := point(row["Q7ALL"], (1, 5))) is not None]
        days[day] = {"n": len(answers), "mean": mean(answers)}
    truth.check(f"csat_{year}_by_day", days)
    if year == "2017":
        strangers = sum(row["DAY"].strip().upper()[:3] != row["day"].strftime("%a").upper() for row in rows)
        truth.check_part("anomalies", "day_name_2017_two_rows_disagree_with_INTDATE", strangers)


# ----------------------------------------------------------------------------------------------- web_apache_logs


COMBINED = re.compile(r'(\S+) (\S+) (\S+) \[([^\]]+)\] "(\S+) (\S+) (\S+)" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)"')


def web_apache_logs(directory, truth):
    lines = gzip.decompress((directory / "apache_logs.gz").read_bytes()).decode("utf-8").split("\n")
    assert lines.pop() == "", "the file ends with a newline"
    hits, malformed = [], []
    for number, line in enumerate(lines, start=1):
        match = COMBINED.fullmatch(line)
        if not match:
            malformed.append({"line": number, "text": line})
            continue
        ip, _, _, time, method, path, _, status, size, _, agent = match.groups()
        time = datetime.datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC)
        hits.append({"ip": ip, "time": time, "method": method, "path": path, "status": int(status), "size": size, "agent": agent})
    truth.check("lines", len(lines))
    truth.check("malformed", {"count": len(malformed), "lines": malformed})
    check_web(hits, truth)
    truth.close()
    events = [{"set": "interactions", "local": hit["time"], "channel": "web"} for hit in hits]
    rejected = {"mapping_failed": len(malformed)}
    return events, {"consumed": len(lines), "accepted": len(events), "rejected": rejected, "skipped": 0}


def check_web(hits, truth):
    errors = lambda group: sum(hit["status"] >= 400 for hit in group)  # noqa: E731
    truth.check("by_status", counted(str(hit["status"]) for hit in hits))
    truth.check("error_rate", errors(hits) / len(hits))
    truth.check("by_method", counted(hit["method"] for hit in hits))
    truth.check("distinct_ip", len({hit["ip"] for hit in hits}))
    truth.check("bytes_sum", sum(int(hit["size"]) for hit in hits if hit["size"] != "-"))
    truth.check("by_utc_day", counted(hit["time"].date().isoformat() for hit in hits))
    hours = grouped(hits, lambda hit: hit["time"].strftime("%Y-%m-%dT%H:00:00Z"))
    windows = [
        {"window_start_utc": hour, "hits": len(group), "ips": len({hit["ip"] for hit in group}), "errors": errors(group)}
        for hour, group in hours.items()
    ]
    windows.sort(key=lambda window: (-window["hits"], window["window_start_utc"]))
    truth.check("hourly_windows", {"windows": len(windows), "top3": windows[:3]})
    sessions = []
    for group in grouped(hits, lambda hit: hit["ip"]).values():
        previous = None
        for time in sorted(hit["time"] for hit in group):
            if previous is None or (time - previous).total_seconds() > 1_800:
                sessions.append(0)
            sessions[-1] += 1
            previous = time
    truth.check(
        "sessions_30min_by_ip",
        {"sessions": len(sessions), "mean_hits": mean(sessions), "single_hit": sessions.count(1), "max_hits": max(sessions)},
    )
    paths = counted(hit["path"].split("?")[0] for hit in hits)
    top = sorted(paths.items(), key=lambda entry: (-entry[1], entry[0]))[:10]
    truth.check("top_paths", [{"path": path, "hits": n} for path, n in top])
    truth.check("bots", sum(bool(re.search("bot|spider|crawl", hit["agent"], re.I)) for hit in hits))
    late, most = lateness([hit["time"] for hit in hits])
    truth.check("out_of_order", {"late": late, "max_lateness_sec": most})


# -------------------------------------------------------------------------------------------------- reviews_anon


def reviews_anon(directory, truth):
    text = bz2.decompress((directory / "anonreviews.csv.bz2").read_bytes()).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in rows:
        row["score"] = int(row["rating"])
        row["time"] = datetime.datetime.strptime(row["date"], "%Y-%m-%d %H:%M")
    scores = [row["score"] for row in rows]
    rated = [score for score in scores if score]
    top2 = sum(score >= 4 for score in scores)
    truth.check("rows", len(rows))
    truth.check("rating_histogram", counted(map(str, scores)))
    truth.check(
        "csat",
        {
            "all_mean": mean(scores),
            "all_top2": top2 / len(scores),
            "rated_n": len(rated),
            "rated_mean": mean(rated),
            "rated_top2": top2 / len(rated),
        },
    )
    months = grouped(rows, lambda row: row["date"][:7])
    truth.check("csat_by_month", {m: {"n": len(g), "mean": mean([r["score"] for r in g])} for m, g in months.items()})
    reviewers, vendors = grouped(rows, lambda row: row["reviewerId"]), grouped(rows, lambda row: int(row["vendorId"]))
    truth.check("distinct", {"reviewers": len(reviewers), "vendors": len(vendors)})
    top = [{"vendorId": v, "n": len(g), "mean": mean([r["score"] for r in g])} for v, g in vendors.items()]
    truth.check("top_vendors", sorted(top, key=lambda vendor: (-vendor["n"], vendor["vendorId"]))[:10])
    truth.check("suspicious_reviewers", sum(len(g) >= 25 and all(r["score"] == 5 for r in g) for g in reviewers.values()))
    truth.check("identical_rows", len(rows) - len({(r["reviewerId"], r["vendorId"], r["rating"], r["date"]) for r in rows}))
    late, most = lateness([row["time"] for row in rows])
    truth.check("out_of_order", {"late": late, "max_lateness_sec": most})
    truth.close()
    events = [
        {"set": "csat", "local": row["time"], "channel": "web", "score": row["score"], "scale": (1, 5)}
        for row in rows
        if row["score"]
    ]
    return events, {"consumed": len(rows), "accepted": len(events), "rejected": {}, "skipped": len(rows) - len(events)}


# --------------------------------------------------------------------------------------------------------- main


# The zone says which calendar days the cells are of; times without a zone are already its civil times.
DATA_SETS = {
    "bank_calls_1999": (bank_calls_1999, "Asia/Jerusalem"),
    "la311_2017": (la311_2017, "America/Los_Angeles"),
    "sfo_survey": (sfo_survey, "America/Los_Angeles"),
    "web_apache_logs": (web_apache_logs, "UTC"),
    "reviews_anon": (reviews_anon, "UTC"),
}


def main():
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(DATA_SETS):
        sys.exit(f"usage: truth.py DATA_DIRECTORY [{'|'.join(DATA_SETS)} ..]")
    for name in sys.argv[2:] or DATA_SETS:
        read, zone = DATA_SETS[name]
        directory = pathlib.Path(sys.argv[1]) / name
        events, items = read(directory, Truth(directory))
        assert items["consumed"] == items["accepted"] + sum(items["rejected"].values()) + items["skipped"], items
        cells = cells_of(events, zoneinfo.ZoneInfo(zone))
        print(json.dumps({"data_set": name, "zone": zone, "items": items, "cells": cells}))


if __name__ == "__main__":
    main()
