#include "ledger/service_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ledger/proof.h"
#include "wire/text.h"

/* What the service answers from the engine without changing anything. Each runs on a worker. */

enum { PROOF_MAX = 256 * 1024, DECIDE_MEMORY = 512 * 1024, METRICS_MAX = 32 * 1024 };

static const char text_plain[] = "text/plain; charset=utf-8", application_cbor[] = "application/cbor", application_seq[] = "application/cbor-seq";
static const char *const no_parameters[] = {NULL};

static void answer_bytes(struct https_exchange *exchange, result done, const char *type, struct bytes *bytes)
{
	if (done != OK)
		https_answer_failure(exchange, done, NULL);
	else
		https_answer(exchange, 200, type, bytes_span(bytes));
	bytes_free(bytes);
}

/* The path's last part as a number, without sign or leading zeros. */
static result take_index(const struct https_exchange *exchange, uint64_t *out)
{
	const char *text = https_rest(exchange);
	uint64_t value = 0;
	if (!*text || (text[0] == '0' && text[1]))
		return fail(BAD_VALUE, "'%s' is no number", text);
	for (const char *c = text; *c; c++)
		if (*c < '0' || *c > '9' || __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
			return fail(BAD_VALUE, "'%s' is no number", text);
	*out = value;
	return OK;
}

static result take_name(const struct https_exchange *exchange, uint8_t out[static 32])
{
	return hex_decode(span_str(https_rest(exchange)), out, 32) == OK ? OK : fail(BAD_VALUE, "what follows in the path is 64 hex digits");
}

/* ---- Transactions and leaves ------------------------------------------------------------------------ */

void service_check(void *ctx, struct https_exchange *exchange)
{
	struct ledger_service *service = ctx;
	struct ledger_receipt receipt;
	result checked = ledger_engine_check(service->engine, https_body(exchange), &receipt);
	if (checked != OK)
		https_answer_failure(exchange, checked, NULL);
	else
		service_answer_json(exchange, 200, api_receipt_json(&receipt));
}

static result find(struct ledger_service *service, const struct https_exchange *exchange, struct ledger_receipt *out)
{
	uint8_t txid[OID_SIZE];
	TRY(https_query_only(exchange, no_parameters));
	TRY(take_name(exchange, txid));
	return ledger_engine_find(service->engine, txid, out);
}

void service_transaction(void *ctx, struct https_exchange *exchange)
{
	struct ledger_receipt receipt;
	result found = find(ctx, exchange, &receipt);
	if (found != OK)
		https_answer_failure(exchange, found, NULL);
	else
		service_answer_json(exchange, 200, api_receipt_json(&receipt));
}

static result leaf(struct ledger_service *service, const struct https_exchange *exchange, struct bytes *out)
{
	uint64_t index;
	TRY(https_query_only(exchange, no_parameters));
	TRY(take_index(exchange, &index));
	return ledger_engine_leaf(service->engine, index, out);
}

void service_leaf(void *ctx, struct https_exchange *exchange)
{
	struct bytes bytes = BYTES_EMPTY;
	answer_bytes(exchange, leaf(ctx, exchange, &bytes), application_cbor, &bytes);
}

/* ---- Proofs ----------------------------------------------------------------------------------------- */

static result leaf_proof(struct ledger_service *service, const struct https_exchange *exchange, struct bytes *out)
{
	static const char *const names[] = {"size", NULL};
	uint64_t index, size;
	TRY(https_query_only(exchange, names));
	TRY(https_query_number(exchange, "size", 0, &size));
	TRY(take_index(exchange, &index));
	return ledger_engine_leaf_proof(service->engine, index, size, out);
}

void service_leaf_proof(void *ctx, struct https_exchange *exchange)
{
	struct bytes bytes = BYTES_EMPTY;
	answer_bytes(exchange, leaf_proof(ctx, exchange, &bytes), text_plain, &bytes);
}

static result fact_proof(struct ledger_service *service, const struct https_exchange *exchange, struct bytes *out)
{
	uint8_t key[SPARSE_KEY_SIZE];
	TRY(https_query_only(exchange, no_parameters));
	TRY(take_name(exchange, key));
	return ledger_engine_fact_proof(service->engine, key, out);
}

void service_fact_proof(void *ctx, struct https_exchange *exchange)
{
	struct bytes bytes = BYTES_EMPTY;
	answer_bytes(exchange, fact_proof(ctx, exchange, &bytes), text_plain, &bytes);
}

static result consistency(struct ledger_service *service, const struct https_exchange *exchange, struct bytes *out)
{
	static const char *const names[] = {"from", "to", NULL};
	struct writer w = writer_growing(PROOF_MAX);
	struct merkle_proof proof;
	struct ledger_head head;
	uint64_t from, to;
	TRY(https_query_only(exchange, names));
	ledger_engine_head(service->engine, &head);
	TRY(https_query_number(exchange, "from", UINT64_MAX, &from));
	TRY(https_query_number(exchange, "to", head.size, &to));
	if (from == UINT64_MAX)
		return fail(MISSING_FIELD, "'from' in the query");
	if (from > to || to > head.size)
		return fail(NOT_FOUND, "from %" PRIu64 " to %" PRIu64 "; the log has %" PRIu64 " leaves", from, to, head.size);
	TRY(ledger_engine_consistency(service->engine, from, to, &proof));
	result put = api_hashes_put(&proof, &w);
	if (put == OK)
		put = writer_take(&w, out);
	writer_free(&w);
	return put;
}

void service_consistency(void *ctx, struct https_exchange *exchange)
{
	struct bytes bytes = BYTES_EMPTY;
	answer_bytes(exchange, consistency(ctx, exchange, &bytes), text_plain, &bytes);
}

/* ---- Facts and decisions ---------------------------------------------------------------------------- */

static result fact(struct ledger_service *service, const struct https_exchange *exchange, json_t **out)
{
	CLEANUP(bytes_free) struct bytes proof = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(PROOF_MAX);
	struct ledger_proof opened;
	TRY(fact_proof(service, exchange, &proof));
	TRY(ledger_proof_open(bytes_span(&proof), ledger_engine_log_key(service->engine), &arena, &opened));
	bool there = opened.value.len > 0;
	*out = json_pack("{s:o, s:b, s:o, s:I}", "key", json_hex(SPAN_ARRAY(opened.key)), "there", (int)there, "value",
		there ? json_hex(opened.value) : json_null(), "size", (json_int_t)opened.checkpoint.size);
	return OK;
}

void service_fact(void *ctx, struct https_exchange *exchange)
{
	json_t *json = NULL;
	result got = fact(ctx, exchange, &json);
	if (got != OK)
		https_answer_failure(exchange, got, NULL);
	else
		service_answer_json(exchange, 200, json);
}

static result decide(struct ledger_service *service, const struct https_exchange *exchange, json_t **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(DECIDE_MEMORY);
	struct access_question question;
	struct access_decision decision;
	uint64_t size;
	TRY(api_question_decode(https_body(exchange), &arena, &question));
	TRY(ledger_engine_decide(service->engine, &question, &decision, &size));
	*out = api_decision_json(&decision, size);
	return OK;
}

void service_decide(void *ctx, struct https_exchange *exchange)
{
	json_t *json = NULL;
	result decided = decide(ctx, exchange, &json);
	if (decided != OK)
		https_answer_failure(exchange, decided, NULL);
	else
		service_answer_json(exchange, 200, json);
}

/* ---- Entries ---------------------------------------------------------------------------------------- */

struct page {
	struct ledger_engine *engine;
	struct writer w;
	uint64_t paths; /* size of the paths; 0: none are asked for */
	bool full;
};

static result put_entry(void *arg, const struct ledger_row *row)
{
	struct page *page = arg;
	struct api_entry entry = {.index = row->index, .size = row->size, .time = row->time, .leaf = row->bytes, .has_path = page->paths != 0};
	uint64_t size;
	/* The page is one whole answer: what no longer fits begins the next. A leaf beyond the size asked for has no path in it. */
	page->full = page->w.len > ENTRIES_BYTES_MAX || (page->paths && row->index >= page->paths);
	if (page->full)
		return TOO_LARGE;
	if (page->paths)
		TRY(ledger_engine_prove(page->engine, row->index, page->paths, &entry.path, &size));
	api_entry_put(&entry, &page->w);
	return page->w.failed;
}

static result take_filter(const struct https_exchange *exchange, uint8_t sender[static ADDRESS_SIZE], struct ledger_filter *out, uint64_t *out_paths)
{
	static const char *const names[] = {"from", "since", "until", "sender", "type", "ok", "limit", "paths", NULL};
	const char *address = https_query(exchange, "sender");
	uint64_t type, ok;
	TRY(https_query_only(exchange, names));
	TRY(https_query_number(exchange, "from", 0, &out->from));
	TRY(https_query_number(exchange, "since", 0, &out->since_ms));
	TRY(https_query_number(exchange, "until", 0, &out->until_ms));
	TRY(https_query_number(exchange, "type", 0, &type));
	TRY(https_query_number(exchange, "ok", 0, &ok));
	TRY(https_query_number(exchange, "limit", ENTRIES_MAX, &out->limit));
	TRY(https_query_number(exchange, "paths", 0, out_paths));
	if (type > TX_CONFIG || ok > 1)
		return fail(BAD_VALUE, "'type' is 1 to %d, 'ok' is 1", TX_CONFIG);
	if (out->from > INT64_MAX || out->since_ms > INT64_MAX || out->until_ms > INT64_MAX)
		return fail(BAD_VALUE, "a number is too large");
	if (address) {
		TRY(address_parse(span_str(address), sender));
		out->sender = sender;
	}
	if (out->limit == 0 || out->limit > ENTRIES_MAX)
		out->limit = ENTRIES_MAX;
	out->type = (unsigned)type;
	out->only_ok = ok == 1;
	return OK;
}

static result entries(struct ledger_service *service, const struct https_exchange *exchange, struct bytes *out)
{
	struct page page = {.engine = service->engine, .w = writer_growing(ENTRIES_BYTES_MAX + 2 * LEAF_MAX)};
	struct ledger_filter filter = {0};
	uint8_t sender[ADDRESS_SIZE];
	TRY(take_filter(exchange, sender, &filter, &page.paths));
	result walked = ledger_engine_each(service->engine, &filter, put_entry, &page);
	if (walked == OK || page.full)
		walked = writer_take(&page.w, out);
	writer_free(&page.w);
	return walked;
}

void service_entries(void *ctx, struct https_exchange *exchange)
{
	struct bytes bytes = BYTES_EMPTY;
	answer_bytes(exchange, entries(ctx, exchange, &bytes), application_seq, &bytes);
}

/* ---- Heads ------------------------------------------------------------------------------------------ */

void service_checkpoint(void *ctx, struct https_exchange *exchange)
{
	struct ledger_service *service = ctx;
	struct bytes bytes = BYTES_EMPTY;
	answer_bytes(exchange, ledger_engine_checkpoint(service->engine, &bytes), text_plain, &bytes);
}

static result checkpoint_at(struct ledger_service *service, const struct https_exchange *exchange, struct bytes *out)
{
	uint64_t size;
	TRY(https_query_only(exchange, no_parameters));
	TRY(take_index(exchange, &size));
	return ledger_engine_checkpoint_at(service->engine, size, out);
}

void service_checkpoint_at(void *ctx, struct https_exchange *exchange)
{
	struct bytes bytes = BYTES_EMPTY;
	answer_bytes(exchange, checkpoint_at(ctx, exchange, &bytes), text_plain, &bytes);
}

/* ---- About itself ----------------------------------------------------------------------------------- */

void service_status(void *ctx, struct https_exchange *exchange)
{
	struct ledger_service *service = ctx;
	struct ledger_statistics statistics;
	struct https_statistics http;
	struct ledger_head head;
	uint8_t chain[CHAIN_ID_SIZE];
	char vkey[NOTE_VKEY_SIZE];
	bool well;
	json_t *notes = service_notes_json(service, &well);
	ledger_engine_statistics(service->engine, &statistics);
	https_server_statistics(service->server, &http);
	ledger_engine_head(service->engine, &head);
	ledger_engine_chain(service->engine, chain);
	note_key_format(ledger_engine_log_key(service->engine), vkey);
	service_answer_json(exchange, 200,
		json_pack("{s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:o, s:i, s:o}", "log",
			ledger_engine_log_key(service->engine)->name, "vkey", vkey, "chain", json_hex(SPAN_ARRAY(chain)), "size", (json_int_t)head.size,
			"height", (json_int_t)head.height, "time", json_time(head.time), "root", json_hex(SPAN_ARRAY(head.root.bytes)), "facts",
			(json_int_t)statistics.facts, "waiting", (json_int_t)statistics.waiting, "submitted", (json_int_t)statistics.submitted, "indexed",
			(json_int_t)statistics.indexed, "snapshot", (json_int_t)statistics.snapshot_size, "poisoned", (int)statistics.poisoned, "well",
			(int)(well && !statistics.poisoned), "started", json_time(service->started_ms), "connections", (int)http.connections, "notes",
			notes));
}

void service_health(void *ctx, struct https_exchange *exchange)
{
	struct ledger_service *service = ctx;
	struct ledger_statistics statistics;
	bool well;
	json_t *notes = service_notes_json(service, &well);
	ledger_engine_statistics(service->engine, &statistics);
	const char *why = statistics.poisoned ? reason_row(JOURNAL_POISONED)->sentence : well ? "" : "see notes";
	well = well && !statistics.poisoned;
	service_answer_json(exchange, well ? 200 : 503,
		json_pack("{s:b, s:b, s:I, s:s, s:o}", "ok", (int)well, "writable", (int)!statistics.poisoned, "size", (json_int_t)statistics.size,
			"why", why, "notes", notes));
}

/* ---- Metrics (Prometheus text format 0.0.4) --------------------------------------------------------- */

static void metric(struct writer *w, const char *kind, const char *name, const char *help, const char *labels, double value)
{
	char line[400];
	if (help) {
		snprintf(line, sizeof(line), "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
		writer_str(w, line);
	}
	snprintf(line, sizeof(line), "%s%s %.15g\n", name, labels, value);
	writer_str(w, line);
}

static void put_notes(struct ledger_service *service, struct writer *w)
{
	pthread_mutex_lock(&service->lock);
	for (size_t i = 0; i < service->note_count; i++) {
		char labels[256], subject[128];
		size_t n = 0;
		for (const char *c = service->notes[i].subject; *c && n + 2 < sizeof(subject); c++) {
			if (*c == '"' || *c == '\\')
				subject[n++] = '\\';
			subject[n++] = *c == '\n' ? ' ' : *c;
		}
		subject[n] = '\0';
		snprintf(labels, sizeof(labels), "{subject=\"%s\",reason=\"%s\"}", subject, reason_name(service->notes[i].reason));
		metric(w, "gauge", "troth_ledger_note", i == 0 ? "1 when all is well with what stands beside the service." : NULL, labels,
			service->notes[i].reason == OK ? 1 : 0);
	}
	pthread_mutex_unlock(&service->lock);
}

void service_metrics(void *ctx, struct https_exchange *exchange)
{
	struct ledger_service *service = ctx;
	struct writer w = writer_growing(METRICS_MAX);
	struct ledger_statistics s;
	struct https_statistics h;
	struct span text;
	ledger_engine_statistics(service->engine, &s);
	https_server_statistics(service->server, &h);
	const struct {
		const char *kind, *name, *help, *labels;
		double value;
	} rows[] = {
		{"gauge", "troth_ledger_size", "Leaves of the log.", "", (double)s.size},
		{"gauge", "troth_ledger_height", "Batches.", "", (double)s.height},
		{"gauge", "troth_ledger_facts", "Facts of the state.", "", (double)s.facts},
		{"counter", "troth_ledger_transactions_total", "Transactions since the start, by what became of them.", "{outcome=\"ok\"}", (double)(s.counted - s.refused)},
		{"counter", "troth_ledger_transactions_total", NULL, "{outcome=\"refused\"}", (double)s.refused},
		{"counter", "troth_ledger_transactions_total", NULL, "{outcome=\"turned_away\"}", (double)s.turned_away},
		{"counter", "troth_ledger_rate_limited_total", "Transactions that came faster than their writer may send.", "", (double)atomic_load(&service->limited)},
		{"gauge", "troth_ledger_waiting", "Transactions that wait for their batch.", "", (double)s.waiting},
		{"counter", "troth_ledger_batches_total", "Batches since the start.", "{outcome=\"durable\"}", (double)s.batches},
		{"counter", "troth_ledger_batches_total", NULL, "{outcome=\"failed\"}", (double)s.failed_batches},
		{"counter", "troth_ledger_sync_seconds_total", "Time spent making batches durable.", "", (double)s.sync_ns_total / 1e9},
		{"gauge", "troth_ledger_sync_seconds_max", "The longest of these.", "", (double)s.sync_ns_max / 1e9},
		{"gauge", "troth_ledger_writable", "0 after the disk failed, until a new start.", "", s.poisoned ? 0 : 1},
		{"gauge", "troth_ledger_snapshot_size", "Leaves that the latest snapshot covers.", "", (double)s.snapshot_size},
		{"gauge", "troth_ledger_indexed", "Leaves that the index has.", "", (double)s.indexed},
		{"gauge", "troth_http_connections", "Open connections.", "", (double)h.connections},
		{"counter", "troth_http_connections_total", "Connections since the start.", "{event=\"accepted\"}", (double)h.accepted},
		{"counter", "troth_http_connections_total", NULL, "{event=\"handshake_failed\"}", (double)h.handshakes_failed},
		{"counter", "troth_http_connections_total", NULL, "{event=\"dropped_idle\"}", (double)h.dropped_idle},
		{"counter", "troth_http_connections_total", NULL, "{event=\"dropped_slow\"}", (double)h.dropped_slow},
		{"counter", "troth_http_connections_total", NULL, "{event=\"turned_away\"}", (double)h.turned_away},
		{"counter", "troth_http_answers_total", "Answers by class of status.", "{class=\"2xx\"}", (double)h.answers_2xx},
		{"counter", "troth_http_answers_total", NULL, "{class=\"4xx\"}", (double)h.answers_4xx},
		{"counter", "troth_http_answers_total", NULL, "{class=\"5xx\"}", (double)h.answers_5xx},
		{"gauge", "troth_http_pending", "Requests that wait for their answer.", "", (double)h.pending},
		{"gauge", "troth_start_time_seconds", "When the service started.", "", (double)service->started_ms / 1000},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		metric(&w, rows[i].kind, rows[i].name, rows[i].help, rows[i].labels, rows[i].value);
	put_notes(service, &w);
	if (writer_finish(&w, &text) == OK)
		https_answer(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", text);
	else
		https_answer_failure(exchange, NO_MEMORY, "metrics");
	writer_free(&w);
}
