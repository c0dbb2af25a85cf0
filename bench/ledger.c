/*
 * The embedded ledger: durable appends with P-256 verification, decisions, proofs, and what a long log costs.
 *
 * Floors and peers of the same run and folder: 400 bytes into a file whose space was written before, with fdatasync; SQLite
 * in WAL mode with synchronous=FULL, as many records per transaction as are in flight. Neither verifies or proves anything.
 * The folder is made below $TROTH_BENCH_DIR, $TMPDIR or /var/tmp; $TROTH_BENCH_RECORDS sets the length of the long log
 * (10^6; --quick 10^5), which lies over a tenth as many grants. Its clock is made up, so that nonces pass as they would.
 */
#include "bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "ledger/engine.h"
#include "ledger/proof.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 400, SENDERS = 8, FLIGHTS_MAX = 256, PROOFS = 20000, CHAINS = 200, VALID_MS = 30 * 1000, STEP_MS = 10 };

static const char log_name[] = "bench.example/ledger";

struct ledger {
	char dir[PATH_SIZE];
	struct ledger_engine_options options;
	struct ledger_engine *engine;
	struct key senders[SENDERS], owner, actor;
	uint8_t chain[CHAIN_ID_SIZE];
	uint64_t time; /* made up; atomic */
	uint64_t nonce;
	uint8_t log_key[ED25519_PUBLIC_SIZE];
};

static uint64_t time_of(void *arg)
{
	return __atomic_load_n((uint64_t *)arg, __ATOMIC_RELAXED);
}

/* ---- Transactions ---------------------------------------------------------------------------------------- */

static struct bytes make_tx(struct ledger *l, const struct key *sender, enum transaction_type type, const void *body, uint64_t valid_until)
{
	struct transaction tx = {.v = 1, .valid_until = valid_until, .type = (uint8_t)type};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct bytes out = BYTES_EMPTY;
	BENCH_REQUIRE(schema_encode(transaction_body_schema(type), body, &encoding) == OK);
	memcpy(tx.chain, l->chain, CHAIN_ID_SIZE);
	memcpy(tx.sender, sender->point, POINT_SIZE);
	l->nonce++;
	memcpy(tx.nonce, &l->nonce, sizeof(l->nonce));
	tx.body = bytes_span(&encoding);
	BENCH_REQUIRE(object_sign(KIND_TRANSACTION, &tx, sender, &out, NULL) == OK);
	return out;
}

/* An event of a processor, as long as the peers' records. */
static struct bytes make_event(struct ledger *l, size_t number, uint64_t now)
{
	static const char subject[] = "a violation that somebody will want to read about later: a guest wrote where it must not";
	struct tx_event body = {.event_class = EVENT_VIOLATION, .subject = subject, .time = now};
	memcpy(body.digest, &number, sizeof(number));
	return make_tx(l, &l->senders[number % SENDERS], TX_EVENT, &body, now + VALID_MS);
}

static struct bytes make_grant(struct ledger *l, const struct key *issuer, const struct key *audience, const char *scope, uint8_t depth,
	const uint8_t *parent, uint8_t out_oid[static OID_SIZE])
{
	struct grant grant = {.v = 1, .scope = scope, .operations = 0xff, .not_before = 1, .not_after = UINT64_C(4000000000000), .max_depth = depth};
	struct bytes out = BYTES_EMPTY;
	memcpy(grant.chain, l->chain, CHAIN_ID_SIZE);
	memcpy(grant.issuer, issuer->point, POINT_SIZE);
	address_of(audience->point, grant.audience);
	l->nonce++;
	memcpy(grant.nonce, &l->nonce, sizeof(l->nonce));
	grant.has_parent = parent;
	if (parent)
		memcpy(grant.parent, parent, OID_SIZE);
	BENCH_REQUIRE(object_sign(KIND_GRANT, &grant, issuer, &out, out_oid) == OK);
	return out;
}

