package peers;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import java.util.UUID;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.WindowAssigner;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * The job in the DataStream API.
 *
 * <pre>
 *   events -- by slice, 1m --+----------------------------------> out
 *                            +-- by slice, 15m by 1m -----------> out
 *                            +-- "all", 1m --+------------------> out
 *                                            +-- 15m by 1m -----> out
 * </pre>
 *
 * <p>An event meets one window only, and crosses the network once, as a small POJO. Everything after that is made of
 * panes, the closed 1m windows, of which there are hundreds a minute whatever the number of events. The watermark makes
 * that right: a pane is final when it is handed on.
 */
final class DataStreamJob {
    private DataStreamJob() {}

    /** A closed window of one slice. */
    public static class Pane {
        public String window;
        public long startMs;
        public String slice;
        public Cell cell;
    }

    static void execute(StreamExecutionEnvironment environment, Run run) throws Exception {
        WatermarkStrategy<Touch> watermarks =
            WatermarkStrategy.<Touch>forBoundedOutOfOrderness(Duration.ofSeconds(Main.DISORDER_SECONDS))
                .withTimestampAssigner((touch, recordTimeMs) -> touch.timeMs);
        WindowAssigner<Object, TimeWindow> minute = TumblingEventTimeWindows.of(Duration.ofMinutes(1));
        WindowAssigner<Object, TimeWindow> quarter =
            SlidingEventTimeWindows.of(Duration.ofMinutes(15), Duration.ofMinutes(1));

        DataStream<Touch> events = environment.fromSource(source(run), watermarks, "events");
        DataStream<Pane> panes =
            events.keyBy(touch -> touch.slice).window(minute).aggregate(new Fold(), new Close("1m"));
        DataStream<Pane> quarters =
            panes.keyBy(pane -> pane.slice).window(quarter).aggregate(new Merge(), new Close("15m"));
        // Over panes there is no need to spread the one key of "all".
        DataStream<Pane> all =
            panes.keyBy(pane -> "all", Types.STRING).window(minute).aggregate(new Merge(), new Close("1m"));
        DataStream<Pane> allQuarters =
            all.keyBy(pane -> pane.slice).window(quarter).aggregate(new Merge(), new Close("15m"));
        panes.union(quarters, all, allQuarters).sinkTo(sink(run));
        environment.execute("datastream");
    }

    private static KafkaSource<Touch> source(Run run) {
        return KafkaSource.<Touch>builder()
            .setBootstrapServers(run.bootstrap())
            .setTopics(run.in())
            .setGroupId("peer-datastream")
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setBounded(OffsetsInitializer.latest())
            .setProperty("isolation.level", "read_committed")
            .setDeserializer(new Decode())
            .build();
    }

    private static KafkaSink<Pane> sink(Run run) {
        Properties producer = new Properties();
        producer.put("transaction.timeout.ms", Main.TRANSACTION_TIMEOUT_MS);
        producer.put("compression.type", "lz4");
        return KafkaSink.<Pane>builder()
            .setBootstrapServers(run.bootstrap())
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            // New each run: a prefix seen before makes the sink look for transactions to abort.
            .setTransactionalIdPrefix("peer-datastream-" + UUID.randomUUID())
            .setKafkaProducerConfig(producer)
            .setRecordSerializer(KafkaRecordSerializationSchema.<Pane>builder()
                .setTopic(run.out())
                .setKeySerializationSchema(new Key())
                .setValueSerializationSchema(new Value())
                .build())
            .build();
    }

    private static final class Decode implements KafkaRecordDeserializationSchema<Touch> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> event, Collector<Touch> out) throws IOException {
            out.collect(Touch.parse(event.value()));
        }

        @Override
        public TypeInformation<Touch> getProducedType() {
            return TypeInformation.of(Touch.class);
        }
    }

    /** Adds things of one kind up into a cell. */
    private abstract static class IntoCell<T> implements AggregateFunction<T, Cell, Cell> {
        @Override
        public Cell createAccumulator() {
            return new Cell();
        }

        @Override
        public Cell getResult(Cell cell) {
            return cell;
        }

        @Override
        public Cell merge(Cell cell, Cell other) {
            return cell.add(other);
        }
    }

    private static final class Fold extends IntoCell<Touch> {
        @Override
        public Cell add(Touch touch, Cell cell) {
            Main.FOLDED.increment();
            return cell.add(touch);
        }
    }

    private static final class Merge extends IntoCell<Pane> {
        @Override
        public Cell add(Pane pane, Cell cell) {
            return cell.add(pane.cell);
        }
    }

    /** Names the cell of a closed window. With no lateness allowed a window closes once: the cell is given away. */
    private static final class Close extends ProcessWindowFunction<Cell, Pane, String, TimeWindow> {
        private final String window;

        Close(String window) {
            this.window = window;
        }

        @Override
        public void process(String slice, Context context, Iterable<Cell> cells, Collector<Pane> out) {
            Pane pane = new Pane();
            pane.window = window;
            pane.startMs = context.window().getStart();
            pane.slice = slice;
            pane.cell = cells.iterator().next();
            out.collect(pane);
        }
    }

    private static final class Key implements SerializationSchema<Pane> {
        @Override
        public byte[] serialize(Pane pane) {
            return Cell.key(pane.window, pane.startMs, pane.slice).getBytes(StandardCharsets.UTF_8);
        }
    }

    private static final class Value implements SerializationSchema<Pane> {
        @Override
        public byte[] serialize(Pane pane) {
            return pane.cell.json(pane.window, pane.startMs, pane.slice).getBytes(StandardCharsets.UTF_8);
        }
    }
}
