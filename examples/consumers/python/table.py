"""A table of final windows in SQLite that stays right through crashes, restarts and duplicates.

    pip install -r requirements.txt
    python table.py --bootstrap localhost:9092 --table windows.db          # reads on until it is stopped
    python table.py --table windows.db --dump                              # the table as NDJSON, sorted by key

How far it has read stands in the same database as the windows and changes in the same transaction. Whatever ends this
program, it goes on where its table ends: no window is lost, and one that is read twice changes nothing.
"""

import argparse
import json
import sqlite3
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

# How many records at most become one transaction.
BATCH = 500

TABLES = """
CREATE TABLE IF NOT EXISTS windows (
  key TEXT PRIMARY KEY,
  partition INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  definitions TEXT NOT NULL,
  covered_from TEXT,
  value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
-- Windows of the metric set that end at or before `until` are final and read.
CREATE TABLE IF NOT EXISTS closed (
  metric_set TEXT,
  partition INTEGER,
  until TEXT NOT NULL,
  PRIMARY KEY (metric_set, partition)
) WITHOUT ROWID;
"""

# An older or equal revision is a copy of what is known.
KEEP_WINDOW = """
INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET partition = excluded.partition, revision = excluded.revision,
  definitions = excluded.definitions, covered_from = excluded.covered_from, value = excluded.value
WHERE excluded.revision > windows.revision
"""

# A _watermark record comes behind the windows that it closes, in one transaction with them: who reads it has read them.
KEEP_CLOSED = """
INSERT INTO closed VALUES (?, ?, ?)
ON CONFLICT (metric_set, partition) DO UPDATE SET until = excluded.until
"""


def keep(table: sqlite3.Connection, message) -> int:
    """Takes one record into the table; gives how many windows that changed."""
    if message.value() is None:
        return 0  # touchstone writes none, but a compacted topic may hold one
    value = json.loads(message.value())
    if message.key() == b"_watermark":
        for metric_set, time in value["metric_sets"].items():
            if until := time.get("final_until"):
                # Without the Z, texts are ordered as times are, with and without a fraction.
                table.execute(KEEP_CLOSED, (metric_set, message.partition(), until.rstrip("Z")))
        return 0
    if value["state"] != "final":
        return 0
    headers = {name: text.decode() for name, text in message.headers() or []}
    row = (
        message.key().decode(),
        message.partition(),
        int(headers["revision"]),
        value["definitions"]["id"],
        headers.get("covered_from"),
        message.value().decode(),
    )
    return table.execute(KEEP_WINDOW, row).rowcount


def read(table: sqlite3.Connection, bootstrap: str, topic: str, once: bool) -> None:
    """Reads on from where the table ends; with `once` to the end of what is committed."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            # Records of transactions that were aborted, or are not over yet, are no results.
            "isolation.level": "read_committed",
            # The table says where to go on. librdkafka wants a name for the group; nothing is stored under it.
            "group.id": "table-of-windows",
            "enable.auto.commit": False,
            # Where records were deleted before they were read, say so instead of passing over them.
            "auto.offset.reset": "error",
            "enable.partition.eof": once,
        }
    )
    described = consumer.list_topics(topic, timeout=10).topics[topic]
    if described.error:
        raise KafkaException(described.error)
    positions = dict(table.execute("SELECT partition, next FROM positions"))
    partitions = list(described.partitions)
    consumer.assign([TopicPartition(topic, place, positions.get(place, OFFSET_BEGINNING)) for place in partitions])
    at_end: set[int] = set()
    while not (once and len(at_end) == len(partitions)):
        messages = consumer.consume(BATCH, timeout=1.0)
        windows = 0
        with table:  # one transaction: windows and positions, or nothing
            for message in messages:
                if message.error() is None:
                    windows += keep(table, message)
                    positions[message.partition()] = message.offset() + 1
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition())
                else:
                    raise KafkaException(message.error())
            table.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", positions.items())
        if windows:
            print(f"stored {windows} windows", file=sys.stderr, flush=True)
    consumer.close()


def main() -> None:
    """Reads the arguments and acts on them."""
    parser = argparse.ArgumentParser(description="A table of final windows in SQLite.")
    parser.add_argument("--bootstrap", default="localhost:9092", help="brokers, host:port, several separated by commas")
    parser.add_argument("--topic", default="cx.aggregates")
    parser.add_argument("--table", required=True, help="the file of the table")
    parser.add_argument("--once", action="store_true", help="end when all that is committed has been read")
    parser.add_argument("--dump", action="store_true", help="print the table and read nothing")
    arguments = parser.parse_args()
    table = sqlite3.connect(arguments.table)
    # A transaction that is committed is on the disk.
    table.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + TABLES)
    if arguments.dump:
        for key, value in table.execute("SELECT key, value FROM windows ORDER BY key"):
            print(f'{{"key":{json.dumps(key)},"value":{value}}}')
    else:
        read(table, arguments.bootstrap, arguments.topic, arguments.once)


if __name__ == "__main__":
    main()
