/*
 * Moves data in and out of the program: one poll loop over the host, the channels, the pipes of the program and the
 * descriptors that the host handed over. Data flows on as it comes; what ends a stream well (END, the records, FINISHED)
 * is held back until every input was vouched for and the program ended with status 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "crypto/random.h"
#include "enclave/runtime_internal.h"
#include "object/job.h"

/* Host, program, stderr, all channels, inputs (twice), products and their consumers: nothing is ever left out. */
enum { MAX_PLACES = 256, MAX_WATCHES = 768, SETTLE_MS = 5000, LONGEST_WAIT_MS = 1000, PROGRESS_MS = 200 };
enum { PIPE_BYTES = 256 * 1024, LOG_BYTES_MAX = 256 * 1024 };

static result set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return fail_errno("making a descriptor non-blocking");
	return OK;
}

/* ---- Wiring ------------------------------------------------------------------------------------ */

static result take_fd(struct control_message *message, struct fd *out)
{
	if (message->raw.fd_count != 1)
		return fail(BAD_VALUE, "%s came with %zu descriptors", control_type_name(message->type), message->raw.fd_count);
	*out = fd_move(&message->raw.fds[0]);
	return OK;
}

static result add_input(struct runtime *rt, const char *name, const char *port, struct input **out)
{
	if (!name_is_valid(port) || !name_is_valid(name))
		return fail(BAD_VALUE, "input '%s' of '%s'", port, name);
	for (size_t i = 0; i < rt->input_count; i++)
		if (strcmp(rt->inputs[i].port, port) == 0 || strcmp(rt->inputs[i].name, name) == 0)
			return fail(NOT_DECLARED, "input '%s' or '%s' is given twice", name, port);
	if (rt->input_count + rt->secret_count + 1 >= CONTROL_MAX_EDGES)
		return fail(TOO_LARGE, "more than %d inputs", CONTROL_MAX_EDGES);
	struct input *input = &rt->inputs[rt->input_count++];
	*input = (struct input){
		.name = name,
		.port = port,
		.source = FD_NONE,
		.sink = FD_NONE,
		.spool = FD_NONE,
		.to_stdin = strcmp(port, "stdin") == 0,
	};
	input->buffer = malloc(PIECE);
	*out = input;
	return input->buffer ? OK : fail(NO_MEMORY, "input '%s'", name);
}

static result add_consumer(struct runtime *rt, const char *name, const char *port, struct consumer **out,
	struct product **out_product)
{
	for (size_t p = 0; p < rt->product_count; p++) {
		struct product *product = &rt->products[p];
		if (strcmp(product->port, port) != 0)
			continue;
		if (product->consumer_count == CONTROL_MAX_EDGES || rt->place_count == MAX_PLACES)
			return fail(TOO_LARGE, "output '%s' goes to more than %d places", port, CONTROL_MAX_EDGES);
		rt->place_count++;
		struct consumer *consumer = &product->consumers[product->consumer_count++];
		*consumer = (struct consumer){.name = name, .sink = FD_NONE, .writing = {.bytes = writer_growing(PIECE)}};
		random_bytes(consumer->salt, sizeof(consumer->salt));
		*out = consumer;
		*out_product = product;
		return hmac_start(&consumer->hmac, SPAN_ARRAY(consumer->salt));
	}
	return fail(NOT_DECLARED, "the manifest has no output '%s'", port);
}

static result accept_channel(struct runtime *rt, struct control_message *message)
{
	CLEANUP(fd_close) struct fd socket = FD_NONE, memory = FD_NONE;
	struct control_channel spec;
	struct channel *channel;
	struct consumer *consumer;
	if (message->raw.fd_count == 2) { /* with the memory of a ring */
		memory = fd_move(&message->raw.fds[1]);
		message->raw.fd_count = 1;
	}
	TRY(take_fd(message, &socket));
	if (rt->channel_count == COUNT_OF(rt->channels))
		return fail(TOO_LARGE, "more than %zu channels", COUNT_OF(rt->channels));
	TRY(control_decode(message, &rt->arena, &spec));
	TRY(channel_new(rt, &spec, &socket, &memory, &channel));
	rt->channels[rt->channel_count++] = channel; /* transferred */
	if (strcmp(channel->spec.port, JOB_FABRIC) == 0)
		return call_accept_channel(rt, channel);
	if (!spec.initiator) {
		TRY(add_input(rt, channel->spec.edge, channel->spec.port, &channel->input));
		channel->input->channel = channel;
		return OK;
	}
	TRY(add_consumer(rt, channel->spec.edge, channel->spec.port, &consumer, &channel->product));
	consumer->channel = channel;
	channel->consumer = consumer;
	return OK;
}

