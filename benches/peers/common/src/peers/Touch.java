package peers;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.time.Instant;
import java.time.LocalDate;

/**
 * One touchpoint: of the CloudEvent only what the windows ask for.
 *
 * <p>The programs of both engines decode with it, so that they differ in the engine and not in the JSON. Public fields
 * and an empty constructor make it a POJO to Flink, which then serialises it field by field; to Kafka Streams they are
 * nothing.
 */
public final class Touch {
    /** Kinds. A contact's outcome is part of its kind, since that is all the windows want of it. */
    static final byte ANSWERED = 1, ABANDONED = 2, OTHER_CONTACT = 3, INTERACTION = 4, CSAT = 5, NPS = 6;

    private static final String CONTACT_TYPE = "cx.contact.ended.v1", INTERACTION_TYPE = "cx.interaction.v1",
        SURVEY_TYPE = "cx.survey.responded.v1";

    /** One factory for all threads: it keeps the field names. Its own parser of doubles is faster than the JDK's. */
    private static final JsonFactory JSON =
        JsonFactory.builder().enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER).build();

    /** Event time, ms since 1970. */
    public long timeMs;
    /** "channel|queue". */
    public String slice;
    public byte kind;
    /** -1: the event tells none. */
    public int waitMs = -1;
    public int holdMs;
    /** A survey's score; the surveys of this job are answered in whole numbers. */
    public byte score;

    /**
     * Decodes a structured-mode CloudEvent token by token: no tree and no binding, as one would where decoding is most
     * of the work.
     *
     * @throws IOException if it is no JSON
     * @throws IllegalArgumentException if it is JSON, but not one of this job's events; the message says why
     */
    static Touch parse(byte[] json) throws IOException {
        Touch touch = new Touch();
        String type = null, channel = null, queue = null, outcome = null, metric = null;
        try (JsonParser p = JSON.createParser(json)) {
            expectObject(p.nextToken(), "the event");
            for (String field = p.nextFieldName(); field != null; field = p.nextFieldName()) {
                JsonToken value = p.nextToken();
                switch (field) {
                    case "type" -> type = p.getText();
                    case "time" -> touch.timeMs = epochMs(p.getText());
                    case "data" -> {
                        expectObject(value, "data");
                        for (String name = p.nextFieldName(); name != null; name = p.nextFieldName()) {
                            p.nextToken();
                            switch (name) {
                                case "channel" -> channel = p.getText();
                                case "queue" -> queue = p.getText();
                                case "outcome" -> outcome = p.getText();
                                case "metric" -> metric = p.getText();
                                case "queue_wait_seconds" -> touch.waitMs = millis(p.getDoubleValue());
                                case "hold_seconds" -> touch.holdMs = millis(p.getDoubleValue());
                                case "score" -> touch.score = (byte) p.getIntValue();
                                default -> p.skipChildren();
                            }
                        }
                    }
                    default -> p.skipChildren();
                }
            }
        }
        if (channel == null || queue == null) throw new IllegalArgumentException("an event without channel or queue");
        touch.slice = channel + "|" + queue;
        touch.kind = kind(type, outcome, metric);
        return touch;
    }

    private static byte kind(String type, String outcome, String metric) {
        if (CONTACT_TYPE.equals(type)) {
            return "answered".equals(outcome) ? ANSWERED : "abandoned".equals(outcome) ? ABANDONED : OTHER_CONTACT;
        }
        if (INTERACTION_TYPE.equals(type)) return INTERACTION;
        if (SURVEY_TYPE.equals(type)) {
            if ("csat".equals(metric)) return CSAT;
            if ("nps".equals(metric)) return NPS;
        }
        throw new IllegalArgumentException("not part of this job: type " + type + ", metric " + metric);
    }

    private static void expectObject(JsonToken token, String what) {
        if (token != JsonToken.START_OBJECT) throw new IllegalArgumentException(what + " is no object but " + token);
    }

    private static int millis(double seconds) {
        return (int) Math.round(seconds * 1000);
    }

    /**
     * RFC 3339 to ms since 1970. The usual form, {@code 2026-11-22T00:00:00.000Z}, is cut up by position: the general
     * parser takes about 1 us, nearly as long as the rest of the event.
     */
    static long epochMs(String time) {
        if (time.length() != 24 || time.charAt(19) != '.' || time.charAt(23) != 'Z') {
            return Instant.parse(time).toEpochMilli();
        }
        long day = LocalDate.of(number(time, 0, 4), number(time, 5, 7), number(time, 8, 10)).toEpochDay();
        long minute = (day * 24 + number(time, 11, 13)) * 60 + number(time, 14, 16);
        return minute * 60_000 + number(time, 17, 19) * 1000L + number(time, 20, 23);
    }

    private static int number(String text, int from, int to) {
        int number = 0;
        for (int i = from; i < to; i++) {
            int digit = text.charAt(i) - '0';
            if (digit < 0 || digit > 9) throw new IllegalArgumentException("no RFC 3339 time: " + text);
            number = number * 10 + digit;
        }
        return number;
    }
}
