package peers;

import java.util.List;

/**
 * The accumulator of one cell, that is of one slice in one window: counts, sums in ms, and a histogram of waits.
 *
 * <p>One array, in the order of the output, so that merging is one loop and serialising another:
 *
 * <pre>
 *   values:  0 .. 12               13 .. 76
 *            counts and sums,      histogram of the waits of answered contacts,
 *            named by NAMES        two buckets an octave
 * </pre>
 *
 * <p>Addition of cells is commutative, and subtraction undoes it: a cell can be made of smaller ones in any order. The
 * array is public and not final because Flink's POJOs want it so.
 */
public final class Cell {
    static final int TOUCHES = 0, OFFERED = 1, ANSWERED = 2, ABANDONED = 3, SHORT = 4, ANSWERED_WAIT = 5,
        ABANDONED_WAIT = 6, HOLD = 7, CSAT = 8, SATISFIED = 9, NPS = 10, PROMOTERS = 11, DETRACTORS = 12;
    /** The names of the counts and sums in the output, in this order. */
    static final List<String> NAMES = List.of("touches", "offered", "answered", "abandoned", "short",
        "answered_wait_ms", "abandoned_wait_ms", "hold_ms", "csat", "csat_satisfied", "nps", "nps_promoters",
        "nps_detractors");
    static final int SCALARS = NAMES.size(), BUCKETS = 64;

    /** Who gives up sooner may not have meant to wait at all. */
    private static final int SHORT_BELOW_MS = 5000;

    public long[] values = new long[SCALARS + BUCKETS];

    Cell add(Touch touch) {
        switch (touch.kind) {
            case Touch.CSAT -> {
                values[CSAT]++;
                if (touch.score >= 4) values[SATISFIED]++;
            }
            case Touch.NPS -> {
                values[NPS]++;
                if (touch.score >= 9) values[PROMOTERS]++;
                else if (touch.score <= 6) values[DETRACTORS]++;
            }
            case Touch.INTERACTION -> values[TOUCHES]++;
            default -> addContact(touch);
        }
        return this;
    }

    private void addContact(Touch contact) {
        values[TOUCHES]++;
        values[OFFERED]++;
        values[HOLD] += contact.holdMs;
        boolean waited = contact.waitMs >= 0;
        if (contact.kind == Touch.ANSWERED) {
            values[ANSWERED]++;
            if (waited) {
                values[ANSWERED_WAIT] += contact.waitMs;
                values[SCALARS + bucket(contact.waitMs)]++;
            }
        } else if (contact.kind == Touch.ABANDONED) {
            values[ABANDONED]++;
            if (waited) {
                values[ABANDONED_WAIT] += contact.waitMs;
                if (contact.waitMs < SHORT_BELOW_MS) values[SHORT]++;
            }
        }
    }

    Cell add(Cell other) {
        for (int i = 0; i < values.length; i++) values[i] += other.values[i];
        return this;
    }

    Cell subtract(Cell other) {
        for (int i = 0; i < values.length; i++) values[i] -= other.values[i];
        return this;
    }

    /** How many events were added: each is a touch, or one answer to one survey. */
    long events() {
        return values[TOUCHES] + values[CSAT] + values[NPS];
    }

    /**
     * The bucket of a wait: twice the position of its highest bit, plus the bit below. Whole numbers only, so that no
     * two languages can round differently; the upper bound of a bucket is at most 1.5 times its lower one.
     */
    static int bucket(long ms) {
        if (ms == 0) return 0;
        int highest = 63 - Long.numberOfLeadingZeros(ms);
        int half = highest == 0 ? 0 : (int) (ms >> (highest - 1)) & 1;
        return Math.min(2 * highest + half, BUCKETS - 1);
    }

    /** The key of this cell's output record. */
    static String key(String window, long startMs, String slice) {
        return window + "|" + startMs + "|" + slice;
    }

    /** The value of its output record. The slices of this job are plain names: nothing in them wants escaping. */
    String json(String window, long startMs, String slice) {
        StringBuilder json = new StringBuilder(480);
        json.append("{\"window\":\"").append(window).append("\",\"start\":").append(startMs);
        json.append(",\"slice\":\"").append(slice).append('"');
        for (int i = 0; i < SCALARS; i++) json.append(",\"").append(NAMES.get(i)).append("\":").append(values[i]);
        json.append(",\"hist\":[").append(values[SCALARS]);
        for (int i = SCALARS + 1; i < values.length; i++) json.append(',').append(values[i]);
        return json.append("]}").toString();
    }
}