static result accept_input(struct runtime *rt, struct control_message *message)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	struct control_input body;
	struct input *input;
	TRY(take_fd(message, &fd));
	TRY(control_decode(message, &rt->arena, &body));
	TRY(add_input(rt, body.role, body.port, &input));
	input->source = fd_move(&fd);
	input->disclosed = true;
	random_bytes(input->salt, sizeof(input->salt));
	return hmac_start(&input->hmac, SPAN_ARRAY(input->salt));
}

static result accept_output(struct runtime *rt, struct control_message *message)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	struct control_output body;
	struct consumer *consumer;
	struct product *product;
	struct stat status;
	TRY(take_fd(message, &fd));
	TRY(control_decode(message, &rt->arena, &body));
	if (fstat(fd.n, &status) != 0)
		return fail_errno("output '%s'", body.name);
	TRY(add_consumer(rt, body.name, body.port, &consumer, &product));
	if (!S_ISREG(status.st_mode))
		TRY(set_nonblocking(fd.n));
	consumer->sink = fd_move(&fd);
	consumer->statement = body.statement;
	consumer->media_type = body.media_type;
	if (body.statement && !product->stated) {
		TRY(hash_start(&product->digest, HASH_SHA256));
		product->stated = true;
	}
	return OK;
}

/* The spans of what was decoded borrow from the message: it stays with the runtime. */
static result keep_body(struct runtime *rt, struct control_message *message)
{
	struct span kept;
	TRY(arena_copy(&rt->arena, message->body, &kept));
	message->body = kept;
	return OK;
}

result pump_accept(struct runtime *rt, struct control_message *message)
{
	TRY(keep_body(rt, message));
	switch (message->type) {
	case CONTROL_CHANNEL: return accept_channel(rt, message);
	case CONTROL_INPUT: return accept_input(rt, message);
	case CONTROL_OUTPUT: return accept_output(rt, message);
	default: return fail(ILLEGAL_STATE, "%s before START", control_type_name(message->type));
	}
}

/* ---- Inputs ------------------------------------------------------------------------------------ */

static bool replaying(const struct input *input)
{
	return input->replayed < input->spooled;
}

/* Has the next piece somewhere to go? */
static bool may_flow(const struct runtime *rt, const struct input *input)
{
	if (input->complete || input->pending.len)
		return false;
	if (!input->to_stdin)
		return true;
	return rt->program_running || rt->program_ended ? !replaying(input) : input->spool.n >= 0;
}

static void close_stdin_if_done(struct input *input)
{
	if (input->complete && input->pending.len == 0 && !replaying(input))
		fd_close(&input->sink);
}

/* To the program's stdin, as much as it takes. One that takes no more does not stop the stream: it is counted to its end. */
static result feed_stdin(struct input *input)
{
	while (input->pending.len && !input->sink_closed) {
		ssize_t written = write(input->sink.n, input->pending.data, input->pending.len);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0 && errno == EAGAIN)
			return OK;
		if (written < 0 && errno != EPIPE)
			return fail_errno("writing to the program");
		if (written < 0)
			input->sink_closed = true;
		else
			input->pending = span_of(input->pending.data + written, input->pending.len - (size_t)written);
	}
	input->pending = SPAN_EMPTY;
	return OK;
}

static result write_scratch(const struct input *input, int fd, struct span bytes)
{
	result written = write_all(fd, bytes);
	if (written == DISK_FULL)
		return fail(LIMIT_EXCEEDED, "input '%s' does not fit into the scratch folder", input->name);
	return written;
}

static result deliver(struct runtime *rt, struct input *input, struct span bytes)
{
	hmac_add(&input->hmac, bytes);
	input->length += bytes.len;
	rt->input_bytes += bytes.len;
	if (!input->to_stdin)
		return write_scratch(input, input->sink.n, bytes);
	if (!rt->program_running && !rt->program_ended) {
		TRY(write_scratch(input, input->spool.n, bytes));
		input->spooled += bytes.len;
		return OK;
	}
	input->pending = bytes;
	return feed_stdin(input);
}

static void finish_input(struct input *input)
{
	input->complete = true;
	if (!input->to_stdin)
		fd_close(&input->sink);
	close_stdin_if_done(input);
}

