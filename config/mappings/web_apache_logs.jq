# Access log of a web site, Apache "combined" format, read with --input-format lines: one line is one
# cx.interaction.v1.
#
# Decisions:
# - A line that is not the strict combined format (one is cut off) is rejected, not guessed at.
# - Every request is a touch of the channel web, pictures and style sheets too: the log does not say what a page is.
# - Robots are kept apart by the segment: an agent that calls itself bot, spider or crawl(er).
# - The time carries its own offset, so no zone is needed.
# - Client addresses are personal data and there is no way to hash them here: no customer_id.
# - The log has no ids: file and row make them.

def months: {
  Jan: "01", Feb: "02", Mar: "03", Apr: "04", May: "05", Jun: "06",
  Jul: "07", Aug: "08", Sep: "09", Oct: "10", Nov: "11", Dec: "12"
};

.line
| (capture("^\\S+ \\S+ \\S+ \\[(?<day>[0-9]{2})/(?<month>[A-Z][a-z]{2})/(?<year>[0-9]{4}):(?<clock>[0-9:]{8}) (?<sign>[+-])(?<hours>[0-9]{2})(?<minutes>[0-9]{2})\\] \"\\S+ \\S+ \\S+\" [0-9]{3} (?:[0-9]+|-) \"[^\"]*\" \"(?<agent>[^\"]*)\"$")
   // error("not a line of the combined log format"))
| {
    specversion: "1.0",
    type: "cx.interaction.v1",
    source: "web_apache_logs",
    id: "\($record.file):\($record.row)",
    time: "\(.year)-\(months[.month])-\(.day)T\(.clock)\(.sign)\(.hours):\(.minutes)",
    data: {
      kind: "hit",
      channel: "web",
      segment: (if .agent | ascii_downcase | test("bot|spider|crawl") then "robot" else "visitor" end)
    }
  }
