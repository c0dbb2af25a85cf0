#include "ledger/service_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/confine.h"
#include "base/log.h"

/*
 * Theory of operation. The server's loop takes a transaction, looks whether its writer may send and how fast, and gives it to the
 * engine without waiting; the engine's thread gives the exchange back once the batch is durable. Everything else is asked of the
 * engine by the server's workers (service_read.c). One more thread does what is to be done after batches.
 */

enum { FILE_MAX = 16 * 1024, REMOVED_MS = 1000 };

/* ---- Transactions ----------------------------------------------------------------------------------- */

void service_answer_json(struct https_exchange *exchange, int status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	if (!text) {
		https_answer_failure(exchange, NO_MEMORY, "the answer");
		return;
	}
	https_answer(exchange, status, "application/json", span_str(text));
	free(text);
}

static void tell_after(struct ledger_service *service)
{
	if (!service->config.after_batch)
		return;
	pthread_mutex_lock(&service->lock);
	service->batch = true;
	pthread_cond_signal(&service->batch_there);
	pthread_mutex_unlock(&service->lock);
}

struct submission {
	struct ledger_service *service;
	struct https_exchange *exchange;
};

/* A thread of the engine. */
static void on_durable(void *arg, result failed, const char *text, const struct ledger_receipt *receipt)
{
	struct submission *submission = arg;
	if (failed != OK) {
		https_answer_failure(submission->exchange, failed, text);
	} else {
		if (receipt->on_ledger)
			tell_after(submission->service);
		service_answer_json(submission->exchange, 200, api_receipt_json(receipt));
	}
	free(submission);
}

/* A bucket per writer; when there are too many writers, the one that was silent longest is forgotten: its bucket is full again. */
static struct writer_rate *rate_of(struct ledger_service *service, const uint8_t key[static KEY_ID_SIZE], uint64_t now_ns)
{
	struct writer_rate *oldest = &service->rates[0];
	for (size_t i = 0; i < service->rate_count; i++) {
		if (memcmp(service->rates[i].key, key, KEY_ID_SIZE) == 0)
			return &service->rates[i];
		if (service->rates[i].last_ns < oldest->last_ns)
			oldest = &service->rates[i];
	}
	if (service->rate_count < SERVICE_WRITERS_MAX)
		oldest = &service->rates[service->rate_count++];
	*oldest = (struct writer_rate){.last_ns = now_ns, .tokens = service->config.burst};
	memcpy(oldest->key, key, KEY_ID_SIZE);
	return oldest;
}

/* Looks once a second whether somebody was removed. What cannot be read changes nothing, and is told. */
static void look_at_removed(void *arg)
{
	struct ledger_service *service = arg;
	struct ledger_removed removed = {0};
	struct stat status;
	char path[PATH_SIZE];
	if (path_join(path, service->dir, "service/removed") != OK || stat(path, &status) != 0)
		return;
	if (status.st_mtim.tv_sec == service->removed_changed.tv_sec && status.st_mtim.tv_nsec == service->removed_changed.tv_nsec)
		return;
	service->removed_changed = status.st_mtim;
	result read = ledger_place_removed(service->dir, &removed);
	if (read != OK) {
		log_failure(LOG_LEVEL_ERROR, "writers who were removed", read);
		return;
	}
	ledger_removed_free(&service->removed);
	service->removed = removed;
	log_info("writers who were removed", LOG_NUMBER("count", removed.count));
}

static result check_writer(const struct ledger_service *service, const struct https_exchange *exchange)
{
	const uint8_t *key = https_client_key(exchange);
	for (size_t i = 0; i < service->removed.count; i++)
		if (memcmp(service->removed.keys[i], key, KEY_ID_SIZE) == 0)
			return fail(WRITER_UNKNOWN, "writer %s may not send any more", https_client_name(exchange));
	return OK;
}

static result take_token(struct ledger_service *service, struct https_exchange *exchange)
{
	uint64_t now_ns = clock_monotonic_ns();
	char after[24];
	if (service->config.rate == 0)
		return OK;
	struct writer_rate *rate = rate_of(service, https_client_key(exchange), now_ns);
	rate->tokens += (double)(now_ns - rate->last_ns) / 1e9 * service->config.rate;
	if (rate->tokens > service->config.burst)
		rate->tokens = service->config.burst;
	rate->last_ns = now_ns;
	if (rate->tokens >= 1) {
		rate->tokens -= 1;
		return OK;
	}
	atomic_fetch_add(&service->limited, 1);
	snprintf(after, sizeof(after), "%d", 1);
	https_answer_header(exchange, "Retry-After", after);
	return fail(RATE_LIMITED, "writer %s may send %u transactions per second; again in 1 s", https_client_name(exchange), service->config.rate);
}

