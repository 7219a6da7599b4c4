package peers;

import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyConfig;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The job in the DSL of Kafka Streams, in two plans, and the count of what each stage has worked through.
 *
 * <pre>
 *   dsl      events --+-- by (channel, queue) --+-- 1m, 15m by 1m --> out
 *                     +-- by "all" -------------+-- 1m, 15m by 1m --> out
 *
 *   rollup   events ----- by (channel, queue) ----- 1m, 15m by 1m --+-----------------------> out
 *                                                                   +-- "all" of the table --> out
 * </pre>
 *
 * <p>{@code dsl} is what the documentation teaches. {@code rollup} updates half as many cells an event, at a price:
 * "all" is then a table by window start, which nothing ever empties.
 *
 * <p>The engine has no watermark, so a window cannot hand its final cell to a longer one before the grace is over: the
 * longer windows have to be made of events.
 */
final class Job {
    /** A window kind: all advance by a minute. */
    private record Window(String name, int minutes) {}

    private static final Window MINUTE = new Window("1m", 1), QUARTER = new Window("15m", 15);

    private final String in;
    private final String out;
    private final boolean rollup;
    private final Duration grace;

    /** Events decoded. */
    private final LongAdder read = new LongAdder();
    /** Events in the 1m windows of the queues: the windows that close first, and so the first to lose a late event. */
    private final LongAdder byQueue = new LongAdder();
    /** Events in the windows of "all"; the plan {@code dsl} counts those of 1m only. */
    private final LongAdder byAll = new LongAdder(), byAllQuarter = new LongAdder();

    Job(Run run, Duration grace) {
        this.in = run.in();
        this.out = run.out();
        this.rollup = run.variant().startsWith("rollup");
        this.grace = grace;
    }

    long read() {
        return read.sum();
    }

    long byQueue() {
        return byQueue.sum();
    }

    /** Each event lies in 15 of the windows of 15 min. */
    long byAll() {
        return rollup ? Math.min(byAll.sum(), byAllQuarter.sum() / QUARTER.minutes) : byAll.sum();
    }

    Topology topology(Properties config) {
        // The DSL learns the kind of its stores from here alone.
        StreamsBuilder builder = new StreamsBuilder(new TopologyConfig(new StreamsConfig(config)));
        KStream<byte[], Touch> events = builder.stream(in,
            Consumed.with(Serdes.ByteArray(), Serialization.event(read)).withName("events")
                .withTimestampExtractor((event, partitionTimeMs) -> ((Touch) event.value()).timeMs));
        KGroupedStream<String, Touch> queues = events.groupBy((key, touch) -> touch.slice,
            Grouped.with("by-queue", Serdes.String(), Serialization.touch()));
        // A name of its own gives the grouping one repartition topic, which both windows then read.
        KGroupedStream<String, Touch> all = rollup ? null : events.groupBy((key, touch) -> "all",
            Grouped.with("by-all", Serdes.String(), Serialization.touch()));
        for (Window window : List.of(MINUTE, QUARTER)) {
            KTable<Windowed<String>, Cell> table = fold(queues, window, "queue-" + window.name, byQueue);
            write(table, window);
            if (rollup) {
                rollUp(table, window, window == MINUTE ? byAll : byAllQuarter);
            } else {
                write(fold(all, window, "all-" + window.name, byAll), window);
            }
        }
        return builder.build(config);
    }

    /**
     * One windowed aggregation of events.
     *
     * <p>A cell is changed in place: with the record cache on, the store keeps bytes and every call gets a cell of its
     * own. Only the 1m windows count events: those of 15m take each of them right after, in the same task.
     */
    private KTable<Windowed<String>, Cell> fold(
            KGroupedStream<String, Touch> touches, Window window, String store, LongAdder count) {
        Aggregator<String, Touch, Cell> add = (slice, touch, cell) -> cell.add(touch);
        Aggregator<String, Touch, Cell> addAndCount = (slice, touch, cell) -> {
            count.increment();
            return cell.add(touch);
        };
        TimeWindows windows = TimeWindows.ofSizeAndGrace(Duration.ofMinutes(window.minutes), grace)
            .advanceBy(Duration.ofMinutes(1));
        return touches.windowedBy(windows).aggregate(Cell::new, window == MINUTE ? addAndCount : add,
            Materialized.<String, Cell, WindowStore<Bytes, byte[]>>as(store)
                .withKeySerde(Serdes.String()).withValueSerde(Serialization.cell()).withCachingEnabled());
    }

    private void write(KTable<Windowed<String>, Cell> table, Window window) {
        table.toStream()
            .map((key, cell) -> output(window, key.window().start(), key.key(), cell))
            .to(out, Produced.with(Serdes.String(), Serdes.String()));
    }

    /**
     * "all" as the sum of the table of queues: an update of a queue's cell takes the old cell out of the sum and puts
     * the new one in. The difference is what is counted, so it comes to the number of events once the sum is whole.
     */
    private void rollUp(KTable<Windowed<String>, Cell> table, Window window, LongAdder count) {
        table.groupBy((key, cell) -> KeyValue.pair(key.window().start(), cell),
                Grouped.with("roll-" + window.name, Serdes.Long(), Serialization.cell()))
            .aggregate(Cell::new, (startMs, cell, sum) -> {
                count.add(cell.events());
                return sum.add(cell);
            }, (startMs, cell, sum) -> {
                count.add(-cell.events());
                return sum.subtract(cell);
            }, Materialized.<Long, Cell, KeyValueStore<Bytes, byte[]>>as("all-" + window.name)
                .withKeySerde(Serdes.Long()).withValueSerde(Serialization.cell()).withCachingEnabled())
            .toStream()
            .map((startMs, cell) -> output(window, startMs, "all", cell))
            .to(out, Produced.with(Serdes.String(), Serdes.String()));
    }

    private static KeyValue<String, String> output(Window window, long startMs, String slice, Cell cell) {
        return KeyValue.pair(Cell.key(window.name, startMs, slice), cell.json(window.name, startMs, slice));
    }
}
