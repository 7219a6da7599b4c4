package peers;

import java.nio.file.Path;
import java.util.List;

/**
 * One measured run: what the harness asks for on the command line, and what it is told on standard output.
 *
 * <pre>
 *   P 1200000       about every 150 ms: so many events are worked through
 *   DONE 5000000    once: the results of all of them are committed
 * </pre>
 *
 * <p>Everything else goes to standard error. A run that cannot say DONE ends with an exit code other than 0.
 */
record Run(String variant, long events, long commitMs, String bootstrap, String in, String out, Path stateDir) {
    static final int FAILED = 1, USAGE = 2, STALLED = 3;

    /** How often progress is told. */
    static final long PROGRESS_MS = 150;

    /** Reads the command line; ends the program if it is none. */
    static Run of(String[] args, List<String> variants) {
        if (args.length == 7 && variants.contains(args[0])) {
            try {
                return new Run(args[0], Long.parseLong(args[1]), Long.parseLong(args[2]), args[3], args[4], args[5],
                    Path.of(args[6]).toAbsolutePath());
            } catch (NumberFormatException e) {
                System.err.println(e.getMessage() + ": no number");
            }
        }
        System.err.println("usage: Main " + String.join("|", variants)
            + " EVENTS COMMIT_MS BOOTSTRAP IN_TOPIC OUT_TOPIC STATE_DIR");
        System.exit(USAGE);
        throw new AssertionError("exited");
    }

    static void progress(long done) {
        System.out.println("P " + done);
    }

    void done() {
        System.out.println("DONE " + events);
    }
}