static result genesis(void *arg, const struct note_key *log, uint64_t now_ms, struct bytes *out_tx)
{
	struct ledger *l = arg;
	struct point processors[SENDERS], member;
	const struct key *signers[] = {&l->owner};
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	memcpy(member.bytes, l->owner.point, POINT_SIZE);
	for (size_t i = 0; i < SENDERS; i++)
		memcpy(processors[i].bytes, l->senders[i].point, POINT_SIZE);
	TRY(schema_sort(&point_schema, processors, SENDERS));
	struct ledger_config config = {.v = 1, .members = &member, .member_count = 1, .quorum = 1, .processors = processors,
		.processor_count = SENDERS, .log_name = log->name, .time_bound_ms = UINT32_MAX, .spool_bound_ms = UINT32_MAX};
	memcpy(config.log_key, log->public_key, sizeof(config.log_key));
	TRY(schema_encode(&ledger_config_schema, &config, &payload));
	ledger_chain_id(bytes_span(&payload), l->chain);
	TRY(cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_LEDGER_CONFIG), signers, 1, &object));
	struct tx_config body = {bytes_span(&object)};
	*out_tx = make_tx(l, &l->owner, TX_CONFIG, &body, now_ms + VALID_MS);
	return OK;
}

static void make_folder(char out[static PATH_SIZE])
{
	const char *below = getenv("TROTH_BENCH_DIR");
	if (!below)
		below = getenv("TMPDIR");
	BENCH_REQUIRE(path_join(out, below ? below : "/var/tmp", "troth-bench-XXXXXX") == OK && mkdtemp(out));
}

static void ledger_make(struct ledger *l)
{
	*l = (struct ledger){.time = 1800000000000};
	make_folder(l->dir);
	l->options = (struct ledger_engine_options){.dir = l->dir, .now_ms = time_of, .now_arg = &l->time};
	BENCH_REQUIRE(key_generate(&l->owner) == OK && key_generate(&l->actor) == OK);
	for (size_t i = 0; i < SENDERS; i++)
		BENCH_REQUIRE(key_generate(&l->senders[i]) == OK);
	BENCH_REQUIRE(ledger_engine_init(&l->options, log_name, genesis, l) == OK);
	BENCH_REQUIRE(ledger_engine_open(&l->options, &l->engine, NULL) == OK);
}

static void ledger_remove(struct ledger *l)
{
	ledger_engine_close(l->engine);
	for (size_t i = 0; i < SENDERS; i++)
		key_free(&l->senders[i]);
	key_free(&l->owner);
	key_free(&l->actor);
	BENCH_REQUIRE(file_remove_tree(AT_FDCWD, l->dir) == OK);
}

/* ---- Floors and peers ------------------------------------------------------------------------------------- */

static double since(uint64_t begin)
{
	return (double)(clock_monotonic_ns() - begin);
}

/* Median of appending one record to written space and making it durable. */
static double raw_append(const char *dir, size_t count)
{
	char path[PATH_SIZE];
	uint8_t record[RECORD] = {1};
	double *took = calloc(count, sizeof(*took));
	BENCH_REQUIRE(took && path_join(path, dir, "raw") == OK);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	BENCH_REQUIRE(fd >= 0);
	static const uint8_t zeros[1 << 16];
	for (size_t at = 0; at < count * RECORD; at += sizeof(zeros))
		BENCH_REQUIRE(pwrite(fd, zeros, sizeof(zeros), (off_t)at) == sizeof(zeros));
	BENCH_REQUIRE(fsync(fd) == 0);
	for (size_t i = 0; i < count; i++) {
		uint64_t begin = clock_monotonic_ns();
		BENCH_REQUIRE(pwrite(fd, record, sizeof(record), (off_t)(i * RECORD)) == RECORD && fdatasync(fd) == 0);
		took[i] = since(begin);
	}
	double median = bench_quantile(took, count, 0.5);
	(void)close(fd);
	(void)unlink(path);
	free(took);
	return median;
}

