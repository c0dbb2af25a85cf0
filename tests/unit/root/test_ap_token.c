/*
 * The secure processor with its signing keys in a token. The worker of the token is a thread of the test that speaks the
 * protocol and holds the keys, so that it can be away, forget keys, or sign wrongly at any step.
 */
#include "ap_bench.h"
#include "groups.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "base/sock.h"
#include "crypto/der.h"
#include "crypto/token.h"

enum { HELD_MAX = 32 };

struct held {
	struct token_name name;
	struct key key;
};

static struct {
	pthread_t thread;
	struct fd socket;
	pthread_mutex_t lock;
	struct held keys[HELD_MAX];
	size_t count;
	unsigned signatures;
	bool away, signs_wrongly, lets_keys_out;
	int generates_left; /* then it is full; -1: never */
} worker = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct held *find(const struct token_name *name)
{
	for (size_t i = 0; i < worker.count; i++) {
		const struct token_name *own = &worker.keys[i].name;
		bool same_id = span_equal(span_of(own->id, own->id_len), span_of(name->id, name->id_len));
		if (same_id && (!name->label[0] || strcmp(own->label, name->label) == 0))
			return &worker.keys[i];
	}
	return NULL;
}

static void describe(const struct held *held, struct token_reply *reply)
{
	reply->keys[0].name = held->name;
	reply->keys[0].abilities = TOKEN_SIGNS | TOKEN_MADE | (worker.lets_keys_out ? 0 : TOKEN_KEEPS);
	memcpy(reply->keys[0].point, held->key.point, POINT_SIZE);
}

static enum reason make(const struct token_request *request, struct token_reply *reply)
{
	if (find(&request->name))
		return ALREADY_EXISTS;
	if (worker.count == HELD_MAX || worker.generates_left == 0)
		return TOKEN_UNAVAILABLE;
	if (worker.generates_left > 0)
		worker.generates_left--;
	struct held *held = &worker.keys[worker.count];
	if (key_generate(&held->key) != OK)
		return INTERNAL;
	held->name = request->name;
	worker.count++;
	describe(held, reply);
	return OK;
}

static enum reason sign_digest(const struct held *held, const uint8_t *digest, uint8_t out[static SIGNATURE_SIZE])
{
	uint8_t input[SHA256_SIZE], der[DER_SIGNATURE_MAX];
	size_t len = sizeof(der);
	memcpy(input, digest, sizeof(input));
	input[0] ^= worker.signs_wrongly;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, held->key.pkey, NULL);
	bool good = ctx && EVP_PKEY_sign_init(ctx) > 0 && EVP_PKEY_sign(ctx, der, &len, input, sizeof(input)) > 0;
	EVP_PKEY_CTX_free(ctx);
	worker.signatures++;
	return good ? der_signature_to_raw(span_of(der, len), out) : INTERNAL;
}

static enum reason destroy(struct held *held)
{
	key_free(&held->key);
	worker.count--;
	memmove(held, held + 1, (size_t)(worker.keys + worker.count - held) * sizeof(*held));
	worker.keys[worker.count] = (struct held){.name = {.id_len = 0}};
	return OK;
}

static enum reason carry_out(const struct token_request *request, struct token_reply *reply)
{
	struct held *held = find(&request->name);
	if (worker.away)
		return TOKEN_UNAVAILABLE;
	if (request->type == TOKEN_GENERATE)
		return make(request, reply);
	if (!held)
		return NOT_FOUND;
	switch (request->type) {
	case TOKEN_FIND: describe(held, reply); return OK;
	case TOKEN_SIGN: return sign_digest(held, request->digest, reply->signature);
	case TOKEN_DESTROY: return destroy(held);
	default: return NOT_SUPPORTED;
	}
}

