#include "groups.h"
#include "world.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ledger/api.h"
#include "ledger/client.h"
#include "ledger/make.h"
#include "ledger/place.h"
#include "ledger/service.h"
#include "wire/text.h"

/* A ledger in a folder of its own with its service in a thread, and clients that ask it; then a service that lies. */

struct town {
	char dir[64], ledger[PATH_SIZE], client[PATH_SIZE];
	struct key founder;
	struct ledger_service *service;
	pthread_t thread;
	result ran;
	struct ledger_client *ask;
};

static void *run(void *arg)
{
	struct town *town = arg;
	town->ran = ledger_service_run(town->service);
	return NULL;
}

static void town_serve(struct town *town, const struct ledger_service_config *more)
{
	struct ledger_service_config config = *more;
	config.dir = town->ledger;
	config.listen = "127.0.0.1:0";
	expect_ok(ledger_service_open(&config, &town->service));
	assert_int_equal(pthread_create(&town->thread, NULL, run, town), 0);
}

static void town_stop(struct town *town)
{
	ledger_client_free(town->ask);
	town->ask = NULL;
	if (!town->service)
		return;
	ledger_service_stop(town->service);
	assert_int_equal(pthread_join(town->thread, NULL), 0);
	expect_ok(town->ran);
	ledger_service_free(town->service);
	town->service = NULL;
}

static void town_ask(struct town *town)
{
	const struct ledger_client_options options = {.place = town->ledger, .timeout_ms = 60000};
	ledger_client_free(town->ask);
	town->ask = NULL;
	expect_ok(ledger_client_open(&options, &town->ask));
}

static void town_new(struct town *town)
{
	*town = (struct town){.dir = "/tmp/troth-town-XXXXXX"};
	assert_non_null(mkdtemp(town->dir));
	expect_ok(path_join(town->ledger, town->dir, "ledger"));
	expect_ok(path_join(town->client, town->ledger, "client"));
	expect_ok(key_generate(&town->founder));
	const struct ledger_place_new what = {.dir = town->ledger, .log_name = "example.com/town", .founder = &town->founder};
	expect_ok(ledger_place_init(&what));
}

static void town_free(struct town *town)
{
	town_stop(town);
	key_free(&town->founder);
	expect_ok(file_remove_tree(AT_FDCWD, town->dir));
}

/* The founder registers a measurement made of the number: counts, and is OK. */
static struct bytes registration(const struct town *town, const uint8_t *chain, uint8_t number)
{
	struct bytes tx = BYTES_EMPTY;
	uint64_t now = clock_wall_ms();
	struct tx_register body = {.subject = REGISTERED_ENCLAVE, .label = "test", .not_before = now, .not_after = now + 1000000};
	const struct transaction_frame frame = {.chain = chain, .sender = &town->founder, .now_ms = now};
	memset(body.digest, number, sizeof(body.digest));
	expect_ok(make_transaction(&frame, TX_REGISTER, &body, &tx, NULL));
	return tx;
}

static struct ledger_receipt send_one(struct town *town, uint8_t number)
{
	struct ledger_receipt receipt;
	struct bytes tx = registration(town, ledger_client_chain(town->ask), number);
	expect_ok(ledger_client_submit(town->ask, bytes_span(&tx), &receipt));
	bytes_free(&tx);
	return receipt;
}

/* ---- Asking ----------------------------------------------------------------------------------------- */