static result check_open(struct runtime *rt, struct channel *channel)
{
	static const uint8_t zero[RUN_ID_SIZE];
	const struct data_open *open = &channel->opened;
	bool own_run = memcmp(open->run_id, rt->prepare.run_id, RUN_ID_SIZE) == 0;
	/* An external peer need not know the run's id. */
	if (!own_run && !(channel->spec.external && memcmp(open->run_id, zero, RUN_ID_SIZE) == 0))
		return fail(DAC_FOREIGN_RUN, "edge '%s'", channel->spec.edge);
	if (strcmp(open->edge, channel->spec.edge) != 0 || strcmp(open->operation, channel->spec.operation) != 0)
		return fail(OPERATION_NOT_ALLOWED, "'%s' opened edge '%s' for '%s'; the job declares '%s' for '%s'",
			channel->spec.peer, open->edge, open->operation, channel->spec.edge, channel->spec.operation);
	return channel_decide(channel, RESOURCE_OPERATION, DIRECTION_RECEIVE, open->operation, 0);
}

static result handle_open(struct runtime *rt, struct input *input, const struct data_open *open)
{
	struct channel *channel = input->channel;
	channel->opened = *open;
	channel->has_opened = true;
	TRY(check_open(rt, channel));
	/* An external peer's choice of salt would be the peer's; what enters with us is committed with ours. */
	if (channel->spec.external)
		random_bytes(input->salt, sizeof(input->salt));
	else
		memcpy(input->salt, open->salt, sizeof(input->salt));
	return hmac_start(&input->hmac, SPAN_ARRAY(input->salt));
}

static result handle_abort(struct runtime *rt, const struct channel *channel, const struct data_abort *abort)
{
	if (abort->reason == REVOKED || abort->reason == LEASE_ENDED)
		return revocation_closed_by_peer(channel, (enum reason)abort->reason);
	runtime_blame(rt, name_is_valid(abort->cause) ? abort->cause : channel->spec.peer);
	return fail(STAGE_ABORTED, "'%s' failed: %s", rt->cause, reason_name((enum reason)abort->reason));
}

static result handle_event(struct runtime *rt, struct input *input, const struct data_event *event)
{
	switch (event->type) {
	case DATA_OPEN: return handle_open(rt, input, &event->open);
	case DATA_CHUNK: return deliver(rt, input, event->chunk);
	case DATA_ABORT: return handle_abort(rt, input->channel, &event->abort);
	case DATA_END:
		hmac_finish(&input->hmac, input->commit);
		TRY(records_accept(rt, input, &event->end));
		input->channel->vouched = true;
		return OK;
	}
	return fail(INTERNAL, "data frame %d", (int)event->type);
}

/* The peer's CLOSE came: is everything here? */
static result handle_close(struct input *input)
{
	TRY(data_receiver_finish(&input->channel->data));
	if (!input->channel->vouched)
		return fail(INPUT_INCOMPLETE, "edge '%s'", input->name);
	input->channel->finished = true;
	finish_input(input);
	return channel_close(input->channel);
}

/* One step with what is here already; *out_moved false when more must arrive first. */
static result take_apart(struct runtime *rt, struct input *input, bool *out_moved)
{
	struct channel *channel = input->channel;
	struct data_event event;
	size_t taken;
	*out_moved = true;
	bool have;
	TRY(data_receiver_next(&channel->data, &rt->arena, &have, &event));
	if (have)
		return handle_event(rt, input, &event);
	if (channel->plain.len) {
		TRY(data_receiver_feed(&channel->data, channel->plain, &taken));
		channel->plain = span_of(channel->plain.data + taken, channel->plain.len - taken);
		return OK;
	}
	if (channel->closed_by_peer && backlog_is_empty(&channel->held))
		return handle_close(input);
	TRY(channel_next(channel, &have, &channel->plain));
	*out_moved = have || channel->closed_by_peer;
	return OK;
}

static result advance(struct runtime *rt, struct input *input)
{
	struct channel *channel = input->channel;
	bool moved = true;
	while (moved && may_flow(rt, input))
		TRY(take_apart(rt, input, &moved));
	if (channel->ended && !moved && !input->complete) {
		runtime_blame(rt, channel->spec.peer);
		return iecp_channel_end(channel->open) == OK ? fail(INPUT_INCOMPLETE, "edge '%s'", input->name) :
							       fail(CHANNEL_TRUNCATED, "edge '%s' from '%s'", input->name,
								       channel->spec.peer);
	}
	return OK;
}

static result serve_source(struct runtime *rt, void *what, short events)
{
	struct input *input = what;
	(void)events;
	ssize_t got = read(input->source.n, input->buffer, PIECE);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return OK;
	if (got < 0)
		return fail_errno("reading input '%s'", input->name);
	if (got > 0)
		return deliver(rt, input, span_of(input->buffer, (size_t)got));
	fd_close(&input->source);
	hmac_finish(&input->hmac, input->commit);
	TRY(records_origin(rt, input->name, "input", input->commit, NULL, &input->supplier));
	finish_input(input);
	return OK;
}

