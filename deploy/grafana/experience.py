"""Customer experience: by channel, queue and team, each score within its interval, with its n."""

from panels import (
    ABANDONMENT, AGE, CLOCK, COUNT, COVERED, CSAT, DASHED_WHEN_THIN, EASE, EVIDENCE, HOLD, NPS, SERVICE_LEVEL, SLICES, WAITING,
    band, bars, bound, chart, colored, ever, fixed, heat, judged, lines, named, now, one, over, samples, score,
    selector, stat, sure, table, window,
)

UID = "touchstone-experience"
TITLE = "Touchstone: customer experience"
DESCRIPTION = "What customers go through and what they say of it: by channel, queue and team, with evidence."
TIME = ("now-6h", "30s")
VARIABLES = ["datasource", "job", "window 1h", "recent", "quantile", "channel", "queue", "team", "region", "segment"]

THIS = "/d/touchstone-experience/customer-experience?${datasource:queryparam}&${job:queryparam}&${window:queryparam}&${recent:queryparam}"
PIPELINE = ("Pipeline health", "/d/touchstone-pipeline/pipeline-health?${datasource:queryparam}&${job:queryparam}")


def runbook(anchor):
    return (f"Runbook: {anchor}", "${runbook:raw}#" + anchor)


def only(*labels):
    """A link to this dashboard with the values of a row chosen."""
    chosen = "".join(f"&var-{label}=${{__data.fields.{label}}}" for label in labels)
    return [("Only this " + labels[-1], f"{THIS}{chosen}&${{__url_time_range}}")]


TO_CHANNEL = [("Only this channel", THIS + "&var-channel=${__field.labels.channel}&${__url_time_range}")]

# Where a panel shows several figures, each has a thin query of its own.
DASHED_BY_NAME = {**DASHED_WHEN_THIN, "matcher": {"id": "byRegexp", "options": "/n < 30$/"}}

INTERVAL = "The band is the 95 % interval; dashed and grey: fewer than 30 answers."
THIN = "Dashed and grey: fewer than 30 observations."
CSAT_IS = "Share of satisfied answers, over all scales: on a scale of 1 to 5 those are 4 and 5."
NPS_IS = "Net promoter score, from -100 to 100: answers of 9 and 10 minus answers of 0 to 6, in per cent of all."
EASE_IS = "Customer effort: mean ease over all scales, 0 hard to 1 easy."

# (heading, figure, unit, goals, what it is, its runbook)
SCORES = [
    ("CSAT", "csat_ratio", "percentunit", CSAT, CSAT_IS, [runbook("cxcsatdropping")]),
    ("NPS", "nps_ratio", "none", NPS, NPS_IS, [runbook("cxnpsdropping")]),
    ("CES, ease", "ces_ease_ratio", "percentunit", EASE, EASE_IS, []),
]


def decimals(unit):
    return 0 if unit in ("none", COUNT) else 1


def scores():
    """Per score: the value beside its n, and below them the last hours within the interval."""
    values, bands = [], []
    for heading, name, unit, goals, meaning, book in SCORES:
        values.append((5, score(
            f"{heading}, all", f"{meaning} Within $window. Grey: fewer than 30 answers.", name, unit, thresholds=goals, links=book,
        )))
        values.append((3, stat(
            f"{heading}: n", "Answers within $window. Below 30 (orange) the score is chance, below 100 (yellow) a hint.",
            COUNT, [now(samples(name))], thresholds=EVIDENCE, decimals=0,
        )))
        bands.append((8, band(
            f"{heading} over time, all", f"{meaning} Of windows of $window. {INTERVAL}", name, unit, decimals=decimals(unit),
            links=book,
        )))
    return [(4, values), (8, bands)]


def by_channel(heading, name, unit, meaning):
    return (8, chart(
        f"{heading} by channel", f"{meaning} Of windows of $window. {THIN}", unit,
        lines(name, "channel", "{{channel}}"), overrides=[DASHED_WHEN_THIN], decimals=decimals(unit), links=TO_CHANNEL,
    ))


