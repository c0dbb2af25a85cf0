#include "enclave/dac.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crypto/x509.h"
#include "evidence/platform.h"

/*
 * Theory of operation. Objects live in three tables (certificates, reports, records), each with an index from name to
 * position. dac_verify works on the records without verdict: signatures first (phase 1, parallel, no shared state but the
 * row itself), then Kahn's order over their parents, in which each record is judged after all its parents (phase 2).
 */

enum { NOWHERE = -1 };

/* name[32] -> position; open addressing, grows at half full. */
struct index {
	uint32_t *cells; /* position + 1; 0: empty */
	size_t cap;
	size_t used;
};

struct certificate_row {
	struct certificate certificate;
	enum reason reason;
	uint32_t root; /* of the issuer */
};

/*
 * Other bytes of an object that was already there: another signature over the same oid. Which of them is genuine shows
 * only in phase 1; until then all are kept, so that nobody keeps an object out by sending its oid with a bad signature.
 */
struct alternate {
	struct span bytes;
	struct alternate *next;
};

struct report_row {
	uint8_t oid[OID_SIZE];
	struct span bytes;
	struct alternate *alternates;
	struct report report;
	enum reason reason;
	bool checked;
};

struct record_row {
	uint8_t oid[OID_SIZE];
	struct span bytes;
	struct alternate *alternates;
	const struct record *record;
	enum reason reason;
	char *text;
	uint32_t certificate, report;
	uint32_t pending; /* parents not judged yet */
	uint32_t visited; /* by the walk of this number */
	uint32_t path;	  /* records on the longest way from an ORIGIN, itself included; of a record that was accepted */
	uint16_t level;
	bool judged;
	bool good_alone; /* phase 1 accepted it */
	bool curable;	 /* refused for what is missing or bad beside it: judged anew when something was added */
};

struct table {
	void *rows;
	size_t row_size, count, cap;
	struct index index;
};

struct dac {
	struct dac_config config; /* its roots are the list below */
	struct dac_root *roots;
	struct arena arena;
	struct table certificates, reports, records;
	struct index by_seq;	   /* H(certificate ‖ seq) -> record */
	struct index by_request;   /* oid of a REQUEST -> its RESPONSE */
	size_t alternate_count;
	uint32_t *heads; /* by record: room for the order of one dac_verify; zero between */
	size_t heads_cap;
	uint32_t walks; /* so far */
	size_t bytes;	/* of the records */
	uint32_t *open;	   /* records without verdict, or whose verdict may change: what dac_verify looks at */
	size_t open_count, open_cap;
	size_t certificates_seen, reports_seen; /* those before are checked */
	struct dac_summary told;		/* of the records that are not open */
	bool report_again; /* a report that was checked is to be checked anew */
	bool added;  /* since the last dac_verify */
	bool shaken; /* an accepted record turned out to be one of two */
};

/* ---- Tables ------------------------------------------------------------------------------------ */

static void *row_at(const struct table *table, size_t at)
{
	return (uint8_t *)table->rows + at * table->row_size;
}

/* Every row begins with, or leads to, its 32-byte name. */
typedef const uint8_t *(*name_of)(const struct dac *dac, size_t at);

static const uint8_t *certificate_name(const struct dac *dac, size_t at)
{
	return ((struct certificate_row *)row_at(&dac->certificates, at))->certificate.digest;
}

static const uint8_t *report_name(const struct dac *dac, size_t at)
{
	return ((struct report_row *)row_at(&dac->reports, at))->oid;
}

static const uint8_t *record_name(const struct dac *dac, size_t at)
{
	return ((struct record_row *)row_at(&dac->records, at))->oid;
}

static size_t start_cell(const struct index *index, const uint8_t name[static 32])
{
	/* Names are SHA-256 values: any eight bytes are as good a hash as any other. */
	uint64_t hash;
	memcpy(&hash, name, sizeof(hash));
	return hash & (index->cap - 1);
}

static ptrdiff_t index_find(const struct dac *dac, const struct index *index, name_of name_at, const uint8_t name[static 32])
{
	if (!index->cap)
		return NOWHERE;
	for (size_t cell = start_cell(index, name); index->cells[cell]; cell = (cell + 1) & (index->cap - 1))
		if (memcmp(name_at(dac, index->cells[cell] - 1), name, 32) == 0)
			return (ptrdiff_t)index->cells[cell] - 1;
	return NOWHERE;
}

static void index_place(struct index *index, const uint8_t name[static 32], uint32_t position)
{
	size_t cell = start_cell(index, name);
	while (index->cells[cell])
		cell = (cell + 1) & (index->cap - 1);
	index->cells[cell] = position + 1;
	index->used++;
}

static result index_grow(const struct dac *dac, struct index *index, name_of name_at)
{
	if (index->cap && index->used < index->cap / 2)
		return OK;
	struct index larger = {.cap = index->cap ? index->cap * 2 : 64};
	larger.cells = calloc(larger.cap, sizeof(*larger.cells));
	if (!larger.cells)
		return fail(NO_MEMORY, "index of the attestation chain");
	for (size_t i = 0; i < index->cap; i++)
		if (index->cells[i])
			index_place(&larger, name_at(dac, index->cells[i] - 1), index->cells[i] - 1);
	free(index->cells);
	*index = larger;
	return OK;
}

/* A zeroed row at the end; it counts only after table_commit. */
static result table_reserve(const struct dac *dac, struct table *table, name_of name_at, void **out_row)
{
	TRY(index_grow(dac, &table->index, name_at));
	if (table->count == table->cap) {
		size_t cap = table->cap ? table->cap * 2 : 64;
		void *rows = realloc(table->rows, cap * table->row_size);
		if (!rows)
			return fail(NO_MEMORY, "attestation chain");
		table->rows = rows;
		table->cap = cap;
	}
	*out_row = row_at(table, table->count);
	memset(*out_row, 0, table->row_size);
	return OK;
}

static void table_commit(struct table *table, const uint8_t name[static 32])
{
	index_place(&table->index, name, (uint32_t)table->count);
	table->count++;
}

result dac_new(const struct dac_config *config, struct dac **out)
{
	struct dac *dac = calloc(1, sizeof(*dac));
	if (!dac)
		return fail(NO_MEMORY, "attestation chain");
	dac->config = *config;
	dac_limit(dac, &config->limits);
	dac->config.roots = NULL;
	dac->config.root_count = 0;
	dac->arena = arena_of(config->max_memory ? config->max_memory : DAC_MAX_MEMORY);
	dac->certificates.row_size = sizeof(struct certificate_row);
	dac->reports.row_size = sizeof(struct report_row);
	dac->records.row_size = sizeof(struct record_row);
	for (size_t i = 0; i < config->root_count; i++) {
		result added = dac_add_root(dac, &config->roots[i]);
		if (added != OK) {
			dac_free(dac);
			return added;
		}
	}
	*out = dac;
	return OK;
}

void dac_limit(struct dac *dac, const struct dac_limits *limits)
{
	dac->config.limits = (struct dac_limits){
		.records = limits->records ? limits->records : DAC_MAX_RECORDS,
		.bytes = limits->bytes ? limits->bytes : SIZE_MAX,
		.path = limits->path ? limits->path : SIZE_MAX,
		.parents = limits->parents ? limits->parents : RECORD_MAX_PARENTS,
	};
}

