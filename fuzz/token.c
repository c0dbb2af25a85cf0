/*
 * Messages between troth-token and its client: both decoders take any bytes, and what one accepts has exactly one encoding.
 * The client also reads the input as the stream of a worker that lies.
 */
#include "base/sock.h"
#include "crypto/token.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_request(struct span bytes)
{
	struct token_request request;
	uint8_t again[TOKEN_REQUEST_MAX];
	struct writer w = writer_fixed(again, sizeof(again));
	struct span encoded;
	if (token_request_decode(bytes, &request) != OK)
		return;
	token_request_put(&request, &w);
	must(writer_finish(&w, &encoded) == OK && span_equal(encoded, bytes));
}

static void check_reply(struct span bytes)
{
	static struct token_reply reply;
	static uint8_t again[TOKEN_REPLY_MAX];
	struct writer w = writer_fixed(again, sizeof(again));
	struct span encoded;
	if (token_reply_decode(bytes, &reply) != OK)
		return;
	must(strnlen(reply.text, sizeof(reply.text)) <= TOKEN_TEXT_MAX && reply.count <= TOKEN_LIST_MAX);
	token_reply_put(&reply, &w);
	must(writer_finish(&w, &encoded) == OK && span_equal(encoded, bytes));
}

/* Requests numbered from 1 against an end that has said all it will say. */
static void check_stream(struct span bytes)
{
	struct fd ends[2];
	struct token *token;
	struct token_info info;
	struct token_key *keys = NULL, key;
	size_t count = 0;
	uint8_t digest[SHA256_SIZE] = {0}, signature[SIGNATURE_SIZE];
	struct token_name name = {.id = {1}, .id_len = 1};
	must(sock_pair(ends) == OK);
	must(write_all(ends[1].n, bytes) == OK);
	fd_close(&ends[1]);
	must(token_attach(&ends[0], 1000, &token) == OK);
	if (token_info(token, &info) == OK)
		must(strlen(info.label) < sizeof(info.label));
	if (token_list(token, &keys, &count) == OK)
		free(keys);
	if (token_find(token, &name, &key) == OK)
		must(key.name.id_len <= TOKEN_ID_MAX);
	(void)!token_sign(token, &name, digest, signature);
	token_free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = span_of(data, size);
	check_request(bytes);
	check_reply(bytes);
	if (size < 32 * 1024)
		check_stream(bytes);
	return 0;
}