def evidence(heading, name, unit, goals, by, span=None):
    """A score's columns of a table: value where it is sure, interval, n."""
    return [
        (heading, sure(name, by, span), unit, judged(goals, decimals(unit))),
        (f"{heading} from", bound("lower", name, by, span), unit, {"decimals": decimals(unit)}),
        (f"{heading} to", bound("upper", name, by, span), unit, {"decimals": decimals(unit)}),
        (f"{heading} n", samples(name, by, span), COUNT, colored(EVIDENCE, 0)),
    ]


def heading(label):
    return (label, label.capitalize())


def of_slice(by, what):
    """One row per slice: contacts and scores, with their evidence."""
    keys = [heading(label) for label in SLICES[by]]
    columns = [
        *evidence("Abandonment", "abandonment_ratio", "percentunit", ABANDONMENT, by),
        ("Service level", sure("service_level_ratio", by), "percentunit", judged(SERVICE_LEVEL)),
        ("9 of 10 wait below", sure("queue_wait_quantile_seconds", by, q="0.9"), "s", judged(WAITING)),
        ("Waits n", samples("queue_wait_quantile_seconds", by), COUNT, colored(EVIDENCE, 0)),
        *evidence("CSAT", "csat_ratio", "percentunit", CSAT, by),
        *evidence("NPS", "nps_ratio", "none", NPS, by),
    ]
    return table(
        f"{what}", f"{what} within $recent: contacts, waiting and what customers say, with 95 % intervals. n in orange: "
        "chance.",
        keys, columns, sort="Abandonment from", links=only(*SLICES[by]),
    )


# The queues whose abandonment is bad for certain: ranked by the lower end of its interval, so three calls do not lead.
LOWER = "max by (channel, queue) (" + bound("lower", "abandonment_ratio", "queue") + ")"
WORST = f"\nand on (channel, queue) topk(15, {LOWER})"
BUSY = f"\nand on (channel, queue) topk(8, max by (channel, queue) ({window('cx_window_offered', 'queue')}))"


def busiest(title, name, unit, meaning, **labels):
    targets = lines(name, "queue", "{{channel}} {{queue}}", **labels)
    targets = [{**target, "expr": target["expr"] + BUSY} for target in targets]
    return (8, chart(
        title, f"{meaning} Of the eight busiest of the chosen queues, windows of $recent. {THIN}", unit, targets,
        overrides=[DASHED_WHEN_THIN], decimals=decimals(unit),
    ))


def quantiles(title, name, meaning):
    return (12, chart(
        f"{title}, quantile $quantile", f"{meaning} Exact to 0.6 %. Of windows of $window. {THIN}", "s",
        lines(name, "channel", "{{channel}}", q="$quantile"), overrides=[DASHED_WHEN_THIN], log=True, decimals=0,
        links=TO_CHANNEL,
    ))


def counts(title, description, unit, columns):
    """A table of counts or sums by channel: [(heading, count)]."""
    made = [(head, window(f"cx_window_{name}", "channel"), unit, {"decimals": decimals(unit)}) for head, name in columns]
    return table(title, description, [heading("channel")], made, sort=columns[0][0], links=only("channel"))


def means(title, description, names, by="all"):
    """Means of durations over time, what is thin apart."""
    targets = []
    for place, (name, legend) in enumerate(names):
        sure_one, thin_one = lines(name, by, legend)
        targets += [{**sure_one, "refId": f"sure{place}"}, {**thin_one, "refId": f"thin{place}"}]
    return chart(title, f"{description} {THIN}", "s", targets, overrides=[DASHED_BY_NAME], decimals=1)


def breakdown(title, description, unit, parts, **more):
    """What adds up, stacked: [(expression, legend)]."""
    targets = [over(expression, legend, f"part{place}") for place, (expression, legend) in enumerate(parts)]
    return chart(title, description, unit, targets, stacked=True, min=0, **more)