static bool serve_one(void)
{
	static struct token_reply reply;
	static uint8_t bytes[TOKEN_REPLY_MAX];
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	struct writer w = writer_fixed(bytes, sizeof(bytes));
	struct token_request request;
	if (sock_receive(worker.socket.n, TOKEN_REQUEST_MAX, 0, -1, &message) != OK ||
		token_request_decode(bytes_span(&message.data), &request) != OK)
		return false;
	reply = (struct token_reply){.type = request.type, .number = request.number, .text = "the test's token"};
	pthread_mutex_lock(&worker.lock);
	reply.reason = carry_out(&request, &reply);
	pthread_mutex_unlock(&worker.lock);
	token_reply_put(&reply, &w);
	return sock_send(worker.socket.n, span_of(w.data, w.len), NULL, 0, 5000) == OK;
}

static void *serve(void *arg)
{
	while (serve_one())
		continue;
	return arg;
}

static struct token *token;

static int set_up(void **state)
{
	struct fd ends[2];
	worker.away = worker.signs_wrongly = worker.lets_keys_out = false;
	worker.generates_left = -1;
	worker.signatures = 0;
	assert_int_equal(sock_pair(ends), OK);
	worker.socket = ends[1];
	assert_int_equal(token_attach(&ends[0], 5000, &token), OK);
	assert_int_equal(pthread_create(&worker.thread, NULL, serve, NULL), 0);
	return 0;
}

static int tear_down(void **state)
{
	token_free(token);
	pthread_join(worker.thread, NULL);
	fd_close(&worker.socket);
	while (worker.count)
		destroy(&worker.keys[0]);
	return 0;
}

static void new_root(struct bench *b, struct token *in)
{
	*b = (struct bench){.arena = arena_of(64 << 20), .now = T0, .fd = -1, .token = in};
	assert_int_equal(secret_new(32, &b->wrap), OK);
	memset(b->wrap.data, 0x5a, 32);
	boot(b);
	measure(b, 1, 2);
	generate(b);
}

static bool holds(const uint8_t point[static POINT_SIZE])
{
	for (size_t i = 0; i < worker.count; i++)
		if (memcmp(worker.keys[i].key.point, point, POINT_SIZE) == 0)
			return true;
	return false;
}

static enum reason attest(struct bench *b)
{
	struct ap_attest request = {.purpose = "test", .challenge = {4}};
	struct ap_rot_available reply;
	struct rot_challenge answer;
	enum reason reason = ask(b, IPQ_ATTEST, &ap_attest_schema, &request, &ap_rot_available_schema, &reply);
	if (reason == OK)
		assert_int_equal(object_open(KIND_ROT_CHALLENGE, reply.challenge, &b->root_sign, &b->arena, &answer, NULL), OK);
	return reason;
}

static void a_root_signs_in_the_token(void **state)
{
	struct bench b;
	struct enclave e;
	struct ap_endorsed endorsed;
	new_root(&b, token);
	assert_int_equal(worker.count, 2); /* this epoch's and, ahead, the next one's */
	assert_true(holds(b.root_sign.point));
	unsigned before = worker.signatures;
	assert_int_equal(attest(&b), OK);
	assert_int_equal(worker.signatures, before + 1);
	/* Certificates and reports too. */
	endorse(&b, "payroll-a", &e, &endorsed);
	assert_true(worker.signatures >= before + 3);
	enclave_free(&e);
	bench_free(&b);
}

static void rotation_and_drain(void **state)
{
	struct bench b;
	new_root(&b, token);
	for (int i = 0; i < 3; i++) {
		uint8_t former[POINT_SIZE];
		memcpy(former, b.root_sign.point, POINT_SIZE);
		rotate(&b);
		assert_true(holds(b.root_sign.point));
		assert_true(holds(former)); /* the grace is not over */
		assert_int_equal(worker.count, 3);
		assert_int_equal(attest(&b), OK);
		assert_int_equal(drain(&b), OK);
		assert_false(holds(former));
		assert_int_equal(worker.count, 2);
		assert_int_equal(attest(&b), OK);
		assert_int_equal(drain(&b), OK); /* again: nothing to do */
		assert_int_equal(worker.count, 2);
	}
	bench_free(&b);
}