static void submit(void *ctx, struct https_exchange *exchange)
{
	struct ledger_service *service = ctx;
	result taken = check_writer(service, exchange);
	if (taken == OK)
		taken = take_token(service, exchange);
	struct submission *submission = taken == OK ? malloc(sizeof(*submission)) : NULL;
	if (taken == OK && !submission)
		taken = fail(NO_MEMORY, "a transaction");
	if (taken == OK) {
		*submission = (struct submission){service, exchange};
		taken = ledger_engine_submit_async(service->engine, https_body(exchange), on_durable, submission);
	}
	if (taken == OK)
		return;
	if (taken == LEDGER_BUSY)
		https_answer_header(exchange, "Retry-After", "1");
	https_answer_failure(exchange, taken, NULL);
	free(submission);
}

/* ---- The table -------------------------------------------------------------------------------------- */

static const struct https_route routes[] = {
	{HTTPS_POST, "/v1/transactions", HTTPS_IN_LOOP | HTTPS_CERTIFICATE, submit},
	{HTTPS_POST, "/v1/check", 0, service_check},
	{HTTPS_GET, "/v1/transactions/", 0, service_transaction},
	{HTTPS_GET, "/v1/leaves/", 0, service_leaf},
	{HTTPS_GET, "/v1/proofs/leaf/", 0, service_leaf_proof},
	{HTTPS_GET, "/v1/proofs/fact/", 0, service_fact_proof},
	{HTTPS_GET, "/v1/consistency", 0, service_consistency},
	{HTTPS_GET, "/v1/facts/", 0, service_fact},
	{HTTPS_POST, "/v1/decide", 0, service_decide},
	{HTTPS_GET, "/v1/entries", 0, service_entries},
	{HTTPS_GET, "/checkpoint", 0, service_checkpoint},
	{HTTPS_GET, "/v1/checkpoints/", 0, service_checkpoint_at},
	{HTTPS_GET, "/v1/status", 0, service_status},
	{HTTPS_GET, "/health", 0, service_health},
	{HTTPS_GET, "/metrics", 0, service_metrics},
};

/* ---- After batches ---------------------------------------------------------------------------------- */

/* Waits for a batch, or until `again_ms` have passed when that is not 0. False: there are no more calls. */
static bool wait_for_batch(struct ledger_service *service, unsigned again_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += again_ms / 1000;
	until.tv_nsec += (long)(again_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&service->lock);
	int waited = 0;
	while (!service->batch && !service->after_ends && waited != ETIMEDOUT)
		waited = again_ms ? pthread_cond_timedwait(&service->batch_there, &service->lock, &until)
				  : pthread_cond_wait(&service->batch_there, &service->lock);
	bool goes_on = !service->after_ends;
	service->batch = false;
	pthread_mutex_unlock(&service->lock);
	return goes_on;
}

static void *run_after(void *arg)
{
	struct ledger_service *service = arg;
	unsigned again_ms;
	do {
		again_ms = 0;
		service->config.after_batch(service->config.after_batch_arg, service, service->engine, &again_ms);
	} while (wait_for_batch(service, again_ms));
	return NULL;
}

static result start_after(struct ledger_service *service)
{
	if (!service->config.after_batch)
		return OK;
	int failed = pthread_create(&service->after_thread, NULL, run_after, service);
	if (failed != 0)
		return fail(NO_MEMORY, "starting a thread: %s", strerror(failed));
	service->after_runs = true;
	return OK;
}

static void end_after(struct ledger_service *service)
{
	if (!service->after_runs)
		return;
	pthread_mutex_lock(&service->lock);
	service->after_ends = true;
	pthread_cond_signal(&service->batch_there);
	pthread_mutex_unlock(&service->lock);
	(void)pthread_join(service->after_thread, NULL);
	service->after_runs = false;
}

/* ---- Notes ------------------------------------------------------------------------------------------ */

void ledger_service_note(struct ledger_service *service, const char *subject, result reason, const char *text)
{
	size_t i;
	pthread_mutex_lock(&service->lock);
	for (i = 0; i < service->note_count && strcmp(service->notes[i].subject, subject) != 0; i++)
		;
	if (i < SERVICE_NOTES_MAX) {
		struct service_note *note = &service->notes[i];
		if (i == service->note_count)
			service->note_count++;
		snprintf(note->subject, sizeof(note->subject), "%s", subject);
		snprintf(note->text, sizeof(note->text), "%s", text ? text : "");
		note->reason = reason;
	}
	pthread_mutex_unlock(&service->lock);
}

json_t *service_notes_json(struct ledger_service *service, bool *out_all_well)
{
	json_t *list = json_array();
	*out_all_well = true;
	pthread_mutex_lock(&service->lock);
	for (size_t i = 0; i < service->note_count; i++) {
		const struct service_note *note = &service->notes[i];
		if (note->reason != OK)
			*out_all_well = false;
		(void)json_array_append_new(list,
			json_pack("{s:s, s:s, s:s}", "subject", note->subject, "reason", reason_name(note->reason), "text", note->text));
	}
	pthread_mutex_unlock(&service->lock);
	return list;
}

/* ---- Making one ------------------------------------------------------------------------------------- */

struct files {
	struct bytes ca, certificate;
	struct key key;
};

static void files_free(struct files *files)
{
	bytes_free(&files->ca);
	bytes_free(&files->certificate);
	key_free(&files->key);
}

