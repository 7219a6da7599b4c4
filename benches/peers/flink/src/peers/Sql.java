package peers;

import static java.util.stream.Collectors.joining;

import java.util.UUID;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.functions.AggregateFunction;

/**
 * The job in Flink SQL: the same cascade as the DataStream job, in window table-valued functions.
 *
 * <p>Events meet one aggregation, 1m by channel and queue, which the planner splits into a local and a global half
 * since every function in it can merge. The sliding windows and "all" are aggregations of its rows. One INSERT of all
 * four makes one sink, and so one transaction for each checkpoint and task.
 *
 * <p>JSON and its times are decoded by Flink's own format: a user of SQL would not write a decoder.
 */
final class Sql {
    /** The names of a cell's counts, sums and histogram. */
    private static final String FACTS = Cell.NAMES.stream().map("`%s`, "::formatted).collect(joining()) + "hist";

    /** The same, summed over panes. */
    private static final String SUMS =
        Cell.NAMES.stream().map("SUM(`%1$s`) AS `%1$s`, "::formatted).collect(joining()) + "histogram(hist) AS hist";

    private static final String EVENTS = """
        CREATE TABLE events (
          `type` STRING,
          `time` TIMESTAMP_LTZ(3),
          `data` ROW<channel STRING, queue STRING, outcome STRING, queue_wait_seconds DOUBLE, hold_seconds DOUBLE,
                     metric STRING, score DOUBLE>,
          WATERMARK FOR `time` AS `time` - INTERVAL '%3$d' SECOND
        ) WITH (
          'connector' = 'kafka',
          'properties.bootstrap.servers' = '%1$s',
          'properties.group.id' = 'peer-sql',
          'properties.isolation.level' = 'read_committed',
          'topic' = '%2$s',
          'scan.startup.mode' = 'earliest-offset',
          'scan.bounded.mode' = 'latest-offset',
          'format' = 'json',
          'json.timestamp-format.standard' = 'ISO-8601'
        )""";

    private static final String RESULTS = """
        CREATE TABLE results (
          `key` STRING, `window` STRING, `start` BIGINT, slice STRING, %5$s BIGINT, hist ARRAY<BIGINT NOT NULL>
        ) WITH (
          'connector' = 'kafka',
          'properties.bootstrap.servers' = '%1$s',
          'properties.compression.type' = 'lz4',
          'properties.transaction.timeout.ms' = '%3$s',
          'topic' = '%2$s',
          'key.format' = 'raw',
          'key.fields' = 'key',
          'value.format' = 'json',
          'value.fields-include' = 'EXCEPT_KEY',
          'sink.delivery-guarantee' = 'exactly-once',
          'sink.transactional-id-prefix' = '%4$s'
        )""";

    private static final String FLAT = """
        CREATE TEMPORARY VIEW flat AS
        SELECT `time`, `type`, e.`data`.channel, e.`data`.queue, e.`data`.outcome, e.`data`.metric, e.`data`.score,
          CAST(ROUND(e.`data`.queue_wait_seconds * 1000) AS BIGINT) AS wait_ms,
          CAST(ROUND(e.`data`.hold_seconds * 1000) AS BIGINT) AS hold_ms
        FROM events AS e""";

    /** Sums are made of zeros where a field is missing, since SQL's sum of nothing would be NULL. */
    private static final String PANES = """
        CREATE TEMPORARY VIEW panes AS
        SELECT channel || '|' || queue AS slice, window_start AS pane, window_time AS pane_time, %s
        FROM (
          SELECT channel, queue, window_start, window_time,
            COUNT(*) FILTER (WHERE `type` IN ('cx.contact.ended.v1', 'cx.interaction.v1')) AS touches,
            COUNT(*) FILTER (WHERE `type` = 'cx.contact.ended.v1') AS offered,
            COUNT(*) FILTER (WHERE outcome = 'answered') AS answered,
            COUNT(*) FILTER (WHERE outcome = 'abandoned') AS abandoned,
            COUNT(*) FILTER (WHERE outcome = 'abandoned' AND wait_ms < 5000) AS `short`,
            SUM(CASE WHEN outcome = 'answered' THEN COALESCE(wait_ms, 0) ELSE 0 END) AS answered_wait_ms,
            SUM(CASE WHEN outcome = 'abandoned' THEN COALESCE(wait_ms, 0) ELSE 0 END) AS abandoned_wait_ms,
            SUM(COALESCE(hold_ms, 0)) AS hold_ms,
            COUNT(*) FILTER (WHERE metric = 'csat') AS csat,
            COUNT(*) FILTER (WHERE metric = 'csat' AND score >= 4) AS csat_satisfied,
            COUNT(*) FILTER (WHERE metric = 'nps') AS nps,
            COUNT(*) FILTER (WHERE metric = 'nps' AND score >= 9) AS nps_promoters,
            COUNT(*) FILTER (WHERE metric = 'nps' AND score <= 6) AS nps_detractors,
            histogram(CASE WHEN outcome = 'answered' THEN wait_ms END) AS hist
          FROM TABLE(TUMBLE(TABLE flat, DESCRIPTOR(`time`), INTERVAL '1' MINUTE))
          GROUP BY channel, queue, window_start, window_end, window_time
        )""";