result dac_add_root(struct dac *dac, const struct dac_root *root)
{
	for (size_t i = 0; i < dac->config.root_count; i++)
		if (memcmp(dac->roots[i].epoch_oid, root->epoch_oid, OID_SIZE) == 0)
			return OK;
	struct dac_root *grown = reallocarray(dac->roots, dac->config.root_count + 1, sizeof(*grown));
	if (!grown)
		return fail(NO_MEMORY, "attestation chain");
	grown[dac->config.root_count] = *root;
	dac->roots = grown;
	dac->config.roots = grown;
	dac->config.root_count++;
	return OK;
}

void dac_free(struct dac *dac)
{
	if (!dac)
		return;
	for (size_t i = 0; i < dac->certificates.count; i++)
		certificate_free(&((struct certificate_row *)row_at(&dac->certificates, i))->certificate);
	for (size_t i = 0; i < dac->records.count; i++)
		free(((struct record_row *)row_at(&dac->records, i))->text);
	struct table *tables[] = {&dac->certificates, &dac->reports, &dac->records};
	for (size_t i = 0; i < COUNT_OF(tables); i++) {
		free(tables[i]->rows);
		free(tables[i]->index.cells);
	}
	free(dac->by_seq.cells);
	free(dac->by_request.cells);
	free(dac->roots);
	free(dac->open);
	free(dac->heads);
	arena_free(&dac->arena);
	free(dac);
}

static result count_bytes(struct dac *dac, struct span object)
{
	const size_t most = dac->config.limits.bytes;
	if (dac->bytes > most || object.len > most - dac->bytes)
		return fail(DAC_TOO_LARGE, "%zu bytes of records and what they name; at most %zu are allowed here", dac->bytes + object.len,
			most);
	dac->bytes += object.len;
	return OK;
}

result dac_add_certificate(struct dac *dac, struct span der, uint8_t *out_digest)
{
	uint8_t digest[SHA256_SIZE];
	sha256(der, digest);
	if (out_digest)
		memcpy(out_digest, digest, sizeof(digest));
	if (index_find(dac, &dac->certificates.index, certificate_name, digest) != NOWHERE)
		return OK;
	if (dac->certificates.count >= dac->config.limits.records)
		return fail(DAC_TOO_LARGE, "%zu certificates", dac->certificates.count);
	void *reserved;
	TRY(table_reserve(dac, &dac->certificates, certificate_name, &reserved));
	struct certificate_row *row = reserved;
	TRY(certificate_parse(der, &dac->arena, &row->certificate));
	result counted = count_bytes(dac, der);
	if (counted != OK) {
		certificate_free(&row->certificate);
		return counted;
	}
	table_commit(&dac->certificates, digest);
	dac->added = true;
	return OK;
}

static struct record_row *record_at(const struct dac *dac, size_t at)
{
	return row_at(&dac->records, at);
}

static struct certificate_row *certificate_at(const struct dac *dac, size_t at)
{
	return row_at(&dac->certificates, at);
}

static struct report_row *report_at(const struct dac *dac, size_t at)
{
	return row_at(&dac->reports, at);
}

static result add_alternate(struct dac *dac, struct span known, struct alternate **list, struct span object, bool *out_new)
{
	*out_new = false;
	if (span_equal(known, object))
		return OK;
	for (const struct alternate *a = *list; a; a = a->next)
		if (span_equal(a->bytes, object))
			return OK;
	if (dac->alternate_count >= dac->config.limits.records)
		return fail(DAC_TOO_LARGE, "%zu objects with more than one signature", dac->alternate_count);
	void *at;
	TRY(arena_alloc(&dac->arena, 1, sizeof(struct alternate), &at));
	struct alternate *alternate = at;
	*alternate = (struct alternate){object, *list};
	*list = alternate;
	dac->alternate_count++;
	*out_new = true;
	return OK;
}

static result add_report_again(struct dac *dac, size_t at, struct span object)
{
	struct report_row *row = report_at(dac, at);
	bool is_new;
	TRY(add_alternate(dac, row->bytes, &row->alternates, object, &is_new));
	if (is_new && row->checked && row->reason == BAD_SIGNATURE) {
		row->checked = false;
		dac->report_again = true;
		dac->added = true;
	}
	return OK;
}

static void forget_verdict(struct record_row *row)
{
	row->judged = false;
	row->curable = false;
	row->reason = OK;
	free(row->text);
	row->text = NULL;
}

/* Room for one more among those that dac_verify looks at. */
static result open_reserve(struct dac *dac)
{
	if (dac->open_count < dac->open_cap)
		return OK;
	size_t cap = dac->open_cap ? 2 * dac->open_cap : 64;
	uint32_t *grown = reallocarray(dac->open, cap, sizeof(*grown));
	if (!grown)
		return fail(NO_MEMORY, "attestation chain");
	dac->open = grown;
	dac->open_cap = cap;
	return OK;
}

static result add_record_again(struct dac *dac, size_t at, struct span object)
{
	struct record_row *row = record_at(dac, at);
	bool is_new;
	TRY(add_alternate(dac, row->bytes, &row->alternates, object, &is_new));
	if (is_new && row->judged && row->reason == BAD_SIGNATURE) {
		if (!row->curable) { /* else it is among the open ones */
			TRY(open_reserve(dac));
			dac->open[dac->open_count++] = (uint32_t)at;
			dac->told.refused--;
		}
		forget_verdict(row);
		dac->added = true;
	}
	return OK;
}

result dac_add_report(struct dac *dac, struct span object, uint8_t *out_oid)
{
	void *reserved;
	if (dac->reports.count >= dac->config.limits.records)
		return fail(DAC_TOO_LARGE, "%zu reports", dac->reports.count);
	TRY(table_reserve(dac, &dac->reports, report_name, &reserved));
	struct report_row *row = reserved;
	TRY(object_peek(KIND_REPORT, object, &dac->arena, &row->report, row->oid));
	if (out_oid)
		memcpy(out_oid, row->oid, OID_SIZE);
	row->bytes = object;
	ptrdiff_t known = index_find(dac, &dac->reports.index, report_name, row->oid);
	if (known != NOWHERE)
		return add_report_again(dac, (size_t)known, object);
	TRY(count_bytes(dac, object));
	table_commit(&dac->reports, row->oid);
	dac->added = true;
	return OK;
}

result dac_add_record(struct dac *dac, struct span object, uint8_t *out_oid)
{
	void *reserved, *record;
	if (dac->records.count >= dac->config.limits.records)
		return fail(DAC_TOO_LARGE, "%zu records; at most %zu are allowed here", dac->records.count + 1,
			dac->config.limits.records);
	TRY(table_reserve(dac, &dac->records, record_name, &reserved));
	struct record_row *row = reserved;
	TRY(arena_alloc(&dac->arena, 1, sizeof(struct record), &record));
	TRY(object_peek(KIND_RECORD, object, &dac->arena, record, row->oid));
	if (out_oid)
		memcpy(out_oid, row->oid, OID_SIZE);
	row->bytes = object;
	row->record = record;
	ptrdiff_t known = index_find(dac, &dac->records.index, record_name, row->oid);
	if (known != NOWHERE)
		return add_record_again(dac, (size_t)known, object);
	TRY(count_bytes(dac, object));
	TRY(open_reserve(dac));
	dac->open[dac->open_count++] = (uint32_t)dac->records.count;
	table_commit(&dac->records, row->oid);
	dac->added = true;
	return OK;
}

