"""The wall: a few huge numbers, each with what it is worth, none that is old."""

from panels import (
    ABANDONMENT, AGE, CLOCK, COUNT, COVERED, CSAT, EVIDENCE, FAULTS, HOLD, NPS, SERVICE_LEVEL, WAITING,
    answering, bars, figure, fixed, now, of_query, one, proof, samples, score, selector, stat, steps, watermark, window,
)

UID = "touchstone-wallboard"
TITLE = "Touchstone: wall"
DESCRIPTION = "How it goes now, readable from five metres. Data age comes first: while it is red, believe nothing below it."
TIME = ("now-1h", "10s")
# What the last quarter of an hour says about calls is read beside what the last day says about customers.
VARIABLES = ["datasource", "job", "channel of contacts", "window 15m", "survey_window"]

VARS = "${datasource:queryparam}&${job:queryparam}&${window:queryparam}&${channel:queryparam}&${__url_time_range}"
DETAIL = ("Detail by channel, queue and team", f"/d/touchstone-experience/customer-experience?{VARS}")
PIPELINE = ("Pipeline health", "/d/touchstone-pipeline/pipeline-health?${datasource:queryparam}&${job:queryparam}")


def runbook(anchor):
    return (f"Runbook: {anchor}", "${runbook:raw}#" + anchor)


# A number of data older than ten minutes is not shown: from five metres nobody sees that the age beside it is red.
WITHHELD_AFTER = 600
WITHHELD = "Withheld when the data is more than ten minutes old."


def fresh(metric_set):
    return f"\nand on (job)\n(time() - {watermark(metric_set)} < {WITHHELD_AFTER})"


CONTACTS = fresh("contacts")
GREY = "Grey: fewer than 30 observations."


def of_channel(anchor):
    return {"by": "channel", "guard": CONTACTS, "links": [DETAIL, runbook(anchor)]}


def of_all(metric_set, anchor):
    return {"span": "$survey_window", "guard": fresh(metric_set), "links": [DETAIL, runbook(anchor)]}


def count(name):
    return window(f"cx_window_{name}", "channel") + CONTACTS


def counted(first, n, others):
    """n and a few more values, for what has no interval."""
    targets = [now(f"({n}){first}", "n", "n"), *others]
    return targets, [of_query("n", unit=COUNT, decimals=0, thresholds=steps(EVIDENCE))]


WAIT_N = counted(
    CONTACTS,
    samples("queue_wait_quantile_seconds", "channel"),
    [
        now(figure("queue_wait_quantile_seconds", "channel", q=q) + CONTACTS, name, f"q{q}")
        for q, name in (("0.5", "half below"), ("0.99", "1 % above"))
    ],
)
SHARE_N = counted(fresh("touchpoints"), samples("channel_share_ratio"), [])

