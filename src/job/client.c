#include "job/client.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "job/state.h"
#include "root/tcb.h"

enum {
	CONNECT_MS = 2000,
	GREETING_MS = 15 * 1000,
	READY_MS = 60 * 1000, /* measuring, on a slow machine */
	BUSY_MS = 10 * 1000,
	AGAIN_MS = 50,
	SEND_MS = 10 * 1000,
	LEAVE_MS = 10 * 1000,
	ERROR_MEMORY = 256 * 1024,
};

/* ---- Starting a private host ----------------------------------------------------------------------- */

enum { READY_FD = 3, PASSPHRASE_FD = 4 };

/* What a host may inherit: nothing of the person's environment but what steers credentials and instrumented builds. */
static size_t host_environment(const char *out[], char lines[][PATH_SIZE], size_t max)
{
	static const char *const names[] = {"CREDENTIALS_DIRECTORY", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS",
		"GCOV_PREFIX", "GCOV_PREFIX_STRIP"};
	size_t count = 0;
	for (size_t i = 0; i < COUNT_OF(names) && count < max; i++) {
		const char *value = getenv(names[i]);
		if (value && snprintf(lines[count], PATH_SIZE, "%s=%s", names[i], value) < PATH_SIZE) {
			out[count] = lines[count];
			count++;
		}
	}
	out[count] = NULL;
	return count;
}

static result spawn_host(const struct client_options *options, int ready, struct process *out)
{
	enum { MOST_ARGS = 32, MOST_ENV = 8 };
	char folder[PATH_SIZE], path[PATH_SIZE];
	static char lines[MOST_ENV][PATH_SIZE];
	const char *argv[MOST_ARGS], *env[MOST_ENV + 1];
	size_t count = 0;
	CLEANUP(fd_close) struct fd null = FD_NONE;
	TRY(program_folder(folder, sizeof(folder)));
	TRY(path_join(path, folder, "trothd"));
	TRY(file_open("/dev/null", O_RDWR, 0, &null));
	const char *const fixed[] = {
		"trothd", "host", "--private", "--log-level", "warning", "--ready-fd", "3", "--state", options->state_dir};
	for (size_t i = 0; i < COUNT_OF(fixed); i++)
		argv[count++] = fixed[i];
	if (options->create)
		argv[count++] = "--create";
	if (options->recovery)
		argv[count++] = "--recovery";
	if (options->tpm_head)
		argv[count++] = "--tpm-head";
	const struct {
		const char *option, *value;
	} pairs[] = {{"--wrap", options->wrap}, {"--tpm", options->tpm}, {"--tpm-pcrs", options->tpm_pcrs}, {"--accept-ap", options->accept}, {"--authorise", options->authorise}, {"--first-uid", options->first_uid},
		{"--confinement", options->confinement},
		{"--passphrase-fd", options->passphrase_fd >= 0 ? "4" : NULL}};
	for (size_t i = 0; i < COUNT_OF(pairs); i++)
		if (pairs[i].value) {
			argv[count++] = pairs[i].option;
			argv[count++] = pairs[i].value;
		}
	argv[count] = NULL;
	host_environment(env, lines, MOST_ENV);
	struct process_fd fds[] = {{null.n, 0}, {null.n, 1}, {2, 2}, {ready, READY_FD}, {options->passphrase_fd, PASSPHRASE_FD}};
	struct process_spec spec = {
		.path = path,
		.argv = argv,
		.env = env,
		.fds = fds,
		.fd_count = COUNT_OF(fds) - (options->passphrase_fd >= 0 ? 0 : 1),
	};
	result started = process_start(&spec, out);
	return started == OK ? OK : fail(HOST_NOT_RUNNING, "'%s' cannot be started: %s", path, failure_text());
}

/* An ERROR as our own failure. */
static result error_of(const struct service_message *message, struct arena *arena, struct service_error *out)
{
	TRY(service_decode(message, arena, out));
	enum reason reason = reason_row((enum reason)out->reason)->reason;
	return fail(reason == OK ? INTERNAL : reason, "%s", out->text);
}

static result await_ready(int fd)
{
	CLEANUP(service_message_free) struct service_message message = SERVICE_MESSAGE_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(ERROR_MEMORY);
	struct service_error error;
	result received = service_receive(fd, READY_MS, &message);
	if (received != OK)
		return fail(HOST_NOT_RUNNING, "the private host did not start: %s", failure_text());
	return message.type == SERVICE_DONE ? OK : error_of(&message, &arena, &error);
}

/* It outlives us when others use it: let go of it without ending it. */
static void forget(struct process *process)
{
	fd_close(&process->pidfd);
	*process = PROCESS_NONE;
}

static void wait_for_end(struct process *process)
{
	struct process_end end;
	if (process->pid > 0 && process_wait(process, LEAVE_MS, &end) != OK)
		forget(process);
}

