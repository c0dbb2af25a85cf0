#include "crypto/token.h"

#include "base/clock.h"
#include "base/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Descriptors of the worker beyond 0, 1 and 2; cmd/troth_token.c. */
enum { WORKER_SOCKET = 3, WORKER_PIN = 4, PIN_MAX = 256, ARGUMENTS_MAX = 16 + 2 * 2 * TOKEN_FOLDERS_MAX, LENGTH_SIZE = 4, STOP_MS = 3000 };

struct token {
	atomic_uint shares;
	pthread_mutex_t lock; /* one request at a time */
	struct fd socket;     /* not blocking */
	struct process worker; /* PROCESS_NONE when somebody else started it */
	int timeout_ms;
	uint32_t number;
	bool broken; /* the stream is out of step, or at its end */
	size_t have; /* bytes of a reply so far, its length included */
	uint8_t buffer[LENGTH_SIZE + TOKEN_REPLY_MAX];
	struct token_reply reply;
};

/* ---- start and end ---- */

struct arguments {
	const char *list[ARGUMENTS_MAX];
	size_t count;
};

static void add_argument(struct arguments *arguments, const char *option, const char *value)
{
	arguments->list[arguments->count++] = option;
	if (value)
		arguments->list[arguments->count++] = value;
}

static result add_folders(struct arguments *arguments, const char *option, const char *const *folders)
{
	for (size_t i = 0; folders && folders[i]; i++) {
		if (i == TOKEN_FOLDERS_MAX)
			return fail(BAD_VALUE, "more than %d folders for the worker of a token", TOKEN_FOLDERS_MAX);
		if (folders[i][0] != '/')
			return fail(BAD_VALUE, "the folder %s has no absolute path", folders[i]);
		add_argument(arguments, option, folders[i]);
	}
	return OK;
}

static result list_arguments(const struct token_config *config, const char *uid, struct arguments *out)
{
	if (!config->module || config->module[0] != '/')
		return fail(BAD_VALUE, "the PKCS#11 module %s has no absolute path", config->module ? config->module : "(none)");
	if (config->pin.len > PIN_MAX)
		return fail(BAD_VALUE, "a PIN of %zu bytes; at most %d are possible", config->pin.len, PIN_MAX);
	add_argument(out, "troth-token", NULL);
	add_argument(out, "--serve", config->module);
	add_argument(out, "--uid", uid);
	if (config->label)
		add_argument(out, "--token", config->label);
	if (config->serial)
		add_argument(out, "--serial", config->serial);
	if (config->network)
		add_argument(out, "--network", NULL);
	TRY(add_folders(out, "--writable", config->writable));
	return add_folders(out, "--hidden", config->hidden);
}

/* The pipe takes a whole PIN without waiting for the reader. */
static result pin_pipe(struct span pin, struct fd *out)
{
	struct fd ends[2];
	TRY(fd_pipe(ends));
	CLEANUP(fd_close) struct fd reads = ends[0];
	CLEANUP(fd_close) struct fd writes = ends[1];
	TRY(write_all(writes.n, pin));
	*out = fd_move(&reads);
	return OK;
}

result token_launch(const struct token_config *config, struct process *out_worker, struct fd *out_socket)
{
	char uid[16];
	struct arguments arguments = {.count = 0};
	struct fd ends[2];
	CLEANUP(fd_close) struct fd pin = FD_NONE;
	CLEANUP(fd_close) struct fd nothing = FD_NONE;
	snprintf(uid, sizeof(uid), "%u", (unsigned)config->uid);
	TRY(list_arguments(config, uid, &arguments));
	TRY(pin_pipe(config->pin, &pin));
	TRY(file_open("/dev/null", O_RDWR, 0, &nothing));
	TRY(sock_pair(ends));
	CLEANUP(fd_close) struct fd ours = ends[0];
	CLEANUP(fd_close) struct fd theirs = ends[1];
	struct process_fd fds[] = {{nothing.n, 0}, {nothing.n, 1}, {STDERR_FILENO, 2}, {theirs.n, WORKER_SOCKET}, {pin.n, WORKER_PIN}};
	struct process_spec spec = {
		.path = config->program,
		.exec_fd = config->program_fd,
		.argv = arguments.list,
		.env = config->environment,
		.fds = fds,
		.fd_count = COUNT_OF(fds),
		.die_with_parent = true,
	};
	TRY(process_start(&spec, out_worker));
	*out_socket = fd_move(&ours);
	return OK;
}

