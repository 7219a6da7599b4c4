package consumers;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * A table of final windows in SQLite that stays right through crashes, restarts and duplicates.
 *
 * <pre>
 *   mvn package
 *   java -cp 'target/classes:target/lib/*' consumers.Table --bootstrap localhost:9092 --table windows.db
 *   java -cp 'target/classes:target/lib/*' consumers.Table --table windows.db --dump
 * </pre>
 *
 * How far it has read stands in the same database as the windows and changes in the same transaction. Whatever ends this
 * program, it goes on where its table ends: no window is lost, and one that is read twice changes nothing.
 */
public final class Table {
    /** How many records at most become one transaction. */
    private static final int BATCH = 500;

    private static final String WINDOWS = "CREATE TABLE IF NOT EXISTS windows "
            + "(key TEXT PRIMARY KEY, revision INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID";
    private static final String POSITIONS =
            "CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL)";

    /** An older or equal revision is a copy of what is known. */
    private static final String KEEP = "INSERT INTO windows VALUES (?, ?, ?) "
            + "ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, value = excluded.value "
            + "WHERE excluded.revision > windows.revision";

    private static final ObjectMapper JSON = new ObjectMapper();

    private Table() {}

    public static void main(String[] arguments) throws Exception {
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        List<String> given = List.of(arguments);
        if (!given.contains("--table")) {
            System.err.println("usage: Table --table FILE [--bootstrap HOST:PORT] [--topic NAME] [--once] | --table FILE --dump");
            System.exit(2);
        }
        // A transaction that is committed is on the disk.
        String url = "jdbc:sqlite:" + option(given, "--table", "") + "?journal_mode=WAL&synchronous=FULL";
        try (Connection table = DriverManager.getConnection(url)) {
            table.setAutoCommit(false);
            try (Statement statement = table.createStatement()) {
                statement.execute(WINDOWS);
                statement.execute(POSITIONS);
            }
            table.commit();
            if (given.contains("--dump")) {
                dump(table);
            } else {
                String topic = option(given, "--topic", "cx.aggregates");
                read(table, option(given, "--bootstrap", "localhost:9092"), topic, given.contains("--once"));
            }
        }
    }

    /** What follows an option, or what holds without it. */
    private static String option(List<String> given, String name, String otherwise) {
        int place = given.indexOf(name);
        return place < 0 || place + 1 == given.size() ? otherwise : given.get(place + 1);
    }

    /** Reads on from where the table ends; with {@code once} to the end of what is committed now. */
    private static void read(Connection table, String bootstrap, String topic, boolean once) throws Exception {
        Map<String, Object> settings = Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap,
                // Records of transactions that were aborted, or are not over yet, are no results.
                ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                // The table says where to go on.
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
                // Where records were deleted before they were read, fail instead of passing over them.
                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none",
                ConsumerConfig.MAX_POLL_RECORDS_CONFIG, BATCH);
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
                PreparedStatement keep = table.prepareStatement(KEEP);
                PreparedStatement move = table.prepareStatement("INSERT OR REPLACE INTO positions VALUES (?, ?)")) {
            List<TopicPartition> partitions = IntStream.range(0, consumer.partitionsFor(topic).size())
                    .mapToObj(number -> new TopicPartition(topic, number))
                    .toList();
            consumer.assign(partitions);
            Map<Integer, Long> positions = positions(table);
            for (TopicPartition partition : partitions) {
                Long next = positions.get(partition.partition());
                if (next == null) {
                    consumer.seekToBeginning(List.of(partition));
                } else {
                    consumer.seek(partition, next);
                }
            }
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (!once || partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                int windows = 0;
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                    windows += keep(keep, record);
                }
                for (TopicPartition partition : partitions) {
                    move.setInt(1, partition.partition());
                    move.setLong(2, consumer.position(partition));
                    move.executeUpdate();
                }
                table.commit(); // windows and positions, or nothing
                if (windows > 0) {
                    System.err.println("stored " + windows + " windows");
                }
            }
        }
    }

    /** Takes one record into the table; gives how many windows that changed. */
    private static int keep(PreparedStatement keep, ConsumerRecord<String, String> record) throws Exception {
        // touchstone writes no empty value, but a compacted topic may hold one.
        if (record.value() == null || record.key().equals("_watermark")) {
            return 0;
        }
        JsonNode value = JSON.readTree(record.value());
        if (!value.path("state").asText().equals("final")) {
            return 0;
        }
        byte[] revision = record.headers().lastHeader("revision").value();
        keep.setString(1, record.key());
        keep.setLong(2, Long.parseLong(new String(revision, StandardCharsets.UTF_8)));
        keep.setString(3, record.value());
        return keep.executeUpdate();
    }

    private static Map<Integer, Long> positions(Connection table) throws SQLException {
        Map<Integer, Long> positions = new HashMap<>();
        try (Statement statement = table.createStatement();
                var rows = statement.executeQuery("SELECT partition, next FROM positions")) {
            while (rows.next()) {
                positions.put(rows.getInt(1), rows.getLong(2));
            }
        }
        return positions;
    }

    /** Prints the table as NDJSON, sorted by key. */
    private static void dump(Connection table) throws Exception {
        try (Statement statement = table.createStatement();
                var rows = statement.executeQuery("SELECT key, value FROM windows ORDER BY key")) {
            var out = new java.io.PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), false, StandardCharsets.UTF_8);
            while (rows.next()) {
                out.println("{\"key\":" + JSON.writeValueAsString(rows.getString(1)) + ",\"value\":" + rows.getString(2) + "}");
            }
            out.flush();
        }
    }
}
