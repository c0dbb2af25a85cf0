/*
 * The root of trust while it rotates: what a rotation costs, what it does to attestations that go on meanwhile, and what
 * a long history costs those who follow it.
 *
 *   root.rotate_in_memory      the secure processor's engine, its state kept in memory. Floor: the signatures and keys
 *                              that a rotation makes (three signatures, four keys from seeds)
 *   root.rotate_durable        the same, its state written to a file on the disk of the working folder. Floor: that, and two
 *                              fdatasync of as much (an emergency rotation overwrites the slot of the epoch before, too)
 *   root.host_rotate           everything: host, queue, troth-ap, history, pins, drain after it. Floor: that, and the
 *                              fdatasync calls of history and pins (four)
 *   root.attest_*              attestations through troth-ap, first at rest, then while another thread rotates without a pause;
 *                              floor: one signature in this process
 *   root.verify_epochs         records that a verifier follows. Floor: two signatures verified a record
 *   root.load_history          records that a host reads at its start: hashes and links, no signatures. Floor: SHA-256
 *                              over the bytes. Both in processor time
 *
 * Peers: none in Debian answers the same questions without a TPM; etcd's one raft entry is not the same thing.
 */
#include "bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/random.h"
#include "object/epoch_chain.h"
#include "root/ap.h"
#include "root/history.h"
#include "root/host.h"
#include "root/state_file.h"
#include "root/tcb.h"
#include "store/slots.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { AP_UID = 612345, ATTESTS = 20000, QUICK_ATTESTS = 1000, ROTATIONS = 400, QUICK_ROTATIONS = 30, EPOCHS = 100000, QUICK_EPOCHS = 2000 };

static double samples[ATTESTS];
static char folder[] = "bench-root-XXXXXX"; /* on the disk of the working folder: /tmp may be memory */

static void must(result done, const char *what)
{
	if (done == OK)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, reason_name(done), failure_text());
	exit(1);
}

static uint64_t now_ns(void)
{
	return clock_monotonic_ns();
}

/* Processor time of this thread: other load on the machine does not count. */
static uint64_t busy_ns(void)
{
	struct timespec now;
	BENCH_REQUIRE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- floors ---- */

struct floors {
	double sign, sign_p99, verify, key, sync; /* ns */
};

static double median_of(size_t count)
{
	return bench_quantile(samples, count, 0.5);
}

static void measure_floors(struct floors *out)
{
	enum { COUNT = 1000, SYNCS = 100 };
	static uint8_t message[700], block[AP_STATE_SLOT];
	uint8_t signature[SIGNATURE_SIZE], seed[48];
	struct key key = KEY_EMPTY;
	must(key_generate(&key), "a key");
	for (size_t i = 0; i < COUNT; i++) {
		uint64_t start = now_ns();
		must(key_sign(&key, SPAN_ARRAY(message), signature), "sign");
		samples[i] = (double)(now_ns() - start);
	}
	out->sign = median_of(COUNT);
	out->sign_p99 = bench_quantile(samples, COUNT, 0.99);
	for (size_t i = 0; i < COUNT; i++) {
		uint64_t start = now_ns();
		must(key_verify(&key, SPAN_ARRAY(message), SPAN_ARRAY(signature)), "verify");
		samples[i] = (double)(now_ns() - start);
	}
	out->verify = median_of(COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		struct key made = KEY_EMPTY;
		random_bytes(seed, sizeof seed);
		uint64_t start = now_ns();
		must(key_from_seed48(SPAN_ARRAY(seed), &made), "key");
		samples[i] = (double)(now_ns() - start);
		key_free(&made);
	}
	out->key = median_of(COUNT);
	key_free(&key);

	char path[PATH_SIZE];
	snprintf(path, sizeof path, "%s/floor", folder);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	BENCH_REQUIRE(fd >= 0);
	for (size_t i = 0; i < SYNCS; i++) {
		uint64_t start = now_ns();
		BENCH_REQUIRE(pwrite(fd, block, sizeof block, (off_t)(i % 2) * AP_STATE_SLOT) == sizeof block && fdatasync(fd) == 0);
		samples[i] = (double)(now_ns() - start);
	}
	out->sync = median_of(SYNCS);
	close(fd);
}

/* ---- the engine ---- */

struct engine {
	struct ap *ap;
	struct secret wrap;
	struct slots slots;
	int fd; /* -1: the state stays in memory */
	uint64_t epoch, now_ms;
	struct bytes *records;
	size_t record_count;
};

static result write_state(void *context, struct span state)
{
	struct engine *e = context;
	return e->fd < 0 ? OK : slots_write(&e->slots, state);
}

static void ask_engine(struct engine *e, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, struct arena *arena, void *reply)
{
	CLEANUP(writer_free) struct writer w = writer_growing(128 * 1024);
	struct ap_action action;
	struct span kept;
	if (ipq_message_row(type)->expects_epoch)
		ipq_put_expected(&w, (struct ipq_expected){0, e->epoch});
	schema_put(schema, request, &w);
	ap_step(e->ap, type, span_of(w.data, w.len), e->now_ms, &action);
	if (action.kind == AP_PERSIST) {
		ap_persisted(e->ap, write_state(e, action.persist), &action);
	} else if (action.kind == AP_ROTATE) {
		struct ap_rotation *rotation = action.rotation;
		ap_rotation_run(rotation, write_state, e);
		ap_rotated(e->ap, rotation, e->now_ms, &action);
	}
	if (action.kind != AP_REPLY)
		fprintf(stderr, "%s: %s\n", reason_name(action.reason), action.text);
	BENCH_REQUIRE(action.kind == AP_REPLY);
	must(arena_copy(arena, action.reply, &kept), "reply");
	must(schema_decode(reply_schema, kept, arena, reply), "reply");
}

static void measure_engine(struct engine *e, uint8_t index, const char *name)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	struct ap_measured_program program = {.name = name};
	memset(program.digest, index + 1, sizeof program.digest);
	must(schema_encode(&ap_measured_program_schema, &program, &content), "event");
	struct ap_extend request = {index, bytes_span(&content), true};
	struct ap_extended reply;
	ask_engine(e, IPQ_EXTEND, &ap_extend_schema, &request, &ap_extended_schema, &arena, &reply);
}