/* ---- Phase 1: each object by itself ------------------------------------------------------------- */

/* Keeps the first of the object's forms whose signature holds. */
static result verify_any(enum object_kind kind, struct span *bytes, const struct alternate *alternates, const struct key *key)
{
	result verified = object_verify(kind, *bytes, key);
	for (const struct alternate *a = alternates; a && verified != OK; a = a->next) {
		verified = object_verify(kind, a->bytes, key);
		if (verified == OK)
			*bytes = a->bytes;
	}
	return verified;
}

static ptrdiff_t find_root(const struct dac *dac, const uint8_t rot_id[static OID_SIZE], uint32_t era, uint64_t epoch)
{
	for (size_t i = 0; i < dac->config.root_count; i++) {
		const struct dac_root *root = &dac->config.roots[i];
		if (memcmp(root->rot_id, rot_id, OID_SIZE) == 0 && root->era == era && root->epoch == epoch)
			return (ptrdiff_t)i;
	}
	return NOWHERE;
}

/* The issuer of a certificate is told by the label in its name; several epochs of one root are tried by their key. */
static enum reason check_certificate(struct dac *dac, struct certificate_row *row)
{
	for (size_t i = 0; i < dac->config.root_count; i++) {
		const char *name;
		const struct dac_root *root = &dac->config.roots[i];
		if (ire_uri_name(row->certificate.uri, root->rot_id, &name) != OK)
			continue;
		if (certificate_verify(&row->certificate, root->key) != OK)
			continue;
		row->root = (uint32_t)i;
		return OK;
	}
	return DAC_UNTRUSTED_ROOT;
}

static enum reason check_report(struct dac *dac, struct report_row *row)
{
	ptrdiff_t root = find_root(dac, row->report.rot_id, row->report.era, row->report.epoch);
	if (root == NOWHERE)
		return DAC_UNTRUSTED_ROOT;
	if (memcmp(row->report.epoch_oid, dac->config.roots[root].epoch_oid, OID_SIZE) != 0)
		return DAC_UNTRUSTED_ROOT;
	return verify_any(KIND_REPORT, &row->bytes, row->alternates, dac->config.roots[root].key);
}

static void check_supporting(struct dac *dac)
{
	for (; dac->certificates_seen < dac->certificates.count; dac->certificates_seen++) {
		struct certificate_row *row = certificate_at(dac, dac->certificates_seen);
		row->reason = check_certificate(dac, row);
	}
	for (size_t i = dac->report_again ? 0 : dac->reports_seen; i < dac->reports.count; i++) {
		struct report_row *row = report_at(dac, i);
		if (!row->checked)
			row->reason = check_report(dac, row);
		row->checked = true;
	}
	dac->reports_seen = dac->reports.count;
	dac->report_again = false;
}

static result check_times(const struct dac *dac, const struct record *record, const struct certificate *certificate,
	const struct dac_root *root)
{
	if (record->time < dac->config.earliest_ms || (dac->config.latest_ms && record->time > dac->config.latest_ms))
		return fail(DAC_TIME, "its time lies outside the run");
	if (record->time < root->not_before || record->time > root->not_after)
		return fail(DAC_TIME, "its time lies outside its root's epoch");
	return certificate_valid_at(certificate, record->time);
}

/* The policy of the launch, or a later version that its author signed. */
static result check_policy_digest(const struct dac *dac, const struct launch *launch, const struct record *record)
{
	if (memcmp(launch->policy_digest, record->policy_digest, SHA256_SIZE) == 0)
		return OK;
	if (!dac->config.follows)
		return fail(DAC_REPORT_MISMATCH, "the record names another policy than the one that was launched");
	return dac->config.follows(dac->config.policy_ctx, launch->policy_digest, record->policy_digest);
}

static result check_report_binding(const struct dac *dac, const struct record *record, const struct certificate *certificate,
	const struct report *report)
{
	uint8_t keys[SHA256_SIZE];
	const struct launch *launch = &report->launch;
	launch_keys_hash(certificate->key.point, certificate->kem_point, keys);
	if (report->purpose != REPORT_LAUNCH || !report->has_launch || !report->has_certificate)
		return fail(DAC_REPORT_MISMATCH, "the report is not a launch report");
	if (memcmp(report->certificate, certificate->digest, SHA256_SIZE) != 0 ||
		memcmp(launch->keys_hash, keys, sizeof(keys)) != 0)
		return fail(DAC_REPORT_MISMATCH, "the report is about other keys");
	if (memcmp(launch->run_id, record->run_id, RUN_ID_SIZE) != 0)
		return fail(DAC_REPORT_MISMATCH, "the report is about another run");
	TRY(check_policy_digest(dac, launch, record));
	if (record->era != report->era || record->epoch != report->epoch ||
		memcmp(record->rot_id, report->rot_id, OID_SIZE) != 0)
		return fail(DAC_REPORT_MISMATCH, "record and report name different epochs");
	const char *name;
	TRY(ire_uri_name(certificate->uri, record->rot_id, &name));
	if (strcmp(name, launch->name) != 0 || strcmp(certificate->uri, record->enclave) != 0)
		return fail(DAC_REPORT_MISMATCH, "record, certificate and report name different enclaves");
	return OK;
}

/* DA-12: by its own time; what was signed before `from` stays. */
static result check_revoked(const struct dac *dac, const struct record *record, const struct certificate *certificate,
	const struct report *report)
{
	const struct revocation_subject subject = {
		.measurement = report->launch.measurement,
		.core = report->launch.core,
		.key = certificate->key.id,
		.certificate = certificate->digest,
		.rot_id = record->rot_id,
		.epoch = report->epoch_oid,
		.policy = record->policy_digest,
	};
	if (!dac->config.revocations)
		return OK;
	result judged = revocation_judge(dac->config.revocations, &subject, record->time);
	return judged == OK ? OK : fail_within(judged, "a record of %s", record->enclave);
}

