/*
 * Profile sealed of the queue (docs/PROTOCOL.ipq section 8): greetings and slots that somebody on the way made or changed. The
 * first byte chooses what the rest is: HELLO, HELLO_REPLY, edits of a genuine one, a slot, edits of a genuine
 * slot. Whatever it is: nothing is accepted but what the other end really said.
 */
#include "base/secret.h"
#include "object/object.h"
#include "root/ipq_sealed.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			abort();                                                                                       \
	} while (0)

enum { BOOT_GEN = 5, REPLY_ROOM = 2048, SLOT_PLAIN = 50, SLOT_CIPHER = SLOT_PLAIN + AEAD_TAG_SIZE };

static const uint8_t pairing[IPQ_PAIRING_SIZE] = {1, 2, 3};
static const uint64_t genuine_head[3] = {9, IPQ_ATTEST | 1 << 16 | (uint64_t)SLOT_CIPHER << 32, (uint64_t)BOOT_GEN << 40 | 1};
static struct key signer;
static uint8_t epoch_oid[OID_SIZE] = {0xe0};

/* One greeting, made once; its host starts over for each input, its AP has the keys. */
static struct ipq_sealed *template, *ap;
static uint8_t hello[IPQ_SEALED_HELLO_SIZE];
static struct bytes reply;
static uint8_t genuine_cipher[SLOT_CIPHER];

static result sign(void *context, struct queue_hello *said, struct bytes *out_record, struct bytes *out_object)
{
	memcpy(said->epoch_oid, epoch_oid, OID_SIZE);
	TRY(bytes_copy(span_str("record"), out_record));
	return object_sign(KIND_QUEUE_HELLO, said, &signer, out_object, NULL);
}

static result judge(void *context, const struct queue_hello *said, struct span record, struct span object)
{
	MUST(span_equal_str(record, "record")); /* it stands in the transcript that was confirmed */
	return ipq_hello_verify(said, object, &signer, epoch_oid);
}

/* A host that has sent `hello`. */
static struct ipq_sealed *new_host(void)
{
	struct ipq_sealed *host = NULL;
	uint8_t unused[IPQ_SEALED_HELLO_SIZE];
	MUST(ipq_sealed_new(IPQ_HOST, SPAN_ARRAY(pairing), &host) == OK);
	if (!template) {
		MUST(ipq_sealed_hello(host, hello) == OK);
		return host;
	}
	MUST(ipq_sealed_hello(host, unused) == OK);
	key_free(&host->ephemeral);
	host->ephemeral = key_ref(&template->ephemeral);
	host->hello = template->hello;
	return host;
}

static void set_up(void)
{
	if (template)
		return;
	MUST(key_generate(&signer) == OK);
	struct ipq_sealed *host = new_host();
	MUST(ipq_sealed_new(IPQ_AP, SPAN_ARRAY(pairing), &ap) == OK);
	MUST(ipq_sealed_answer(ap, SPAN_ARRAY(hello), BOOT_GEN, sign, NULL, &reply) == OK && reply.len < REPLY_ROOM);
	template = host;
	uint64_t boot_gen;
	uint8_t plain[SLOT_PLAIN];
	struct ipq_sealed *greeted = new_host();
	memset(plain, 'p', sizeof plain);
	MUST(ipq_sealed_finish(greeted, bytes_span(&reply), judge, NULL, &boot_gen) == OK && boot_gen == BOOT_GEN);
	MUST(ipq_sealed_seal(greeted, genuine_head, SPAN_ARRAY(plain), genuine_cipher) == OK);
	ipq_sealed_free(&greeted);
}

static void try_hello(struct span body)
{
	CLEANUP(ipq_sealed_free) struct ipq_sealed *fresh = NULL;
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	MUST(ipq_sealed_new(IPQ_AP, SPAN_ARRAY(pairing), &fresh) == OK);
	result answered = ipq_sealed_answer(fresh, body, BOOT_GEN, sign, NULL, &answer);
	if (answered != OK) {
		MUST((answered == QUEUE_HELLO || answered == BAD_POINT) && !ipq_sealed_ready(fresh) && answer.len == 0);
		return;
	}
	MUST(body.len == IPQ_SEALED_HELLO_SIZE && body.data[0] == 1 && body.data[1] == 1 && ipq_sealed_ready(fresh));
	/* An answer to somebody else's HELLO is none to ours. */
	uint64_t boot_gen;
	CLEANUP(ipq_sealed_free) struct ipq_sealed *host = new_host();
	result finished = ipq_sealed_finish(host, bytes_span(&answer), judge, NULL, &boot_gen);
	MUST((finished == OK) == (memcmp(body.data, hello, sizeof hello) == 0));
}

static void try_reply(struct span body)
{
	CLEANUP(ipq_sealed_free) struct ipq_sealed *host = new_host();
	uint64_t boot_gen = 0;
	result finished = ipq_sealed_finish(host, body, judge, NULL, &boot_gen);
	MUST((finished == OK) == span_equal(body, bytes_span(&reply)));
	MUST(ipq_sealed_ready(host) == (finished == OK));
}

/* Three bytes an edit: where, and what is flipped there. */
static size_t edit(uint8_t *at, size_t len, struct span edits)
{
	for (size_t i = 0; i + 3 <= edits.len; i += 3)
		at[(size_t)(edits.data[i] << 8 | edits.data[i + 1]) % len] ^= edits.data[i + 2];
	return len;
}

static void try_slot(const uint64_t head[static 3], struct span cipher)
{
	static uint8_t plain[REPLY_ROOM];
	bool genuine = memcmp(head, genuine_head, sizeof genuine_head) == 0 && span_equal(cipher, SPAN_ARRAY(genuine_cipher));
	result opened = ipq_sealed_open(ap, head, cipher, plain);
	MUST(opened == (genuine ? OK : BAD_TAG));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t changed[REPLY_ROOM];
	uint64_t head[3] = {0};
	set_up();
	if (size == 0 || size > REPLY_ROOM)
		return 0;
	struct span rest = span_of(data + 1, size - 1);
	switch (data[0] % 6) {
	case 0:
		try_hello(rest);
		break;
	case 1:
		memcpy(changed, hello, sizeof hello);
		try_hello(span_of(changed, edit(changed, sizeof hello, rest)));
		break;
	case 2:
		try_reply(rest);
		break;
	case 3:
		memcpy(changed, reply.data, reply.len);
		try_reply(span_of(changed, edit(changed, reply.len, rest)));
		break;
	case 4:
		if (rest.len < sizeof head)
			return 0;
		memcpy(head, rest.data, sizeof head);
		try_slot(head, span_of(rest.data + sizeof head, rest.len - sizeof head));
		break;
	default:
		memcpy(changed, genuine_head, sizeof head);
		memcpy(changed + sizeof head, genuine_cipher, SLOT_CIPHER);
		edit(changed, sizeof head + SLOT_CIPHER, rest);
		memcpy(head, changed, sizeof head);
		try_slot(head, span_of(changed + sizeof head, SLOT_CIPHER));
	}
	return 0;
}