/* What was spooled goes first. */
static result replay(struct input *input)
{
	while (input->pending.len == 0 && replaying(input)) {
		uint64_t left = input->spooled - input->replayed;
		size_t len = left < PIECE ? (size_t)left : PIECE;
		TRY(file_pread(input->spool.n, input->buffer, len, input->replayed));
		input->replayed += len;
		input->pending = span_of(input->buffer, len);
		TRY(feed_stdin(input));
	}
	if (!replaying(input))
		fd_close(&input->spool);
	return OK;
}

static result serve_stdin(struct runtime *rt, void *what, short events)
{
	struct input *input = what;
	(void)events;
	TRY(feed_stdin(input));
	TRY(replay(input));
	if (input->channel)
		TRY(advance(rt, input));
	close_stdin_if_done(input);
	return OK;
}

/* ---- Channels ---------------------------------------------------------------------------------- */

static result open_stream(struct runtime *rt, struct channel *channel)
{
	CLEANUP(writer_free) struct writer frame = writer_growing(4096);
	struct span bytes;
	struct data_open *open = &channel->opened;
	TRY(channel_decide(channel, RESOURCE_OPERATION, DIRECTION_SEND, channel->spec.operation, 0));
	*open = (struct data_open){.edge = channel->spec.edge, .operation = channel->spec.operation};
	memcpy(open->run_id, rt->prepare.run_id, RUN_ID_SIZE);
	memcpy(open->salt, channel->consumer->salt, DATA_SALT_SIZE);
	random_bytes(open->call_id, CALL_ID_SIZE);
	TRY(data_put_open(open, &frame));
	TRY(writer_finish(&frame, &bytes));
	channel->has_opened = true;
	return channel_send(channel, bytes);
}

/* A peer that we send to has nothing to say but CLOSE and ALERT. */
static result listen_to_receiver(struct channel *channel)
{
	bool have;
	struct span plain;
	do {
		TRY(channel_next(channel, &have, &plain));
		if (have)
			return fail(UNEXPECTED_RECORD, "data from '%s' on an edge that leads there", channel->spec.peer);
	} while (have);
	return OK;
}

static result shake_hands(struct runtime *rt, struct channel *channel)
{
	result shaken = channel_handshake(channel);
	if (shaken != OK)
		return fail_within(shaken, "channel '%s' with '%s'", channel->spec.edge, channel->spec.peer);
	if (channel->open && channel->spec.initiator && !channel->has_opened)
		return open_stream(rt, channel);
	return OK;
}

static result peer_is_gone(struct runtime *rt, struct channel *channel)
{
	/* One of ours says CLOSE once it has verified END; whoever is outside may leave without a word. */
	if (channel->finished && (channel->closed_by_peer || channel->spec.external))
		return OK;
	runtime_blame(rt, channel->spec.peer);
	return fail(PEER_CLOSED, "'%s' ended channel '%s'%s", channel->spec.peer, channel->spec.edge,
		channel->open ? "" : " during the handshake");
}

static result process_received(struct runtime *rt, struct channel *channel)
{
	if (!channel->open)
		TRY(shake_hands(rt, channel));
	if (!channel->open)
		return channel->ended ? peer_is_gone(rt, channel) : OK;
	if (!channel->spec.initiator)
		return advance(rt, channel->input);
	TRY(listen_to_receiver(channel));
	return channel->ended ? peer_is_gone(rt, channel) : OK;
}

static bool wants_to_receive(const struct runtime *rt, const struct channel *channel)
{
	if (channel->ended)
		return false;
	if (channel->link)
		return call_wants_to_receive(channel);
	if (!channel->open || channel->spec.initiator)
		return true;
	return may_flow(rt, channel->input) || channel_reads_ahead(channel);
}

/* Nobody takes data now, but the messages of a re-handshake are behind it. */
static result read_ahead(struct runtime *rt, struct channel *channel)
{
	if (!channel->open || channel->spec.initiator || may_flow(rt, channel->input))
		return OK;
	return channel_read_ahead(channel);
}

static result serve_channel(struct runtime *rt, void *what, short events)
{
	struct channel *channel = what;
	if (channel->link)
		return call_serve(rt, channel, events);
	if ((events & (POLLIN | POLLHUP | POLLERR) || channel->ring.memory) && wants_to_receive(rt, channel)) {
		TRY(read_ahead(rt, channel));
		TRY(channel_receive(channel, &channel->ended));
		TRY(read_ahead(rt, channel));
		TRY(process_received(rt, channel));
	}
	return channel->ended && channel->spec.initiator ? OK : channel_flush(channel);
}