static void keep_record(struct engine *e, struct span record)
{
	if (e->records)
		must(bytes_copy(record, &e->records[e->record_count++]), "record");
}

static void start_engine(struct engine *e)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct ap_action action;
	struct ap_rot_available reply;
	must(secret_new(32, &e->wrap), "wrap key");
	random_bytes(e->wrap.data, 32);
	e->now_ms = clock_wall_ms();
	struct ap_config config = {.wrap_key = &e->wrap, .secret_memory = "locked"};
	must(ap_new(&config, e->now_ms, &e->ap, &action), "engine");
	ap_persisted(e->ap, write_state(e, action.persist), &action);
	BENCH_REQUIRE(action.kind == AP_REPLY);
	measure_engine(e, REGISTER_AP, "troth-ap");
	measure_engine(e, REGISTER_HOST, "trothd");
	struct ap_generate request = {.valid_ms = 3660ULL * 86400000 / 2, .grace_s = 60, .trust_domain = "troth.internal"};
	random_bytes(request.host_share, sizeof request.host_share);
	random_bytes(request.host_seed, sizeof request.host_seed);
	memset(request.host_share, 9, sizeof request.host_share);
	ask_engine(e, IPQ_GENERATE_ROT, &ap_generate_schema, &request, &ap_rot_available_schema, &arena, &reply);
	e->epoch = 1;
	keep_record(e, reply.epoch_record);
}

static void rotate_engine(struct engine *e)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct ap_rotate request = {.reason = EPOCH_OPERATOR, .emergency = true, .grace_s = 60};
	struct ap_rot_available reply;
	random_bytes(request.request_id, sizeof request.request_id);
	random_bytes(request.host_seed, sizeof request.host_seed);
	memset(request.host_share, 9, sizeof request.host_share);
	e->now_ms = clock_wall_ms();
	ask_engine(e, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &arena, &reply);
	e->epoch++;
	keep_record(e, reply.epoch_record);
}

static void stop_engine(struct engine *e)
{
	ap_free(e->ap);
	secret_free(&e->wrap);
	if (e->fd >= 0)
		close(e->fd);
}

static double time_rotations(struct engine *e, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t start = now_ns();
		rotate_engine(e);
		samples[i] = (double)(now_ns() - start);
	}
	return median_of(count);
}

static double rotate_in_memory(size_t count)
{
	struct engine e = {.fd = -1};
	start_engine(&e);
	double median = time_rotations(&e, count);
	stop_engine(&e);
	return median;
}

static double rotate_durable(size_t count)
{
	struct engine e = {.fd = -1};
	char path[PATH_SIZE];
	snprintf(path, sizeof path, "%s/state", folder);
	e.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	BENCH_REQUIRE(e.fd >= 0);
	must(slots_format(e.fd, AP_STATE_SLOT), "state file");
	must(slots_open(e.fd, AP_STATE_SLOT, &e.slots), "state file");
	start_engine(&e);
	double median = time_rotations(&e, count);
	stop_engine(&e);
	return median;
}