static result read_files(const char *dir, struct files *files)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	char path[PATH_SIZE];
	TRY(path_join(path, dir, "service/ca.crt"));
	TRY(file_read(path, FILE_MAX, &files->ca));
	TRY(path_join(path, dir, "service/service.crt"));
	TRY(file_read(path, FILE_MAX, &files->certificate));
	TRY(path_join(path, dir, "service/service.key"));
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_secret(fd.n, FILE_MAX, &pem));
	return key_from_private_pem(secret_span(&pem), &files->key);
}

/* Where clients of this folder find the service; gone when it ends, stale after a crash, when nobody answers there. */
static result write_address(struct ledger_service *service)
{
	char path[PATH_SIZE], text[320];
	TRY(path_join(path, service->dir, "service/address"));
	int len = snprintf(text, sizeof(text), "%s\n", https_server_address(service->server));
	TRY(file_write_atomic(path, span_of(text, (size_t)len), 0644));
	service->address_written = true;
	return OK;
}

static void remove_address(const struct ledger_service *service)
{
	char path[PATH_SIZE];
	if (path_join(path, service->dir, "service/address") == OK)
		(void)unlink(path);
}

static result open_engine(struct ledger_service *service)
{
	struct ledger_engine_options options = service->config.engine ? *service->config.engine : (struct ledger_engine_options){0};
	options.dir = service->dir;
	TRY(ledger_engine_open(&options, &service->engine, &service->recovery));
	const struct ledger_recovery *recovery = &service->recovery;
	log_info("ledger opened", LOG_NUMBER("replayed", recovery->replayed), LOG_NUMBER("cut", recovery->cut_bytes), LOG_TEXT("text", recovery->text));
	return OK;
}

static result confine(const struct ledger_service *service)
{
	const struct confine_service own = {.folder = service->dir, .asks_others = service->config.asks_others};
	bool files;
	if (!service->config.confined)
		return OK;
	TRY(confine_service(&own, &files));
	if (!files)
		log_warning("this kernel has no Landlock: the service could reach every file of its user");
	return OK;
}

static result open_service(struct ledger_service *service)
{
	CLEANUP(files_free) struct files files = {.key = KEY_EMPTY};
	if (!ledger_place_is_ledger(service->dir))
		return fail(NOT_FOUND, "'%s' is no ledger's folder: `troth ledger init` makes one", service->dir);
	TRY(read_files(service->dir, &files));
	const struct https_server_config server = {
		.listen = service->config.listen,
		.key = &files.key,
		.certificate_pem = bytes_span(&files.certificate),
		.client_ca_pem = bytes_span(&files.ca),
		.routes = routes,
		.route_count = COUNT_OF(routes),
		.ctx = service,
		.workers = service->config.workers,
		.connections = service->config.connections,
	};
	TRY(https_server_new(&server, &service->server));
	TRY(https_server_stop_on_signals(service->server));
	TRY(https_server_every(service->server, REMOVED_MS, look_at_removed, service));
	/* Unlike later, a list that cannot be read is a reason not to begin. */
	TRY(ledger_place_removed(service->dir, &service->removed));
	/* Whoever connects waits until it is served; the engine's threads begin confined. */
	TRY(confine(service));
	TRY(open_engine(service));
	return write_address(service);
}

result ledger_service_open(const struct ledger_service_config *config, struct ledger_service **out)
{
	CLEANUP(ledger_service_cleanup) struct ledger_service *service = calloc(1, sizeof(*service));
	pthread_condattr_t attributes;
	if (!service)
		return fail(NO_MEMORY, "a service");
	service->config = *config;
	service->started_ms = clock_wall_ms();
	(void)pthread_mutex_init(&service->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&service->batch_there, &attributes);
	pthread_condattr_destroy(&attributes);
	TRY(path_join(service->dir, "", config->dir));
	TRY(open_service(service));
	*out = service;
	service = NULL; /* transferred */
	return OK;
}

void ledger_service_free(struct ledger_service *service)
{
	if (!service)
		return;
	end_after(service);
	if (service->address_written)
		remove_address(service);
	https_server_free(service->server);
	ledger_engine_close(service->engine);
	ledger_removed_free(&service->removed);
	(void)pthread_cond_destroy(&service->batch_there);
	(void)pthread_mutex_destroy(&service->lock);
	free(service);
}

void ledger_service_cleanup(struct ledger_service **at)
{
	ledger_service_free(*at);
}

const char *ledger_service_address(const struct ledger_service *service)
{
	return https_server_address(service->server);
}

struct ledger_engine *ledger_service_engine(struct ledger_service *service)
{
	return service->engine;
}

struct https_server *ledger_service_server(struct ledger_service *service)
{
	return service->server;
}

result ledger_service_run(struct ledger_service *service)
{
	TRY(start_after(service));
	result served = https_server_run(service->server);
	end_after(service);
	return served;
}

void ledger_service_stop(struct ledger_service *service)
{
	https_server_stop(service->server);
}

bool ledger_service_stopping(const struct ledger_service *service)
{
	return https_server_stopping(service->server);
}