/* ---- Outputs ----------------------------------------------------------------------------------- */

static bool is_idle(const struct consumer *consumer)
{
	return backlog_is_empty(consumer->channel ? &consumer->channel->sending : &consumer->writing);
}

static bool all_idle(const struct product *product)
{
	for (size_t i = 0; i < product->consumer_count; i++)
		if (!is_idle(&product->consumers[i]))
			return false;
	return true;
}

static result flush_sink(struct consumer *consumer)
{
	struct backlog *writing = &consumer->writing;
	while (!backlog_is_empty(writing)) {
		ssize_t written = write(consumer->sink.n, writing->bytes.data + writing->at, writing->bytes.len - writing->at);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0 && errno == EAGAIN)
			return OK;
		if (written < 0)
			return fail_errno("writing output '%s'", consumer->name);
		writing->at += (size_t)written;
	}
	writing->at = writing->bytes.len = 0;
	return OK;
}

static result serve_sink(struct runtime *rt, void *what, short events)
{
	(void)rt;
	(void)events;
	return flush_sink(what);
}

static result hand_to(struct consumer *consumer, struct span bytes)
{
	if (consumer->channel) {
		TRY(channel_send_chunk(consumer->channel, bytes));
		return channel_flush(consumer->channel);
	}
	writer_span(&consumer->writing.bytes, bytes);
	if (consumer->writing.bytes.failed)
		return fail(consumer->writing.bytes.failed, "output '%s'", consumer->name);
	return flush_sink(consumer);
}

static result count_output(struct runtime *rt, struct product *product, struct span bytes)
{
	uint64_t limit = rt->manifest.limits.output;
	if (bytes.len > limit || rt->output_bytes > limit - bytes.len)
		return fail(LIMIT_EXCEEDED, "more than the %llu bytes of output that the manifest allows",
			(unsigned long long)limit);
	rt->output_bytes += bytes.len;
	product->length += bytes.len;
	for (size_t i = 0; i < product->consumer_count; i++)
		hmac_add(&product->consumers[i].hmac, bytes);
	if (product->stated)
		hash_add(&product->digest, bytes);
	return OK;
}

static result serve_product(struct runtime *rt, void *what, short events)
{
	static uint8_t piece[PIECE];
	struct product *product = what;
	(void)events;
	ssize_t got = read(product->source.n, piece, sizeof(piece));
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return OK;
	if (got < 0)
		return fail_errno("reading '%s' of the program", product->port);
	if (got == 0) {
		fd_close(&product->source);
		for (size_t i = 0; i < product->consumer_count; i++)
			hmac_finish(&product->consumers[i].hmac, product->consumers[i].commit);
		if (product->stated)
			hash_finish(&product->digest, product->sha256);
		product->done = true;
		return OK;
	}
	struct span bytes = span_of(piece, (size_t)got);
	TRY(count_output(rt, product, bytes));
	for (size_t i = 0; i < product->consumer_count; i++)
		TRY(hand_to(&product->consumers[i], bytes));
	return OK;
}

/* ---- The program ------------------------------------------------------------------------------- */

static result serve_errors(struct runtime *rt, void *what, short events)
{
	uint8_t piece[CONTROL_LOG_MAX];
	(void)what;
	(void)events;
	ssize_t got = read(rt->errors.n, piece, sizeof(piece));
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return OK;
	if (got <= 0) {
		fd_close(&rt->errors);
		return OK;
	}
	size_t len = (size_t)got;
	size_t keep = rt->tail_len + len > TAIL_SIZE ? TAIL_SIZE - len : rt->tail_len;
	memmove(rt->tail, rt->tail + (rt->tail_len - keep), keep);
	memcpy(rt->tail + keep, piece, len);
	rt->tail_len = keep + len;
	if (rt->log_bytes >= LOG_BYTES_MAX)
		return OK;
	rt->log_bytes += len;
	struct control_log log = {span_of(piece, len)};
	return runtime_send(rt, CONTROL_LOG, &log);
}

static result serve_end(struct runtime *rt, void *what, short events)
{
	(void)what;
	(void)events;
	result ended = sandbox_read_end(&rt->sandbox, &rt->end);
	rt->program_running = false;
	rt->program_ended = true;
	if (ended != OK)
		return fail(ENCLAVE_STOPPED, "it was killed; the most likely cause is its memory limit of %llu bytes",
			(unsigned long long)rt->manifest.limits.memory);
	return OK;
}