static result check_alone(const struct dac *dac, struct record_row *row)
{
	const struct record *record = row->record;
	ptrdiff_t certificate = index_find(dac, &dac->certificates.index, certificate_name, record->certificate);
	ptrdiff_t report = index_find(dac, &dac->reports.index, report_name, record->host_report);
	row->curable = true; /* until the objects beside it are found to be good */
	if (certificate == NOWHERE)
		return fail(DAC_UNKNOWN_CERTIFICATE, "of %s", record->enclave);
	if (report == NOWHERE)
		return fail(DAC_UNKNOWN_REPORT, "of %s", record->enclave);
	row->certificate = (uint32_t)certificate;
	row->report = (uint32_t)report;
	const struct certificate_row *c = certificate_at(dac, (size_t)certificate);
	const struct report_row *r = report_at(dac, (size_t)report);
	if (c->reason != OK)
		return fail(c->reason, "the certificate of %s", record->enclave);
	if (r->reason != OK)
		return fail(r->reason, "the launch report of %s", record->enclave);
	row->curable = false;
	const struct dac_root *root = &dac->config.roots[c->root];
	if (memcmp(root->rot_id, record->rot_id, OID_SIZE) != 0)
		return fail(DAC_UNTRUSTED_ROOT, "certificate and record name different roots");
	TRY(verify_any(KIND_RECORD, &row->bytes, row->alternates, &c->certificate.key));
	if (dac->config.run_id && memcmp(record->run_id, dac->config.run_id, RUN_ID_SIZE) != 0)
		return fail(DAC_FOREIGN_RUN, "a record of %s", record->enclave);
	TRY(check_times(dac, record, &c->certificate, root));
	TRY(check_report_binding(dac, record, &c->certificate, &r->report));
	return check_revoked(dac, record, &c->certificate, &r->report);
}

static void refuse(struct record_row *row, enum reason reason, const char *text)
{
	if (row->reason != OK)
		return;
	row->reason = reason;
	row->text = strdup(text ? text : "");
}

struct phase_one {
	struct dac *dac;
	const uint32_t *fresh;
	size_t count;
	atomic_size_t next;
};

static void *phase_one_worker(void *argument)
{
	struct phase_one *work = argument;
	enum { SLICE = 64 };
	for (;;) {
		size_t from = atomic_fetch_add(&work->next, SLICE);
		if (from >= work->count)
			return NULL;
		for (size_t i = from; i < work->count && i < from + SLICE; i++) {
			struct record_row *row = record_at(work->dac, work->fresh[i]);
			if (row->good_alone)
				continue;
			result checked = check_alone(work->dac, row);
			row->good_alone = checked == OK;
			if (checked != OK)
				refuse(row, checked, failure_text());
		}
	}
}

static void run_phase_one(struct dac *dac, const uint32_t *fresh, size_t count)
{
	struct phase_one work = {.dac = dac, .fresh = fresh, .count = count};
	unsigned threads = dac->config.threads;
	if (!threads) {
		long processors = sysconf(_SC_NPROCESSORS_ONLN);
		threads = processors > 0 ? (unsigned)processors : 1;
	}
	enum { MOST_THREADS = 64, RECORDS_PER_THREAD = 32 };
	if (threads > MOST_THREADS)
		threads = MOST_THREADS;
	pthread_t helpers[MOST_THREADS];
	unsigned started = 0;
	while (started + 1 < threads && (started + 1) * RECORDS_PER_THREAD < count)
		if (pthread_create(&helpers[started], NULL, phase_one_worker, &work) == 0)
			started++;
		else
			break;
	phase_one_worker(&work);
	for (unsigned i = 0; i < started; i++)
		pthread_join(helpers[i], NULL);
}

/* ---- Phase 2: the rules, parents first ------------------------------------------------------------ */

static bool is_own(const struct record *a, const struct record *b)
{
	return memcmp(a->certificate, b->certificate, SHA256_SIZE) == 0;
}

static bool is_for(const struct record *parent, const struct record *record)
{
	return parent->has_target && strcmp(parent->target, record->enclave) == 0;
}

static bool holds(const struct record_data *list, size_t count, const uint8_t commit[static SHA256_SIZE])
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(list[i].commit, commit, SHA256_SIZE) == 0)
			return true;
	return false;
}

static result check_origin(const struct record *record)
{
	if (record->parent_count || record->has_target || record->has_call_id || record->in_count || !record->out_count)
		return fail(DAC_KIND_RULE, "an ORIGIN has outputs and nothing else");
	return OK;
}

static result check_derive(const struct record *record)
{
	if (!record->parent_count || record->has_target || record->has_call_id || record->has_ledger_ref)
		return fail(DAC_KIND_RULE, "a DERIVE has parents and no target");
	return OK;
}

static result check_request(const struct record *record)
{
	if (!record->parent_count || !record->has_target || !record->has_call_id || !record->in_count || record->out_count ||
		record->has_ledger_ref)
		return fail(DAC_KIND_RULE, "a REQUEST has parents, a target, a call id and inputs, and no outputs");
	if (strcmp(record->target, record->enclave) == 0)
		return fail(DAC_KIND_RULE, "a REQUEST to oneself");
	return OK;
}

static result check_response(const struct record *record)
{
	if (!record->parent_count || !record->has_target || !record->has_call_id || !record->out_count || record->has_ledger_ref)
		return fail(DAC_KIND_RULE, "a RESPONSE has parents, a target, a call id and outputs");
	return OK;
}

static result check_kind(const struct record *record)
{
	switch ((enum record_kind)record->kind) {
	case RECORD_ORIGIN: return check_origin(record);
	case RECORD_DERIVE: return check_derive(record);
	case RECORD_REQUEST: return check_request(record);
	case RECORD_RESPONSE: return check_response(record);
	}
	return fail(DAC_KIND_RULE, "kind %u", record->kind);
}

/* May `parent` stand among the parents of `record`, seen by their kinds? */
static result check_parent_kind(const struct record *record, const struct record *parent)
{
	bool own = is_own(record, parent);
	if (own && parent->seq >= record->seq)
		return fail(DAC_TIME, "it builds on a later record of its own enclave");
	if (own)
		return OK;
	if (!is_for(parent, record))
		return fail(DAC_SPLICED, "its parent of %s was not addressed to it", parent->enclave);
	bool request = parent->kind == RECORD_REQUEST, response = parent->kind == RECORD_RESPONSE;
	if (record->kind == RECORD_DERIVE && (request || response))
		return OK;
	if (record->kind == RECORD_RESPONSE && (request || response))
		return OK;
	return fail(DAC_KIND_RULE, "a %s of another enclave is no parent of a %s", record_kind_name(parent->kind),
		record_kind_name(record->kind));
}

static bool parent_supplies(const struct record *record, const struct record *parent, const uint8_t *commit)
{
	if (holds(parent->out, parent->out_count, commit))
		return true;
	return parent->kind == RECORD_REQUEST && !is_own(record, parent) && holds(parent->in, parent->in_count, commit);
}

static result check_commitments(const struct dac *dac, const struct record *record, const size_t *parents)
{
	for (size_t i = 0; i < record->in_count; i++) {
		bool found = false;
		for (size_t p = 0; p < record->parent_count && !found; p++)
			found = parent_supplies(record, record_at(dac, parents[p])->record, record->in[i].commit);
		if (!found)
			return fail(DAC_COMMITMENT, "nobody supplied its input '%s'", record->in[i].name);
	}
	return OK;
}

static result check_answers(const struct dac *dac, const struct record *record, const size_t *parents)
{
	size_t requests = 0;
	for (size_t p = 0; p < record->parent_count; p++) {
		const struct record *parent = record_at(dac, parents[p])->record;
		if (parent->kind != RECORD_REQUEST || is_own(record, parent))
			continue;
		requests++;
		if (memcmp(parent->call_id, record->call_id, CALL_ID_SIZE) != 0 ||
			strcmp(parent->operation, record->operation) != 0 || strcmp(parent->enclave, record->target) != 0)
			return fail(DAC_KIND_RULE, "it answers another call than the one it names");
	}
	if (requests != 1)
		return fail(DAC_KIND_RULE, "a RESPONSE answers exactly one REQUEST, this one %zu", requests);
	return OK;
}

