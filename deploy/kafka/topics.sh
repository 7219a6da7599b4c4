#!/bin/sh
# The topics of config/touchstone.toml, as `touchstone topics --create` makes them: for those who make topics by other means.
# Made from the program's table and held against it by a test. Inputs are not in it: they are yours.
#
#     BOOTSTRAP=kafka-1:9092 COMMAND_CONFIG=admin.properties sh deploy/kafka/topics.sh
set -eu
: "${BOOTSTRAP:?where Kafka is, host:port}"

create() {
  "${KAFKA_BIN:-/opt/kafka/bin}/kafka-topics.sh" --bootstrap-server "$BOOTSTRAP" \
    ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --create --if-not-exists "$@"
}

create --topic touchstone.deltas --partitions 16 --replication-factor 3 \
  --config cleanup.policy=delete \
  --config retention.ms=604800000 \
  --config message.timestamp.type=LogAppendTime \
  --config max.message.bytes=8388608 \
  --config min.insync.replicas=2

create --topic touchstone.changelog --partitions 16 --replication-factor 3 \
  --config cleanup.policy=compact \
  --config segment.bytes=33554432 \
  --config segment.ms=600000 \
  --config max.compaction.lag.ms=1800000 \
  --config min.cleanable.dirty.ratio=0.2 \
  --config delete.retention.ms=86400000 \
  --config message.timestamp.type=LogAppendTime \
  --config max.message.bytes=1114112 \
  --config min.insync.replicas=2

create --topic cx.aggregates --partitions 16 --replication-factor 3 \
  --config cleanup.policy=compact,delete \
  --config retention.ms=3024000000 \
  --config message.timestamp.type=LogAppendTime \
  --config max.message.bytes=1114112 \
  --config min.insync.replicas=2

create --topic cx.late --partitions 4 --replication-factor 3 \
  --config cleanup.policy=delete \
  --config retention.ms=2592000000 \
  --config message.timestamp.type=LogAppendTime \
  --config max.message.bytes=1114112 \
  --config min.insync.replicas=2

create --topic cx.dead-letter --partitions 4 --replication-factor 3 \
  --config cleanup.policy=delete \
  --config retention.ms=2592000000 \
  --config message.timestamp.type=LogAppendTime \
  --config max.message.bytes=1114112 \
  --config min.insync.replicas=2