static void what_is_sent_can_be_found_and_proved(void **state)
{
	struct town town;
	struct ledger_receipt sent, again, found;
	struct checkpoint head, known;
	CLEANUP(bytes_free) struct bytes leaf = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes latest = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct registration_fact fact;
	struct ledger_config config;
	struct merkle_proof proof;
	uint8_t id[1 + SHA384_SIZE];
	uint64_t size;
	bool there;
	(void)state;
	town_new(&town);
	town_serve(&town, &(struct ledger_service_config){0});
	town_ask(&town);
	assert_false(ledger_client_is_direct(town.ask));
	assert_true(ledger_client_may_write(town.ask));
	expect(ledger_client_remembered(town.ask, NULL, NULL), NOT_FOUND);
	expect_ok(ledger_client_checkpoint(town.ask, &note, &head));
	assert_int_equal(head.size, 2);
	struct bytes tx = registration(&town, ledger_client_chain(town.ask), 1);
	expect_ok(ledger_client_check(town.ask, bytes_span(&tx), &sent));
	assert_true(sent.code == OK && !sent.on_ledger);
	expect_ok(ledger_client_submit(town.ask, bytes_span(&tx), &sent));
	assert_true(sent.code == OK && sent.on_ledger && sent.index == 2 && sent.size == 4);
	expect_ok(ledger_client_submit(town.ask, bytes_span(&tx), &again));
	assert_memory_equal(&sent.txid, &again.txid, OID_SIZE);
	assert_true(again.index == sent.index && again.size == sent.size && again.time == sent.time && again.code == sent.code);
	expect_ok(ledger_client_find(town.ask, sent.txid, &found));
	assert_true(found.index == sent.index && found.code == OK);
	expect_ok(ledger_client_leaf(town.ask, sent.index, &leaf));
	assert_non_null(memmem(leaf.data, leaf.len, tx.data, tx.len));
	bytes_free(&tx);
	expect(ledger_client_leaf(town.ask, 4, &leaf), NOT_FOUND);
	memset(id, 1, sizeof(id));
	id[0] = REGISTERED_ENCLAVE;
	expect_ok(ledger_client_fact(town.ask, FACT_REGISTRATION, SPAN_ARRAY(id), &arena, &fact, &there, &size));
	assert_true(there && fact.status == REGISTRATION_OBSERVED && fact.span.from == 2 && size == 4);
	assert_string_equal(fact.label, "test");
	id[0] = REGISTERED_HOST;
	expect_ok(ledger_client_fact(town.ask, FACT_REGISTRATION, SPAN_ARRAY(id), &arena, &fact, &there, &size));
	assert_false(there);
	expect_ok(ledger_client_config(town.ask, &arena, &config));
	assert_memory_equal(config.members[0].bytes, town.founder.point, POINT_SIZE);
	expect_ok(ledger_client_consistency(town.ask, bytes_span(&note), &proof, &latest));
	expect_ok(checkpoint_open(bytes_span(&latest), ledger_client_log_key(town.ask), &known, NULL));
	assert_int_equal(known.size, 4);
	expect_ok(merkle_verify_consistency(head.size, &head.root, known.size, &known.root, &proof));
	expect_ok(ledger_client_checkpoint_at(town.ask, 2, NULL, &known));
	assert_memory_equal(&known.root, &head.root, sizeof(head.root));
	expect(ledger_client_checkpoint_at(town.ask, 3, NULL, &known), NOT_FOUND);
	expect_ok(ledger_client_remembered(town.ask, NULL, &known));
	assert_int_equal(known.size, 4);
	memset(sent.txid, 7, OID_SIZE);
	expect(ledger_client_find(town.ask, sent.txid, &found), NOT_FOUND);
	town_free(&town);
}

static void what_is_refused_is_told(void **state)
{
	struct town town;
	struct ledger_receipt receipt;
	(void)state;
	town_new(&town);
	town_serve(&town, &(struct ledger_service_config){0});
	town_ask(&town);
	expect_ok(ledger_client_submit(town.ask, span_str("no transaction"), &receipt));
	assert_true(receipt.code == TX_MALFORMED && !receipt.on_ledger && receipt.text[0]);
	uint8_t chain[CHAIN_ID_SIZE] = {1};
	struct bytes tx = registration(&town, chain, 1);
	expect_ok(ledger_client_submit(town.ask, bytes_span(&tx), &receipt));
	assert_true(receipt.code == CHAIN_FOREIGN && !receipt.on_ledger);
	bytes_free(&tx);
	/* Larger than a request may be. */
	void *large = calloc(1, 70000);
	expect(ledger_client_submit(town.ask, span_of(large, 70000), &receipt), TOO_LARGE);
	free(large);
	/* What counts and is refused has a leaf, which is proved too: the same again. */
	assert_int_equal(send_one(&town, 3).code, OK);
	receipt = send_one(&town, 3);
	assert_true(receipt.on_ledger);
	town_free(&town);
}

struct seen {
	struct town *town;
	uint64_t indices[64];
	size_t count;
	result stop;
};