static enum policy_confinement confinement_of(const char *tier)
{
	if (strcmp(tier, "N") == 0)
		return CONFINEMENT_N;
	if (strcmp(tier, "L") == 0)
		return CONFINEMENT_L;
	return CONFINEMENT_NONE;
}

static result fill_party(const struct record *record, const struct report *report, struct policy_party *out)
{
	const char *name;
	TRY(ire_uri_name(record->enclave, record->rot_id, &name));
	*out = (struct policy_party){
		.name = span_str(name),
		.proof = PROOF_ENDORSED,
		.rot_id = span_of(record->rot_id, OID_SIZE),
		.confinement = confinement_of(report->launch.tier),
		.interpreter_open = strcmp(report->launch.interpreter, "open") == 0,
	};
	return OK;
}

/* Rule 6: may the record's enclave, by its own policy, build on this record of `peer`? */
static result check_policy(const struct dac *dac, const struct record_row *row, const struct record_row *peer, unsigned level)
{
	const struct record *record = row->record, *from = peer->record;
	const struct report *report = &report_at(dac, peer->report)->report;
	const struct policy_table *table = dac->config.policy ?
		dac->config.policy(dac->config.policy_ctx, record->policy_digest) : NULL;
	struct span scopes[256];
	size_t scope_count = 0;
	/* Only data that the record takes: a scope is the name under which it was sent. */
	for (size_t i = 0; i < from->in_count && scope_count < COUNT_OF(scopes); i++)
		scopes[scope_count++] = span_str(from->in[i].name);
	struct policy_request request = {
		.subject_kind = SUBJECT_ENCLAVE,
		.state = STATE_RUNNING,
		.resource = RESOURCE_RECORD,
		/* An answer travels under the permission of its request. */
		.direction = from->kind == RECORD_RESPONSE ? DIRECTION_SEND : DIRECTION_RECEIVE,
		.peer_level = platform_level(dac->config.platform, report),
		.peer_factors = policy_factors_of_level(platform_level(dac->config.platform, report)),
		.peer_core = SPAN_ARRAY(report->launch.core),
		.references = dac->config.references,
		.evidence_time_ms = report->time,
		.operation = span_str(from->operation),
		.scopes = scopes,
		.scope_count = scope_count,
		.dac_depth = level,
		.now_ms = record->time,
	};
	struct policy_decision decision;
	TRY(fill_party(record, &report_at(dac, row->report)->report, &request.own));
	TRY(fill_party(from, report, &request.peer));
	return policy_require(table, &request, &decision);
}

static result check_parents(const struct dac *dac, const struct record_row *row, const size_t *parents, unsigned *out_level)
{
	const struct record *record = row->record;
	unsigned level = record->kind == RECORD_ORIGIN ? 1 : 0;
	for (size_t p = 0; p < record->parent_count; p++) {
		const struct record_row *parent_row = record_at(dac, parents[p]);
		const struct record *parent = parent_row->record;
		if (strcmp(record->parents[p].enclave, parent->enclave) != 0)
			return fail(DAC_KIND_RULE, "it names another enclave as its parent's signer");
		TRY(check_parent_kind(record, parent));
		if (parent->time > record->time && parent->time - record->time > dac->config.skew_ms)
			return fail(DAC_TIME, "it is dated before its parent of %s", parent->enclave);
		bool called = parent->kind == RECORD_REQUEST && !is_own(record, parent);
		unsigned through = parent_row->level + (called ? 1u : 0u);
		if (through > level)
			level = through;
	}
	*out_level = level;
	for (size_t p = 0; p < record->parent_count; p++)
		if (!is_own(record, record_at(dac, parents[p])->record))
			TRY(check_policy(dac, row, record_at(dac, parents[p]), level));
	return OK;
}

/* Bounds of what is built on here. What is signed here keeps to others: it folds. */
static result check_limits(const struct dac *dac, struct record_row *row, const size_t *parents)
{
	const struct dac_limits *limits = &dac->config.limits;
	const struct record *record = row->record;
	uint32_t path = 0;
	for (size_t p = 0; p < record->parent_count; p++)
		if (record_at(dac, parents[p])->path > path)
			path = record_at(dac, parents[p])->path;
	row->path = path + 1;
	if (dac->config.own && memcmp(record->certificate, dac->config.own, SHA256_SIZE) == 0)
		return OK;
	if (record->parent_count > limits->parents)
		return fail(DAC_TOO_LARGE, "a record with %zu parents; at most %zu are allowed here", record->parent_count, limits->parents);
	if (row->path > limits->path)
		return fail(DAC_TOO_LARGE, "record %u on the way from an ORIGIN; at most %zu are allowed here", row->path, limits->path);
	return OK;
}

static result check_with_parents(const struct dac *dac, struct record_row *row, const size_t *parents)
{
	const struct record *record = row->record;
	unsigned level;
	TRY(check_kind(record));
	for (size_t p = 0; p < record->parent_count; p++)
		if (record_at(dac, parents[p])->reason != OK)
			return fail(DAC_BROKEN_ANCESTOR, "through its parent of %s",
				record_at(dac, parents[p])->record->enclave);
	TRY(check_limits(dac, row, parents));
	TRY(check_parents(dac, row, parents, &level));
	TRY(check_commitments(dac, record, parents));
	if (record->kind == RECORD_RESPONSE)
		TRY(check_answers(dac, record, parents));
	if (level > UINT16_MAX)
		return fail(DAC_TOO_LARGE, "a chain of %u calls", level);
	row->level = (uint16_t)level;
	return OK;
}

static const uint8_t *seq_name(const struct dac *dac, size_t at)
{
	static _Thread_local uint8_t name[SHA256_SIZE];
	uint8_t input[SHA256_SIZE + 8];
	const struct record *record = record_at(dac, at)->record;
	struct writer w = writer_fixed(input, sizeof(input));
	writer_put(&w, record->certificate, SHA256_SIZE);
	writer_u64(&w, record->seq);
	sha256(SPAN_ARRAY(input), name);
	return name;
}

static const uint8_t *answered_request(const struct dac *dac, size_t at)
{
	const struct record *record = record_at(dac, at)->record;
	for (size_t p = 0; p < record->parent_count; p++) {
		ptrdiff_t parent = index_find(dac, &dac->records.index, record_name, record->parents[p].oid);
		if (parent == NOWHERE)
			continue;
		const struct record *request = record_at(dac, (size_t)parent)->record;
		if (request->kind == RECORD_REQUEST && !is_own(record, request))
			return record->parents[p].oid;
	}
	return NULL;
}

