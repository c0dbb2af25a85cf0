#include "crypto/token_worker.h"

#include "base/reader.h"
#include "base/sock.h"

#include <stdio.h>
#include <unistd.h>

enum { REFUSE_MS = 5 * 1000, SEND_MS = 60 * 1000 };

static result answer_list(struct token_module *m, const struct token_request *request, struct token_reply *out)
{
	size_t count, total;
	TRY(token_module_list(m, request->first, out->keys, &count, &total));
	out->count = (uint8_t)count;
	out->total = (uint16_t)total;
	return OK;
}

static result answer_info(struct token_module *m, uint8_t confinement, struct token_reply *out)
{
	TRY(token_module_info(m, &out->info));
	out->info.confinement = confinement;
	return OK;
}

static result answer(struct token_module *m, uint8_t confinement, const struct token_request *request, struct token_reply *out)
{
	switch (request->type) {
	case TOKEN_INFO: return answer_info(m, confinement, out);
	case TOKEN_LIST: return answer_list(m, request, out);
	case TOKEN_FIND: return token_module_find(m, &request->name, &out->keys[0]);
	case TOKEN_GENERATE: return token_module_generate(m, &request->name, request->uses, &out->keys[0]);
	case TOKEN_SIGN: return token_module_sign(m, &request->name, request->digest, out->signature);
	case TOKEN_AGREE: return token_module_agree(m, &request->name, request->point, out->shared);
	case TOKEN_DESTROY: return token_module_destroy(m, &request->name);
	case TOKEN_RANDOM: out->size = request->size; return token_module_random(m, out->random, request->size);
	default: return OK;
	}
}

/* What is told to the client is printable, whatever names the module gave. */
static void take_failure(result reason, struct token_reply *out)
{
	out->reason = reason;
	snprintf(out->text, sizeof(out->text), "%s", failure_text());
	for (char *c = out->text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
}

/* The number of a request that may be broken further on. */
static void copy_head(struct span request, struct token_reply *out)
{
	uint8_t version;
	struct reader r = reader_of(request);
	if (reader_u8(&r, &version) != OK || reader_u8(&r, &out->type) != OK || reader_u32(&r, &out->number) != OK)
		out->number = 0;
}

void token_worker_answer(struct token_module *module, uint8_t confinement, struct span bytes, struct token_reply *out)
{
	struct token_request request;
	*out = (struct token_reply){.reason = OK};
	copy_head(bytes, out);
	result done = token_request_decode(bytes, &request);
	if (done == OK)
		done = answer(module, confinement, &request, out);
	if (done != OK)
		take_failure(done, out);
}

static result send_reply(int socket, const struct token_reply *reply, int timeout_ms)
{
	uint8_t bytes[TOKEN_REPLY_MAX];
	struct writer w = writer_fixed(bytes, sizeof(bytes));
	struct span encoded;
	token_reply_put(reply, &w);
	TRY(writer_finish(&w, &encoded));
	result sent = sock_send(socket, encoded, NULL, 0, timeout_ms);
	wipe(bytes, sizeof(bytes));
	return sent;
}

result token_worker_serve(int socket, struct token_module *module, uint8_t confinement)
{
	static struct token_reply reply; /* too large for comfort on a stack that foreign code shares */
	for (;;) {
		CLEANUP(sock_message_free) struct sock_message request = SOCK_MESSAGE_EMPTY;
		result received = sock_receive(socket, TOKEN_REQUEST_MAX, 0, -1, &request);
		if (received == PEER_CLOSED)
			return OK;
		TRY(received);
		alarm(TOKEN_CALL_SECONDS);
		token_worker_answer(module, confinement, bytes_span(&request.data), &reply);
		alarm(0);
		result sent = send_reply(socket, &reply, SEND_MS);
		bool closing = reply.type == TOKEN_CLOSE && reply.reason == OK;
		wipe(&reply, sizeof(reply));
		if (sent == PEER_CLOSED || closing)
			return OK;
		TRY(sent);
	}
}

void token_worker_refuse(int socket, result reason)
{
	static struct token_reply reply;
	CLEANUP(sock_message_free) struct sock_message request = SOCK_MESSAGE_EMPTY;
	take_failure(reason, &reply);
	if (sock_receive(socket, TOKEN_REQUEST_MAX, 0, REFUSE_MS, &request) != OK)
		return;
	copy_head(bytes_span(&request.data), &reply);
	if (send_reply(socket, &reply, REFUSE_MS) != OK)
		return;
}