/* Records a second, and the median of a transaction, with `group` records in each. */
static double sqlite_append(const char *dir, size_t group, size_t transactions, double *out_median)
{
	char path[PATH_SIZE];
	uint8_t record[RECORD] = {1};
	double *took = calloc(transactions, sizeof(*took));
	sqlite3 *db;
	sqlite3_stmt *row;
	BENCH_REQUIRE(took && path_join(path, dir, "peer.sqlite") == OK && sqlite3_open(path, &db) == SQLITE_OK);
	BENCH_REQUIRE(sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, data BLOB)",
			      NULL, NULL, NULL) == SQLITE_OK);
	BENCH_REQUIRE(sqlite3_prepare_v2(db, "INSERT INTO record (data) VALUES (?1)", -1, &row, NULL) == SQLITE_OK);
	uint64_t all = clock_monotonic_ns();
	for (size_t i = 0; i < transactions; i++) {
		uint64_t begin = clock_monotonic_ns();
		BENCH_REQUIRE(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK);
		for (size_t k = 0; k < group; k++) {
			sqlite3_bind_blob(row, 1, record, RECORD, SQLITE_STATIC);
			BENCH_REQUIRE(sqlite3_step(row) == SQLITE_DONE && sqlite3_reset(row) == SQLITE_OK);
		}
		BENCH_REQUIRE(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK);
		took[i] = since(begin);
	}
	double rate = (double)(group * transactions) / since(all) * 1e9;
	*out_median = bench_quantile(took, transactions, 0.5);
	sqlite3_finalize(row);
	sqlite3_close(db);
	(void)unlink(path);
	free(took);
	return rate;
}

/* Median of one P-256 verification of a transaction, on one thread. */
static double verify_once(struct ledger *l, const struct bytes *txs, size_t count)
{
	double *took = calloc(count, sizeof(*took));
	BENCH_REQUIRE(took);
	for (size_t i = 0; i < count; i++) {
		uint64_t begin = clock_monotonic_ns();
		BENCH_REQUIRE(object_verify(KIND_TRANSACTION, bytes_span(&txs[i]), &l->senders[i % SENDERS]) == OK);
		took[i] = since(begin);
	}
	double median = bench_quantile(took, count, 0.5);
	free(took);
	return median;
}

/* ---- Appends ---------------------------------------------------------------------------------------------- */

