#!/bin/sh
# The least access that each role needs, for config/touchstone.toml: what `touchstone topics --acls` prints, as commands.
# Made from what it prints and held against it by a test. Name a principal for each role that you want rules for.
#
#     BOOTSTRAP=kafka-1:9092 COMMAND_CONFIG=admin.properties SERVICE=User:touchstone CONSUMER=User:reports \
#       sh deploy/kafka/acls.sh
#
# A consumer that joins a group needs Read on that group besides.
set -eu
: "${BOOTSTRAP:?where Kafka is, host:port}"

allow() {
  principal=$1
  shift
  [ -z "$principal" ] || "${KAFKA_BIN:-/opt/kafka/bin}/kafka-acls.sh" --bootstrap-server "$BOOTSTRAP" \
    ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --add --force --allow-principal "$principal" "$@"
}

# Service: Read on topic touchpoints
allow "${SERVICE:-}" --operation Read --topic touchpoints

# Administrator: Describe, DescribeConfigs on topic touchpoints
allow "${ADMINISTRATOR:-}" --operation Describe --operation DescribeConfigs --topic touchpoints

# Producer: Write on topic touchpoints
allow "${PRODUCER:-}" --operation Write --topic touchpoints

# Service: Read, Write on topic touchstone.deltas
allow "${SERVICE:-}" --operation Read --operation Write --topic touchstone.deltas

# Administrator: Create, Describe, DescribeConfigs on topic touchstone.deltas
allow "${ADMINISTRATOR:-}" --operation Create --operation Describe --operation DescribeConfigs --topic touchstone.deltas

# Service: Read, Write on topic touchstone.changelog
allow "${SERVICE:-}" --operation Read --operation Write --topic touchstone.changelog

# Administrator: Create, Describe, DescribeConfigs on topic touchstone.changelog
allow "${ADMINISTRATOR:-}" --operation Create --operation Describe --operation DescribeConfigs --topic touchstone.changelog

# Service: Read, Write on topic cx.aggregates
allow "${SERVICE:-}" --operation Read --operation Write --topic cx.aggregates

# Administrator: Create, Describe, DescribeConfigs on topic cx.aggregates
allow "${ADMINISTRATOR:-}" --operation Create --operation Describe --operation DescribeConfigs --topic cx.aggregates

# Consumer: Read on topic cx.aggregates
allow "${CONSUMER:-}" --operation Read --topic cx.aggregates

# Service: Write on topic cx.late
allow "${SERVICE:-}" --operation Write --topic cx.late

# Administrator: Create, Describe, DescribeConfigs on topic cx.late
allow "${ADMINISTRATOR:-}" --operation Create --operation Describe --operation DescribeConfigs --topic cx.late

# Service: Write on topic cx.dead-letter
allow "${SERVICE:-}" --operation Write --topic cx.dead-letter

# Administrator: Create, Describe, DescribeConfigs on topic cx.dead-letter
allow "${ADMINISTRATOR:-}" --operation Create --operation Describe --operation DescribeConfigs --topic cx.dead-letter

# Service: Read on group touchstone-fold
allow "${SERVICE:-}" --operation Read --group touchstone-fold

# Service: Read on group touchstone-merge
allow "${SERVICE:-}" --operation Read --group touchstone-merge

# Service: Write on transactional ids that begin with touchstone-
allow "${SERVICE:-}" --operation Write --transactional-id touchstone- --resource-pattern-type prefixed

# Administrator: Describe on the cluster
allow "${ADMINISTRATOR:-}" --operation Describe --cluster