static result see(void *arg, const struct ledger_row *row)
{
	struct seen *seen = arg;
	assert_true(row->leaf->kind == LEAF_TX && row->size > row->index && row->time > 0);
	seen->indices[seen->count++] = row->index;
	return seen->stop;
}

static void walks_are_filtered_and_bounded(void **state)
{
	struct town town;
	uint8_t founder[ADDRESS_SIZE], other[ADDRESS_SIZE] = {1};
	(void)state;
	town_new(&town);
	for (int direct = 0; direct < 2; direct++) {
		struct seen seen = {.town = &town};
		if (direct)
			town_stop(&town);
		else
			town_serve(&town, &(struct ledger_service_config){0});
		town_ask(&town);
		assert_int_equal(ledger_client_is_direct(town.ask), direct);
		for (uint8_t i = 1; !direct && i <= 10; i++)
			(void)send_one(&town, i);
		address_of(town.founder.point, founder);
		expect_ok(ledger_client_each(town.ask, &(struct ledger_filter){0}, see, &seen));
		assert_int_equal(seen.count, 11); /* the first configuration too */
		assert_true(seen.indices[0] == 0 && seen.indices[1] == 2 && seen.indices[10] == 20);
		seen.count = 0;
		expect_ok(ledger_client_each(town.ask, &(struct ledger_filter){.from = 3, .type = TX_REGISTER, .sender = founder, .limit = 4, .only_ok = true}, see, &seen));
		assert_true(seen.count == 4 && seen.indices[0] == 4 && seen.indices[3] == 10);
		seen.count = 0;
		expect_ok(ledger_client_each(town.ask, &(struct ledger_filter){.sender = other}, see, &seen));
		assert_int_equal(seen.count, 0);
		seen.stop = BAD_VALUE;
		expect(ledger_client_each(town.ask, &(struct ledger_filter){0}, see, &seen), BAD_VALUE);
		assert_int_equal(seen.count, 1);
	}
	town_free(&town);
}

static void without_a_service_a_folder_is_read(void **state)
{
	struct town town;
	struct ledger_receipt receipt, found;
	struct checkpoint head;
	CLEANUP(bytes_free) struct bytes tx = BYTES_EMPTY;
	json_t *status = NULL;
	(void)state;
	town_new(&town);
	town_serve(&town, &(struct ledger_service_config){0});
	town_ask(&town);
	receipt = send_one(&town, 1);
	const struct ledger_client_options copied = {.place = town.client, .timeout_ms = 2000};
	town_stop(&town);
	town_ask(&town);
	assert_true(ledger_client_is_direct(town.ask) && !ledger_client_may_write(town.ask));
	expect_ok(ledger_client_find(town.ask, receipt.txid, &found));
	assert_true(found.index == receipt.index && found.size == receipt.size && found.time == receipt.time);
	expect_ok(ledger_client_checkpoint(town.ask, NULL, &head));
	assert_int_equal(head.size, 4);
	expect_ok(ledger_client_status(town.ask, &status));
	assert_int_equal(json_integer_value(json_object_get(status, "size")), 4);
	json_decref(status);
	tx = registration(&town, ledger_client_chain(town.ask), 9);
	expect(ledger_client_submit(town.ask, bytes_span(&tx), &receipt), LEDGER_NOT_RUNNING);
	/* A client's folder has nothing but the service. */
	struct ledger_client *client = NULL;
	struct ledger_client_options nobody = copied;
	nobody.url = "https://127.0.0.1:1";
	expect_ok(ledger_client_open(&nobody, &client));
	expect(ledger_client_checkpoint(client, NULL, &head), LEDGER_NOT_RUNNING);
	ledger_client_free(client);
	town_free(&town);
}

/* ---- Limits and hooks ------------------------------------------------------------------------------- */

static void writers_have_a_rate(void **state)
{
	struct town town;
	struct ledger_receipt receipt;
	result sent = OK;
	(void)state;
	town_new(&town);
	town_serve(&town, &(struct ledger_service_config){.rate = 1, .burst = 3});
	town_ask(&town);
	int accepted = 0;
	for (uint8_t i = 1; i < 200 && sent == OK; i++) {
		sent = ledger_client_submit(town.ask, span_str("no transaction"), &receipt);
		accepted += sent == OK;
	}
	assert_int_equal(sent, RATE_LIMITED);
	assert_true(accepted >= 3);
	expect_ok(ledger_client_checkpoint(town.ask, NULL, NULL)); /* reading goes on */
	town_free(&town);
}

