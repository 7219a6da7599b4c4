# MyLA311 service requests, Los Angeles, 27-31 December 2017: one row per request, CSV, wall-clock times of Los
# Angeles without a zone. One row is one cx.interaction.v1.
#
# Decisions:
# - How and when a conversation ended is not in the data, so a request is a touch, not an ended contact. Its time is
#   CreatedDate.
# - RequestSource is the channel. Mobile App, Call, Self Service, Email and Walk-in have conventional names; the
#   Council's Office and Voicemail stay channels of their own, so that the shares are those of the city.
# - "Driver Self Report" is a city crew that reports its own work: not a customer. These rows are skipped.
# - RequestType is the topic, the owning department (BOS, OCB, ...) the team, the planning commission the region.
# - SRNumber is unique: it is the id. Addresses are not taken along.

def two_digits: if length == 1 then "0" + . else . end;

# "12/31/2017 11:59:58 PM" -> "2017-12-31T23:59:58"; 12 AM is hour 0, 12 PM hour 12.
def civil:
  (capture("^(?<month>[0-9]{2})/(?<day>[0-9]{2})/(?<year>[0-9]{4}) (?<hour>[0-9]{2})(?<rest>:[0-9]{2}:[0-9]{2}) (?<half>AM|PM)$")
   // error("not a MM/DD/YYYY hh:mm:ss AM/PM time: \(.)"))
  | (.hour | ltrimstr("0") | tonumber % 12) as $hour
  | (if .half == "PM" then $hour + 12 else $hour end | tostring | two_digits) as $hour
  | "\(.year)-\(.month)-\(.day)T\($hour)\(.rest)";

select(.RequestSource != "Driver Self Report")
| {
    specversion: "1.0",
    type: "cx.interaction.v1",
    source: "la311_2017",
    id: .SRNumber,
    time: (.CreatedDate | civil | to_utc("America/Los_Angeles")),
    data: {
      kind: "service_request",
      channel: ({
        "Call": "voice",
        "Mobile App": "app",
        "Self Service": "web",
        "Email": "email",
        "Walk-in": "in_person",
        "Voicemail": "voicemail",
        "Council's Office": "council_office"
      }[.RequestSource] // error("unknown RequestSource \(.RequestSource)")),
      topic: .RequestType,
      team: .Owner,
      region: .APC
    }
  }