static result check_end(const struct runtime *rt)
{
	char text[PROCESS_END_TEXT_SIZE];
	struct process_end end = {.exited = rt->end.exited, .code = rt->end.code};
	if (rt->end.exited && rt->end.code == 0)
		return OK;
	process_end_text(&end, text);
	if (!rt->end.exited && rt->end.code == SIGXCPU)
		return fail(LIMIT_EXCEEDED, "more than the %llu ms of processor time that the manifest allows",
			(unsigned long long)rt->manifest.limits.cpu_ms);
	return fail(PROGRAM_FAILED, "%s%s%.*s", text, rt->tail_len ? "; its last words: " : "", (int)rt->tail_len,
		(const char *)rt->tail);
}

/* One-shot pipe: what the program does not read is gone with it. */
static result secret_pipe(struct secret_row *row, struct fd *out)
{
	struct fd ends[2];
	TRY(fd_pipe(ends));
	result written = set_nonblocking(ends[1].n);
	if (written == OK)
		written = write_all(ends[1].n, secret_span(&row->value));
	fd_close(&ends[1]);
	secret_free(&row->value);
	if (written != OK) {
		fd_close(&ends[0]);
		return fail_within(written, "secret '%s'", row->name);
	}
	*out = ends[0];
	return OK;
}

struct start {
	struct sandbox_fd fds[SANDBOX_MAX_FDS];
	struct fd given[SANDBOX_MAX_FDS]; /* the program's ends */
	size_t count;
};

static void start_free(struct start *start)
{
	for (size_t i = 0; i < start->count; i++)
		fd_close(&start->given[i]);
}

static void start_give(struct start *start, struct fd *fd, int to)
{
	start->given[start->count] = fd_move(fd);
	start->fds[start->count] = (struct sandbox_fd){start->given[start->count].n, to};
	start->count++;
}

/* `ours` is the end we keep: `end` 0 reads, 1 writes. */
static result start_pipe(struct start *start, int to, int end, struct fd *ours)
{
	struct fd ends[2];
	TRY(fd_pipe(ends));
	/* Room for several pieces: fewer turns of both sides. Refused, where a user's pipes have no more memory, it works without. */
	(void)fcntl(ends[0].n, F_SETPIPE_SZ, PIPE_BYTES);
	start_give(start, &ends[!end], to);
	*ours = ends[end];
	return set_nonblocking(ours->n);
}

static struct input *stdin_input(struct runtime *rt)
{
	for (size_t i = 0; i < rt->input_count; i++)
		if (rt->inputs[i].to_stdin)
			return &rt->inputs[i];
	return NULL;
}

static result start_program(struct runtime *rt)
{
	static const struct control_empty nothing;
	CLEANUP(start_free) struct start start = {.count = 0};
	struct input *input = stdin_input(rt);
	if (input)
		TRY(start_pipe(&start, STDIN_FILENO, 1, &input->sink));
	TRY(start_pipe(&start, STDOUT_FILENO, 0, &rt->products[0].source));
	TRY(start_pipe(&start, STDERR_FILENO, 0, &rt->errors));
	for (size_t i = 0; i < rt->secret_count; i++) {
		struct fd end;
		TRY(secret_pipe(&rt->secrets[i], &end));
		start_give(&start, &end, rt->secrets[i].fd);
	}
	if (rt->calls) {
		struct fd end;
		int number;
		fabric_open(rt, &end, &number);
		start_give(&start, &end, number);
	}
	/*
	 * Boxes that were recorded open with this key: it ends when its last use is over. Channels, and a program that may unseal, use it as
	 * long as they live.
	 */
	if (rt->channel_count == 0 && !rt->calls)
		key_free(&rt->kem);
	TRY(sandbox_start(&rt->sandbox, start.fds, start.count));
	rt->program_running = true;
	if (rt->manifest.limits.wall_ms)
		rt->deadline_ns = clock_monotonic_ns() + rt->manifest.limits.wall_ms * 1000000;
	TRY(runtime_send(rt, CONTROL_STARTED, &nothing));
	return input ? serve_stdin(rt, input, 0) : OK;
}

static bool may_start(const struct runtime *rt)
{
	if (rt->program_running || rt->program_ended)
		return false;
	for (size_t i = 0; i < rt->channel_count; i++)
		if (!rt->channels[i]->open)
			return false;
	for (size_t i = 0; i < rt->input_count; i++)
		if (!rt->inputs[i].to_stdin && !rt->inputs[i].complete)
			return false;
	return true;
}

/* ---- The end ----------------------------------------------------------------------------------- */