struct hook {
	pthread_mutex_t lock;
	pthread_cond_t called;
	unsigned calls, again;
	uint64_t size;
};

static void after_batch(void *arg, struct ledger_service *service, struct ledger_engine *engine, unsigned *out_again_ms)
{
	struct hook *hook = arg;
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	ledger_service_note(service, "witness w", head.size > 2 ? PEER_UNREACHABLE : OK, "it \"sleeps\"");
	pthread_mutex_lock(&hook->lock);
	hook->calls++;
	hook->size = head.size;
	*out_again_ms = hook->again;
	pthread_cond_signal(&hook->called);
	pthread_mutex_unlock(&hook->lock);
}

static void wait_for_calls(struct hook *hook, unsigned calls, uint64_t size)
{
	pthread_mutex_lock(&hook->lock);
	while (hook->calls < calls || hook->size < size)
		pthread_cond_wait(&hook->called, &hook->lock);
	pthread_mutex_unlock(&hook->lock);
}

static void batches_are_told_and_health_with_them(void **state)
{
	struct town town;
	struct hook hook = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
	json_t *status = NULL;
	(void)state;
	town_new(&town);
	town_serve(&town, &(struct ledger_service_config){.after_batch = after_batch, .after_batch_arg = &hook});
	town_ask(&town);
	wait_for_calls(&hook, 1, 2);
	expect_ok(ledger_client_status(town.ask, &status));
	assert_true(json_is_true(json_object_get(status, "well")));
	json_decref(status);
	(void)send_one(&town, 1);
	wait_for_calls(&hook, 2, 4);
	expect_ok(ledger_client_status(town.ask, &status));
	assert_false(json_is_true(json_object_get(status, "well")));
	json_decref(status);
	/* Asked for again, without a batch. */
	pthread_mutex_lock(&hook.lock);
	hook.again = 1;
	unsigned before = hook.calls;
	pthread_mutex_unlock(&hook.lock);
	(void)send_one(&town, 2);
	wait_for_calls(&hook, before + 4, 6);
	town_free(&town);
}

/* ---- A service that lies ---------------------------------------------------------------------------- */

/* Answers from an engine that is opened read-only, as the service would, but for one lie. */
enum lie { TRUTH, OTHER_LEAF, OTHER_FACT, OLD_HEAD, FORKED_HEAD, NO_CONSISTENCY, BROKEN_CONSISTENCY, WRONG_INDEX, WRONG_CODE, OTHER_TX, ENTRY_CHANGED, ENTRY_AGAIN, NO_JSON };

struct liar {
	struct town *town;
	struct ledger_engine *engine, *fork; /* the fork has the same key */
	enum lie lie;
	struct https_server *server;
	pthread_t thread;
	struct ledger_client *client;
	char url[300];
};

static void answer(struct https_exchange *exchange, result got, struct bytes *bytes)
{
	if (got != OK)
		https_answer_failure(exchange, got, NULL);
	else
		https_answer(exchange, 200, "text/plain", bytes_span(bytes));
	bytes_free(bytes);
}

static void lie_leaf(void *ctx, struct https_exchange *exchange)
{
	const struct liar *liar = ctx;
	struct bytes bytes = BYTES_EMPTY;
	uint64_t index = strtoull(https_rest(exchange), NULL, 10), size = 0;
	expect_ok(https_query_number(exchange, "size", 0, &size));
	if (liar->lie == OTHER_LEAF)
		index++;
	answer(exchange, ledger_engine_leaf_proof(liar->engine, index, size, &bytes), &bytes);
}

static void lie_fact(void *ctx, struct https_exchange *exchange)
{
	const struct liar *liar = ctx;
	struct bytes bytes = BYTES_EMPTY;
	uint8_t key[32];
	expect_ok(hex_decode(span_str(https_rest(exchange)), key, sizeof(key)));
	if (liar->lie == OTHER_FACT)
		key[31] ^= 1;
	answer(exchange, ledger_engine_fact_proof(liar->engine, key, &bytes), &bytes);
}

