# Anonymised marketplace reviews (Elastic "anonreviews"): reviewer, vendor, rating 0..5, date to the minute, CSV.
# One rated row is one cx.survey.responded.v1 of csat on the scale 1..5.
#
# Decisions:
# - The ratings run from 1 to 5; 0 (530 of 578,805 rows) reads as "no rating". A missing answer is no bad answer, and
#   a 0 is no point of this scale, so these rows are skipped. To count them as the worst answer instead, on a scale
#   0..5, drop the select and set scale_min to 0.
# - 2,793 rows repeat another one exactly; whether a reviewer meant it cannot be told. All of them count: file and row
#   make the id.
# - No zone is given: the times are taken as UTC.

select(.rating != "0")
| {
    specversion: "1.0",
    type: "cx.survey.responded.v1",
    source: "reviews_anon",
    id: "\($record.file):\($record.row)",
    time: (.date + ":00" | to_utc("UTC")),
    data: {
      metric: "csat",
      score: (.rating | tonumber),
      scale_min: 1,
      scale_max: 5,
      channel: "web",
      product: "vendor_\(.vendorId)",
      customer_id: "reviewer_\(.reviewerId)"
    }
  }