/* All at once: one whose peer takes nothing holds up no other. */
static result open_files(struct runtime *rt, bool *out_all)
{
	*out_all = true;
	for (size_t i = 0; i < rt->product_count; i++) {
		struct product *product = &rt->products[i];
		if (product->done)
			continue;
		*out_all = false;
		if (product->source.n >= 0 || !product->path)
			continue;
		result opened = sandbox_open_output(&rt->sandbox, product->path, &product->source);
		if (opened == NOT_FOUND)
			return fail(OUTPUT_MISSING, "output '%s' at %s", product->port, product->path);
		TRY(opened);
	}
	return OK;
}

static bool all_inputs_complete(const struct runtime *rt)
{
	for (size_t i = 0; i < rt->input_count; i++)
		if (!rt->inputs[i].complete)
			return false;
	return true;
}

/* Everything arrived and the program is content: now, and only now, it is signed and handed over. */
static result conclude(struct runtime *rt)
{
	TRY(records_derive(rt));
	for (size_t i = 0; i < rt->channel_count; i++)
		if (rt->channels[i]->spec.initiator && !rt->channels[i]->link)
			TRY(records_hand_over(rt, rt->channels[i]));
	TRY(records_statements(rt));
	rt->derived = true;
	return OK;
}

static result conclude_if_ready(struct runtime *rt)
{
	bool all;
	if (!rt->program_ended || rt->errors.n >= 0)
		return OK;
	TRY(check_end(rt));
	if (rt->derived || !all_inputs_complete(rt))
		return OK;
	TRY(calls_conclude(rt, &all));
	if (!all)
		return OK;
	TRY(open_files(rt, &all));
	return all ? conclude(rt) : OK;
}

/* Handed over and acknowledged. An outside peer gets some time for its CLOSE, not for ever. */
static bool is_settled(struct runtime *rt, const struct channel *channel)
{
	if (channel->link)
		return call_is_settled(channel);
	if (!backlog_is_empty(&channel->sending))
		return false;
	if (!channel->spec.initiator || channel->closed_by_peer || channel->ended)
		return true;
	if (channel->spec.external && rt->settle_until_ns == 0)
		rt->settle_until_ns = clock_monotonic_ns() + SETTLE_MS * UINT64_C(1000000);
	return channel->spec.external && clock_monotonic_ns() > rt->settle_until_ns;
}

static bool is_done(struct runtime *rt)
{
	if (!rt->derived)
		return false;
	for (size_t i = 0; i < rt->channel_count; i++)
		if (!is_settled(rt, rt->channels[i]))
			return false;
	for (size_t p = 0; p < rt->product_count; p++)
		if (!all_idle(&rt->products[p]))
			return false;
	return true;
}

/* ---- The loop ---------------------------------------------------------------------------------- */

struct watch {
	result (*serve)(struct runtime *rt, void *what, short events);
	void *what;
};

struct watches {
	struct pollfd fds[MAX_WATCHES];
	struct watch rows[MAX_WATCHES];
	size_t count;
};

static void watch(struct watches *w, int fd, short events, result (*serve)(struct runtime *, void *, short), void *what)
{
	if (events == 0 || fd < 0 || w->count == MAX_WATCHES)
		return;
	w->fds[w->count] = (struct pollfd){.fd = fd, .events = events};
	w->rows[w->count++] = (struct watch){serve, what};
}

static result serve_control(struct runtime *rt, void *what, short events)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	bool have;
	(void)what;
	(void)events;
	TRY(runtime_next(rt, RUNTIME_REPLY_MS, &message, &have));
	return have ? fail(ILLEGAL_STATE, "the host sent %s after START", control_type_name(message.type)) : OK;
}

static void watch_inputs(struct runtime *rt, struct watches *w)
{
	for (size_t i = 0; i < rt->input_count; i++) {
		struct input *input = &rt->inputs[i];
		if (!input->channel && may_flow(rt, input))
			watch(w, input->source.n, POLLIN, serve_source, input);
		if (input->to_stdin && (input->pending.len || replaying(input)))
			watch(w, input->sink.n, POLLOUT, serve_stdin, input);
	}
}

static void watch_products(struct runtime *rt, struct watches *w)
{
	for (size_t p = 0; p < rt->product_count; p++) {
		struct product *product = &rt->products[p];
		if (product->source.n >= 0 && all_idle(product))
			watch(w, product->source.n, POLLIN, serve_product, product);
		for (size_t c = 0; c < product->consumer_count; c++)
			if (!product->consumers[c].channel && !is_idle(&product->consumers[c]))
				watch(w, product->consumers[c].sink.n, POLLOUT, serve_sink, &product->consumers[c]);
	}
}