static void lie_head(void *ctx, struct https_exchange *exchange)
{
	const struct liar *liar = ctx;
	struct bytes bytes = BYTES_EMPTY;
	result got = liar->lie == OLD_HEAD	? ledger_engine_checkpoint_at(liar->engine, 2, &bytes)
		     : liar->lie == FORKED_HEAD ? ledger_engine_checkpoint(liar->fork, &bytes)
						: ledger_engine_checkpoint(liar->engine, &bytes);
	answer(exchange, got, &bytes);
}

static void lie_head_at(void *ctx, struct https_exchange *exchange)
{
	const struct liar *liar = ctx;
	struct bytes bytes = BYTES_EMPTY;
	uint64_t size = strtoull(https_rest(exchange), NULL, 10);
	struct ledger_engine *engine = liar->lie == FORKED_HEAD ? liar->fork : liar->engine;
	answer(exchange, ledger_engine_checkpoint_at(engine, size, &bytes), &bytes);
}

static void lie_consistency(void *ctx, struct https_exchange *exchange)
{
	const struct liar *liar = ctx;
	struct bytes bytes = BYTES_EMPTY;
	struct writer w = writer_growing(1 << 16);
	struct merkle_proof proof = {0};
	uint64_t from, to;
	expect_ok(https_query_number(exchange, "from", 0, &from));
	expect_ok(https_query_number(exchange, "to", 0, &to));
	result got = liar->lie == NO_CONSISTENCY ? fail(NOT_FOUND, "gone") : ledger_engine_consistency(liar->engine, from, to, &proof);
	if (liar->lie == BROKEN_CONSISTENCY)
		proof.hashes[0].bytes[5] ^= 1;
	if (got == OK)
		got = api_hashes_put(&proof, &w);
	if (got == OK)
		got = writer_take(&w, &bytes);
	writer_free(&w);
	answer(exchange, got, &bytes);
}

static void lie_find(void *ctx, struct https_exchange *exchange)
{
	const struct liar *liar = ctx;
	struct ledger_receipt receipt;
	uint8_t txid[OID_SIZE];
	expect_ok(hex_decode(span_str(https_rest(exchange)), txid, sizeof(txid)));
	result found = ledger_engine_find(liar->engine, txid, &receipt);
	if (found != OK || liar->lie == NO_JSON) {
		https_answer(exchange, found == OK ? 200 : 500, "application/json", span_str("{\"code\":0,"));
		return;
	}
	if (liar->lie == WRONG_INDEX)
		receipt.index -= 2;
	if (liar->lie == WRONG_CODE)
		receipt.code = ACCESS_DENIED;
	if (liar->lie == OTHER_TX)
		receipt.txid[0] ^= 1;
	json_t *json = api_receipt_json(&receipt);
	char *text = json_dumps(json, JSON_COMPACT);
	https_answer(exchange, 200, "application/json", span_str(text));
	free(text);
	json_decref(json);
}

struct lying_page {
	const struct liar *liar;
	struct writer w;
	uint64_t paths;
};

static result lie_entry(void *arg, const struct ledger_row *row)
{
	struct lying_page *page = arg;
	struct api_entry entry = {.index = row->index, .size = row->size, .time = row->time, .leaf = row->bytes, .has_path = true};
	uint8_t leaf[LEAF_MAX];
	uint64_t size;
	expect_ok(ledger_engine_prove(page->liar->engine, row->index, page->paths, &entry.path, &size));
	if (page->liar->lie == ENTRY_CHANGED && row->index == 2) {
		memcpy(leaf, row->bytes.data, row->bytes.len);
		leaf[row->bytes.len - 1] ^= 1;
		entry.leaf = span_of(leaf, row->bytes.len);
	}
	api_entry_put(&entry, &page->w);
	if (page->liar->lie == ENTRY_AGAIN)
		api_entry_put(&entry, &page->w);
	return page->w.failed;
}