/* Rules 2 and 5: one record per place; two prove equivocation, and both fail. Only for records with a good signature. */
static result note_place(struct dac *dac, struct index *index, name_of name_at, const uint8_t *name, size_t at,
	const char *what)
{
	uint8_t copy[32];
	memcpy(copy, name, sizeof(copy)); /* seq_name reuses its buffer */
	TRY(index_grow(dac, index, name_at));
	ptrdiff_t other = index_find(dac, index, name_at, copy);
	if (other == NOWHERE) {
		index_place(index, copy, (uint32_t)at);
		return OK;
	}
	if ((size_t)other == at)
		return OK;
	struct record_row *first = record_at(dac, (size_t)other);
	dac->shaken |= first->judged && first->reason == OK;
	first->level = 0;
	refuse(record_at(dac, at), DAC_EQUIVOCATION, what);
	refuse(first, DAC_EQUIVOCATION, what);
	return OK;
}

static result note_places(struct dac *dac, const uint32_t *fresh, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct record_row *row = record_at(dac, fresh[i]);
		if (row->reason != OK && row->reason != DAC_EQUIVOCATION)
			continue;
		TRY(note_place(dac, &dac->by_seq, seq_name, seq_name(dac, fresh[i]), fresh[i],
			"its enclave signed another record with the same sequence number"));
		const uint8_t *request = row->record->kind == RECORD_RESPONSE ? answered_request(dac, fresh[i]) : NULL;
		if (request)
			TRY(note_place(dac, &dac->by_request, answered_request, request, fresh[i],
				"its request was answered twice, differently"));
	}
	return OK;
}

/* Who waits for whom among the fresh records: children lists in one array. */
struct order {
	uint32_t *heads; /* by record: first edge + 1 */
	bool lent;	 /* heads are the set's own */
	struct edge {
		uint32_t child, next;
	} *edges;
	size_t edge_count;
	uint32_t *queue;
	size_t queue_len;
};

static void order_free(struct order *order)
{
	if (!order->lent)
		free(order->heads);
	free(order->edges);
	free(order->queue);
}

static result order_new(const struct dac *dac, const uint32_t *fresh, size_t count, struct order *out)
{
	size_t parents = 0;
	for (size_t i = 0; i < count; i++)
		parents += record_at(dac, fresh[i])->record->parent_count;
	if (!out->lent)
		out->heads = calloc(dac->records.count + 1, sizeof(*out->heads));
	out->edges = calloc(parents + 1, sizeof(*out->edges));
	out->queue = calloc(count + 1, sizeof(*out->queue));
	return out->heads && out->edges && out->queue ? OK : fail(NO_MEMORY, "order of the attestation chain");
}

/* Room that stays: what a few records cost does not depend on how many there are. */
static result lend_heads(struct dac *dac, struct order *order)
{
	if (!dac->heads || dac->heads_cap < dac->records.count) {
		uint32_t *grown = calloc(dac->records.cap + 1, sizeof(*grown));
		if (!grown)
			return fail(NO_MEMORY, "order of the attestation chain");
		free(dac->heads);
		dac->heads = grown;
		dac->heads_cap = dac->records.cap;
	}
	order->heads = dac->heads;
	order->lent = true;
	return OK;
}

static void wait_for_parents(struct dac *dac, struct order *order, uint32_t at)
{
	struct record_row *row = record_at(dac, at);
	row->pending = 0;
	for (size_t p = 0; p < row->record->parent_count; p++) {
		ptrdiff_t parent = index_find(dac, &dac->records.index, record_name, row->record->parents[p].oid);
		if (parent == NOWHERE || record_at(dac, (size_t)parent)->judged)
			continue;
		struct edge *edge = &order->edges[order->edge_count++];
		*edge = (struct edge){at, order->heads[parent]};
		order->heads[parent] = (uint32_t)order->edge_count;
		row->pending++;
	}
	if (row->pending == 0)
		order->queue[order->queue_len++] = at;
}

static void judge(struct dac *dac, struct record_row *row)
{
	size_t parents[RECORD_MAX_PARENTS];
	const struct record *record = row->record;
	result judged = OK;
	for (size_t p = 0; p < record->parent_count && judged == OK; p++) {
		ptrdiff_t parent = index_find(dac, &dac->records.index, record_name, record->parents[p].oid);
		if (parent == NOWHERE)
			judged = fail(DAC_MISSING_PARENT, "a record of %s", record->parents[p].enclave);
		else
			parents[p] = (size_t)parent;
	}
	if (judged == OK && row->reason == OK)
		judged = check_with_parents(dac, row, parents);
	if (judged != OK) {
		row->curable |= row->reason == OK && (judged == DAC_MISSING_PARENT || judged == DAC_BROKEN_ANCESTOR);
		refuse(row, judged, failure_text());
	}
	row->judged = true;
}

static void run_phase_two(struct dac *dac, struct order *order, const uint32_t *fresh, size_t count)
{
	for (size_t i = 0; i < count; i++)
		wait_for_parents(dac, order, fresh[i]);
	for (size_t at = 0; at < order->queue_len; at++) {
		uint32_t record = order->queue[at];
		judge(dac, record_at(dac, record));
		for (uint32_t edge = order->heads[record]; edge; edge = order->edges[edge - 1].next) {
			uint32_t child = order->edges[edge - 1].child;
			if (--record_at(dac, child)->pending == 0)
				order->queue[order->queue_len++] = child;
		}
	}
	for (size_t i = 0; i < count; i++) {
		struct record_row *row = record_at(dac, fresh[i]);
		order->heads[fresh[i]] = 0; /* only such as had no verdict had children that waited */
		if (!row->judged)
			refuse(row, DAC_CYCLE, "its ancestors lead back to it");
		row->judged = true;
	}
}

/* An equivocation that shows late takes back the verdicts of everything that was built on the first of the two. */
static result take_back(struct dac *dac)
{
	CLEANUP(order_free) struct order order = {0};
	uint32_t *all = calloc(dac->records.count + 1, sizeof(*all));
	if (!all)
		return fail(NO_MEMORY, "attestation chain");
	for (size_t i = 0; i < dac->records.count; i++)
		all[i] = (uint32_t)i;
	result made = order_new(dac, all, dac->records.count, &order);
	free(all);
	TRY(made);
	for (size_t i = 0; i < dac->records.count; i++) {
		const struct record_row *row = record_at(dac, i);
		for (size_t p = 0; p < row->record->parent_count; p++) {
			ptrdiff_t parent = index_find(dac, &dac->records.index, record_name, row->record->parents[p].oid);
			if (parent == NOWHERE)
				continue;
			order.edges[order.edge_count++] = (struct edge){(uint32_t)i, order.heads[parent]};
			order.heads[parent] = (uint32_t)order.edge_count;
		}
		if (row->reason == DAC_EQUIVOCATION)
			order.queue[order.queue_len++] = (uint32_t)i;
	}
	for (size_t at = 0; at < order.queue_len; at++)
		for (uint32_t edge = order.heads[order.queue[at]]; edge; edge = order.edges[edge - 1].next) {
			struct record_row *child = record_at(dac, order.edges[edge - 1].child);
			if (child->reason != OK)
				continue;
			child->level = 0;
			refuse(child, DAC_BROKEN_ANCESTOR, "one of its ancestors was signed twice, differently");
			order.queue[order.queue_len++] = order.edges[edge - 1].child;
		}
	return OK;
}

static void tell(struct dac_summary *summary, const struct record_row *row)
{
	if (row->reason == OK)
		summary->accepted++;
	else
		summary->refused++;
	if (row->level > summary->depth)
		summary->depth = row->level;
}