static result start_private(const struct client_options *options, struct process *out)
{
	CLEANUP(fd_close) struct fd near_end = FD_NONE;
	CLEANUP(fd_close) struct fd far_end = FD_NONE;
	struct fd pair[2];
	struct process process = PROCESS_NONE;
	TRY(sock_pair(pair));
	near_end = pair[0];
	far_end = pair[1];
	TRY(spawn_host(options, far_end.n, &process));
	fd_close(&far_end);
	result ready = await_ready(near_end.n);
	if (ready != OK) {
		char text[FLOW_TEXT_MAX];
		snprintf(text, sizeof(text), "%s", failure_text());
		wait_for_end(&process);
		return fail(ready, "%s", text);
	}
	*out = process_move(&process);
	return OK;
}

/* ---- Connecting -------------------------------------------------------------------------------------- */

/* A host that is leaving may still have a listening socket; only one that greets will serve. */
static result attach(const char *path, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(service_message_free) struct service_message message = SERVICE_MESSAGE_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(ERROR_MEMORY);
	struct service_error error;
	TRY(sock_connect(path, CONNECT_MS, &fd));
	TRY(service_receive(fd.n, GREETING_MS, &message));
	if (message.type == SERVICE_ERROR)
		return error_of(&message, &arena, &error);
	if (message.type != SERVICE_DONE)
		return fail(WRONG_KIND, "%s instead of a greeting", service_type_name(message.type));
	*out = fd_move(&fd);
	return OK;
}

static bool is_absence(result attached)
{
	return attached == NOT_FOUND || attached == PEER_CLOSED || attached == IO_ERROR || attached == TRUNCATED;
}

result client_connect(const struct client_options *options, struct client *out)
{
	char path[PATH_SIZE];
	uint64_t until = clock_monotonic_ns() + BUSY_MS * 1000000ULL;
	struct client client = CLIENT_NONE;
	TRY(path_join(path, options->state_dir, "socket"));
	for (;;) {
		result attached = attach(path, &client.fd);
		if (attached == OK)
			break;
		wait_for_end(&client.host); /* one that was started here and left at once */
		if (!is_absence(attached))
			return attached;
		if (options->running_only)
			return fail(HOST_NOT_RUNNING, "no host serves '%s'", options->state_dir);
		if (!options->create && !options->recovery && !state_has_root(options->state_dir))
			return fail(NO_ROOT, "'%s'", options->state_dir);
		result started = start_private(options, &client.host);
		if (started != OK && started != STATE_BUSY)
			return started;
		if (clock_monotonic_ns() > until)
			return started == OK ? fail(HOST_NOT_RUNNING, "a private host started and left at once") : started;
		if (started == STATE_BUSY)
			(void)poll(NULL, 0, AGAIN_MS); /* the holder is starting or leaving */
	}
	*out = client;
	return OK;
}

void client_close(struct client *client)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct service_farewell farewell = {true};
	const struct client_call bye = {.type = SERVICE_BYE, .expected = SERVICE_FAREWELL, .timeout_ms = LEAVE_MS};
	if (client->fd.n < 0)
		return;
	result left = client_call(client, &bye, &arena, &farewell, NULL);
	fd_close(&client->fd);
	if (left != OK || !farewell.stays)
		wait_for_end(&client->host);
	else
		forget(&client->host);
}

/* ---- Calls --------------------------------------------------------------------------------------------- */

static result hear(const struct client_listener *listener, const struct service_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(ERROR_MEMORY);
	if (message->type == SERVICE_PROGRESS) {
		struct service_progress progress;
		TRY(service_decode(message, &arena, &progress));
		if (listener && listener->progress)
			listener->progress(listener->ctx, &progress);
	} else {
		struct service_log log;
		TRY(service_decode(message, &arena, &log));
		if (listener && listener->log)
			listener->log(listener->ctx, &log);
	}
	return OK;
}

static result take_reply(const struct service_message *message, const struct client_call *call, struct arena *arena, void *reply,
	struct service_error *out_error)
{
	struct service_error error;
	struct span kept;
	struct service_message own = {.type = message->type};
	TRY(arena_copy(arena, message->body, &kept)); /* what is decoded borrows from it */
	own.body = kept;
	if (message->type == SERVICE_ERROR) {
		result told = error_of(&own, arena, &error);
		if (out_error)
			*out_error = error;
		return told;
	}
	if (message->type != call->expected)
		return fail(WRONG_KIND, "the host answered %s with %s", service_type_name(call->type), service_type_name(message->type));
	if (!reply)
		return OK;
	return service_decode(&own, arena, reply);
}

result client_call(struct client *client, const struct client_call *call, struct arena *arena, void *reply, struct service_error *out_error)
{
	TRY(service_send(client->fd.n, call->type, call->body, call->fds, call->fd_count, SEND_MS));
	for (;;) {
		CLEANUP(service_message_free) struct service_message message = SERVICE_MESSAGE_EMPTY;
		result received = service_receive(client->fd.n, call->timeout_ms, &message);
		if (received == PEER_CLOSED || received == TRUNCATED)
			return fail(HOST_NOT_RUNNING, "the host ended while it was asked for %s", service_type_name(call->type));
		TRY(received);
		if (message.type != SERVICE_PROGRESS && message.type != SERVICE_LOG)
			return take_reply(&message, call, arena, reply, out_error);
		TRY(hear(call->listener, &message));
	}
}
