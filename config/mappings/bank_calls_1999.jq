# "Anonymous Bank" call centre, Israel, 1999 (Technion, SEE Lab): one row per call, TSV, times of day of the
# wall clock in Israel without a zone. One row is one cx.contact.ended.v1.
#
# The call:
#   vru_entry .. vru_exit   in the voice menu; may run backwards by seconds: the clocks of two machines
#   q_start .. q_exit       in the queue; q_start 0:00:00 = never queued
#   ser_start .. ser_exit   with an agent; ser_exit 0:00:00 = no service was recorded
#
# Decisions:
# - A row with fewer than 17 columns is broken (two in October lack a tab): it is rejected, not guessed at.
# - PHANTOM rows are calls that never were, says the documentation: they are skipped.
# - A contact counts when it ends. AGENT: end of service, else (no service recorded) end of the queue, else of the
#   menu. HANG: when the customer gave up, which is the end of the queue, else of the menu.
# - `date` is the day of vru_entry. No call lasts from one noon to the next: one that came after noon and ended
#   before noon ended on the next day.
# - AGENT without a queue was answered at once: a known wait of 0, as in the published tables. Its ser_time is the
#   talk, also where it is 0. Hold and wrap-up are not in the data: unknown, not 0.
# - HANG without a queue gave up in the menu: abandon_stage ivr, not an offered contact, no wait.
# - 150 HANG rows carry a service with NO_SERVER, some of them begun before the queue was left. No agent took these
#   customers: they are abandoned in the queue, and the service, which would contradict that, is left out.
# - customer_id 0 is "unknown". NO_SERVER is no agent. The priority (0 and 1 ordinary, 2 high) is the segment.
# - (vru+line, call_id) is unique over the files, so it makes the id: a file that is read twice counts once.

def clock: if length == 7 then "0" + . else . end;

def next_day: . + "T00:00:00Z" | fromdate + 86400 | todate | .[0:10];

if .server == null then error("a row of this file has 17 columns")
elif .outcome == "PHANTOM" then empty
else
  (.q_start != "0:00:00") as $queued
  | (if .outcome == "AGENT" and .ser_exit != "0:00:00" then .ser_exit
     elif $queued then .q_exit
     else .vru_exit end | clock) as $end
  | ("19" + .date[0:2] + "-" + .date[2:4] + "-" + .date[4:6]) as $day
  | (if (.vru_entry | clock) >= "12:00:00" and $end < "12:00:00" then $day | next_day else $day end) as $end_day
  | {
      specversion: "1.0",
      type: "cx.contact.ended.v1",
      source: "bank_calls_1999",
      id: "\(.["vru+line"])-\(.call_id)",
      time: ($end_day + "T" + $end | to_utc("Asia/Jerusalem")),
      data: (
        {
          channel: "voice",
          queue: .type,
          segment: "priority_\(.priority)",
          contact_id: "\(.["vru+line"])-\(.call_id)",
          customer_id: (if .customer_id == "0" then null else .customer_id end)
        }
        + if .outcome == "AGENT" then
            {
              outcome: "answered",
              agent: (if .server == "NO_SERVER" then null else .server end),
              queue_wait_seconds: (.q_time | tonumber),
              talk_seconds: (.ser_time | tonumber)
            }
          elif .outcome != "HANG" then error("unknown outcome \(.outcome)")
          elif $queued then
            {outcome: "abandoned", abandon_stage: "queue", queue_wait_seconds: (.q_time | tonumber)}
          else
            {outcome: "abandoned", abandon_stage: "ivr"}
          end
      )
    }
end
