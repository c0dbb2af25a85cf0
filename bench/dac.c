/*
 * Verification of an attestation chain, every rule on, and what one more record costs on a chain that was verified.
 * Floor: the signatures of the same records, verified by as many threads with the same key. Peer: OpenSSL verifying as
 * many certificates' signatures, the work of an X.509 chain of that length, on one thread times the threads.
 *
 * With TROTH_BENCH_MILLION=1: a chain of 10^6 records; else 20,000. The fan-in has 10^5 ORIGINs (10^4) under DERIVEs of 64 parents.
 */
#include "bench.h"

#include "base/clock.h"
#include "crypto/random.h"
#include "crypto/x509.h"
#include "enclave/dac.h"
#include "object/manifest.h"

#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { RECORDS = 20000, MILLION = 1000000, QUICK_RECORDS = 2000, ADDED = 100, WIDE = 100000, LESS_WIDE = 10000, QUICK_WIDE = 1000 };
static const uint64_t NOW = 1800000000000ULL;

struct chain {
	struct key root, sign, kem;
	struct dac_root trusted;
	struct bytes certificate, report;
	uint8_t report_oid[OID_SIZE], certificate_digest[SHA256_SIZE];
	char uri[URI_MAX_LEN + 1];
	struct bytes *records;
	uint8_t (*oids)[OID_SIZE];
	size_t count;
};

static double seconds_since(uint64_t start)
{
	return (double)(clock_monotonic_ns() - start) / 1e9;
}