result token_attach(struct fd *socket, int timeout_ms, struct token **out)
{
	struct token *token = calloc(1, sizeof(*token));
	if (!token)
		return fail(NO_MEMORY, "token");
	int flags = fcntl(socket->n, F_GETFL);
	if (flags < 0 || fcntl(socket->n, F_SETFL, flags | O_NONBLOCK) < 0) {
		free(token);
		return fail_errno("the socket of a token's worker");
	}
	pthread_mutex_init(&token->lock, NULL);
	token->shares = 1;
	token->worker = PROCESS_NONE;
	token->socket = fd_move(socket);
	token->timeout_ms = timeout_ms ? timeout_ms : TOKEN_TIMEOUT_MS;
	*out = token;
	return OK;
}

result token_start(const struct token_config *config, struct token **out)
{
	CLEANUP(process_free) struct process worker = PROCESS_NONE;
	CLEANUP(fd_close) struct fd socket = FD_NONE;
	struct token *token;
	struct token_info info;
	TRY(token_launch(config, &worker, &socket));
	TRY(token_attach(&socket, config->timeout_ms, &token));
	token->worker = process_move(&worker);
	result answered = token_info(token, &info);
	if (answered != OK) {
		token_free(token);
		return answered;
	}
	*out = token;
	return OK;
}

struct token *token_ref(struct token *token)
{
	atomic_fetch_add(&token->shares, 1);
	return token;
}

void token_free(struct token *token)
{
	if (!token || atomic_fetch_sub(&token->shares, 1) != 1)
		return;
	/* The worker logs out and ends at the end of its socket; one that does not is killed. */
	fd_close(&token->socket);
	struct process_end end;
	if (token->worker.pid && process_wait(&token->worker, STOP_MS, &end) != OK)
		process_free(&token->worker);
	process_free(&token->worker);
	pthread_mutex_destroy(&token->lock);
	wipe(token->buffer, sizeof(token->buffer));
	wipe(&token->reply, sizeof(token->reply));
	free(token);
}

/* ---- one request ---- */

static result wait_for(struct token *token, short events, uint64_t deadline)
{
	for (;;) {
		uint64_t now = clock_monotonic_ns();
		if (now >= deadline)
			return fail(TOKEN_UNAVAILABLE, "the token's worker did not answer within %d s", (token->timeout_ms + 999) / 1000);
		struct pollfd wait = {.fd = token->socket.n, .events = events};
		int ready = poll(&wait, 1, (int)((deadline - now + 999999) / 1000000));
		if (ready > 0)
			return OK;
		if (ready < 0 && errno != EINTR)
			return fail_errno("waiting for the token's worker");
	}
}

static result worker_gone(struct token *token)
{
	token->broken = true;
	return fail(TOKEN_UNAVAILABLE, "the token's worker has ended; its log says why");
}

/*
 * A worker that has ended must not end us by SIGPIPE. A process whose filter knows no send (the secure processor) ignores
 * that signal and has write.
 */
static ssize_t send_some(int socket, struct span bytes)
{
	ssize_t n = send(socket, bytes.data, bytes.len, MSG_NOSIGNAL);
	return n < 0 && errno == ENOSYS ? write(socket, bytes.data, bytes.len) : n;
}

static result send_bytes(struct token *token, struct span bytes, uint64_t deadline)
{
	for (size_t sent = 0; sent < bytes.len;) {
		ssize_t n = send_some(token->socket.n, span_of(bytes.data + sent, bytes.len - sent));
		if (n > 0)
			sent += (size_t)n;
		else if (n < 0 && errno == EAGAIN) {
			result waited = wait_for(token, POLLOUT, deadline);
			/* Half a request is out: nothing that follows could be understood. */
			token->broken = token->broken || (waited != OK && sent > 0);
			TRY(waited);
		} else if (n < 0 && errno != EINTR)
			return worker_gone(token);
	}
	return OK;
}

static result send_request(struct token *token, const struct token_request *request, uint64_t deadline)
{
	uint8_t bytes[LENGTH_SIZE + TOKEN_REQUEST_MAX];
	struct writer w = writer_fixed(bytes, sizeof(bytes));
	struct span all;
	writer_u32(&w, 0);
	token_request_put(request, &w);
	TRY(writer_finish(&w, &all));
	struct writer length = writer_fixed(bytes, LENGTH_SIZE);
	writer_u32(&length, (uint32_t)(all.len - LENGTH_SIZE));
	return send_bytes(token, all, deadline);
}

