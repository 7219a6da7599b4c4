# San Francisco airport customer survey, the files of 2017 and 2018 (CSV, one row per interview in May): one
# cx.survey.responded.v1 per answered question, up to four a row. A row without any answer is skipped.
#
#   csat  Q7ALL        the airport as a whole, 1 unacceptable .. 5 outstanding
#   nps   NETPRO       how likely to recommend, 0..10
#   ces   Q14FIND      finding one's way, 1 difficult .. 5 easy     (topic finding_way)
#   ces   Q14PASSTHRU  getting through security, 1 difficult .. 5 easy (topic security)
#
# Decisions:
# - No answer is spelt 0 or 6 (not applicable) on 1..5 scales, 11 on 0..10, empty, Blank, BLANK. Whatever is not a
#   point of the scale yields nothing.
# - The 2018 file has spaces after some column names ("Q14FIND ", "NETPRO  "), and METH for METHOD.
# - The data tell the day (INTDATE, a day of May) but not the time: noon in San Francisco, which lies on the same
#   date in UTC. The year is in the name of the file only.
# - METHOD, how the answer was given, is the channel: 1 at the gate, 2 by mail, 3 online. The boarding area is the
#   region.
# - Rows have no id of their own over the years: file, row and question make it.
# - The answers are counted as they are, without the survey's WEIGHT.

([$record.file | match("(?<year>2017|2018)_SFO_Customer_Survey").captures[] | .string][0]
  // error("the year is not in the file name: ..2017_SFO_Customer_Survey.. or 2018")) as $year
| ("\($year)-05-" + (.INTDATE | if length == 1 then "0" + . else . end) + "T12:00:00"
   | to_utc("America/Los_Angeles")) as $time
| ({"1": "in_person", "2": "mail", "3": "web"}[.METHOD // .METH]) as $channel
| .BAREA as $region
| ["1", "2", "3", "4", "5"] as $five
| ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"] as $eleven
| (
    {question: "Q7ALL", answer: .Q7ALL, metric: "csat", points: $five},
    {question: "NETPRO", answer: (.NETPRO // .["NETPRO  "]), metric: "nps", points: $eleven},
    {question: "Q14FIND", answer: (.Q14FIND // .["Q14FIND "]), metric: "ces", points: $five, topic: "finding_way"},
    {question: "Q14PASSTHRU", answer: .Q14PASSTHRU, metric: "ces", points: $five, topic: "security"}
  )
# `index` of a string finds that very element, so "1" is not found in "10".
| (.answer as $answer | .points | index($answer)) as $point
| select($point != null)
| {
    specversion: "1.0",
    type: "cx.survey.responded.v1",
    source: "sfo_survey",
    id: "\($record.file):\($record.row):\(.question)",
    time: $time,
    data: {
      metric: .metric,
      score: (.points[$point] | tonumber),
      scale_min: (.points[0] | tonumber),
      scale_max: (.points[-1] | tonumber),
      channel: $channel,
      region: $region,
      topic: .topic
    }
  }