/* ---- the whole, through troth-ap ---- */

static struct root_host *start_host(const char *state)
{
	char programs[PATH_SIZE];
	struct root_host *host;
	must(program_folder(programs, sizeof(programs)), "programs");
	strncat(programs, "/../src/cmd", sizeof(programs) - strlen(programs) - 1);
	struct root_host_config config = {.state_dir = state, .program_dir = programs, .ap_uid = geteuid() == 0 ? AP_UID : 0};
	must(root_host_start(&config, &host), "troth-ap");
	struct root_host_init init = {.valid_ms = 86400000, .grace_s = 60, .trust_domain = "troth.internal"};
	must(root_host_init(host, &init), "init");
	return host;
}

static atomic_bool stop_rotating;
static atomic_uint rotated, failed_requests;

static void rotate_once(struct root_host *host)
{
	const struct root_host_rotation rotation = {.reason = EPOCH_OPERATOR, .text = "bench", .emergency = false};
	result done = root_host_rotate(host, &rotation);
	if (done == OK)
		done = root_host_drain(host);
	if (done != OK) {
		fprintf(stderr, "rotation: %s: %s\n", reason_name(done), failure_text());
		atomic_fetch_add(&failed_requests, 1);
	}
	atomic_fetch_add(&rotated, 1);
}

static void *rotate_without_pause(void *host)
{
	while (!atomic_load(&stop_rotating))
		rotate_once(host);
	return NULL;
}

static void attest_once(struct root_host *host, double *out_ns)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct ap_attest request = {.purpose = "bench"};
	struct ap_rot_available reply;
	random_bytes(request.challenge, sizeof(request.challenge));
	uint64_t start = now_ns();
	result done = root_host_call(host, IPQ_ATTEST, &ap_attest_schema, &request, &ap_rot_available_schema, &arena, &reply);
	*out_ns = (double)(now_ns() - start);
	if (done != OK) {
		fprintf(stderr, "attest: %s: %s\n", reason_name(done), failure_text());
		atomic_fetch_add(&failed_requests, 1);
	}
}

struct latency {
	double p50, p99;
};

static struct latency attest_many(struct root_host *host, size_t count)
{
	for (size_t i = 0; i < count; i++)
		attest_once(host, &samples[i]);
	double p50 = bench_quantile(samples, count, 0.5);
	return (struct latency){p50, bench_quantile(samples, count, 0.99)};
}

static void through_the_host(const struct floors *floors, size_t attests, size_t rotations)
{
	pthread_t thread;
	struct root_host *host = start_host(folder);
	struct latency rest = attest_many(host, attests);
	for (size_t i = 0; i < rotations; i++) {
		uint64_t start = now_ns();
		rotate_once(host);
		samples[i] = (double)(now_ns() - start);
	}
	double whole = median_of(rotations);
	atomic_store(&rotated, 0);
	uint64_t start = now_ns();
	BENCH_REQUIRE(pthread_create(&thread, NULL, rotate_without_pause, host) == 0);
	struct latency busy = attest_many(host, attests);
	double seconds = (double)(now_ns() - start) / 1e9;
	atomic_store(&stop_rotating, true);
	BENCH_REQUIRE(pthread_join(thread, NULL) == 0);
	root_host_stop(host);

	/* Two slots, the history with its head, and the pins with their rename. */
	double primitives = 3 * floors->sign + 4 * floors->key + 2 * floors->verify;
	bench_row(&(struct bench_row){"root.host_rotate", whole, "ns", primitives + 6 * floors->sync, 0, NULL});
	bench_row(&(struct bench_row){"root.attest_p50", rest.p50, "ns", floors->sign, 0, NULL});
	bench_row(&(struct bench_row){"root.attest_p99", rest.p99, "ns", floors->sign_p99, 0, NULL});
	bench_row(&(struct bench_row){"root.attest_p50_while_rotating", busy.p50, "ns", floors->sign, rest.p50, "at rest"});
	bench_row(&(struct bench_row){"root.attest_p99_while_rotating", busy.p99, "ns", floors->sign_p99, rest.p99, "at rest"});
	bench_row(&(struct bench_row){"root.attest_p99_ratio_while_rotating", busy.p99 / rest.p99, "ratio", 1, 0, NULL});
	bench_row(&(struct bench_row){"root.rotations_while_attesting", atomic_load(&rotated) / seconds, "1/s", 0, 0, NULL});
	bench_row(&(struct bench_row){"root.attest_errors_while_rotating", atomic_load(&failed_requests), "requests", 0, 0, NULL});
}