static void an_emergency_leaves_no_former_key(void **state)
{
	struct bench b;
	new_root(&b, token);
	rotate(&b);
	assert_int_equal(worker.count, 3);
	/* While the one before still drains. */
	struct ap_rotate request = a_rotation(200);
	request.emergency = true;
	request.reason = EPOCH_EVENT;
	assert_int_equal(rotate_as(&b, &request), OK);
	assert_int_equal(worker.count, 2);
	assert_int_equal(attest(&b), OK);
	restart(&b, 1, 2);
	assert_int_equal(worker.count, 2);
	bench_free(&b);
}

static void a_restart_drains(void **state)
{
	struct bench b;
	uint8_t former[POINT_SIZE];
	new_root(&b, token);
	memcpy(former, b.root_sign.point, POINT_SIZE);
	rotate(&b);
	restart(&b, 1, 2);
	assert_int_equal(state_of(&b), AP_READY);
	assert_false(holds(former));
	assert_int_equal(worker.count, 2);
	assert_int_equal(attest(&b), OK);
	rotate(&b);
	assert_int_equal(attest(&b), OK);
	bench_free(&b);
}

static void without_its_token_it_does_not_start(void **state)
{
	struct bench b;
	new_root(&b, token);
	b.token = NULL;
	assert_int_equal(try_boot(&b), TOKEN_UNAVAILABLE);
	b.token = token;
	worker.away = true;
	assert_int_equal(try_boot(&b), TOKEN_UNAVAILABLE);
	worker.away = false;
	/* Another token, or one whose key was lost. */
	assert_int_equal(try_boot(&b), OK);
	assert_int_equal(destroy(&worker.keys[0]), OK);
	assert_int_equal(try_boot(&b), NOT_FOUND);
	bench_free(&b);
}

static void a_token_that_is_away_fails_one_request(void **state)
{
	struct bench b;
	new_root(&b, token);
	worker.away = true;
	assert_int_equal(attest(&b), TOKEN_UNAVAILABLE);
	struct ap_rotate request = a_rotation(1);
	assert_int_equal(rotate_as(&b, &request), TOKEN_UNAVAILABLE);
	worker.away = false;
	assert_int_equal(attest(&b), OK);
	assert_int_equal(rotate_as(&b, &request), OK);
	/* A drain without the token is not done, and is done later. */
	worker.away = true;
	assert_int_equal(drain(&b), TOKEN_UNAVAILABLE);
	assert_int_equal(worker.count, 3);
	worker.away = false;
	struct ap_rotate next = a_rotation(2);
	assert_int_equal(rotate_as(&b, &next), DRAIN_PENDING);
	assert_int_equal(drain(&b), OK);
	assert_int_equal(worker.count, 2);
	assert_int_equal(rotate_as(&b, &next), OK);
	bench_free(&b);
}

static void a_full_token_keeps_the_old_epoch(void **state)
{
	struct bench b;
	new_root(&b, token);
	uint64_t epoch = b.epoch;
	worker.generates_left = 0;
	struct ap_rotate request = a_rotation(1);
	assert_int_equal(rotate_as(&b, &request), TOKEN_UNAVAILABLE);
	assert_int_equal(b.epoch, epoch);
	assert_int_equal(attest(&b), OK);
	worker.generates_left = -1;
	assert_int_equal(rotate_as(&b, &request), OK);
	bench_free(&b);
}

static result write_nothing(void *context, struct span state)
{
	return fail(IO_ERROR, "killed before the write");
}