/* Verdicts that were given have changed: told anew. Happens once for each equivocation that shows late. */
static result retell(struct dac *dac)
{
	TRY(take_back(dac));
	dac->told = (struct dac_summary){0};
	for (size_t i = 0; i < dac->records.count; i++)
		if (record_at(dac, i)->judged && !record_at(dac, i)->curable)
			tell(&dac->told, record_at(dac, i));
	return OK;
}

/* What may change later stays open, the rest is told for good. */
static void close_judged(struct dac *dac)
{
	size_t kept = 0;
	for (size_t i = 0; i < dac->open_count; i++) {
		const struct record_row *row = record_at(dac, dac->open[i]);
		if (row->curable)
			dac->open[kept++] = dac->open[i];
		else
			tell(&dac->told, row);
	}
	dac->open_count = kept;
}

static result verify_fresh(struct dac *dac, const uint32_t *fresh, size_t count)
{
	check_supporting(dac);
	run_phase_one(dac, fresh, count);
	TRY(note_places(dac, fresh, count));
	CLEANUP(order_free) struct order order = {0};
	TRY(lend_heads(dac, &order));
	TRY(order_new(dac, fresh, count, &order));
	run_phase_two(dac, &order, fresh, count);
	close_judged(dac);
	if (dac->shaken)
		TRY(retell(dac));
	dac->shaken = false;
	return OK;
}

result dac_verify(struct dac *dac, struct dac_summary *out)
{
	uint32_t *fresh = calloc(dac->open_count + 1, sizeof(*fresh));
	if (!fresh)
		return fail(NO_MEMORY, "attestation chain");
	size_t count = 0;
	for (size_t i = 0; i < dac->open_count; i++) {
		struct record_row *row = record_at(dac, dac->open[i]);
		if (dac->added && row->curable)
			forget_verdict(row);
		if (!row->judged)
			fresh[count++] = dac->open[i];
	}
	dac->added = false;
	result verified = verify_fresh(dac, fresh, count);
	free(fresh);
	TRY(verified);
	*out = dac->told;
	out->records = dac->records.count;
	for (size_t i = 0; i < dac->open_count; i++)
		tell(out, record_at(dac, dac->open[i]));
	return OK;
}

/* ---- Looking in ------------------------------------------------------------------------------------ */

size_t dac_count(const struct dac *dac)
{
	return dac->records.count;
}

size_t dac_find(const struct dac *dac, const uint8_t oid[static OID_SIZE])
{
	ptrdiff_t at = index_find(dac, &dac->records.index, record_name, oid);
	return at == NOWHERE ? SIZE_MAX : (size_t)at;
}

const struct record *dac_record(const struct dac *dac, size_t index)
{
	return record_at(dac, index)->record;
}

const uint8_t *dac_oid(const struct dac *dac, size_t index)
{
	return record_at(dac, index)->oid;
}

struct span dac_bytes(const struct dac *dac, size_t index)
{
	return record_at(dac, index)->bytes;
}

struct dac_verdict dac_verdict(const struct dac *dac, size_t index)
{
	const struct record_row *row = record_at(dac, index);
	return (struct dac_verdict){row->judged, row->reason, row->text ? row->text : "", row->level};
}

result dac_require(const struct dac *dac, const uint8_t oid[static OID_SIZE])
{
	size_t at = dac_find(dac, oid);
	if (at == SIZE_MAX)
		return fail(DAC_MISSING_PARENT, "the record is not in the bundle");
	struct dac_verdict verdict = dac_verdict(dac, at);
	if (!verdict.judged)
		return fail(ILLEGAL_STATE, "a record that was not judged");
	if (verdict.reason != OK)
		return fail(verdict.reason, "%s of %s: %s", record_kind_name(dac_record(dac, at)->kind),
			dac_record(dac, at)->enclave, verdict.text);
	return OK;
}

struct span dac_certificate(const struct dac *dac, const uint8_t digest[static SHA256_SIZE])
{
	ptrdiff_t at = index_find(dac, &dac->certificates.index, certificate_name, digest);
	return at == NOWHERE ? SPAN_EMPTY : certificate_at(dac, (size_t)at)->certificate.der;
}

struct span dac_report(const struct dac *dac, const uint8_t oid[static OID_SIZE])
{
	ptrdiff_t at = index_find(dac, &dac->reports.index, report_name, oid);
	return at == NOWHERE ? SPAN_EMPTY : report_at(dac, (size_t)at)->bytes;
}

const struct report *dac_report_of(const struct dac *dac, const uint8_t oid[static OID_SIZE])
{
	ptrdiff_t at = index_find(dac, &dac->reports.index, report_name, oid);
	return at == NOWHERE ? NULL : &report_at(dac, (size_t)at)->report;
}

/* ---- Closure ---------------------------------------------------------------------------------------- */

/* Marks the ancestors of the roots; counts them. */
static result mark_ancestors(const struct dac *dac, const struct digest32 *roots, size_t root_count, uint8_t *marked,
	uint32_t *stack, size_t *out_count)
{
	size_t depth = 0, count = 0;
	for (size_t i = 0; i < root_count; i++) {
		size_t at = dac_find(dac, roots[i].bytes);
		if (at == SIZE_MAX)
			return fail(DAC_MISSING_PARENT, "a result's record is not in the bundle");
		if (!marked[at])
			stack[depth++] = (uint32_t)at;
		marked[at] = 1;
	}
	while (depth) {
		const struct record *record = record_at(dac, stack[--depth])->record;
		count++;
		for (size_t p = 0; p < record->parent_count; p++) {
			size_t at = dac_find(dac, record->parents[p].oid);
			if (at == SIZE_MAX)
				return fail(DAC_MISSING_PARENT, "a record of %s", record->parents[p].enclave);
			if (!marked[at])
				stack[depth++] = (uint32_t)at;
			marked[at] = 1;
		}
	}
	*out_count = count;
	return OK;
}

/* A walk that goes down to the parents first: where it stands in each record on its way. */
struct walk {
	struct step {
		uint32_t at;
		uint16_t parent;
	} *steps;
	size_t depth, cap;
	size_t *found;
	size_t count, found_cap;
};

static void walk_free(struct walk *walk)
{
	free(walk->steps);
	free(walk->found);
}

static result walk_enter(struct dac *dac, struct walk *walk, size_t at)
{
	record_at(dac, at)->visited = dac->walks;
	if (walk->depth == walk->cap) {
		size_t cap = walk->cap ? 2 * walk->cap : 64;
		struct step *grown = reallocarray(walk->steps, cap, sizeof(*grown));
		if (!grown)
			return fail(NO_MEMORY, "ancestors");
		walk->steps = grown;
		walk->cap = cap;
	}
	walk->steps[walk->depth++] = (struct step){(uint32_t)at, 0};
	return OK;
}

static result walk_leave(struct walk *walk)
{
	if (walk->count == walk->found_cap) {
		size_t cap = walk->found_cap ? 2 * walk->found_cap : 64;
		size_t *grown = reallocarray(walk->found, cap, sizeof(*grown));
		if (!grown)
			return fail(NO_MEMORY, "ancestors");
		walk->found = grown;
		walk->found_cap = cap;
	}
	walk->found[walk->count++] = walk->steps[--walk->depth].at;
	return OK;
}

