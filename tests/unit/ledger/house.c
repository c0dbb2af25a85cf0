#include "house.h"

#include "base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static uint64_t time_of(void *arg)
{
	const struct world *w = arg;
	return w->time;
}

static result genesis(void *arg, const struct note_key *log, uint64_t now_ms, struct bytes *out_tx)
{
	const enum person signers[] = {MEMBER_1, MEMBER_2};
	struct world *w = arg;
	assert_int_equal(now_ms, w->time);
	memcpy(w->log_key, log->public_key, sizeof(w->log_key));
	struct tx_config body = {world_config(w, 0, signers, 2)};
	return bytes_copy(world_tx(w, MEMBER_1, TX_CONFIG, &body), out_tx);
}

void house_new(struct house *house, const struct store_io *io)
{
	*house = (struct house){.options = {.io = io, .now_ms = time_of, .now_arg = &house->w, .verifiers = 2, .segment_max = 1 << 14}};
	world_empty(&house->w);
	strcpy(house->dir, io ? "/disk" : "/tmp/troth-ledger-XXXXXX");
	if (!io)
		assert_non_null(mkdtemp(house->dir));
	house->options.dir = house->dir;
	expect_ok(ledger_engine_init(&house->options, "example.com/ledger", genesis, &house->w));
}

size_t house_count(size_t full, size_t quick)
{
	return getenv("TROTH_QUICK") ? quick : full;
}

void house_open(struct house *house)
{
	expect_ok(ledger_engine_open(&house->options, &house->engine, &house->recovery));
}

void house_close(struct house *house)
{
	ledger_engine_close(house->engine);
	house->engine = NULL;
}

void house_remove_folder(const char *dir)
{
	expect_ok(file_remove_tree(AT_FDCWD, dir));
}

void house_free(struct house *house)
{
	house_close(house);
	if (!house->options.io)
		house_remove_folder(house->dir);
	world_free(&house->w);
}

struct span house_event(struct house *house, uint32_t number)
{
	struct tx_event body = {.event_class = EVENT_VIOLATION, .subject = "test", .time = house->w.time};
	memcpy(body.digest, &number, sizeof(number));
	return world_tx(&house->w, PROCESSOR, TX_EVENT, &body);
}

struct ledger_receipt house_send(struct house *house, struct span tx)
{
	struct ledger_receipt receipt;
	expect_ok(ledger_engine_submit(house->engine, tx, &receipt));
	return receipt;
}

enum reason house_send_type(struct house *house, enum person sender, enum transaction_type type, const void *body)
{
	return house_send(house, world_tx(&house->w, sender, type, body)).code;
}