/* Of all threads: what an append costs where the processors are shared with others. */
static double cpu_seconds(void)
{
	struct rusage use;
	BENCH_REQUIRE(getrusage(RUSAGE_SELF, &use) == 0);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static double thread_cpu_seconds(void)
{
	struct timespec used;
	BENCH_REQUIRE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* So many in flight: each that is done sends the next. */
struct load {
	struct ledger *l;
	const struct bytes *txs;
	size_t count, next, done;
	double *took;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct flight {
		struct load *load;
		uint64_t begin;
		size_t number;
	} flights[FLIGHTS_MAX];
};

static void send_next(struct flight *flight);

static void one_done(void *arg, result failed, const char *text, const struct ledger_receipt *receipt)
{
	struct flight *flight = arg;
	struct load *load = flight->load;
	(void)text;
	BENCH_REQUIRE(failed == OK && receipt->on_ledger && receipt->code == OK);
	load->took[flight->number] = since(flight->begin);
	pthread_mutex_lock(&load->lock);
	bool last = ++load->done == load->count;
	if (last)
		pthread_cond_signal(&load->cond);
	pthread_mutex_unlock(&load->lock);
	if (!last)
		send_next(flight);
}

static void send_next(struct flight *flight)
{
	struct load *load = flight->load;
	pthread_mutex_lock(&load->lock);
	size_t number = load->next < load->count ? load->next++ : SIZE_MAX;
	pthread_mutex_unlock(&load->lock);
	if (number == SIZE_MAX)
		return;
	flight->number = number;
	flight->begin = clock_monotonic_ns();
	BENCH_REQUIRE(ledger_engine_submit_async(load->l->engine, bytes_span(&load->txs[number]), one_done, flight) == OK);
}

static double append_flights(struct ledger *l, const struct bytes *txs, size_t count, size_t flights, double *took)
{
	struct load *load = calloc(1, sizeof(*load));
	BENCH_REQUIRE(load);
	*load = (struct load){.l = l, .txs = txs, .count = count, .took = took, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	uint64_t begin = clock_monotonic_ns();
	for (size_t i = 0; i < flights; i++) {
		load->flights[i].load = load;
		send_next(&load->flights[i]);
	}
	pthread_mutex_lock(&load->lock);
	while (load->done < count)
		pthread_cond_wait(&load->cond, &load->lock);
	pthread_mutex_unlock(&load->lock);
	double rate = (double)count / since(begin) * 1e9;
	free(load);
	return rate;
}

static struct bytes *make_events(struct ledger *l, size_t count)
{
	struct bytes *txs = calloc(count, sizeof(*txs));
	BENCH_REQUIRE(txs);
	for (size_t i = 0; i < count; i++)
		txs[i] = make_event(l, i, l->time);
	return txs;
}

static void free_events(struct bytes *txs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes_free(&txs[i]);
	free(txs);
}

static void measure_one(struct ledger *l, size_t count)
{
	struct bytes *txs = make_events(l, count);
	double *took = calloc(count, sizeof(*took)), peer;
	char text[160];
	BENCH_REQUIRE(took);
	double floor = raw_append(l->dir, count);
	(void)sqlite_append(l->dir, 1, count, &peer);
	double verify = verify_once(l, txs, count);
	for (size_t i = 0; i < count; i++) {
		struct ledger_receipt receipt;
		uint64_t begin = clock_monotonic_ns();
		BENCH_REQUIRE(ledger_engine_submit(l->engine, bytes_span(&txs[i]), &receipt) == OK && receipt.code == OK);
		took[i] = since(begin);
	}
	double after = raw_append(l->dir, count); /* others share the disk: the floor is that of both times */
	floor = (floor + after) / 2;
	snprintf(text, sizeof(text), "a transaction has %zu bytes; P-256 verification %.1f us; raw append+fdatasync %.1f us", txs[0].len, verify / 1e3, floor / 1e3);
	bench_note(text);
	bench_row(&(struct bench_row){"append, 1 in flight, p50", bench_quantile(took, count, 0.5) / 1e3, "us", floor / 1e3, peer / 1e3,
		"SQLite WAL FULL, unsigned", (1.8 * floor + 50e3) / 1e3});
	bench_row(&(struct bench_row){"append, 1 in flight, p99", bench_quantile(took, count, 0.99) / 1e3, "us", 0, 0, NULL, 0});
	free_events(txs, count);
	free(took);
}

static void measure_flights(struct ledger *l, size_t count, size_t flights, double rate_goal, double latency_goal)
{
	struct bytes *txs = make_events(l, count);
	double *took = calloc(count, sizeof(*took)), median;
	char name[64];
	BENCH_REQUIRE(took);
	double verify = verify_once(l, txs, 500);
	double peer = sqlite_append(l->dir, flights, count / flights, &median);
	double cpu = cpu_seconds();
	double rate = append_flights(l, txs, count, flights, took);
	cpu = cpu_seconds() - cpu;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	snprintf(name, sizeof(name), "append, %zu in flight", flights);
	bench_row(&(struct bench_row){name, rate, "/s", (double)processors / verify * 1e9, peer, "SQLite WAL FULL, unsigned, one transaction for all", rate_goal});
	snprintf(name, sizeof(name), "append, %zu in flight, p50", flights);
	bench_row(&(struct bench_row){name, bench_quantile(took, count, 0.5) / 1e3, "us", 0, median / 1e3, "SQLite WAL FULL, unsigned, one transaction for all", latency_goal});
	snprintf(name, sizeof(name), "append, %zu in flight, processor time", flights);
	bench_row(&(struct bench_row){name, cpu / (double)count * 1e6, "us", verify / 1e3, 0, NULL, 0});
	snprintf(name, sizeof(name), "append, %zu in flight, p99", flights);
	bench_row(&(struct bench_row){name, bench_quantile(took, count, 0.99) / 1e3, "us", 0, 0, NULL, 0});
	free_events(txs, count);
	free(took);
}

/* ---- Decisions -------------------------------------------------------------------------------------------- */

static double median_decision(struct ledger *l, const struct access_question *questions, size_t count, size_t rounds, enum reason wanted)
{
	double *took = calloc(count * rounds, sizeof(*took));
	BENCH_REQUIRE(took);
	for (size_t i = 0; i < count * rounds; i++) {
		struct access_decision decision;
		uint64_t begin = clock_monotonic_ns();
		BENCH_REQUIRE(ledger_engine_decide(l->engine, &questions[i % count], &decision, NULL) == OK);
		took[i] = since(begin);
		BENCH_REQUIRE(decision.code == wanted);
	}
	double median = bench_quantile(took, count * rounds, 0.5);
	free(took);
	return median;
}

static void measure_decisions(struct ledger *l)
{
	static struct access_question questions[CHAINS];
	static struct bytes grants[CHAINS][4];
	static struct bytes_item links[CHAINS][4];
	uint8_t address[ADDRESS_SIZE];
	char owner[ADDRESS_TEXT_SIZE], scope[SCOPE_MAX + 1];
	const struct key *holders[] = {&l->owner, &l->senders[0], &l->senders[1], &l->senders[2], &l->actor};
	size_t bytes = 0;
	address_of(l->owner.point, address);
	address_format(address, owner);
	snprintf(scope, sizeof(scope), "%s/data/of/2026", owner);
	for (size_t i = 0; i < CHAINS; i++) {
		uint8_t oid[OID_SIZE];
		for (size_t k = 0; k < 4; k++) {
			grants[i][k] = make_grant(l, holders[k], holders[k + 1], scope, (uint8_t)(4 - k), k ? oid : NULL, oid);
			links[i][k] = (struct bytes_item){bytes_span(&grants[i][k])};
			bytes = i ? bytes : bytes + grants[i][k].len;
		}
		questions[i] = (struct access_question){.operation = 1, .scope = scope, .links = links[i], .link_count = 4};
		address_of(l->actor.point, questions[i].actor);
	}
	struct bytes tx = make_event(l, 0, l->time);
	double verify = verify_once(l, &tx, 1);
	for (int i = 0; i < 100; i++) {
		double again = verify_once(l, &tx, 1);
		verify = again < verify ? again : verify;
	}
	bytes_free(&tx);
	bench_row(&(struct bench_row){"decide, 4 links, cold", median_decision(l, questions, CHAINS, 1, OK) / 1e3, "us", 4 * verify / 1e3, 0, NULL, 200});
	bench_row(&(struct bench_row){"decide, 4 links, seen before", median_decision(l, questions, 1, 5000, OK) / 1e3, "us", 0, 0, NULL, 2});
	bench_row(&(struct bench_row){"4 links", (double)bytes, "bytes", 0, 0, NULL, 600});
	struct access_question direct = {.operation = 1, .scope = scope};
	memcpy(direct.actor, address, ADDRESS_SIZE);
	bench_row(&(struct bench_row){"decide, owner", median_decision(l, &direct, 1, 5000, OK) / 1e3, "us", 0, 0, NULL, 0});
	for (size_t i = 0; i < CHAINS; i++)
		for (size_t k = 0; k < 4; k++)
			bytes_free(&grants[i][k]);
}

/* ---- A long log ------------------------------------------------------------------------------------------- */

/* Sends as many as may wait, with a clock that goes on by STEP_MS for each. */
struct stream {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	size_t waiting;
};

static void stream_done(void *arg, result failed, const char *text, const struct ledger_receipt *receipt)
{
	struct stream *stream = arg;
	(void)text;
	BENCH_REQUIRE(failed == OK && receipt->on_ledger && receipt->code == OK);
	pthread_mutex_lock(&stream->lock);
	stream->waiting--;
	pthread_cond_signal(&stream->cond);
	pthread_mutex_unlock(&stream->lock);
}

static void stream_send(struct ledger *l, struct stream *stream, struct bytes *tx)
{
	pthread_mutex_lock(&stream->lock);
	while (stream->waiting >= 512)
		pthread_cond_wait(&stream->cond, &stream->lock);
	stream->waiting++;
	pthread_mutex_unlock(&stream->lock);
	BENCH_REQUIRE(ledger_engine_submit_async(l->engine, bytes_span(tx), stream_done, stream) == OK);
	bytes_free(tx);
	__atomic_fetch_add(&l->time, STEP_MS, __ATOMIC_RELAXED);
}

static void stream_end(struct stream *stream)
{
	pthread_mutex_lock(&stream->lock);
	while (stream->waiting)
		pthread_cond_wait(&stream->cond, &stream->lock);
	pthread_mutex_unlock(&stream->lock);
}

static void grow_to(struct ledger *l, size_t grants, size_t *sent, size_t records)
{
	struct stream stream = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	uint8_t address[ADDRESS_SIZE], oid[OID_SIZE];
	char owner[ADDRESS_TEXT_SIZE], scope[SCOPE_MAX + 1];
	address_of(l->owner.point, address);
	address_format(address, owner);
	for (; *sent < records; ++*sent) {
		struct bytes tx;
		if (*sent < grants) {
			snprintf(scope, sizeof(scope), "%s/%zu", owner, *sent);
			struct bytes grant = make_grant(l, &l->owner, &l->actor, scope, 3, NULL, oid);
			struct bytes_item link = {bytes_span(&grant)};
			struct tx_grant body = {&link, 1};
			tx = make_tx(l, &l->owner, TX_GRANT, &body, time_of(&l->time) + VALID_MS);
			bytes_free(&grant);
		} else {
			tx = make_event(l, *sent, time_of(&l->time));
		}
		stream_send(l, &stream, &tx);
	}
	stream_end(&stream);
}

static double disk_use(const char *dir, const char *begin)
{
	DIR *folder = opendir(dir);
	struct dirent *entry;
	double sum = 0;
	BENCH_REQUIRE(folder);
	while ((entry = readdir(folder))) {
		struct stat at;
		if (strncmp(entry->d_name, begin, strlen(begin)) == 0 && fstatat(dirfd(folder), entry->d_name, &at, 0) == 0 && S_ISREG(at.st_mode))
			sum += (double)at.st_blocks * 512;
	}
	closedir(folder);
	return sum / 1e6;
}

static double resident_mb(void)
{
	long size, resident;
	FILE *file = fopen("/proc/self/statm", "re");
	BENCH_REQUIRE(file && fscanf(file, "%ld %ld", &size, &resident) == 2);
	fclose(file);
	return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

/* ---- Another process, which opens it ------------------------------------------------------------------------ */

struct opened {
	double open_ms, open_cpu_ms, resident_mb, resident_after_mb, first_add_ms;
	uint64_t replayed;
};

/* In a fresh process, so that its memory is the ledger's. The last argument: 1 waits to be killed after some appends. */
static int child_main(char **argv)
{
	struct ledger_engine *engine;
	struct ledger_recovery recovery;
	struct opened opened = {0};
	uint64_t time = strtoull(argv[3], NULL, 10);
	struct ledger_engine_options options = {.dir = argv[2], .now_ms = time_of, .now_arg = &time};
	double base = resident_mb();
	uint64_t begin = clock_monotonic_ns();
	double cpu = thread_cpu_seconds();
	BENCH_REQUIRE(ledger_engine_open(&options, &engine, &recovery) == OK);
	opened.open_ms = since(begin) / 1e6;
	opened.open_cpu_ms = (thread_cpu_seconds() - cpu) * 1e3;
	opened.replayed = recovery.replayed;
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	opened.resident_mb = resident_mb() - base;
	for (uint64_t i = 0; i < 10000; i++) {
		struct merkle_proof proof;
		uint64_t size;
		BENCH_REQUIRE(ledger_engine_prove(engine, i * 7919 % head.size, 0, &proof, &size) == OK);
	}
	opened.resident_after_mb = resident_mb() - base;
	BENCH_REQUIRE(write(STDOUT_FILENO, &opened, sizeof(opened)) == sizeof(opened));
	ledger_engine_close(engine);
	return 0;
}

static struct opened open_in_child(struct ledger *l)
{
	char time[32];
	int pipe_fds[2];
	struct opened opened;
	snprintf(time, sizeof(time), "%" PRIu64, l->time);
	BENCH_REQUIRE(pipe2(pipe_fds, O_CLOEXEC) == 0);
	pid_t child = fork();
	BENCH_REQUIRE(child >= 0);
	if (child == 0) {
		dup2(pipe_fds[1], STDOUT_FILENO);
		execl("/proc/self/exe", "bench-ledger", "--child", l->dir, time, (char *)NULL);
		_exit(127);
	}
	close(pipe_fds[1]);
	BENCH_REQUIRE(read(pipe_fds[0], &opened, sizeof(opened)) == sizeof(opened));
	close(pipe_fds[0]);
	int status;
	BENCH_REQUIRE(waitpid(child, &status, 0) == child && status == 0);
	return opened;
}

/* A process that dies while it appends, 300 records after the last snapshot. */
static void die_appending(struct ledger *l)
{
	struct bytes *txs = make_events(l, 300);
	pid_t child = fork();
	BENCH_REQUIRE(child >= 0);
	if (child == 0) {
		struct ledger_receipt receipt;
		if (ledger_engine_open(&l->options, &l->engine, NULL) != OK)
			_exit(1);
		for (size_t i = 0; i < 300; i++)
			if (ledger_engine_submit(l->engine, bytes_span(&txs[i]), &receipt) != OK)
				_exit(1);
		(void)raise(SIGKILL);
	}
	int status;
	BENCH_REQUIRE(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	free_events(txs, 300);
}

static void measure_proofs(struct ledger *l, const char *at)
{
	double *made = calloc(PROOFS, sizeof(*made)), *checked = calloc(PROOFS, sizeof(*checked));
	struct ledger_head head;
	char name[64];
	BENCH_REQUIRE(made && checked);
	ledger_engine_head(l->engine, &head);
	for (uint64_t i = 0; i < PROOFS; i++) {
		struct merkle_proof proof;
		struct merkle_hash leaf;
		struct bytes bytes = BYTES_EMPTY;
		uint64_t size, index = i * 104729 % head.size;
		uint64_t begin = clock_monotonic_ns();
		BENCH_REQUIRE(ledger_engine_prove(l->engine, index, 0, &proof, &size) == OK);
		made[i] = since(begin);
		if (i % 100 == 0) {
			BENCH_REQUIRE(ledger_engine_leaf(l->engine, index, &bytes) == OK);
			merkle_leaf(bytes_span(&bytes), &leaf);
			bytes_free(&bytes);
			begin = clock_monotonic_ns();
			BENCH_REQUIRE(merkle_verify_inclusion(&leaf, index, size, &proof, &head.root) == OK);
			checked[i / 100] = since(begin);
		}
	}
	snprintf(name, sizeof(name), "inclusion proof at %s, made and checked", at);
	bench_row(&(struct bench_row){name, bench_quantile(made, PROOFS, 0.5) / 1e3, "us", 0, 0, NULL, 5});
	snprintf(name, sizeof(name), "inclusion proof at %s, verify", at);
	bench_row(&(struct bench_row){name, bench_quantile(checked, PROOFS / 100, 0.5) / 1e3, "us", 0, 0, NULL, 2.5});
	for (size_t i = 0; i < 2000; i++) {
		uint8_t key[SPARSE_KEY_SIZE];
		struct bytes file = BYTES_EMPTY;
		sha256(span_of(&i, sizeof(i)), key);
		uint64_t begin = clock_monotonic_ns();
		BENCH_REQUIRE(ledger_engine_fact_proof(l->engine, key, &file) == OK);
		made[i] = since(begin);
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		struct ledger_proof proof;
		begin = clock_monotonic_ns();
		BENCH_REQUIRE(ledger_proof_open(bytes_span(&file), ledger_engine_log_key(l->engine), &arena, &proof) == OK);
		checked[i] = since(begin);
		bytes_free(&file);
	}
	snprintf(name, sizeof(name), "proof file of a fact at %s, made", at);
	bench_row(&(struct bench_row){name, bench_quantile(made, 2000, 0.5) / 1e3, "us", 0, 0, NULL, 0});
	snprintf(name, sizeof(name), "proof file of a fact at %s, opened", at);
	bench_row(&(struct bench_row){name, bench_quantile(checked, 2000, 0.5) / 1e3, "us", 0, 0, NULL, 0});
	free(made);
	free(checked);
}

static void row_at(const char *what, const char *at, double value, const char *unit, double goal)
{
	char name[64];
	snprintf(name, sizeof(name), "%s at %s", what, at);
	bench_row(&(struct bench_row){name, value, unit, 0, 0, NULL, goal});
}

static void measure_long(struct ledger *l, const char *at)
{
	char path[PATH_SIZE];
	struct ledger_audit audit;
	measure_proofs(l, at);
	uint64_t begin = clock_monotonic_ns();
	ledger_engine_close(l->engine);
	l->engine = NULL;
	row_at("close, with a snapshot and the index", at, since(begin) / 1e6, "ms", 0);
	struct opened opened = open_in_child(l);
	row_at("reopen", at, opened.open_ms, "ms", 10);
	row_at("reopen, processor time", at, opened.open_cpu_ms, "ms", 0);
	row_at("resident after the opening", at, opened.resident_mb, "MB", 96);
	row_at("resident after 10^4 proofs", at, opened.resident_after_mb, "MB", 96);
	die_appending(l);
	opened = open_in_child(l);
	row_at("reopen after kill -9, 600 leaves", at, opened.open_ms, "ms", 10);
	begin = clock_monotonic_ns();
	double cpu = thread_cpu_seconds();
	BENCH_REQUIRE(ledger_engine_audit(&l->options, AUDIT_HASHES, &audit) == OK);
	row_at("full hash audit", at, since(begin) / 1e6, "ms", strcmp(at, "10^6") == 0 ? 500 : 0);
	row_at("full hash audit, processor time", at, (thread_cpu_seconds() - cpu) * 1e3, "ms", 0);
	BENCH_REQUIRE(path_join(path, l->dir, "state.snapshot") == OK && unlink(path) == 0);
	opened = open_in_child(l);
	row_at("recovery without a snapshot", at, opened.open_ms, "ms", 0);
	row_at("recovery without a snapshot, processor time", at, opened.open_cpu_ms, "ms", 0);
	row_at("disk: log", at, disk_use(l->dir, "log"), "MB", 0);
	row_at("disk: tree", at, disk_use(l->dir, "tree"), "MB", 0);
	row_at("disk: index", at, disk_use(l->dir, "index"), "MB", 0);
	row_at("disk: snapshot", at, disk_use(l->dir, "state"), "MB", 0);
	BENCH_REQUIRE(ledger_engine_open(&l->options, &l->engine, NULL) == OK);
}

int main(int argc, char **argv)
{
	struct ledger l;
	if (argc == 4 && strcmp(argv[1], "--child") == 0)
		return child_main(argv);
	bench_open(argc, argv, "ledger");
	const char *wanted = getenv("TROTH_BENCH_RECORDS");
	size_t records = wanted ? strtoull(wanted, NULL, 10) : bench_quick() ? 100000 : 1000000, sent = 0;
	ledger_make(&l);
	measure_one(&l, bench_quick() ? 1000 : 4000);
	measure_flights(&l, bench_quick() ? 10000 : 60000, 16, 20e3, 800);
	measure_flights(&l, bench_quick() ? 10000 : 100000, 256, 34e3, 0);
	measure_decisions(&l);
	ledger_remove(&l);
	ledger_make(&l);
	uint64_t begin = clock_monotonic_ns();
	grow_to(&l, records / 10, &sent, records);
	char text[96];
	snprintf(text, sizeof(text), "%zu records over %zu grants in %.1f s, the making of them included", records, records / 10, since(begin) / 1e9);
	bench_note(text);
	measure_long(&l, records == 1000000 ? "10^6" : records == 100000 ? "10^5" : records == 10000000 ? "10^7" : "the end");
	ledger_remove(&l);
	bench_close();
	return 0;
}
