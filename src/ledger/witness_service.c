#include "ledger/witness_service.h"

#include "base/clock.h"
#include "base/confine.h"
#include "base/file.h"
#include "base/log.h"
#include "net/https_server.h"
#include "net/service_ca.h"
#include "wire/json.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_MAX = 16 * 1024, HOSTS_MAX = 16 };

struct witness_service {
	char dir[PATH_SIZE];
	struct https_server *server;
	struct witness_store *store;
	pthread_mutex_t lock; /* the store's, and what is counted */
	uint64_t cosigned, refused, failed;
	uint64_t forks;
	result state; /* of the last that was no verdict */
};

/* ---- The folder ---------------------------------------------------------------------------------- */

static result write_in(const char *dir, const char *name, struct span content, mode_t mode)
{
	char path[PATH_SIZE];
	TRY(path_join(path, dir, name));
	return file_write_atomic(path, content, mode);
}

static result write_key(const char *dir, const char *name, const struct key *key)
{
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	TRY(key_to_private_pem(key, &pem));
	return write_in(dir, name, secret_span(&pem), 0600);
}

static result make_certificates(const struct witness_new *what, const char *service, const char *client)
{
	CLEANUP(key_free) struct key ca = KEY_EMPTY, own = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes ca_pem = BYTES_EMPTY, pem = BYTES_EMPTY;
	const char *hosts[HOSTS_MAX] = {"localhost", "127.0.0.1", "::1"};
	struct service_certificate certificate = {.name = "witness", .hosts = hosts, .host_count = 3};
	if (what->host_count > HOSTS_MAX - 3)
		return fail(TOO_LARGE, "a witness has at most %d names", HOSTS_MAX - 3);
	for (size_t i = 0; i < what->host_count; i++)
		hosts[certificate.host_count++] = what->hosts[i];
	TRY(key_generate(&ca));
	TRY(key_generate(&own));
	TRY(service_ca_new(&ca, "witness CA", &ca_pem));
	TRY(service_ca_issue(&ca, bytes_span(&ca_pem), &certificate, &own, &pem));
	TRY(write_key(service, "ca.key", &ca));
	TRY(write_in(service, "ca.crt", bytes_span(&ca_pem), 0644));
	TRY(write_key(service, "service.key", &own));
	TRY(write_in(service, "service.crt", bytes_span(&pem), 0644));
	return write_in(client, "ca.crt", bytes_span(&ca_pem), 0644);
}

result witness_service_init(const struct witness_new *what, struct note_key *out)
{
	char service[PATH_SIZE], client[PATH_SIZE], text[NOTE_VKEY_SIZE + 1];
	struct note_key key;
	const struct witness_store_options options = {.dir = what->dir};
	TRY(witness_store_init(&options, what->name, &key));
	TRY(path_join(service, what->dir, "service"));
	TRY(path_join(client, what->dir, "client"));
	TRY(file_make_dirs(service, 0700));
	TRY(file_make_dirs(client, 0755));
	TRY(make_certificates(what, service, client));
	note_key_format(&key, text);
	snprintf(text + strlen(text), 2, "\n");
	TRY(write_in(client, "witness.vkey", span_str(text), 0644));
	*out = key;
	return OK;
}

/* ---- Answers ------------------------------------------------------------------------------------- */

/* What the specification has no form for is for people: the reason and its sentence. */
static void answer_refusal(struct https_exchange *exchange, result judged, uint64_t size)
{
	char text[1024];
	int status = witness_status(judged);
	if (judged == WITNESS_CONFLICT) {
		snprintf(text, sizeof(text), "%" PRIu64 "\n", size);
		https_answer(exchange, status, "text/x.tlog.size", span_str(text));
		return;
	}
	snprintf(text, sizeof(text), "%s: %s\n%s\n", reason_name(judged), failure_text(), reason_row(judged)->sentence);
	https_answer(exchange, status, "text/plain; charset=utf-8", span_str(text));
}

static void count(struct witness_service *service, result judged)
{
	int status = witness_status(judged);
	service->cosigned += status == 200;
	service->refused += status != 200 && status < 500;
	service->failed += status >= 500;
	service->forks += judged == LEDGER_FORKED;
	if (status == 200 || status >= 500)
		service->state = judged;
}

static void add_checkpoint(void *ctx, struct https_exchange *exchange)
{
	struct witness_service *service = ctx;
	CLEANUP(writer_free) struct writer line = writer_growing(NOTE_LINE_MAX);
	uint64_t size;
	pthread_mutex_lock(&service->lock);
	result judged = witness_store_cosign(service->store, https_body(exchange), clock_wall_ms() / 1000, &line, &size);
	count(service, judged);
	pthread_mutex_unlock(&service->lock);
	if (judged == OK) {
		https_answer(exchange, 200, "text/plain; charset=utf-8", span_of(line.data, line.len));
		return;
	}
	if (judged == LEDGER_FORKED || witness_status(judged) >= 500)
		log_failure(LOG_LEVEL_ERROR, "a checkpoint was not cosigned", judged);
	answer_refusal(exchange, judged, size);
}

static void answer_vkey(void *ctx, struct https_exchange *exchange)
{
	struct witness_service *service = ctx;
	char text[NOTE_VKEY_SIZE + 1];
	note_key_format(witness_store_key(service->store), text);
	snprintf(text + strlen(text), 2, "\n");
	https_answer(exchange, 200, "text/plain; charset=utf-8", span_str(text));
}

struct listing {
	json_t *logs;
	bool damaged;
};