/* Reads on until `until` bytes of the reply are there; what has come stays for the next attempt. */
static result receive_until(struct token *token, size_t until, uint64_t deadline)
{
	while (token->have < until) {
		ssize_t n = read(token->socket.n, token->buffer + token->have, until - token->have);
		if (n > 0)
			token->have += (size_t)n;
		else if (n < 0 && errno == EAGAIN)
			TRY(wait_for(token, POLLIN, deadline));
		else if (n == 0 || errno != EINTR)
			return worker_gone(token);
	}
	return OK;
}

static result out_of_step(struct token *token)
{
	token->broken = true;
	return fail_within(TOKEN_UNAVAILABLE, "the token's worker answered wrongly");
}

static result receive_reply(struct token *token, uint64_t deadline)
{
	TRY(receive_until(token, LENGTH_SIZE, deadline));
	size_t len = (size_t)token->buffer[0] << 24 | (size_t)token->buffer[1] << 16 | (size_t)token->buffer[2] << 8 | token->buffer[3];
	if (len > TOKEN_REPLY_MAX) {
		token->broken = true;
		return fail(TOKEN_UNAVAILABLE, "the token's worker sent a reply of %zu bytes", len);
	}
	TRY(receive_until(token, LENGTH_SIZE + len, deadline));
	token->have = 0;
	result decoded = token_reply_decode(span_of(token->buffer + LENGTH_SIZE, len), &token->reply);
	wipe(token->buffer, LENGTH_SIZE + len);
	return decoded == OK ? OK : out_of_step(token);
}

/* Answers to requests that were given up come first. */
static result receive_answer(struct token *token, const struct token_request *request, uint64_t deadline)
{
	for (;;) {
		TRY(receive_reply(token, deadline));
		uint32_t behind = request->number - token->reply.number;
		if (behind == 0 && token->reply.type == request->type)
			break;
		if (behind == 0 || behind > UINT32_MAX / 2) {
			failure_clear();
			return out_of_step(token);
		}
	}
	if (token->reply.reason != OK)
		return fail(token->reply.reason, "%s", token->reply.text);
	return OK;
}

/* Under the lock; the answer is in token->reply. */
static result exchange(struct token *token, struct token_request *request)
{
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)token->timeout_ms * 1000000;
	if (token->broken)
		return fail(TOKEN_UNAVAILABLE, "the token's worker has ended, or is out of step");
	request->number = ++token->number;
	TRY(send_request(token, request, deadline));
	return receive_answer(token, request, deadline);
}

static void copy_answer(const struct token_request *request, const struct token_reply *reply, void *out)
{
	switch (request->type) {
	case TOKEN_INFO: memcpy(out, &reply->info, sizeof(reply->info)); return;
	case TOKEN_FIND:
	case TOKEN_GENERATE: memcpy(out, &reply->keys[0], sizeof(reply->keys[0])); return;
	case TOKEN_LIST: memcpy(out, reply, sizeof(*reply)); return;
	case TOKEN_SIGN: memcpy(out, reply->signature, SIGNATURE_SIZE); return;
	case TOKEN_AGREE: memcpy(out, reply->shared, ECDH_SIZE); return;
	case TOKEN_RANDOM: memcpy(out, reply->random, request->size); return;
	default: return;
	}
}

static result call(struct token *token, struct token_request *request, void *out)
{
	pthread_mutex_lock(&token->lock);
	result answered = exchange(token, request);
	if (answered == OK && request->type == TOKEN_RANDOM && token->reply.size != request->size) {
		failure_clear();
		answered = out_of_step(token);
	}
	if (answered == OK)
		copy_answer(request, &token->reply, out);
	wipe(&token->reply, sizeof(token->reply));
	pthread_mutex_unlock(&token->lock);
	return answered;
}

/* ---- requests ---- */

result token_info(struct token *token, struct token_info *out)
{
	struct token_request request = {.type = TOKEN_INFO};
	return call(token, &request, out);
}

result token_find(struct token *token, const struct token_name *name, struct token_key *out)
{
	struct token_request request = {.type = TOKEN_FIND, .name = *name};
	TRY(token_name_check(name));
	return call(token, &request, out);
}

result token_generate(struct token *token, const struct token_name *name, uint8_t uses, struct token_key *out)
{
	struct token_request request = {.type = TOKEN_GENERATE, .name = *name, .uses = uses};
	TRY(token_name_check(name));
	return call(token, &request, out);
}

