// A table of final windows in one file that stays right through crashes, restarts and duplicates.
//
//	go build -o table .
//	./table --bootstrap localhost:9092 --table windows.db    # reads on until it is stopped
//	./table --table windows.db --dump                        # the table as NDJSON, sorted by key
//
// How far it has read stands in the same file as the windows and changes in the same transaction. Whatever ends this
// program, it goes on where its table ends: no window is lost, and one that is read twice changes nothing.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	bolt "go.etcd.io/bbolt"
)

// How many records at most become one transaction.
const batch = 500

var (
	// key -> revision (8 bytes), then the value of the record
	windows = []byte("windows")
	// partition (4 bytes) -> the offset to read next (8 bytes)
	positions = []byte("positions")
)

func main() {
	bootstrap := flag.String("bootstrap", "localhost:9092", "brokers, host:port, several separated by commas")
	topic := flag.String("topic", "cx.aggregates", "the topic of windows")
	file := flag.String("table", "", "the file of the table")
	once := flag.Bool("once", false, "end when all that is committed now has been read")
	dumps := flag.Bool("dump", false, "print the table and read nothing")
	flag.Parse()
	if *file == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*file, strings.Split(*bootstrap, ","), *topic, *once, *dumps); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file string, bootstrap []string, topic string, once, dumps bool) error {
	// A transaction that is committed is on the disk.
	table, err := bolt.Open(file, 0o644, nil)
	if err != nil {
		return err
	}
	defer table.Close()
	err = table.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(windows); err != nil {
			return err
		}
		_, err := tx.CreateBucketIfNotExists(positions)
		return err
	})
	if err != nil {
		return err
	}
	if dumps {
		return dump(table)
	}
	return read(table, bootstrap, topic, once)
}

// read goes on from where the table ends; with once to the end of what is committed now.
func read(table *bolt.DB, bootstrap []string, topic string, once bool) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap...),
		// Records of transactions that were aborted, or are not over yet, are no results.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Where records were deleted before they were read, fail instead of passing over them.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// The ends of transactions take up offsets: without them we would not come to the end of a log.
		kgo.KeepControlRecords(),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	next, ends, err := bounds(table, kadm.NewClient(client), topic)
	if err != nil {
		return err
	}
	from := map[int32]kgo.Offset{}
	for partition, offset := range next {
		from[partition] = kgo.NewOffset().At(offset)
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	for !once || isBehind(next, ends) {
		fetches := client.PollRecords(context.Background(), batch)
		if failed := fetches.Errors(); len(failed) > 0 {
			return fmt.Errorf("partition %d: %w", failed[0].Partition, failed[0].Err)
		}
		stored := 0
		// Windows and positions, or nothing.
		err := table.Update(func(tx *bolt.Tx) error {
			for _, record := range fetches.Records() {
				kept, err := keep(tx.Bucket(windows), record)
				if err != nil {
					return fmt.Errorf("partition %d, offset %d: %w", record.Partition, record.Offset, err)
				}
				stored += kept
				next[record.Partition] = record.Offset + 1
			}
			return move(tx.Bucket(positions), next)
		})
		if err != nil {
			return err
		}
		if stored > 0 {
			fmt.Fprintf(os.Stderr, "stored %d windows\n", stored)
		}
	}
	return nil
}

// bounds gives, for each partition, where to go on and where what is committed ends.
func bounds(table *bolt.DB, admin *kadm.Client, topic string) (next, ends map[int32]int64, err error) {
	next, ends = map[int32]int64{}, map[int32]int64{}
	first, err := admin.ListStartOffsets(context.Background(), topic)
	if err != nil {
		return nil, nil, err
	}
	committed, err := admin.ListCommittedOffsets(context.Background(), topic)
	if err != nil {
		return nil, nil, err
	}
	for _, listed := range []kadm.ListedOffsets{first, committed} {
		if err := listed.Error(); err != nil {
			return nil, nil, err
		}
	}
	first.Each(func(offset kadm.ListedOffset) { next[offset.Partition] = offset.Offset })
	committed.Each(func(offset kadm.ListedOffset) { ends[offset.Partition] = offset.Offset })
	return next, ends, table.View(func(tx *bolt.Tx) error {
		return tx.Bucket(positions).ForEach(func(partition, offset []byte) error {
			next[int32(binary.BigEndian.Uint32(partition))] = int64(binary.BigEndian.Uint64(offset))
			return nil
		})
	})
}

func isBehind(next, ends map[int32]int64) bool {
	for partition, end := range ends {
		if next[partition] < end {
			return true
		}
	}
	return false
}

// keep takes one record into the table and gives how many windows that changed.
func keep(table *bolt.Bucket, record *kgo.Record) (int, error) {
	// touchstone writes no empty value, but a compacted topic may hold one.
	if record.Attrs.IsControl() || record.Value == nil || string(record.Key) == "_watermark" {
		return 0, nil
	}
	var value struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal(record.Value, &value); err != nil {
		return 0, err
	}
	if value.State != "final" {
		return 0, nil
	}
	revision, err := revisionOf(record)
	if err != nil {
		return 0, err
	}
	// An older or equal revision is a copy of what is known.
	if known := table.Get(record.Key); known != nil && binary.BigEndian.Uint64(known) >= revision {
		return 0, nil
	}
	return 1, table.Put(record.Key, append(binary.BigEndian.AppendUint64(nil, revision), record.Value...))
}

func revisionOf(record *kgo.Record) (uint64, error) {
	for _, header := range record.Headers {
		if header.Key == "revision" {
			return strconv.ParseUint(string(header.Value), 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no header revision: not written by touchstone")
}

// move notes where to go on.
func move(table *bolt.Bucket, next map[int32]int64) error {
	for partition, offset := range next {
		key := binary.BigEndian.AppendUint32(nil, uint32(partition))
		if err := table.Put(key, binary.BigEndian.AppendUint64(nil, uint64(offset))); err != nil {
			return err
		}
	}
	return nil
}

// dump prints the table as NDJSON, sorted by key.
func dump(table *bolt.DB) error {
	out := bufio.NewWriter(os.Stdout)
	err := table.View(func(tx *bolt.Tx) error {
		return tx.Bucket(windows).ForEach(func(key, value []byte) error {
			quoted, err := json.Marshal(string(key))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "{\"key\":%s,\"value\":%s}\n", quoted, value[8:])
			return err
		})
	})
	if err != nil {
		return err
	}
	return out.Flush()
}