static void lie_entries(void *ctx, struct https_exchange *exchange)
{
	struct lying_page page = {.liar = ctx, .w = writer_growing(1 << 20)};
	struct ledger_filter filter = {0};
	struct bytes bytes = BYTES_EMPTY;
	expect_ok(https_query_number(exchange, "from", 0, &filter.from));
	expect_ok(https_query_number(exchange, "paths", 0, &page.paths));
	result walked = ledger_engine_each(page.liar->engine, &filter, lie_entry, &page);
	if (walked == OK)
		walked = writer_take(&page.w, &bytes);
	writer_free(&page.w);
	answer(exchange, walked, &bytes);
}

static const struct https_route lies[] = {
	{HTTPS_GET, "/v1/proofs/leaf/", 0, lie_leaf},
	{HTTPS_GET, "/v1/proofs/fact/", 0, lie_fact},
	{HTTPS_GET, "/checkpoint", 0, lie_head},
	{HTTPS_GET, "/v1/checkpoints/", 0, lie_head_at},
	{HTTPS_GET, "/v1/consistency", 0, lie_consistency},
	{HTTPS_GET, "/v1/transactions/", 0, lie_find},
	{HTTPS_GET, "/v1/entries", 0, lie_entries},
};

static void *run_liar(void *arg)
{
	struct liar *liar = arg;
	return https_server_run(liar->server) == OK ? NULL : liar;
}

static void read_pem(const struct town *town, const char *name, struct bytes *out)
{
	char path[PATH_SIZE];
	expect_ok(path_join(path, town->ledger, name));
	expect_ok(file_read(path, 1 << 16, out));
}

static void copy_tree(const char *from, const char *to)
{
	static const char *const names[] = {"log-00000001.log", "log.head", "log.key", "log.vkey", "state.snapshot", "tree"};
	assert_int_equal(mkdir(to, 0700), 0);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
		char path[PATH_SIZE];
		expect_ok(path_join(path, from, names[i]));
		expect_ok(file_read(path, 64 << 20, &content));
		expect_ok(path_join(path, to, names[i]));
		expect_ok(file_write_atomic(path, bytes_span(&content), 0600));
	}
}

/* Three transactions after the first configuration; the fork shares the first of them. */
static void liar_new(struct liar *liar, struct town *town)
{
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes key_pem = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	char fork_dir[PATH_SIZE];
	uint8_t chain[CHAIN_ID_SIZE];
	town_new(town);
	*liar = (struct liar){.town = town};
	expect_ok(path_join(fork_dir, town->dir, "fork"));
	struct ledger_engine_options options = {.dir = town->ledger};
	for (int i = 0; i < 3; i++) {
		struct ledger_receipt receipt;
		expect_ok(ledger_engine_open(&options, &liar->engine, NULL));
		ledger_engine_chain(liar->engine, chain);
		struct bytes tx = registration(town, chain, (uint8_t)(i + 1));
		expect_ok(ledger_engine_submit(liar->engine, bytes_span(&tx), &receipt));
		assert_int_equal(receipt.code, OK);
		bytes_free(&tx);
		ledger_engine_close(liar->engine);
		if (i == 0)
			copy_tree(town->ledger, fork_dir);
	}
	expect_ok(ledger_engine_open(&options, &liar->engine, NULL));
	options.dir = fork_dir;
	expect_ok(ledger_engine_open(&options, &liar->fork, NULL));
	for (int i = 0; i < 2; i++) {
		struct ledger_receipt receipt;
		struct bytes tx = registration(town, chain, (uint8_t)(i + 100));
		expect_ok(ledger_engine_submit(liar->fork, bytes_span(&tx), &receipt));
		bytes_free(&tx);
	}
	read_pem(town, "service/service.crt", &pem);
	read_pem(town, "service/service.key", &key_pem);
	expect_ok(key_from_private_pem(bytes_span(&key_pem), &key));
	const struct https_server_config config = {.listen = "127.0.0.1:0", .key = &key, .certificate_pem = bytes_span(&pem), .routes = lies,
		.route_count = COUNT_OF(lies), .ctx = liar};
	expect_ok(https_server_new(&config, &liar->server));
	snprintf(liar->url, sizeof(liar->url), "https://%s", https_server_address(liar->server));
	assert_int_equal(pthread_create(&liar->thread, NULL, run_liar, liar), 0);
}