/* Of all threads of this process: what a busy machine does not change. */
static double processor_seconds(void)
{
	struct timespec used;
	BENCH_REQUIRE(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void make_certificate(struct chain *c)
{
	char label[ROT_LABEL_SIZE];
	rot_label(c->trusted.rot_id, label);
	struct certificate_fields fields = {.uri = c->uri, .not_before = NOW - 3600000, .not_after = NOW + 86400000};
	fields.serial[0] = 1;
	memcpy(fields.sign_point, c->sign.point, POINT_SIZE);
	memcpy(fields.kem_point, c->kem.point, POINT_SIZE);
	BENCH_REQUIRE(certificate_issue(&fields, &c->root, label, &c->certificate) == OK);
	sha256(bytes_span(&c->certificate), c->certificate_digest);
}

static void make_report(struct chain *c)
{
	static struct register_value registers[REGISTER_COUNT];
	struct report report = {.v = 1, .purpose = REPORT_LAUNCH, .epoch = 1, .boot_gen = 1, .seq = 1, .time = NOW,
		.registers = registers, .register_count = REGISTER_COUNT, .has_launch = true, .has_certificate = true};
	report.launch = (struct launch){.v = 1, .name = "A", .tier = "N", .isolation = "uid", .limits = "rlimit",
		.secret_memory = "locked", .interpreter = "closed"};
	memcpy(report.rot_id, c->trusted.rot_id, OID_SIZE);
	memcpy(report.epoch_oid, c->trusted.epoch_oid, OID_SIZE);
	memcpy(report.certificate, c->certificate_digest, SHA256_SIZE);
	launch_keys_hash(c->sign.point, c->kem.point, report.launch.keys_hash);
	BENCH_REQUIRE(object_sign(KIND_REPORT, &report, &c->root, &c->report, c->report_oid) == OK);
}

/* Record `at` with these parents. */
static void make_record_of(struct chain *c, size_t at, const size_t *parents, size_t parent_count)
{
	struct record_data data = {.name = "x"};
	struct record_parent list[RECORD_MAX_PARENTS];
	struct record record = {.v = 1, .kind = parent_count ? RECORD_DERIVE : RECORD_ORIGIN, .enclave = c->uri, .epoch = 1,
		.seq = at + 1, .time = NOW, .operation = "run", .out = &data, .out_count = 1, .in = &data,
		.in_count = parent_count ? 1 : 0, .parents = list, .parent_count = parent_count};
	memcpy(record.certificate, c->certificate_digest, SHA256_SIZE);
	memcpy(record.host_report, c->report_oid, OID_SIZE);
	memcpy(record.rot_id, c->trusted.rot_id, OID_SIZE);
	for (size_t p = 0; p < parent_count; p++) {
		list[p].enclave = c->uri;
		memcpy(list[p].oid, c->oids[parents[p]], OID_SIZE);
	}
	BENCH_REQUIRE(schema_sort(&record_parent_schema, list, parent_count) == OK);
	BENCH_REQUIRE(object_sign(KIND_RECORD, &record, &c->sign, &c->records[at], c->oids[at]) == OK);
}

static void make_record(struct chain *c, size_t at)
{
	const size_t parent = at - 1;
	make_record_of(c, at, &parent, at ? 1 : 0);
}

static void make_chain(struct chain *c, size_t count)
{
	BENCH_REQUIRE(key_generate(&c->root) == OK && key_generate(&c->sign) == OK && key_generate(&c->kem) == OK);
	random_bytes(c->trusted.rot_id, OID_SIZE);
	memcpy(c->trusted.epoch_oid, c->trusted.rot_id, OID_SIZE);
	c->trusted.epoch = 1;
	c->trusted.not_after = UINT64_MAX;
	c->trusted.key = &c->root;
	BENCH_REQUIRE(ire_uri(c->trusted.rot_id, "troth.internal", "A", c->uri) == OK);
	make_certificate(c);
	make_report(c);
	c->count = count;
	c->records = calloc(count, sizeof(*c->records));
	c->oids = calloc(count, sizeof(*c->oids));
	BENCH_REQUIRE(c->records && c->oids);
}

static void free_chain(struct chain *c)
{
	for (size_t i = 0; i < c->count; i++)
		bytes_free(&c->records[i]);
	free(c->records);
	free(c->oids);
	bytes_free(&c->certificate);
	bytes_free(&c->report);
	key_free(&c->root);
	key_free(&c->sign);
	key_free(&c->kem);
}

static void make_long(struct chain *c, size_t count)
{
	make_chain(c, count);
	for (size_t i = 0; i < count; i++)
		make_record(c, i);
}

/* `width` ORIGINs that end in one DERIVE, 64 at a time. */
static void make_wide(struct chain *c, size_t width)
{
	size_t parents[RECORD_MAX_PARENTS], made = width, from = 0, count = width;
	for (size_t layer = width; layer > 1; layer = (layer + RECORD_MAX_PARENTS - 1) / RECORD_MAX_PARENTS)
		count += (layer + RECORD_MAX_PARENTS - 1) / RECORD_MAX_PARENTS;
	make_chain(c, count);
	for (size_t i = 0; i < width; i++)
		make_record_of(c, i, NULL, 0);
	while (made < count) {
		size_t end = made;
		while (from < end) {
			size_t n = 0;
			while (n < RECORD_MAX_PARENTS && from < end)
				parents[n++] = from++;
			make_record_of(c, made++, parents, n);
		}
	}
}

static struct dac *load(const struct chain *c, size_t count)
{
	struct dac *dac;
	struct dac_config config = {.roots = &c->trusted, .root_count = 1};
	BENCH_REQUIRE(dac_new(&config, &dac) == OK);
	BENCH_REQUIRE(dac_add_certificate(dac, bytes_span(&c->certificate), NULL) == OK);
	BENCH_REQUIRE(dac_add_report(dac, bytes_span(&c->report), NULL) == OK);
	for (size_t i = 0; i < count; i++)
		BENCH_REQUIRE(dac_add_record(dac, bytes_span(&c->records[i]), NULL) == OK);
	return dac;
}

static void verify(struct dac *dac, size_t count)
{
	struct dac_summary summary;
	BENCH_REQUIRE(dac_verify(dac, &summary) == OK && summary.accepted == count);
}

struct floor_work {
	const struct chain *chain;
	size_t from, to;
};

static void *verify_signatures(void *argument)
{
	const struct floor_work *work = argument;
	for (size_t i = work->from; i < work->to; i++) {
		struct cose_sign1 object;
		BENCH_REQUIRE(cose_strict_sign1_parse(bytes_span(&work->chain->records[i]), &object) == OK);
		BENCH_REQUIRE(cose_strict_sign1_verify(&object, kind_label(KIND_RECORD), &work->chain->sign) == OK);
	}
	return NULL;
}

/* So many of the records: the rate is the same, and the floor of a million takes minutes. */
enum { FLOOR_RECORDS = 50000 };

static double floor_rate(const struct chain *c, unsigned threads)
{
	pthread_t helpers[64];
	struct floor_work work[64];
	const size_t count = c->count < FLOOR_RECORDS ? c->count : FLOOR_RECORDS;
	uint64_t start = clock_monotonic_ns();
	for (unsigned t = 0; t < threads; t++) {
		work[t] = (struct floor_work){c, count * t / threads, count * (t + 1) / threads};
		BENCH_REQUIRE(pthread_create(&helpers[t], NULL, verify_signatures, &work[t]) == 0);
	}
	for (unsigned t = 0; t < threads; t++)
		pthread_join(helpers[t], NULL);
	return (double)count / seconds_since(start);
}

static double peer_rate(const struct chain *c, unsigned threads)
{
	enum { TIMES = 2000 };
	const uint8_t *at = c->certificate.data;
	X509 *certificate = d2i_X509(NULL, &at, (long)c->certificate.len);
	BENCH_REQUIRE(certificate);
	uint64_t start = clock_monotonic_ns();
	for (size_t i = 0; i < TIMES; i++)
		BENCH_REQUIRE(X509_verify(certificate, c->root.pkey) == 1);
	double rate = TIMES / seconds_since(start);
	X509_free(certificate);
	return rate * threads;
}

/* Resident memory of this process, in MiB. */
static double resident(void)
{
	unsigned long size, pages;
	FILE *statm = fopen("/proc/self/statm", "re");
	BENCH_REQUIRE(statm && fscanf(statm, "%lu %lu", &size, &pages) == 2);
	fclose(statm);
	return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static void row(const char *name, double value, const char *unit, double floor)
{
	bench_row(&(struct bench_row){name, value, unit, floor, 0, NULL});
}

/* One record, judged at once, as an enclave that serves calls does it. */
static double added_one_by_one(const struct chain *chain, struct dac *dac, size_t from, size_t count)
{
	uint64_t start = clock_monotonic_ns();
	for (size_t i = from; i < from + count; i++) {
		BENCH_REQUIRE(dac_add_record(dac, bytes_span(&chain->records[i]), NULL) == OK);
		verify(dac, i + 1);
	}
	return (double)count / seconds_since(start);
}

static double closure_rate(const struct chain *chain, const struct dac *dac, size_t last, size_t expected)
{
	struct digest32 root;
	size_t *indices, count;
	memcpy(root.bytes, chain->oids[last], OID_SIZE);
	uint64_t start = clock_monotonic_ns();
	BENCH_REQUIRE(dac_closure(dac, &root, 1, &indices, &count) == OK && count == expected);
	free(indices);
	return (double)expected / seconds_since(start);
}

/* Loading, judging and closing `whole` records; what each costs in memory, its encoding not counted. */
static struct dac *measure_whole(const struct chain *chain, size_t whole, const char *const names[static 5], double floor, double peer)
{
	double before = resident();
	uint64_t start = clock_monotonic_ns();
	struct dac *dac = load(chain, whole);
	row(names[0], (double)whole / seconds_since(start), "records/s", 0);
	start = clock_monotonic_ns();
	double used = processor_seconds();
	verify(dac, whole);
	used = processor_seconds() - used;
	bench_row(&(struct bench_row){names[1], (double)whole / seconds_since(start), "records/s", floor, peer,
		peer > 0 ? "OpenSSL X509_verify x threads" : NULL});
	row(names[4], (double)whole / used, "records/processor-second", 0);
	row(names[2], closure_rate(chain, dac, whole - 1, whole), "records/s", 0);
	row(names[3], (resident() - before) * (1 << 20) / (double)whole, "bytes/record", 0);
	return dac;
}

static void measure_long(unsigned threads, size_t whole)
{
	static const char *const names[] = {"dac.load", "dac.verify", "dac.closure", "dac.memory", "dac.verify_processor"};
	static struct chain chain;
	make_long(&chain, whole + 2 * ADDED);
	double floor = floor_rate(&chain, threads), peer = peer_rate(&chain, threads);
	struct dac *dac = measure_whole(&chain, whole, names, floor, peer);
	row("dac.verify_one_by_one", added_one_by_one(&chain, dac, whole, ADDED), "records/s", floor / threads);
	for (size_t i = whole + ADDED; i < chain.count; i++)
		BENCH_REQUIRE(dac_add_record(dac, bytes_span(&chain.records[i]), NULL) == OK);
	uint64_t start = clock_monotonic_ns();
	verify(dac, chain.count);
	row("dac.verify_added", (double)ADDED / seconds_since(start), "records/s", floor);
	dac_free(dac);
	free_chain(&chain);
}

static void measure_wide(unsigned threads, size_t width)
{
	static const char *const names[] = {"dac.load_fan_in", "dac.verify_fan_in", "dac.closure_fan_in", "dac.memory_fan_in", "dac.verify_processor_fan_in"};
	static struct chain chain;
	make_wide(&chain, width);
	double floor = floor_rate(&chain, threads);
	dac_free(measure_whole(&chain, chain.count, names, floor, 0));
	free_chain(&chain);
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "dac");
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = processors > 64 ? 64 : (unsigned)processors;
	bool million = getenv("TROTH_BENCH_MILLION") != NULL;
	struct rusage use;
	row("dac.threads", threads, "threads", 0);
	measure_wide(threads, bench_quick() ? QUICK_WIDE : million ? WIDE : LESS_WIDE);
	measure_long(threads, bench_quick() ? QUICK_RECORDS : million ? MILLION : RECORDS);
	getrusage(RUSAGE_SELF, &use);
	row("dac.peak", (double)use.ru_maxrss / 1024, "MiB, chain and its source", 0);
	bench_close();
	return 0;
}
