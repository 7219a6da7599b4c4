package peers;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Runs the job in Flink, in a cluster inside this process, from the start of the topic to its end as of now.
 *
 * <pre>
 *   Main datastream|sql EVENTS COMMIT_MS BOOTSTRAP IN_TOPIC OUT_TOPIC STATE_DIR
 * </pre>
 *
 * <p>COMMIT_MS is the time between checkpoints, at which the sink commits its transactions. At the end of a bounded
 * source Flink closes all windows, takes a last checkpoint and commits that too, all before the job counts as finished.
 */
public final class Main {
    /**
     * How far events are out of order within one partition, in seconds. The source keeps a watermark for each partition
     * and goes by the least of them, so this need not cover partitions that are read at different speeds.
     */
    static final int DISORDER_SECONDS = 10;

    /** Beyond the longest checkpoint, and within what a broker allows by default. */
    static final String TRANSACTION_TIMEOUT_MS = "900000";

    /** Events in a first window. All tasks run in this process, so one counter serves. */
    static final LongAdder FOLDED = new LongAdder();

    public static void main(String[] args) {
        Run run = Run.of(args, List.of("datastream", "sql"));
        try {
            System.exit(measure(run));
        } catch (Throwable e) {
            // Threads of the cluster would keep the process alive.
            e.printStackTrace();
            System.exit(Run.FAILED);
        }
    }

    private static int measure(Run run) throws Exception {
        StreamExecutionEnvironment environment =
            StreamExecutionEnvironment.createLocalEnvironment(2, Configuration.fromMap(config(run)));
        Run.progress(0);
        Thread progress = new Thread(Main::tellProgress, "progress");
        progress.setDaemon(true);
        progress.start();
        if (run.variant().equals("sql")) Sql.execute(environment, run);
        else DataStreamJob.execute(environment, run);
        progress.interrupt();
        progress.join();
        if (FOLDED.sum() != run.events()) {
            System.err.printf("%,d events in the windows, not %,d: dropped as late, or that is what the topic holds%n",
                FOLDED.sum(), run.events());
            return Run.FAILED;
        }
        run.done();
        return 0;
    }

    private static void tellProgress() {
        try {
            while (true) {
                Thread.sleep(Run.PROGRESS_MS);
                Run.progress(FOLDED.sum());
            }
        } catch (InterruptedException e) {
            // The job is finished.
        }
    }

    /** The set-up. What is not named is the default. */
    private static Map<String, String> config(Run run) {
        Map<String, String> config = new HashMap<>();
        // Both cores, like the other peers.
        config.put("parallelism.default", "2");
        config.put("execution.checkpointing.mode", "EXACTLY_ONCE");
        config.put("execution.checkpointing.interval", run.commitMs() + " ms");
        config.put("execution.checkpointing.dir", run.stateDir().toUri().toString());
        // The state is small (a few thousand cells): on the heap it is fastest, and a checkpoint copies it whole.
        config.put("state.backend.type", "hashmap");
        // Operators in one chain hand on their objects without copying; none of ours changes what it was given.
        config.put("pipeline.object-reuse", "true");
        // Fails at the start if a type would fall back to Kryo, which is slow.
        config.put("pipeline.generic-types", "false");
        // SQL collects its local sums in managed memory; twice the default of a local cluster.
        config.put("taskmanager.memory.managed.size", "256m");
        // Windows start at full minutes of UTC.
        config.put("table.local-time-zone", "UTC");
        // A failure is to end the run, not to be repaired and measured.
        config.put("restart-strategy.type", "none");
        return config;
    }
}