    private static final String ALL_PANES = """
        CREATE TEMPORARY VIEW all_panes AS
        SELECT 'all' AS slice, window_start AS pane, window_time AS pane_time, %s
        FROM TABLE(TUMBLE(TABLE panes, DESCRIPTOR(pane_time), INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end, window_time""";

    /** The windows of 15 min over a view of panes. */
    private static final String QUARTERS = """
        (SELECT slice, window_start AS pane, %2$s
         FROM TABLE(HOP(TABLE %1$s, DESCRIPTOR(pane_time), INTERVAL '1' MINUTE, INTERVAL '15' MINUTES))
         GROUP BY slice, window_start, window_end)""";

    /** Output records of a relation of cells. Windows start at full minutes, and minutes do not overflow an INT. */
    private static final String OUTPUT = """
        SELECT '%1$s|' || CAST(start_ms AS STRING) || '|' || slice, '%1$s', start_ms, slice, %3$s
        FROM (SELECT slice,
          CAST(TIMESTAMPDIFF(MINUTE, TIMESTAMP '1970-01-01 00:00:00', pane) AS BIGINT) * 60000 AS start_ms, %3$s
          FROM %2$s)""";

    private Sql() {}

    /**
     * A histogram of numbers, or the sum of histograms. SQL has no such function; with {@code merge} it can be computed
     * in two phases, and shared between overlapping windows.
     */
    public static final class Histogram extends AggregateFunction<long[], Histogram.Counts> {
        /** A structured type to SQL. */
        public static final class Counts {
            public long[] counts = new long[Cell.BUCKETS];
        }

        @Override
        public Counts createAccumulator() {
            return new Counts();
        }

        @Override
        public long[] getValue(Counts histogram) {
            return histogram.counts;
        }

        /** Called once for every event, with NULL if it has nothing for the histogram: so this is where to count. */
        public void accumulate(Counts histogram, Long ms) {
            Main.FOLDED.increment();
            if (ms != null) histogram.counts[Cell.bucket(ms)]++;
        }

        public void accumulate(Counts histogram, long[] counts) {
            for (int i = 0; i < Cell.BUCKETS; i++) histogram.counts[i] += counts[i];
        }

        public void merge(Counts histogram, Iterable<Counts> others) {
            for (Counts other : others) accumulate(histogram, other.counts);
        }
    }

    static void execute(StreamExecutionEnvironment environment, Run run) throws Exception {
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        tables.createTemporarySystemFunction("histogram", Histogram.class);
        tables.executeSql(EVENTS.formatted(run.bootstrap(), run.in(), Main.DISORDER_SECONDS));
        tables.executeSql(RESULTS.formatted(run.bootstrap(), run.out(), Main.TRANSACTION_TIMEOUT_MS,
            "peer-sql-" + UUID.randomUUID(), Cell.NAMES.stream().collect(joining("` BIGINT, `", "`", "`"))));
        tables.executeSql(FLAT);
        tables.executeSql(PANES.formatted(FACTS));
        tables.executeSql(ALL_PANES.formatted(SUMS));
        String insert = "INSERT INTO results " + String.join(" UNION ALL ",
            OUTPUT.formatted("1m", "panes", FACTS),
            OUTPUT.formatted("15m", QUARTERS.formatted("panes", SUMS), FACTS),
            OUTPUT.formatted("1m", "all_panes", FACTS),
            OUTPUT.formatted("15m", QUARTERS.formatted("all_panes", SUMS), FACTS));
        tables.executeSql(insert).await();
    }
}