ROWS = [
    ("", False, [
        (4, [
            (6, stat(
                "Data age",
                "How far event time lies behind the clock, for the metric set that is farthest behind. Above five minutes "
                "no number on this wall is live.",
                "s",
                [now(f"time() - min({one(selector('touchstone_watermark_timestamp_seconds'))})")],
                fill=True, thresholds=AGE, decimals=0, links=[runbook("touchstonewatermarkstalled"), PIPELINE],
            )),
            (6, stat(
                "Watched part of the windows",
                "Share of each window from which every source was taken in without a gap. Below 95 % a window says less "
                "than "
                "its name: a new service has not seen a whole day yet.",
                "percentunit",
                [
                    now(f"min({window('cx_window_covered_ratio')})", "$window", "window"),
                    now(f"min({window('cx_window_covered_ratio', span='$survey_window')})", "$survey_window", "survey"),
                ],
                names=True, thresholds=COVERED, decimals=0, links=[PIPELINE],
            )),
            (6, stat(
                "Halted or cut off",
                "Tasks that have halted and workers that cannot reach their log. Their numbers are missing from this wall. "
                "0 is shown only while a process answers.",
                COUNT,
                [
                    now(answering(f"count({one(selector('touchstone_task_halted'))} == 1)"), "tasks halted", "halted"),
                    now(answering(f"count({selector('touchstone_worker_unavailable')} == 1)"), "workers cut off", "cut"),
                ],
                names=True, thresholds=FAULTS, decimals=0, links=[runbook("halts"), runbook("touchstoneworkerunavailable")],
            )),
            (6, stat(
                "Window ends",
                "When the window that is shown ends, as event time. Windows of 15 minutes and an hour are those that ended "
                "last; those of a day and of 28 days are still open.",
                CLOCK,
                [
                    now(f"1000 * min({window('cx_window_end_timestamp_seconds')})", "$window", "window"),
                    now(
                        f"1000 * min({window('cx_window_end_timestamp_seconds', span='$survey_window')})",
                        "$survey_window", "survey",
                    ),
                ],
                names=True, links=[PIPELINE],
            )),
        ]),
        (8, [
            (6, score(
                "Abandonment, $channel",
                "Share of offered contacts given up before an agent took them, within $window. Short abandons are left out "
                f"above and below the line. {GREY} {WITHHELD}",
                "abandonment_ratio", "percentunit", thresholds=ABANDONMENT, **of_channel("cxabandonmenthigh"),
            )),
            (6, score(
                "Service level, $channel",
                "Share of contacts answered within the threshold, by the configured formula, within $window. By default: "
                f"answered within 20 s / (answered + abandoned), waits known. {GREY} {WITHHELD}",
                "service_level_ratio", "percentunit", thresholds=SERVICE_LEVEL, **of_channel("cxservicelevelburningfast"),
            )),
            (6, score(
                "Waiting, 9 of 10 below, $channel",
                "The time in the queue that nine of ten contacts stay below, answered and abandoned together, within "
                "$window. "
                f"Relative error at most 0.6 %. {GREY} {WITHHELD}",
                "queue_wait_quantile_seconds", "s", thresholds=WAITING, q="0.9", **of_channel("cxwaithigh"),
            )),
            (6, score(
                "Hold, mean, $channel",
                "Mean time on hold of the contacts that were on hold after an agent had answered, within $window. Waiting "
                "in the "
                f"queue is not hold. {GREY} {WITHHELD}",
                "hold_mean_seconds", "s", thresholds=HOLD, **of_channel("cxholdhigh"),
            )),
        ]),
        (3, [
            (6, proof(
                "Abandonment: evidence",
                "n: offered contacts without short abandons. The share lies between the two ends with 95 % confidence "
                "(Wilson).",
                "abandonment_ratio", "percentunit", **of_channel("cxabandonmenthigh"),
            )),
            (6, proof(
                "Service level: evidence",
                "n: answered and abandoned contacts whose wait is known. The share lies between the two ends with 95 % "
                "confidence (Wilson).",
                "service_level_ratio", "percentunit", **of_channel("cxservicelevelburningslow"),
            )),
            (6, stat(
                "Waiting: evidence",
                "n: answered and abandoned contacts whose wait is known. Beside it the wait that half of them stay below, "
                "and "
                "the one that one in a hundred exceeds.",
                "s", WAIT_N[0], overrides=WAIT_N[1], names=True, decimals=0, links=[DETAIL],
            )),
            (6, proof(
                "Hold: evidence",
                "n: answered contacts with a time on hold above 0. The mean lies between the two ends with 95 % confidence "
                "(Student's t, from 100 contacts on).",
                "hold_mean_seconds", "s", **of_channel("cxholdhigh"),
            )),
        ]),
        (8, [
            (6, score(
                "CSAT, $survey_window",
                "Share of satisfied answers over all scales and channels: on a scale of 1 to 5 those are 4 and 5. "
                f"{GREY} {WITHHELD}",
                "csat_ratio", "percentunit", thresholds=CSAT, **of_all("csat", "cxcsatdropping"),
            )),
            (6, score(
                "NPS, $survey_window",
                "Net promoter score over all channels, from -100 to 100: answers of 9 and 10 minus answers of 0 to 6, in "
                "per "
                f"cent of all. {GREY} {WITHHELD}",
                "nps_ratio", "none", thresholds=NPS, **of_all("nps", "cxnpsdropping"),
            )),
            (6, stat(
                "Offered and answered, $channel",
                "Contacts that reached a queue, and those of them that an agent took, within $window. The rest was "
                "abandoned, "
                f"sent on, called back, or lost. {WITHHELD}",
                COUNT,
                [now(count("offered"), "offered", "offered"), now(count("answered"), "answered", "answered")],
                names=True, stacked=True, decimals=0,
                links=[DETAIL, runbook("cxcontactvolumecollapsed"), runbook("cxcontactvolumeexploded")],
            )),
            (6, bars(
                "Channel share, $window",
                "Share of all touches, contacts and interactions, that came through each channel. "
                f"{WITHHELD}",
                "percentunit",
                [now(f"sort_desc({window('cx_channel_share_ratio')}{fresh('touchpoints')})", "{{channel}}")],
                color=fixed("blue"), min=0, decimals=0, links=[DETAIL, runbook("cxchannelshareshifted")],
            )),
        ]),
        (3, [
            (6, proof(
                "CSAT: evidence",
                "n: answers. The share lies between the two ends with 95 % confidence (Wilson).",
                "csat_ratio", "percentunit", **of_all("csat", "cxcsatdropping"),
            )),
            (6, proof(
                "NPS: evidence",
                "n: answers. The score lies between the two ends with 95 % confidence (adjusted Wald).",
                "nps_ratio", "none", **of_all("nps", "cxnpsdropping"),
            )),
            (6, stat(
                "Abandoned, $channel",
                "Offered contacts given up before an agent took them, and those of them that waited less than the "
                "short-abandon "
                f"threshold, within $window. {WITHHELD}",
                COUNT,
                [now(count("abandoned"), "abandoned", "abandoned"), now(count("short_abandoned"), "of them short", "short")],
                names=True, decimals=0, links=[DETAIL],
            )),
            (6, stat(
                "Channel share: evidence",
                "n: contacts and interactions within $window.",
                COUNT, SHARE_N[0], overrides=SHARE_N[1], names=True, decimals=0, links=[DETAIL],
            )),
        ]),
    ]),
]
