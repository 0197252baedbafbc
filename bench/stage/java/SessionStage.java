import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.BytesDeserializer;
import org.apache.kafka.common.serialization.BytesSerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.apache.kafka.streams.state.Stores;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.CompressionType;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;

/**
 * The benchmark's stage in Kafka Streams: the same rule as session.py, by the Processor API, which sends an
 * output for each event while the store's cache saves writes to RocksDB and the changelog.
 *
 * Arguments: BOOTSTRAP INPUT OUTPUT GROUP FOLDER THREADS GUARANTEE COMMIT_MS
 */
public final class SessionStage {
    private static final long GAP_MS = 30 * 60 * 1000;
    private static final String STORE = "sessions";
    private static final JsonFactory JSON = new JsonFactory();

    /** A customer's session so far; times in milliseconds since 1970. */
    static final class Session {
        long startedAtMs;
        long endedAtMs;
        long events;
        long amountCents;

        void addEvent(long atMs, long cents) {
            if (events == 0 || atMs - endedAtMs > GAP_MS) {
                startedAtMs = atMs;
                endedAtMs = atMs;
                events = 1;
                amountCents = cents;
                return;
            }
            if (atMs > endedAtMs) {
                endedAtMs = atMs;
            } else if (atMs < startedAtMs) {
                startedAtMs = atMs;
            }
            events += 1;
            amountCents += cents;
        }
    }

    static final class SessionProcessor implements Processor<Bytes, byte[], Bytes, byte[]> {
        private ProcessorContext<Bytes, byte[]> context;
        private KeyValueStore<Bytes, byte[]> store;
        private final Session session = new Session();
        private final StringBuilder json = new StringBuilder(160);

        @Override
        public void init(ProcessorContext<Bytes, byte[]> context) {
            this.context = context;
            this.store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<Bytes, byte[]> record) {
            long atMs = 0;
            long cents = 0;
            try (JsonParser parser = JSON.createParser(record.value())) {
                parser.nextToken();
                // To its end, as the other systems do: an event that is broken further on is noticed.
                while (parser.nextToken() == JsonToken.FIELD_NAME) {
                    String name = parser.currentName();
                    parser.nextToken();
                    if (name.equals("occurred_at_ms")) {
                        atMs = parser.getLongValue();
                    } else if (name.equals("amount_cents")) {
                        cents = parser.getLongValue();
                    } else {
                        parser.skipChildren();
                    }
                }
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            byte[] packed = store.get(record.key());
            if (packed == null) {
                session.events = 0;
            } else {
                ByteBuffer buffer = ByteBuffer.wrap(packed);
                session.startedAtMs = buffer.getLong();
                session.endedAtMs = buffer.getLong();
                session.events = buffer.getLong();
                session.amountCents = buffer.getLong();
            }
            session.addEvent(atMs, cents);
            store.put(
                    record.key(),
                    ByteBuffer.allocate(32)
                            .putLong(session.startedAtMs)
                            .putLong(session.endedAtMs)
                            .putLong(session.events)
                            .putLong(session.amountCents)
                            .array());
            json.setLength(0);
            json.append("{\"customer_id\":\"")
                    .append(new String(record.key().get(), StandardCharsets.ISO_8859_1))
                    .append("\",\"started_at_ms\":")
                    .append(session.startedAtMs)
                    .append(",\"ended_at_ms\":")
                    .append(session.endedAtMs)
                    .append(",\"events\":")
                    .append(session.events)
                    .append(",\"amount_cents\":")
                    .append(session.amountCents)
                    .append('}');
            context.forward(record.withValue(json.toString().getBytes(StandardCharsets.ISO_8859_1)));
        }
    }

    /** One cache for all stores, filters for keys that are not there, few threads on few cores. */
    public static final class Rocks implements RocksDBConfigSetter {
        private static final Cache CACHE = new LRUCache(64L * 1024 * 1024);

        @Override
        public void setConfig(String storeName, Options options, Map<String, Object> configs) {
            BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
            table.setBlockCache(CACHE);
            table.setCacheIndexAndFilterBlocks(true);
            table.setFilterPolicy(new BloomFilter(10, false));
            options.setTableFormatConfig(table);
            options.setWriteBufferSize(16L * 1024 * 1024);
            options.setCompressionType(CompressionType.LZ4_COMPRESSION);
        }

        @Override
        public void close(String storeName, Options options) {}
    }

    public static void main(String[] arguments) throws InterruptedException {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[3]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments[5]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, arguments[6]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments[7]);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 * 1024 * 1024);
        settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, Rocks.class);
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 20);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128 * 1024 * 1024);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 8000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 * 1024 * 1024);

        Serde<Bytes> keys = Serdes.Bytes();
        Topology topology = new Topology();
        topology.addSource("input", new BytesDeserializer(), new ByteArrayDeserializer(), arguments[1]);
        topology.addProcessor("keep-sessions", SessionProcessor::new, "input");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), keys, Serdes.ByteArray())
                        .withCachingEnabled()
                        .withLoggingEnabled(Map.of()),
                "keep-sessions");
        topology.addSink("output", arguments[2], new BytesSerializer(), new ByteArraySerializer(), "keep-sessions");

        KafkaStreams streams = new KafkaStreams(topology, settings);
        CountDownLatch end = new CountDownLatch(1);
        boolean[] failed = {false};
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    failed[0] = true;
                    end.countDown();
                    return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
                });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
        end.await();
        System.exit(failed[0] ? 1 : 0);
    }

    private SessionStage() {}
}