static void liar_open(struct liar *liar, result wanted)
{
	const struct ledger_client_options options = {.place = liar->town->client, .url = liar->url, .timeout_ms = 60000};
	ledger_client_free(liar->client);
	liar->client = NULL;
	expect(ledger_client_open(&options, &liar->client), wanted);
}

static void liar_free(struct liar *liar)
{
	void *failed;
	ledger_client_free(liar->client);
	https_server_stop(liar->server);
	assert_int_equal(pthread_join(liar->thread, &failed), 0);
	assert_null(failed);
	https_server_free(liar->server);
	ledger_engine_close(liar->engine);
	ledger_engine_close(liar->fork);
	town_free(liar->town);
}

static void lies_are_not_believed(void **state)
{
	struct town town;
	struct liar liar;
	struct seen seen = {0};
	struct ledger_receipt receipt;
	struct ledger_config config;
	struct transaction tx;
	struct ledger_leaf leaf;
	uint8_t txid[OID_SIZE];
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	(void)state;
	liar_new(&liar, &town);
	liar_open(&liar, OK);
	expect_ok(ledger_engine_leaf(liar.engine, 4, &bytes));
	expect_ok(ledger_leaf_decode(bytes_span(&bytes), &leaf));
	expect_ok(object_peek(KIND_TRANSACTION, leaf.tx, &arena, &tx, txid));
	bytes_free(&bytes);
	expect_ok(ledger_client_find(liar.client, txid, &receipt));
	assert_int_equal(receipt.index, 4);
	expect_ok(ledger_client_config(liar.client, &arena, &config));
	expect_ok(ledger_client_each(liar.client, &(struct ledger_filter){0}, see, &seen));
	assert_int_equal(seen.count, 4);
	static const struct {
		enum lie lie;
		result wanted;
	} finds[] = {{WRONG_INDEX, PROOF_INVALID}, {WRONG_CODE, PROOF_INVALID}, {OTHER_TX, ANSWER_BROKEN}, {NO_JSON, ANSWER_BROKEN}, {OTHER_LEAF, PROOF_INVALID}};
	for (size_t i = 0; i < COUNT_OF(finds); i++) {
		liar.lie = finds[i].lie;
		expect(ledger_client_find(liar.client, txid, &receipt), finds[i].wanted);
	}
	liar.lie = OTHER_FACT;
	expect(ledger_client_config(liar.client, &arena, &config), PROOF_INVALID);
	liar.lie = ENTRY_CHANGED;
	expect(ledger_client_each(liar.client, &(struct ledger_filter){0}, see, &seen), PROOF_INVALID);
	liar.lie = ENTRY_AGAIN;
	expect(ledger_client_each(liar.client, &(struct ledger_filter){0}, see, &seen), ANSWER_BROKEN);
	liar.lie = OLD_HEAD;
	expect(ledger_client_checkpoint(liar.client, NULL, NULL), LEDGER_ROLLED_BACK);
	liar.lie = NO_CONSISTENCY;
	expect(ledger_client_checkpoint_at(liar.client, 2, NULL, NULL), LEDGER_ROLLED_BACK);
	/* None of it was for good. */
	liar.lie = TRUTH;
	expect_ok(ledger_client_find(liar.client, txid, &receipt));
	liar_free(&liar);
}

static bool has_evidence(const struct town *town, const char *name)
{
	char path[PATH_SIZE], file[64];
	snprintf(file, sizeof(file), "evidence/%s", name);
	return path_join(path, town->client, file) == OK && access(path, F_OK) == 0;
}