static void watch_all(struct runtime *rt, struct watches *w)
{
	w->count = 0;
	watch(w, rt->control, POLLIN, serve_control, NULL);
	if (rt->program_running)
		watch(w, sandbox_fd(&rt->sandbox), POLLIN, serve_end, NULL);
	watch(w, rt->errors.n, POLLIN, serve_errors, NULL);
	watch(w, fabric_fd(rt), fabric_events(rt), fabric_serve, NULL);
	for (size_t i = 0; i < rt->channel_count; i++) {
		struct channel *channel = rt->channels[i];
		short events = transport_events(channel, wants_to_receive(rt, channel), !backlog_is_empty(&channel->sending));
		watch(w, channel->socket.n, events, serve_channel, channel);
	}
	watch_inputs(rt, w);
	watch_products(rt, w);
}

static result check_clocks(struct runtime *rt)
{
	uint64_t now = clock_monotonic_ns();
	if (rt->program_running && rt->deadline_ns && now > rt->deadline_ns)
		return fail(LIMIT_EXCEEDED, "it ran longer than the %llu ms that the manifest allows",
			(unsigned long long)rt->manifest.limits.wall_ms);
	for (size_t i = 0; i < rt->channel_count && now > rt->handshakes_until_ns; i++) {
		if (rt->channels[i]->open)
			continue;
		runtime_blame(rt, rt->channels[i]->spec.peer);
		return fail(HANDSHAKE_EXPIRED, "channel '%s' with '%s'", rt->channels[i]->spec.edge, rt->channels[i]->spec.peer);
	}
	for (size_t i = 0; i < rt->channel_count; i++) {
		result fresh = channel_keep_fresh(rt->channels[i]);
		if (fresh != OK && !rt->channels[i]->link)
			return fresh;
		if (fresh != OK)
			call_channel_failed(rt, rt->channels[i], fresh);
	}
	calls_turn(rt);
	uint64_t sum = rt->input_bytes + rt->output_bytes;
	if (sum == rt->progress_sent_sum || now < rt->progress_sent_at + PROGRESS_MS * UINT64_C(1000000))
		return OK;
	rt->progress_sent_sum = sum;
	rt->progress_sent_at = now;
	struct control_progress progress = {rt->input_bytes, rt->output_bytes};
	return runtime_send(rt, CONTROL_PROGRESS, &progress);
}

static int wait_ms(const struct runtime *rt)
{
	uint64_t now = clock_monotonic_ns(), now_ms = now / 1000000, wait = LONGEST_WAIT_MS;
	if (rt->program_running && rt->deadline_ns) {
		uint64_t left = rt->deadline_ns > now ? (rt->deadline_ns - now) / 1000000 + 1 : 0;
		wait = left < wait ? left : wait;
	}
	if (calls_due_ns(rt) / 1000000 < now_ms + wait)
		wait = calls_due_ns(rt) > now ? calls_due_ns(rt) / 1000000 + 1 - now_ms : 0;
	for (size_t i = 0; i < rt->channel_count; i++) {
		uint64_t due = channel_due(rt->channels[i]);
		uint64_t left = due > now_ms ? due - now_ms : 0;
		wait = left < wait ? left : wait;
	}
	return (int)wait;
}

static result turn(struct runtime *rt, struct watches *w)
{
	watch_all(rt, w);
	if (poll(w->fds, w->count, wait_ms(rt)) < 0 && errno != EINTR)
		return fail_errno("waiting");
	for (size_t i = 0; i < w->count; i++)
		if (w->fds[i].revents)
			TRY(w->rows[i].serve(rt, w->rows[i].what, w->fds[i].revents));
	return check_clocks(rt);
}

/* Files for inputs are made while process 1 still takes orders, which is until the program starts. */
static result make_sinks(struct runtime *rt)
{
	bool waits = false;
	for (size_t i = 0; i < rt->input_count; i++) {
		if (rt->inputs[i].to_stdin)
			continue;
		waits = true;
		TRY(sandbox_create_input(&rt->sandbox, rt->inputs[i].port, &rt->inputs[i].sink));
	}
	struct input *input = stdin_input(rt);
	/* Whoever sends to stdin must not be held up by one that waits for it elsewhere. */
	return input && waits ? sandbox_create_input(&rt->sandbox, NULL, &input->spool) : OK;
}

result pump_run(struct runtime *rt)
{
	static struct watches w;
	TRY(make_sinks(rt));
	rt->handshakes_until_ns = clock_monotonic_ns() + IECP_HANDSHAKE_MS * UINT64_C(1000000);
	for (size_t i = 0; i < rt->channel_count; i++)
		TRY(channel_begin(rt->channels[i]));
	while (!is_done(rt)) {
		if (may_start(rt))
			TRY(start_program(rt));
		TRY(conclude_if_ready(rt));
		if (!is_done(rt))
			TRY(turn(rt, &w));
	}
	return OK;
}