result token_sign(struct token *token, const struct token_name *name, const uint8_t digest[static SHA256_SIZE],
	uint8_t out[static SIGNATURE_SIZE])
{
	struct token_request request = {.type = TOKEN_SIGN, .name = *name};
	TRY(token_name_check(name));
	memcpy(request.digest, digest, SHA256_SIZE);
	return call(token, &request, out);
}

result token_agree(struct token *token, const struct token_name *name, const uint8_t point[static POINT_SIZE],
	uint8_t out[static ECDH_SIZE])
{
	struct token_request request = {.type = TOKEN_AGREE, .name = *name};
	TRY(token_name_check(name));
	memcpy(request.point, point, POINT_SIZE);
	return call(token, &request, out);
}

result token_destroy(struct token *token, const struct token_name *name)
{
	struct token_request request = {.type = TOKEN_DESTROY, .name = *name};
	TRY(token_name_check(name));
	return call(token, &request, NULL);
}

result token_random(struct token *token, uint8_t *out, size_t len)
{
	struct token_request request = {.type = TOKEN_RANDOM, .size = (uint16_t)len};
	if (len == 0 || len > TOKEN_RANDOM_MAX)
		return fail(BAD_VALUE, "%zu random bytes; 1 to %d may be asked for", len, TOKEN_RANDOM_MAX);
	return call(token, &request, out);
}

/* Keys that come or go between two pages may be missed or doubled; an operator sees them the next time. */
result token_list(struct token *token, struct token_key **out, size_t *out_count)
{
	struct token_key *keys = NULL;
	size_t count = 0;
	struct token_reply *page = malloc(sizeof(*page));
	result listed = page ? OK : fail(NO_MEMORY, "list of keys");
	while (listed == OK) {
		struct token_request request = {.type = TOKEN_LIST, .first = (uint16_t)count};
		listed = call(token, &request, page);
		if (listed != OK || page->count == 0)
			break;
		struct token_key *more = realloc(keys, (count + page->count) * sizeof(*keys));
		if (!more) {
			listed = fail(NO_MEMORY, "list of keys");
			break;
		}
		keys = more;
		memcpy(keys + count, page->keys, page->count * sizeof(*keys));
		count += page->count;
		if (count >= page->total || count > UINT16_MAX - TOKEN_LIST_MAX)
			break;
	}
	free(page);
	if (listed != OK) {
		free(keys);
		return listed;
	}
	*out = keys;
	*out_count = count;
	return OK;
}

/* ---- keys ---- */

struct held_key {
	struct key_backend backend;
	struct token *token;
	struct token_name name;
};

static struct held_key *held_key(struct key_backend *backend)
{
	return (struct held_key *)(void *)((uint8_t *)backend - offsetof(struct held_key, backend));
}

static result held_sign(struct key_backend *backend, const uint8_t digest[static 32], uint8_t out[static 64])
{
	struct held_key *held = held_key(backend);
	return token_sign(held->token, &held->name, digest, out);
}

static result held_agree(struct key_backend *backend, const uint8_t point[static 65], uint8_t out[static 32])
{
	struct held_key *held = held_key(backend);
	return token_agree(held->token, &held->name, point, out);
}

static void held_free(struct key_backend *backend)
{
	struct held_key *held = held_key(backend);
	token_free(held->token);
	free(held);
}

static result hold(struct token *token, const struct token_name *name, bool agrees, struct span point, struct key *out)
{
	struct held_key *held = calloc(1, sizeof(*held));
	if (!held)
		return fail(NO_MEMORY, "key in a token");
	held->backend = (struct key_backend){.sign = held_sign, .agree = agrees ? held_agree : NULL, .free = held_free, .references = 1};
	held->token = token_ref(token);
	held->name = *name;
	return key_from_backend(point, &held->backend, out);
}

result token_key_known(struct token *token, const struct token_name *name, struct span point, struct key *out)
{
	TRY(token_name_check(name));
	return hold(token, name, false, point, out);
}

result token_key(struct token *token, const struct token_name *name, struct key *out)
{
	struct token_key found;
	char text[TOKEN_NAME_TEXT_SIZE];
	TRY(token_find(token, name, &found));
	token_name_text(name, text);
	if (!(found.abilities & (TOKEN_SIGNS | TOKEN_AGREES)))
		return fail(BAD_KEY, "the key with %s in the token may neither sign nor agree", text);
	return hold(token, name, found.abilities & TOKEN_AGREES, SPAN_ARRAY(found.point), out);
}