static void begin_walk(struct dac *dac)
{
	if (dac->walks == UINT32_MAX) {
		for (size_t i = 0; i < dac->records.count; i++)
			record_at(dac, i)->visited = 0;
		dac->walks = 0;
	}
	dac->walks++;
}

static result walk_up(struct dac *dac, const struct dac_walk *how, struct walk *walk)
{
	while (walk->depth) {
		struct step *step = &walk->steps[walk->depth - 1];
		const struct record *record = record_at(dac, step->at)->record;
		if (step->parent == record->parent_count) {
			TRY(walk_leave(walk));
			continue;
		}
		const struct record_parent *named = &record->parents[step->parent++];
		if (how->stop && how->stop(how->context, named->oid))
			continue;
		size_t parent = dac_find(dac, named->oid);
		if (parent == SIZE_MAX)
			TRY(how->missing ? how->missing(how->context, named->oid) :
					   fail(DAC_MISSING_PARENT, "a record of %s", named->enclave));
		else if (record_at(dac, parent)->visited != dac->walks)
			TRY(walk_enter(dac, walk, parent));
	}
	return OK;
}

result dac_walk(struct dac *dac, const uint8_t root[static OID_SIZE], const struct dac_walk *how, size_t **out_indices, size_t *out_count)
{
	CLEANUP(walk_free) struct walk walk = {0};
	size_t at = dac_find(dac, root);
	if (at == SIZE_MAX)
		return fail(DAC_MISSING_PARENT, "the record itself is not there");
	begin_walk(dac);
	TRY(walk_enter(dac, &walk, at));
	TRY(walk_up(dac, how, &walk));
	*out_indices = walk.found;
	*out_count = walk.count;
	walk.found = NULL; /* transferred */
	return OK;
}

struct ranked {
	size_t at;
	uint32_t rank; /* longest path from an ORIGIN: topological, and the same for everybody */
	const uint8_t *oid;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return memcmp(x->oid, y->oid, OID_SIZE);
}

/* Ranks by repeated Kahn steps over the marked set. */
static result rank_marked(const struct dac *dac, const uint8_t *marked, uint32_t *ranks, uint32_t *pending, uint32_t *queue,
	size_t count)
{
	CLEANUP(order_free) struct order order = {0};
	uint32_t *members = calloc(count + 1, sizeof(*members));
	if (!members)
		return fail(NO_MEMORY, "closure");
	size_t n = 0, done = 0, queued = 0;
	for (size_t i = 0; i < dac->records.count; i++)
		if (marked[i])
			members[n++] = (uint32_t)i;
	result made = order_new(dac, members, n, &order);
	for (size_t i = 0; i < n && made == OK; i++) {
		const struct record *record = record_at(dac, members[i])->record;
		pending[members[i]] = (uint32_t)record->parent_count;
		if (!record->parent_count)
			queue[queued++] = members[i];
		for (size_t p = 0; p < record->parent_count; p++) {
			size_t parent = dac_find(dac, record->parents[p].oid);
			order.edges[order.edge_count++] = (struct edge){members[i], order.heads[parent]};
			order.heads[parent] = (uint32_t)order.edge_count;
		}
	}
	free(members);
	TRY(made);
	while (done < queued) {
		uint32_t at = queue[done++];
		for (uint32_t edge = order.heads[at]; edge; edge = order.edges[edge - 1].next) {
			uint32_t child = order.edges[edge - 1].child;
			if (ranks[child] < ranks[at] + 1)
				ranks[child] = ranks[at] + 1;
			if (--pending[child] == 0)
				queue[queued++] = child;
		}
	}
	return done == count ? OK : fail(DAC_CYCLE, "among %zu records", count);
}

static result sort_closure(const struct dac *dac, const uint8_t *marked, uint32_t *ranks, uint32_t *pending,
	uint32_t *queue, size_t count, size_t **out)
{
	TRY(rank_marked(dac, marked, ranks, pending, queue, count));
	struct ranked *rows = calloc(count + 1, sizeof(*rows));
	size_t *indices = calloc(count + 1, sizeof(*indices));
	if (!rows || !indices) {
		free(rows);
		free(indices);
		return fail(NO_MEMORY, "closure");
	}
	size_t n = 0;
	for (size_t i = 0; i < dac->records.count; i++)
		if (marked[i])
			rows[n++] = (struct ranked){i, ranks[i], record_at(dac, i)->oid};
	qsort(rows, n, sizeof(*rows), compare_ranked);
	for (size_t i = 0; i < n; i++)
		indices[i] = rows[i].at;
	free(rows);
	*out = indices;
	return OK;
}

result dac_closure(const struct dac *dac, const struct digest32 *roots, size_t root_count, size_t **out_indices,
	size_t *out_count)
{
	size_t n = dac->records.count + 1, count = 0;
	uint8_t *marked = calloc(n, 1);
	uint32_t *work = calloc(3 * n, sizeof(*work));
	result made = marked && work ? OK : fail(NO_MEMORY, "closure");
	if (made == OK)
		made = mark_ancestors(dac, roots, root_count, marked, work, &count);
	if (made == OK) {
		memset(work, 0, 3 * n * sizeof(*work));
		made = sort_closure(dac, marked, work, work + n, work + 2 * n, count, out_indices);
	}
	free(marked);
	free(work);
	TRY(made);
	*out_count = count;
	return OK;
}

/* Is each row of a table named by a record of the closure? */
static result require_named(const struct dac *dac, const struct table *table, name_of name_at, size_t field_offset,
	const size_t *closure, size_t count, const char *what)
{
	uint8_t *used = calloc(table->count + 1, 1);
	if (!used)
		return fail(NO_MEMORY, "closure");
	for (size_t i = 0; i < count; i++) {
		const uint8_t *name = (const uint8_t *)record_at(dac, closure[i])->record + field_offset;
		ptrdiff_t at = index_find(dac, &table->index, name_at, name);
		if (at != NOWHERE)
			used[at] = 1;
	}
	size_t extra = 0;
	for (size_t i = 0; i < table->count; i++)
		extra += !used[i];
	free(used);
	return extra ? fail(DAC_EXTRA_NODE, "%zu %s that no record names", extra, what) : OK;
}

result dac_require_closed(const struct dac *dac, const struct digest32 *roots, size_t root_count)
{
	size_t *closure, count;
	TRY(dac_closure(dac, roots, root_count, &closure, &count));
	result closed = OK;
	if (dac->alternate_count)
		closed = fail(DAC_DUPLICATE, "%zu objects stand twice, with different signatures", dac->alternate_count);
	if (closed == OK && count != dac->records.count)
		closed = fail(DAC_EXTRA_NODE, "%zu records that no result depends on", dac->records.count - count);
	if (closed == OK)
		closed = require_named(dac, &dac->certificates, certificate_name, offsetof(struct record, certificate),
			closure, count, "certificates");
	if (closed == OK)
		closed = require_named(dac, &dac->reports, report_name, offsetof(struct record, host_report), closure, count,
			"reports");
	free(closure);
	return closed;
}