/* ---- those who follow ---- */

static double hash_all(const struct engine *e)
{
	uint8_t digest[SHA256_SIZE];
	uint64_t start = busy_ns();
	for (size_t i = 0; i < e->record_count; i++)
		sha256(bytes_span(&e->records[i]), digest);
	return (double)(busy_ns() - start);
}

static double follow_all(const struct engine *e)
{
	struct epoch_chain *chain = NULL;
	uint64_t start = busy_ns();
	must(epoch_chain_new(bytes_span(&e->records[0]), &chain), "inception");
	for (size_t i = 1; i < e->record_count; i++)
		must(epoch_chain_follow(chain, bytes_span(&e->records[i])), "record");
	double took = (double)(busy_ns() - start);
	BENCH_REQUIRE(epoch_chain_count(chain) == e->record_count);
	epoch_chain_free(chain);
	return took;
}

static result take_record(void *context, enum history_type type, struct span payload, bool is_pinned)
{
	struct epoch_chain **chain = context;
	BENCH_REQUIRE(type == HISTORY_OBJECT && is_pinned);
	return *chain ? epoch_chain_follow_trusted(*chain, payload) : epoch_chain_new(payload, chain);
}

static double load_all(const struct engine *e)
{
	char state[PATH_SIZE];
	struct history *history = NULL;
	struct epoch_chain *chain = NULL;
	snprintf(state, sizeof state, "%s/long", folder);
	BENCH_REQUIRE(file_make_dirs(state, 0700) == OK);
	must(history_open(state, true, &history), "history");
	const struct history_mark none = {0};
	must(history_read(history, &none, take_record, NULL), "history");
	for (size_t i = 0; i < e->record_count; i++) {
		must(history_add(history, HISTORY_OBJECT, bytes_span(&e->records[i])), "history");
		if (i % 1000 == 999 || i + 1 == e->record_count)
			must(history_commit(history), "history");
	}
	struct history_mark mark = history_mark(history);
	history_close(history);
	uint64_t start = busy_ns();
	must(history_open(state, false, &history), "history");
	must(history_read(history, &mark, take_record, &chain), "history");
	double took = (double)(busy_ns() - start);
	BENCH_REQUIRE(epoch_chain_count(chain) == e->record_count);
	history_close(history);
	epoch_chain_free(chain);
	return took;
}

static void long_histories(const struct floors *floors, size_t epochs)
{
	struct engine e = {.fd = -1};
	e.records = calloc(epochs, sizeof *e.records);
	BENCH_REQUIRE(e.records);
	start_engine(&e);
	while (e.record_count < epochs)
		rotate_engine(&e);
	double followed = follow_all(&e), hashed = hash_all(&e), loaded = load_all(&e);
	double count = (double)epochs;
	bench_row(&(struct bench_row){"root.verify_epochs", count / followed * 1e9, "1/s", 1e9 / (2 * floors->verify), 0, NULL});
	bench_row(&(struct bench_row){"root.load_history", loaded / count, "ns", hashed / count, 0, NULL});
	char note[128];
	snprintf(note, sizeof note, "%zu epochs: verified in %.2f s, loaded in %.3f s", epochs, followed / 1e9, loaded / 1e9);
	bench_note(note);
	for (size_t i = 0; i < e.record_count; i++)
		bytes_free(&e.records[i]);
	free(e.records);
	stop_engine(&e);
}

int main(int argc, char **argv)
{
	struct floors floors;
	bench_open(argc, argv, "root: rotation of the root of trust");
	crypto_warm_up();
	bool quick = bench_quick();
	BENCH_REQUIRE(mkdtemp(folder));
	char absolute[PATH_SIZE];
	BENCH_REQUIRE(realpath(folder, absolute));
	measure_floors(&floors);
	size_t rotations = quick ? QUICK_ROTATIONS : ROTATIONS;
	double primitives = 3 * floors.sign + 4 * floors.key;
	double memory = rotate_in_memory(rotations), durable = rotate_durable(rotations);
	bench_row(&(struct bench_row){"root.rotate_in_memory", memory, "ns", primitives, 0, NULL});
	bench_row(&(struct bench_row){"root.rotate_durable", durable, "ns", primitives + 2 * floors.sync, 0, NULL});
	through_the_host(&floors, quick ? QUICK_ATTESTS : ATTESTS, quick ? QUICK_ROTATIONS : ROTATIONS / 4);
	long_histories(&floors, quick ? QUICK_EPOCHS : EPOCHS);
	must(file_remove_tree(AT_FDCWD, absolute), "cleaning up");
	bench_close();
	return 0;
}