def per_handled(name):
    return f"{window(f'cx_window_{name}_seconds')} / {window('cx_window_handle_known')}"


def in_range(family, **labels):
    """How much a family since ever grew in the time that the dashboard shows."""
    return one(f"increase({selector(family, **labels)}[$__range])")


def answers(head, metric):
    gauge = {"decimals": 0, "custom__cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}, "color": fixed("blue"), "min": 0}
    query = f"sum by (scale, score) ({in_range('cx_survey_responses_total', slice='channel', channel='~$channel', metric=metric)})"
    return (8, table(
        f"{head} answers by score", "Answers in the time that the dashboard shows, per scale and score, of the chosen "
        "channels.",
        [("scale", "Scale"), ("score", "Score")], [("Answers", query, COUNT, gauge)], sort="Score",
    ))


OUTCOMES = ["answered", "abandoned", "flow_out", "callback", "voicemail", "failed"]

HEAD = [(4, [
    (4, stat(
        "Data age", "How far event time lies behind the clock, for the metric set that is farthest behind. Above five "
        "minutes "
        "nothing below is live.", "s",
        [now(f"time() - min({one(selector('touchstone_watermark_timestamp_seconds'))})")],
        fill=True, thresholds=AGE, decimals=0, links=[runbook("touchstonewatermarkstalled"), PIPELINE],
    )),
    (4, stat(
        "Watched part of the window", "Share of $window from which every source was taken in without a gap. Below 95 % the "
        "window says less than its name.", "percentunit",
        [now(f"min({window('cx_window_covered_ratio')})")], thresholds=COVERED, decimals=0, links=[PIPELINE],
    )),
    (4, stat(
        "Window ends", "When the window that is shown ends, as event time. Those of a day and of 28 days are still open.",
        CLOCK, [now(f"1000 * min({window('cx_window_end_timestamp_seconds')})")], links=[PIPELINE],
    )),
    (4, stat(
        "Touches", "Contacts and interactions within $window.", COUNT, [now(window("cx_window_touches"))],
        thresholds=EVIDENCE, decimals=0,
    )),
    (4, stat(
        "Offered contacts", "Contacts that reached a queue within $window.", COUNT, [now(window("cx_window_offered"))],
        thresholds=EVIDENCE, decimals=0,
    )),
    (4, stat(
        "Survey answers", "Answers to CSAT, NPS and CES within $window, together.", COUNT,
        [now("sum(" + window("cx_window_samples", metric_set="~csat|nps|ces") + ")")], thresholds=EVIDENCE, decimals=0,
    )),
])]

ROWS = [
    ("", False, HEAD),
    ("What customers say", False, [
        *scores(),
        (9, [by_channel(head, name, unit, meaning) for head, name, unit, _, meaning, _ in SCORES]),
        (10, [(24, table(
            "Scores by channel", "What customers say within $window, with 95 % intervals. n in orange is chance, in "
            "yellow a hint.",
            [heading("channel")],
            [column for head, name, unit, goals, _, _ in SCORES for column in evidence(head, name, unit, goals, "channel")],
            sort="CSAT n", links=only("channel"),
        ))]),
    ]),
    ("One channel at a time", True, [
        (8, [(24, band(
            "CSAT, $channel", f"{CSAT_IS} Of windows of $window. {INTERVAL}", "csat_ratio", "percentunit", by="channel",
            decimals=1, repeat="channel", maxPerRow=4,
        ))]),
        (8, [(24, band(
            "NPS, $channel", f"{NPS_IS} Of windows of $window. {INTERVAL}", "nps_ratio", "none", by="channel",
            decimals=0, repeat="channel", maxPerRow=4,
        ))]),
    ]),
    ("Waiting and hold", False, [
        (9, [
            (12, heat(
                "Time in the queue", "How many contacts per second waited how long, answered and abandoned together, of the "
                "chosen channels. Counted when it was taken in, also what came late.",
                f"sum by (le) ({ever('cx_queue_wait_seconds_bucket', 'channel')})",
            )),
            (12, heat(
                "Time on hold", "How many contacts per second were on hold how long, of those that were on hold after an "
                "agent had "
                "answered, of the chosen channels.",
                f"sum by (le) ({ever('cx_hold_seconds_bucket', 'channel')})",
            )),
        ]),
        (9, [
            quantiles("Waiting by channel", "queue_wait_quantile_seconds", "The time in the queue that a share of "
                "contacts stays below."),
            quantiles("Hold by channel", "hold_quantile_seconds", "The time on hold that a share of those on hold stays "
                "below."),
        ]),
        (8, [
            (8, chart(
                "Abandonment by channel", "Share of offered contacts given up before an agent took them, short abandons "
                "left out. "
                f"Of windows of $window. {THIN}", "percentunit", lines("abandonment_ratio", "channel", "{{channel}}"),
                overrides=[DASHED_WHEN_THIN], decimals=1, links=[*TO_CHANNEL, runbook("cxabandonmenthigh")],
            )),
            (8, chart(
                "Service level by channel", "Share of contacts answered within the threshold, by the configured formula; "
                "by default "
                f"answered within 20 s / (answered + abandoned). Of windows of $window. {THIN}", "percentunit",
                lines("service_level_ratio", "channel", "{{channel}}"), overrides=[DASHED_WHEN_THIN], decimals=1, links=TO_CHANNEL,
            )),
            (8, means(
                "Hold, mean", "Mean time on hold: of contacts that were on hold, and over all answered contacts.",
                [("hold_mean_seconds", "{{channel}}, of held"), ("hold_per_answered_seconds", "{{channel}}, of all")], by="channel",
            )),
        ]),
    ]),
    ("Queues", False, [
        (17, [(24, table(
            "Worst queues", "The fifteen queues whose abandonment is worst for certain: ranked by the lower end of its 95 "
            "% interval "
            "within $recent, short abandons left out, so a handful of contacts never leads. Click a queue to see only "
            "that one.",
            [heading("channel"), heading("queue")],
            [
                *evidence("Abandonment", "abandonment_ratio", "percentunit", ABANDONMENT, "queue"),
                ("Service level", sure("service_level_ratio", "queue"), "percentunit", judged(SERVICE_LEVEL)),
                ("9 of 10 wait below", sure("queue_wait_quantile_seconds", "queue", q="0.9"), "s", judged(WAITING)),
                ("Hold, mean", sure("hold_mean_seconds", "queue"), "s", judged(HOLD)),
                ("Hold n", samples("hold_mean_seconds", "queue"), COUNT, colored(EVIDENCE, 0)),
                *evidence("CSAT", "csat_ratio", "percentunit", CSAT, "queue"),
            ],
            sort="Abandonment from", links=only("channel", "queue"), only=WORST,
        ))]),
        (9, [
            busiest("Abandonment by queue", "abandonment_ratio", "percentunit", "Share of offered contacts given up "
                "before an agent took them, short abandons left out."),
            busiest("Service level by queue", "service_level_ratio", "percentunit", "Share of contacts answered within "
                "the queue's threshold."),
            busiest("Waiting by queue, quantile $quantile", "queue_wait_quantile_seconds", "s", "The time in the queue that "
                "nine of ten contacts stay below.", q="0.9"),
        ]),
    ]),
    ("Channels", False, [
        (9, [
            (12, breakdown(
                "Channel share over time", "Share of all touches, contacts and interactions, that came through each "
                "channel; they add up "
                "to all. Of windows of $window.", "percentunit",
                [(window("cx_channel_share_ratio", channel="~$channel"), "{{channel}}")], max=1,
                links=[*TO_CHANNEL, runbook("cxchannelshareshifted")],
            )),
            (12, chart(
                "Touches per second by channel", "Contacts and interactions as they are taken in: the n behind the "
                "shares.", "cps",
                [over(ever("cx_touchpoints_total", "channel"), "{{channel}}")], links=TO_CHANNEL, fill=10,
            )),
        ]),
    ]),
    ("Customers who come and go", False, [
        (8, [
            (10, chart(
                "Came and left", "Customers within $window. Counts only: who they were before is not known here.", COUNT,
                [
                    over(window(f"cx_window_{name}"), legend, name)
                    for name, legend in (
                        ("acquired", "came"), ("churned", "left"), ("reactivated", "came back"),
                        ("renewed", "stayed for another term"), ("downgraded", "stayed with less"),
                    )
                ],
                decimals=0, links=[runbook("cxchurnjumping")],
            )),
            (7, chart(
                "Came and left per second", "Customers as they are taken in, also what came late.", "cps",
                [
                    over(f"sum({ever('cx_customers_acquired_total')})", "came", "acquired"),
                    over(f"sum({ever('cx_customers_churned_total')})", "left", "churned"),
                ],
            )),
            (7, bars(
                "Why they left", "Customers who left in the time that the dashboard shows, by the reason they gave.",
                COUNT,
                [now(f"sort_desc(sum by (reason) ({in_range('cx_customers_churned_total', slice='all')}))", "{{reason}}")],
                color=fixed("orange"), min=0, decimals=0,
            )),
        ]),
    ]),
    ("Teams, regions, segments", True, [
        (11, [(24, of_slice("team", "Teams"))]),
        (9, [(24, of_slice("region", "Regions"))]),
        (7, [(24, of_slice("segment", "Segments"))]),
        (8, [
            (12, chart(
                "CSAT by team", f"{CSAT_IS} Of windows of $recent. {THIN}", "percentunit", lines("csat_ratio", "team", "{{team}}"),
                overrides=[DASHED_WHEN_THIN], decimals=1,
            )),
            (12, chart(
                "CES by team", f"{EASE_IS} Of windows of $recent. {THIN}", "percentunit", lines("ces_ease_ratio", "team", "{{team}}"),
                overrides=[DASHED_WHEN_THIN], decimals=1,
            )),
        ]),
    ]),
    ("What became of contacts", True, [
        (8, [
            (8, breakdown(
                "Outcomes of offered contacts", "What became of the contacts that reached a queue, within $window. They "
                "add up to the "
                "offered ones.", COUNT,
                [(window(f"cx_window_{name}"), name.replace("_", " ")) for name in OUTCOMES], decimals=0,
            )),
            (8, breakdown(
                "A handled contact, in parts", "Mean talk, hold and wrap-up time of contacts that carry talk or wrap-up, "
                "within $window.", "s",
                [(per_handled(name), name) for name in ("talk", "hold", "wrapup")], decimals=0,
            )),
            (8, means(
                "Handling and answering", "Means within $window: handle time, until the first response, waits of the "
                "answered and of the "
                "abandoned.",
                [
                    ("handle_time_seconds", "handle time"), ("first_response_seconds", "first response"),
                    ("speed_of_answer_seconds", "speed of answer"), ("time_to_abandon_seconds", "time to abandon"),
                ],
            )),
        ]),
        (8, [
            (8, chart(
                "First response by channel, quantile $quantile",
                f"The time until the first response that this share of contacts stays below. {THIN}", "s",
                lines("first_response_quantile_seconds", "channel", "{{channel}}", q="$quantile"), overrides=[DASHED_WHEN_THIN],
                decimals=0, links=TO_CHANNEL,
            )),
            (8, chart(
                "Held, and given up on hold", "Share of answered contacts that were put on hold, and share of those given "
                "up while on hold. "
                f"Over all channels. {THIN}", "percentunit",
                [
                    {**target, "refId": f"{target['refId']}{place}"}
                    for place, (name, legend) in enumerate((("held_contacts_ratio", "held"), ("hold_abandonment_ratio", "given up on hold")))
                    for target in lines(name, "all", legend)
                ],
                overrides=[DASHED_BY_NAME],
                decimals=1,
            )),
            (8, chart(
                "Resolution by channel", f"Share of contacts that settled the matter, where it is known. {THIN}",
                "percentunit",
                lines("resolution_ratio", "channel", "{{channel}}"), overrides=[DASHED_WHEN_THIN], decimals=1, links=TO_CHANNEL,
            )),
        ]),
        (9, [
            (24, counts("Contacts by channel", "Counts within $window.", COUNT, [
                ("Offered", "offered"), ("Answered", "answered"), ("Abandoned", "abandoned"),
                ("of them short", "short_abandoned"), ("Sent on", "flow_out"), ("Callback", "callback"),
                ("Voicemail", "voicemail"), ("Failed", "failed"),
                ("Given up in the menu", "ivr_abandoned"), ("Given up on hold", "abandoned_on_hold"),
                ("Transfers", "transfers"),
            ])),
        ]),
        (9, [
            (24, counts(
                "What is known of contacts", "A figure counts only contacts that carry its measure; these are its denominators, and "
                "what was counted in time, within $window.", COUNT, [
                ("Answered, wait known", "answered_wait_known"), ("in time", "answered_within"),
                ("Abandoned, wait known", "abandoned_wait_known"), ("within the threshold", "abandoned_within"),
                ("Hold known", "hold_known"), ("held", "held"), ("Hold above 0", "hold_positive"),
                ("Talk known", "talk_known"), ("Handle time known", "handle_known"),
                ("First response known", "first_response_known"), ("Resolution known", "resolution_known"),
                ("resolved", "resolved"),
            ])),
        ]),
        (9, [
            (12, counts("Time spent by channel", "Sums within $window.", "s", [
                ("Waits of the answered", "answered_wait_seconds"), ("Waits of the abandoned", "abandoned_wait_seconds"),
                ("On hold", "hold_seconds"), ("Talking", "talk_seconds"), ("Wrapping up", "wrapup_seconds"),
                ("Handling", "handle_seconds"), ("Until the first response", "first_response_seconds"),
            ])),
            (12, chart(
                "Contacts per second", "Contacts of the chosen channels as they are taken in, also what came late.", "cps",
                [
                    over(f"sum({ever(f'cx_contacts_{name}_total', 'channel')})", name, name)
                    for name in ("offered", "answered", "abandoned")
                ],
            )),
        ]),
    ]),
    ("Answers", True, [
        (13, [
            answers(head, metric) for head, metric in (("CSAT", "csat"), ("NPS", "nps"), ("CES", "ces"))
        ]),
        (8, [
            (8, chart(
                "CSAT, raw mean by scale", f"Mean of the raw scores of one scale, never mixed over scales. n is of all "
                f"scales together. {THIN}",
                "none", lines("csat_score", "all", "{{scale}}"), overrides=[DASHED_WHEN_THIN], decimals=2,
            )),
            (8, breakdown(
                "Promoters, passives, detractors", "Shares of NPS answers: 9 and 10, 7 and 8, 0 to 6. Of windows of "
                "$window.", "percentunit",
                [(window(f"cx_nps_{name}_ratio"), f"{name}s") for name in ("promoter", "passive", "detractor")], max=1,
                overrides=[named("promoters", color=fixed("green")), named("passives", color=fixed("yellow")), named("detractors", color=fixed("red"))],
            )),
            (8, chart(
                "CES, raw mean by scale", f"Mean of the raw effort scores of one scale. n is of all scales together. {THIN}",
                "none", lines("ces_score", "all", "{{scale}}"), overrides=[DASHED_WHEN_THIN], decimals=2,
            )),
        ]),
    ]),
]