static void forks_end_it(enum lie lie, bool same_size)
{
	struct town town;
	struct liar liar;
	struct ledger_receipt receipt;
	uint8_t txid[OID_SIZE] = {0};
	CLEANUP(bytes_free) struct bytes one = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes other = BYTES_EMPTY;
	liar_new(&liar, &town);
	liar_open(&liar, OK);
	if (same_size) {
		expect_ok(ledger_client_checkpoint(liar.client, NULL, NULL));
	} else {
		expect_ok(ledger_client_checkpoint_at(liar.client, 6, NULL, NULL));
	}
	assert_false(has_evidence(&town, "why.txt"));
	liar.lie = lie;
	expect(ledger_client_checkpoint(liar.client, NULL, NULL), LEDGER_FORKED);
	assert_true(has_evidence(&town, "one.checkpoint") && has_evidence(&town, "other.checkpoint") && has_evidence(&town, "log.vkey") &&
		    has_evidence(&town, "why.txt"));
	/* From here on whatever is asked, and in a new process too. */
	liar.lie = TRUTH;
	expect(ledger_client_checkpoint(liar.client, NULL, NULL), LEDGER_FORKED);
	expect(ledger_client_find(liar.client, txid, &receipt), LEDGER_FORKED);
	expect(ledger_client_submit(liar.client, span_str("x"), &receipt), LEDGER_FORKED);
	struct note_key log = *ledger_client_log_key(liar.client);
	liar_open(&liar, LEDGER_FORKED);
	char path[PATH_SIZE];
	expect_ok(path_join(path, town.client, "evidence/one.checkpoint"));
	expect_ok(file_read(path, NOTE_MAX, &one));
	expect_ok(path_join(path, town.client, "evidence/other.checkpoint"));
	expect_ok(file_read(path, NOTE_MAX, &other));
	expect(ledger_fork_evident(&log, bytes_span(&one), bytes_span(&other)), same_size ? OK : PROOF_INVALID);
	expect(ledger_fork_evident(&log, bytes_span(&one), bytes_span(&one)), PROOF_INVALID);
	liar_free(&liar);
}

static void two_heads_of_one_size_end_it(void **state)
{
	(void)state;
	forks_end_it(FORKED_HEAD, true);
}

static void a_head_that_is_not_continued_ends_it(void **state)
{
	(void)state;
	forks_end_it(FORKED_HEAD, false);
	forks_end_it(BROKEN_CONSISTENCY, false);
}

/* ---- Forms ------------------------------------------------------------------------------------------ */

static void questions_and_lists_have_one_form(void **state)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 16);
	uint8_t measurement[SHA384_SIZE] = {9};
	struct bytes_item links[] = {{span_str("one")}, {span_str("two")}};
	struct access_question question = {.actor = {1, 2}, .operation = 7, .scope = "a/b", .measurement = measurement, .links = links, .link_count = 2}, read;
	struct merkle_proof proof = {.count = 3}, back;
	struct writer w = writer_growing(4096);
	struct span text;
	(void)state;
	expect_ok(api_question_encode(&question, &bytes));
	expect_ok(api_question_decode(bytes_span(&bytes), &arena, &read));
	assert_memory_equal(read.actor, question.actor, ADDRESS_SIZE);
	assert_true(read.operation == 7 && read.link_count == 2 && memcmp(read.measurement, measurement, SHA384_SIZE) == 0);
	assert_string_equal(read.scope, "a/b");
	expect_span(read.links[1].bytes, span_str("two"));
	expect(api_question_decode(span_of(bytes.data, bytes.len - 1), &arena, &read), TRUNCATED);
	question.operation = 64;
	expect(api_question_encode(&question, &bytes), BAD_VALUE);
	memset(proof.hashes, 5, sizeof(proof.hashes[0]) * 3);
	expect_ok(api_hashes_put(&proof, &w));
	expect_ok(writer_finish(&w, &text));
	expect_ok(api_hashes_take(text, &back));
	assert_int_equal(back.count, 3);
	assert_memory_equal(back.hashes, proof.hashes, 3 * sizeof(proof.hashes[0]));
	expect(api_hashes_take(span_of(text.data, text.len - 1), &back), ANSWER_BROKEN);
	w.data[44] = 'x';
	expect(api_hashes_take(text, &back), ANSWER_BROKEN);
	writer_free(&w);
}

int group_service(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sent_can_be_found_and_proved),
		cmocka_unit_test(what_is_refused_is_told),
		cmocka_unit_test(walks_are_filtered_and_bounded),
		cmocka_unit_test(without_a_service_a_folder_is_read),
		cmocka_unit_test(writers_have_a_rate),
		cmocka_unit_test(batches_are_told_and_health_with_them),
		cmocka_unit_test(lies_are_not_believed),
		cmocka_unit_test(two_heads_of_one_size_end_it),
		cmocka_unit_test(a_head_that_is_not_continued_ends_it),
		cmocka_unit_test(questions_and_lists_have_one_form),
	};
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_ERROR, "troth");
	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
