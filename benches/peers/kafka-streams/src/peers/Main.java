package peers;

import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.Metric;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/**
 * Runs the job in Kafka Streams until every event is in its windows and committed.
 *
 * <pre>
 *   Main dsl|dsl-memory|rollup|rollup-memory EVENTS COMMIT_MS BOOTSTRAP IN_TOPIC OUT_TOPIC STATE_DIR
 * </pre>
 *
 * <p>Ends with 3 if events were dropped on the way (STALLED on standard error), with 1 if anything else went wrong.
 */
public final class Main {
    /**
     * How late an event may be, in minutes: longer than the input lasts.
     *
     * <p>Not because the events are that late (they are by seconds), but because of how the engine tells time. A task's
     * "stream time" is the latest time of any event it has seen. A task that groups gets events of all source
     * partitions, and while catching up those are not read abreast: what comes from one that is behind is late by as
     * much. With a grace of 10 minutes such runs lost 12 to 41 % of the contacts; a warning and a metric tell of it.
     * GRACE_MINUTES=10 in the environment shows it.
     */
    private static final String GRACE_MINUTES = "180";

    /** Beyond a few commits: when no stage moves for so long, none will. */
    private static final Duration STILL = Duration.ofSeconds(20);

    private static final Duration CLOSE = Duration.ofSeconds(60);

    public static void main(String[] args) {
        Run run = Run.of(args, List.of("dsl", "dsl-memory", "rollup", "rollup-memory"));
        try {
            System.exit(measure(run));
        } catch (Throwable e) {
            // Stream threads would keep the process alive.
            e.printStackTrace();
            System.exit(Run.FAILED);
        }
    }

    private static int measure(Run run) throws InterruptedException {
        String grace = System.getenv().getOrDefault("GRACE_MINUTES", GRACE_MINUTES);
        Job job = new Job(run, Duration.ofMinutes(Long.parseLong(grace)));
        Properties config = config(run);
        KafkaStreams streams = new KafkaStreams(job.topology(config), config);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        streams.setUncaughtExceptionHandler(e -> {
            failure.compareAndSet(null, e);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Run.progress(0);
        streams.start();
        int end = await(run, job, streams, failure);
        if (end != 0) return end;
        // Closing flushes the record caches and commits.
        boolean closed = streams.close(CLOSE);
        if (failed(failure)) return Run.FAILED;
        if (!closed) {
            System.err.println("not closed within " + CLOSE + ": the last results may not be committed");
            return Run.FAILED;
        }
        if (job.byQueue() != run.events() || job.byAll() != run.events()) {
            System.err.printf("the windows hold %,d events by queue and %,d by all, not %,d: more events in the topic,"
                + " or work done twice%n", job.byQueue(), job.byAll(), run.events());
            return Run.FAILED;
        }
        run.done();
        streams.cleanUp();
        return 0;
    }

    /** Waits for the last stage and tells progress: 0, or the exit code if the end cannot be reached. */
    private static int await(Run run, Job job, KafkaStreams streams, AtomicReference<Throwable> failure)
            throws InterruptedException {
        long stillNs = STILL.plusMillis(5 * run.commitMs()).toNanos();
        long moved = System.nanoTime(), before = 0;
        while (job.byQueue() < run.events() || job.byAll() < run.events()) {
            Thread.sleep(Run.PROGRESS_MS);
            if (failed(failure)) return Run.FAILED;
            long steps = job.read() + job.byQueue() + job.byAll();
            // The mean of the three stages: a source that runs ahead of its windows has not done the work yet.
            Run.progress(steps / 3);
            if (steps != before) {
                before = steps;
                moved = System.nanoTime();
            } else if (System.nanoTime() - moved > stillNs) {
                return stalled(run, job, streams);
            }
        }
        return 0;
    }

    /** What was read and never reached its windows was dropped. */
    private static int stalled(Run run, Job job, KafkaStreams streams) {
        if (job.read() < run.events()) {
            System.err.printf("only %,d of %,d events could be read%n", job.read(), run.events());
            return Run.FAILED;
        }
        System.err.printf("STALLED: events were dropped on the way: of %,d, %,d are in the windows by queue and %,d in"
            + " those by all; dropped-records-total, once for each window missed: %,d%n",
            run.events(), job.byQueue(), job.byAll(), dropped(streams));
        return Run.STALLED;
    }

    private static boolean failed(AtomicReference<Throwable> failure) {
        if (failure.get() == null) return false;
        failure.get().printStackTrace();
        return true;
    }

    private static long dropped(KafkaStreams streams) {
        double dropped = 0;
        for (Metric metric : streams.metrics().values()) {
            if (metric.metricName().name().equals("dropped-records-total")) dropped += (Double) metric.metricValue();
        }
        return (long) dropped;
    }

    /**
     * The set-up. What is not named is the default, which for Streams already means: read from the earliest offset,
     * 1,000 records a poll, a linger of 100 ms, changelogs for all stores.
     */
    private static Properties config(Run run) {
        Properties config = new Properties();
        // A new application each run: nothing of an earlier run is resumed.
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, "peer-" + run.variant() + "-" + UUID.randomUUID());
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, run.bootstrap());
        config.put(StreamsConfig.STATE_DIR_CONFIG, run.stateDir().toString());
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Long.toString(run.commitMs()));
        // As many as the other peers get.
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "2");
        // The record cache makes one record a commit of the many updates of a cell; the default, 10 MB, is too small
        // for the cells of this job. A cache that holds them all is the first thing to tune.
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, Long.toString(256L << 20));
        // Lets repartition topics be shared where that is possible.
        config.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        if (run.variant().endsWith("-memory")) {
            config.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
                BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
        }
        // Larger and compressed batches: each event is written once more, to be grouped, and each cell to a changelog.
        config.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), Integer.toString(128 << 10));
        return config;
    }
}
