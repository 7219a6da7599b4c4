package peers;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * How touchpoints and cells look in topics and stores.
 *
 * <p>Serialising cells is the largest single cost of this program (each event reads and writes 32 of them), hence by
 * hand. Copying the array as it is, 616 bytes, was tried: what it saves goes into moving more bytes.
 */
final class Serialization {
    private static final int TOUCH_BYTES = 1 + 1 + 4 + 4;

    private Serialization() {}

    /** CloudEvents in JSON, to be read only; {@code read} counts them. */
    static Serde<Touch> event(LongAdder read) {
        Deserializer<Touch> decode = (topic, bytes) -> {
            try {
                Touch touch = Touch.parse(bytes);
                read.increment();
                return touch;
            } catch (IOException e) {
                throw new SerializationException("no JSON", e);
            }
        };
        return Serdes.serdeFrom((topic, touch) -> {
            throw new UnsupportedOperationException("events are read, never written");
        }, decode);
    }

    /** A touchpoint between the two halves of the topology; its slice is the record's key and its time the record's. */
    static Serde<Touch> touch() {
        return Serdes.serdeFrom(
            (topic, touch) -> ByteBuffer.allocate(TOUCH_BYTES)
                .put(touch.kind).put(touch.score).putInt(touch.waitMs).putInt(touch.holdMs).array(),
            (topic, bytes) -> {
                ByteBuffer in = ByteBuffer.wrap(bytes);
                Touch touch = new Touch();
                touch.kind = in.get();
                touch.score = in.get();
                touch.waitMs = in.getInt();
                touch.holdMs = in.getInt();
                return touch;
            });
    }

    /** A cell as 77 varints: most are zero, so about 110 bytes. */
    static Serde<Cell> cell() {
        return Serdes.serdeFrom((topic, cell) -> cell == null ? null : write(cell.values),
            (topic, bytes) -> bytes == null ? null : read(bytes));
    }

    private static byte[] write(long[] values) {
        int size = 0;
        for (long value : values) size += (70 - Long.numberOfLeadingZeros(value | 1)) / 7;
        byte[] out = new byte[size];
        int at = 0;
        for (long value : values) {
            while ((value & ~0x7fL) != 0) {
                out[at++] = (byte) (value | 0x80);
                value >>>= 7;
            }
            out[at++] = (byte) value;
        }
        return out;
    }

    private static Cell read(byte[] in) {
        Cell cell = new Cell();
        int at = 0;
        for (int i = 0; i < cell.values.length; i++) {
            byte next = in[at++];
            long value = next & 0x7f;
            for (int shift = 7; next < 0; shift += 7) {
                next = in[at++];
                value |= (next & 0x7fL) << shift;
            }
            cell.values[i] = value;
        }
        return cell;
    }
}