/* The keys were made in the token, their state was never written: the old epoch stands, and only keys of no use are left. */
static void a_crash_before_the_write_forks_nothing(void **state)
{
	struct bench b;
	struct ap_action action;
	new_root(&b, token);
	struct ap_rotate request = a_rotation(1);
	step(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &action);
	assert_int_equal(action.kind, AP_ROTATE);
	ap_rotation_run(action.rotation, write_nothing, NULL);
	assert_int_equal(worker.count, 3);
	restart(&b, 1, 2);
	assert_int_equal(attest(&b), OK);
	assert_int_equal(rotate_as(&b, &request), OK);
	assert_int_equal(drain(&b), OK);
	assert_int_equal(attest(&b), OK);
	assert_int_equal(worker.count, 3); /* two in use */
	bench_free(&b);
}

static void wrong_signatures_go_no_further(void **state)
{
	struct bench b;
	new_root(&b, token);
	worker.signs_wrongly = true;
	assert_int_equal(attest(&b), BAD_SIGNATURE);
	struct ap_rotate request = a_rotation(1);
	assert_int_equal(rotate_as(&b, &request), BAD_SIGNATURE);
	worker.signs_wrongly = false;
	assert_int_equal(rotate_as(&b, &request), OK);
	bench_free(&b);
}

static void a_token_that_lets_keys_out_makes_no_root(void **state)
{
	struct bench b = {.arena = arena_of(64 << 20), .now = T0, .fd = -1, .token = token};
	struct ap_generate request = a_generate();
	assert_int_equal(secret_new(32, &b.wrap), OK);
	boot(&b);
	measure(&b, 1, 2);
	worker.lets_keys_out = true;
	assert_int_equal(ask(&b, IPQ_GENERATE_ROT, &ap_generate_schema, &request, NULL, NULL), NOT_SUPPORTED);
	assert_int_equal(state_of(&b), AP_MEASURED);
	worker.lets_keys_out = false;
	generate(&b);
	assert_int_equal(state_of(&b), AP_READY);
	bench_free(&b);
}

/* A root that was made without a token has nothing in one, also when one is given later. */
static void a_root_of_seeds_stays_one(void **state)
{
	struct bench b;
	new_root(&b, NULL);
	b.token = token;
	restart(&b, 1, 2);
	rotate(&b);
	assert_int_equal(drain(&b), OK);
	assert_int_equal(attest(&b), OK);
	assert_int_equal(worker.count, 0);
	b.token = NULL;
	restart(&b, 1, 2);
	assert_int_equal(attest(&b), OK);
	bench_free(&b);
}

/* Nothing at rest is enough to sign: the state does not give the scalar of the key, nor its seed. */
static void the_state_alone_does_not_sign(void **state)
{
	struct bench b;
	new_root(&b, token);
	uint8_t mine[POINT_SIZE];
	memcpy(mine, b.root_sign.point, POINT_SIZE);
	while (worker.count)
		destroy(&worker.keys[0]);
	assert_int_equal(try_boot(&b), NOT_FOUND);
	/* Keys of the same names, made anew, are other keys. */
	worker.away = false;
	assert_false(holds(mine));
	bench_free(&b);
}

int test_ap_token(void)
{
#define WITH_TOKEN(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_TOKEN(a_root_signs_in_the_token),
		WITH_TOKEN(rotation_and_drain),
		WITH_TOKEN(an_emergency_leaves_no_former_key),
		WITH_TOKEN(a_restart_drains),
		WITH_TOKEN(without_its_token_it_does_not_start),
		WITH_TOKEN(a_token_that_is_away_fails_one_request),
		WITH_TOKEN(a_full_token_keeps_the_old_epoch),
		WITH_TOKEN(a_crash_before_the_write_forks_nothing),
		WITH_TOKEN(wrong_signatures_go_no_further),
		WITH_TOKEN(a_token_that_lets_keys_out_makes_no_root),
		WITH_TOKEN(a_root_of_seeds_stays_one),
		WITH_TOKEN(the_state_alone_does_not_sign),
	};
	return cmocka_run_group_tests_name("secure processor with a token", tests, NULL, NULL);
}