static result list_log(void *arg, const struct witness_view *view)
{
	struct listing *listing = arg;
	listing->damaged |= view->state != OK;
	json_t *row = json_pack("{s:s, s:I, s:I, s:s, s:b}", "origin", view->log.origin, "keys", (json_int_t)view->log.key_count, "size",
		(json_int_t)view->log.size, "state", reason_name(view->state), "forked", view->forked);
	return row && json_array_append_new(listing->logs, row) == 0 ? OK : fail(NO_MEMORY, "json");
}

static void answer_json(struct https_exchange *exchange, int status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	if (text)
		https_answer(exchange, status, "application/json", span_str(text));
	else
		https_answer_failure(exchange, NO_MEMORY, "json");
	free(text);
	json_decref(json);
}

static void answer_status(void *ctx, struct https_exchange *exchange)
{
	struct witness_service *service = ctx;
	const struct witness_store_options options = {.dir = service->dir};
	struct listing listing = {.logs = json_array()};
	char vkey[NOTE_VKEY_SIZE];
	result listed = listing.logs ? witness_store_each(&options, list_log, &listing) : fail(NO_MEMORY, "json");
	if (listed != OK) {
		json_decref(listing.logs);
		https_answer_failure(exchange, listed, NULL);
		return;
	}
	note_key_format(witness_store_key(service->store), vkey);
	answer_json(exchange, 200, json_pack("{s:s, s:s, s:o}", "witness", witness_store_key(service->store)->name, "key", vkey, "logs", listing.logs));
}

static void answer_health(void *ctx, struct https_exchange *exchange)
{
	struct witness_service *service = ctx;
	pthread_mutex_lock(&service->lock);
	result state = service->state;
	pthread_mutex_unlock(&service->lock);
	answer_json(exchange, state == OK ? 200 : 503, json_pack("{s:b, s:s}", "ok", state == OK, "state", reason_name(state)));
}

static void answer_metrics(void *ctx, struct https_exchange *exchange)
{
	struct witness_service *service = ctx;
	struct https_statistics http;
	char text[2048];
	https_server_statistics(service->server, &http);
	pthread_mutex_lock(&service->lock);
	snprintf(text, sizeof(text),
		"# TYPE troth_witness_cosigned_total counter\ntroth_witness_cosigned_total %" PRIu64 "\n"
		"# TYPE troth_witness_refused_total counter\ntroth_witness_refused_total %" PRIu64 "\n"
		"# TYPE troth_witness_failed_total counter\ntroth_witness_failed_total %" PRIu64 "\n"
		"# TYPE troth_witness_forks_total counter\ntroth_witness_forks_total %" PRIu64 "\n"
		"# TYPE troth_witness_connections gauge\ntroth_witness_connections %u\n",
		service->cosigned, service->refused, service->failed, service->forks, http.connections);
	pthread_mutex_unlock(&service->lock);
	https_answer(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", span_str(text));
}

static const struct https_route routes[] = {
	{HTTPS_POST, "/add-checkpoint", 0, add_checkpoint}, /* waits for the disk */
	{HTTPS_GET, "/v1/status", 0, answer_status},
	{HTTPS_GET, "/witness.vkey", HTTPS_IN_LOOP, answer_vkey},
	{HTTPS_GET, "/health", HTTPS_IN_LOOP, answer_health},
	{HTTPS_GET, "/metrics", HTTPS_IN_LOOP, answer_metrics},
};

/* ---- Running ------------------------------------------------------------------------------------- */

static result read_key(const char *dir, const char *name, struct key *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	char path[PATH_SIZE];
	TRY(path_join(path, dir, name));
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_secret(fd.n, FILE_MAX, &pem));
	return key_from_private_pem(secret_span(&pem), out);
}

static result listen_on(struct witness_service *service, const char *listen)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	char folder[PATH_SIZE], path[PATH_SIZE];
	TRY(path_join(folder, service->dir, "service"));
	TRY(path_join(path, folder, "service.crt"));
	TRY(read_key(folder, "service.key", &key));
	TRY(file_read(path, FILE_MAX, &pem));
	const struct https_server_config config = {.listen = listen, .key = &key, .certificate_pem = bytes_span(&pem), .routes = routes,
		.route_count = COUNT_OF(routes), .ctx = service, .body_max = WITNESS_REQUEST_MAX};
	TRY(https_server_new(&config, &service->server));
	return https_server_stop_on_signals(service->server);
}

static result confine(const struct witness_service *service)
{
	const struct confine_service own = {.folder = service->dir};
	bool files;
	TRY(confine_service(&own, &files));
	if (!files)
		log_warning("this kernel has no Landlock: the witness could reach every file of its user");
	return OK;
}

result witness_service_open(const char *dir, const char *listen, struct witness_service **out)
{
	CLEANUP(witness_service_cleanup) struct witness_service *service = calloc(1, sizeof(*service));
	const struct witness_store_options options = {.dir = dir};
	if (!service)
		return fail(NO_MEMORY, "a witness");
	pthread_mutex_init(&service->lock, NULL);
	TRY(path_join(service->dir, "", dir));
	TRY(witness_store_open(&options, &service->store));
	TRY(listen_on(service, listen));
	TRY(confine(service));
	*out = service;
	service = NULL; /* transferred */
	return OK;
}

void witness_service_free(struct witness_service *service)
{
	if (!service)
		return;
	https_server_free(service->server);
	witness_store_close(service->store);
	pthread_mutex_destroy(&service->lock);
	free(service);
}

void witness_service_cleanup(struct witness_service **at)
{
	witness_service_free(*at);
	*at = NULL;
}

const char *witness_service_address(const struct witness_service *service)
{
	return https_server_address(service->server);
}

const struct note_key *witness_service_key(const struct witness_service *service)
{
	return witness_store_key(service->store);
}

result witness_service_run(struct witness_service *service)
{
	return https_server_run(service->server);
}
