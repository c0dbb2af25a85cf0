#include "enclave/iecp_internal.h"

#include "crypto/random.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- fork ---- */

/*
 * One page of the process that the kernel zeroes in a child (madvise(2), MADV_WIPEONFORK). It holds a random tag; a
 * channel keeps the tag of the process that made it, and a child that makes channels of its own draws another.
 */
static uint64_t *fork_page;
static pthread_once_t fork_page_once = PTHREAD_ONCE_INIT;

static void map_fork_page(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	if (madvise(page, size, MADV_WIPEONFORK) != 0) {
		munmap(page, size);
		return;
	}
	fork_page = page;
}

static result read_fork_tag(uint64_t *out)
{
	uint64_t none = 0, tag;

	pthread_once(&fork_page_once, map_fork_page);
	if (!fork_page)
		return fail(NOT_SUPPORTED, "the kernel gives no page that is wiped on fork");
	do
		random_bytes(&tag, sizeof tag);
	while (tag == 0);
	if (!__atomic_compare_exchange_n(fork_page, &none, tag, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		tag = none; /* another channel has set it */
	*out = tag;
	return OK;
}

static inline bool is_forked(const struct iecp_channel *channel)
{
	return __atomic_load_n(fork_page, __ATOMIC_RELAXED) != channel->fork_tag;
}

/* ---- making and ending ---- */

static void derive(const uint8_t *key, const char *label, uint8_t *out)
{
	hkdf_expand_label(key, "iecp1", label, SPAN_EMPTY, out, IECP_KEY_SIZE);
}

static result key_direction(struct iecp_direction *d, const uint8_t traffic[static IECP_KEY_SIZE], bool sealing)
{
	uint8_t key_iv[AEAD_KEY_SIZE + AEAD_NONCE_SIZE];

	hkdf_expand_label(traffic, "iecp1", "key", SPAN_EMPTY, key_iv, sizeof key_iv);
	memcpy(d->iv, key_iv + AEAD_KEY_SIZE, sizeof d->iv);
	result r = sealing ? aead_init_seal(&d->aead, key_iv) : aead_init_open(&d->aead, key_iv);
	wipe(key_iv, sizeof key_iv);
	return r;
}

static result key_channel(struct iecp_channel *c, enum iecp_role role, const uint8_t *master)
{
	bool initiator = role == IECP_INITIATOR;

	TRY(secret_new(sizeof *c->secrets, &c->memory));
	c->secrets = (struct iecp_channel_secrets *)(void *)c->memory.data;
	derive(master, "traffic i", initiator ? c->secrets->traffic_out : c->secrets->traffic_in);
	derive(master, "traffic r", initiator ? c->secrets->traffic_in : c->secrets->traffic_out);
	derive(master, "id", c->id);
	derive(master, "psk", c->secrets->psk);
	derive(master, "exp", c->secrets->exporter);
	TRY(key_direction(&c->out, c->secrets->traffic_out, true));
	return key_direction(&c->in, c->secrets->traffic_in, false);
}

/* An hour, or until the peer's certificate ends. */
static uint64_t end_of_life(struct iecp_time now, const struct iecp_peer *peer)
{
	uint64_t left = peer->not_after - now.wall_ms;

	return now.steady_ms + (left < IECP_MAX_AGE_MS ? left : IECP_MAX_AGE_MS);
}

void iecp_channel_set_own(struct iecp_channel *channel, const struct iecp_config *config)
{
	memcpy(channel->own_sign_id, config->sign_key->id, KEY_ID_SIZE);
	memcpy(channel->own_kem_point, config->kem_key->point, POINT_SIZE);
	memcpy(channel->own_rot_id, config->epoch.rot_id, sizeof channel->own_rot_id);
}

result iecp_channel_new(enum iecp_role role, const uint8_t master[static IECP_KEY_SIZE], struct iecp_time now,
	struct iecp_peer *peer, struct iecp_channel **out)
{
	uint64_t tag;

	if (peer->not_after < now.wall_ms)
		return fail(CERTIFICATE_EXPIRED, "the certificate of %s", peer->name);
	TRY(read_fork_tag(&tag));
	struct iecp_channel *channel = calloc(1, sizeof *channel);
	if (!channel)
		return fail(NO_MEMORY, "an IECP channel");
	channel->fork_tag = tag;
	channel->role = role;
	channel->until_steady_ms = end_of_life(now, peer);
	result r = key_channel(channel, role, master);
	if (r != OK) {
		iecp_channel_free(channel);
		return r;
	}
	channel->peer = *peer;
	*peer = (struct iecp_peer){0}; /* transferred */
	*out = channel;
	return OK;
}

void iecp_channel_free(struct iecp_channel *channel)
{
	if (!channel)
		return;
	iecp_rekey_free(channel);
	aead_free(&channel->out.aead);
	aead_free(&channel->in.aead);
	/* In a child of fork the secret pages are not there. */
	if (!is_forked(channel))
		secret_free(&channel->memory);
	iecp_peer_free(&channel->peer);
	wipe(channel, sizeof *channel);
	free(channel);
}

const struct iecp_peer *iecp_channel_peer(const struct iecp_channel *channel)
{
	return &channel->peer;
}

const uint8_t *iecp_channel_id(const struct iecp_channel *channel)
{
	return channel->id;
}

uint16_t iecp_channel_suite(const struct iecp_channel *channel)
{
	return channel->suite;
}

struct span iecp_channel_psk(const struct iecp_channel *channel)
{
	return SPAN_ARRAY(channel->secrets->psk);
}

uint64_t iecp_channel_until(const struct iecp_channel *channel)
{
	return channel->until_steady_ms;
}

void iecp_channel_end_by(struct iecp_channel *channel, uint64_t steady_ms)
{
	if (steady_ms < channel->until_steady_ms)
		channel->until_steady_ms = steady_ms;
}

void iecp_channel_set_generation(struct iecp_channel *channel, bool sealing, uint16_t generation)
{
	(sealing ? &channel->out : &channel->in)->generation = generation;
}

void iecp_channel_set_progress(struct iecp_channel *channel, bool sealing, uint64_t sequence, uint64_t bytes)
{
	struct iecp_direction *d = sealing ? &channel->out : &channel->in;

	d->sequence = sequence;
	d->bytes = bytes;
}

result iecp_channel_export(const struct iecp_channel *channel, const char *label, struct span context, uint8_t *out,
	size_t len)
{
	if (is_forked(channel))
		return fail(CHANNEL_FORKED, "an export");
	if (len == 0 || len > 255 * SHA256_SIZE)
		return fail(BAD_VALUE, "an export of %zu bytes", len);
	hkdf_expand_label(channel->secrets->exporter, "iecp1", label, context, out, len);
	return OK;
}

/* ---- record header ---- */

struct header {
	uint16_t generation;
	uint8_t type;
	uint8_t flags;
	uint32_t len; /* of ciphertext and tag */
	uint64_t sequence;
};

static inline uint64_t big64(uint64_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap64(value);
#else
	return value;
#endif
}

static inline void put_header(uint8_t out[static IECP_HEADER_SIZE], uint16_t generation, uint8_t type, size_t plain_len,
	uint64_t sequence)
{
	uint64_t first = (uint64_t)generation << 48 | (uint64_t)type << 40 | (uint64_t)(plain_len + AEAD_TAG_SIZE);
	uint64_t words[2] = {big64(first), big64(sequence)};

	memcpy(out, words, sizeof words);
}

static inline struct header get_header(const uint8_t in[static IECP_HEADER_SIZE])
{
	uint64_t words[2];

	memcpy(words, in, sizeof words);
	uint64_t first = big64(words[0]);
	return (struct header){(uint16_t)(first >> 48), (uint8_t)(first >> 40), (uint8_t)(first >> 32), (uint32_t)first,
		big64(words[1])};
}

/* nonce = iv XOR (0^4 ‖ seq). */
static inline void make_nonce(const struct iecp_direction *d, uint64_t sequence, uint8_t out[static AEAD_NONCE_SIZE])
{
	uint64_t low;

	memcpy(out, d->iv, AEAD_NONCE_SIZE);
	memcpy(&low, out + 4, sizeof low);
	low ^= big64(sequence);
	memcpy(out + 4, &low, sizeof low);
}

/* Which records exist and how long their plaintext may be. */
struct kind {
	bool allowed;
	uint32_t min, max;
};

static const struct kind kinds[] = {
	[IECP_DATA] = {true, 1, IECP_MAX_PLAIN},
	[IECP_CLOSE] = {true, 0, 0},
	[IECP_KEYUPDATE] = {true, 0, 0},
	[IECP_HS] = {true, 1, IECP_MAX_PLAIN},
	[IECP_SWITCH] = {true, 0, 0},
	[IECP_ALERT] = {true, 2, 2},
};

/* CLOSE ends the data of a direction. What keeps the keys of the other direction fresh still passes. */
static inline bool may_follow_close(uint8_t type)
{
	return type == IECP_KEYUPDATE || type == IECP_HS || type == IECP_SWITCH;
}

/* The last record of a generation says that it is. */
static inline uint64_t last_sequence(uint8_t type)
{
	return type == IECP_KEYUPDATE || type == IECP_SWITCH ? IECP_MAX_RECORDS - 1 : IECP_MAX_RECORDS - 2;
}

static inline result check_form(const struct header *h, const struct iecp_direction *d)
{
	if (h->generation != d->generation)
		return fail(RECORD_OUT_OF_ORDER, "a record of key generation %u where %u is current", h->generation,
			d->generation);
	if (h->type >= COUNT_OF(kinds) || !kinds[h->type].allowed)
		return fail(UNEXPECTED_RECORD, "a record of type %u", h->type);
	if (h->flags != 0)
		return fail(BAD_VALUE, "a record with flags %u", h->flags);
	if (h->len > kinds[h->type].max + AEAD_TAG_SIZE)
		return fail(TOO_LARGE, "a record of type %u with %u bytes", h->type, h->len);
	if (h->len < kinds[h->type].min + AEAD_TAG_SIZE)
		return fail(BAD_VALUE, "a record of type %u with %u bytes", h->type, h->len);
	return OK;
}

/* ---- sealing ---- */

static inline result seal(struct iecp_channel *c, enum iecp_record_type type, struct span plain, uint8_t *out)
{
	struct iecp_direction *d = &c->out;
	uint8_t nonce[AEAD_NONCE_SIZE];

	if (is_forked(c))
		return fail(CHANNEL_FORKED, "a record of the parent process");
	if (d->closed && !may_follow_close((uint8_t)type))
		return fail(CHANNEL_CLOSED, "sending after CLOSE or ALERT");
	if (d->sequence > last_sequence((uint8_t)type))
		return fail(REKEY_NEEDED, "%llu records", (unsigned long long)d->sequence);
	make_nonce(d, d->sequence, nonce);
	uint64_t sequence = d->sequence++; /* spent, whatever happens now */
	d->bytes += plain.len;
	put_header(out, d->generation, (uint8_t)type, plain.len, sequence);
	return aead_seal(&d->aead, nonce, span_of(out, IECP_HEADER_SIZE), plain, out + IECP_HEADER_SIZE);
}

/* A sender leaves the last records of a generation to what is no data, so that this never has to wait for KEYUPDATE. */
static inline bool is_spent(const struct iecp_direction *d, size_t len)
{
	return d->sequence >= IECP_MAX_RECORDS - IECP_KEPT_RECORDS || d->bytes > IECP_MAX_BYTES - len;
}

static inline result check_age(const struct iecp_channel *c, uint64_t now)
{
	if (now >= c->until_steady_ms)
		return fail(REKEY_NEEDED, "the channel with %s is too old", c->peer.name);
	return OK;
}

bool iecp_keyupdate_due(const struct iecp_channel *channel, size_t len)
{
	const struct iecp_direction *out = &channel->out;

	return is_spent(out, len) || (channel->keyupdate_bytes && out->bytes && out->bytes + len > channel->keyupdate_bytes);
}

void iecp_channel_keyupdate_after(struct iecp_channel *channel, uint64_t bytes)
{
	channel->keyupdate_bytes = bytes;
}

result iecp_seal(struct iecp_channel *channel, struct span plain, uint64_t now_steady_ms, uint8_t *out)
{
	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	if (plain.len == 0 || plain.len > IECP_MAX_PLAIN)
		return fail(BAD_VALUE, "a record holds 1 to %d bytes, not %zu", IECP_MAX_PLAIN, plain.len);
	if (is_spent(&channel->out, plain.len))
		return fail(REKEY_NEEDED, "KEYUPDATE is due: %llu records, %llu bytes",
			(unsigned long long)channel->out.sequence, (unsigned long long)channel->out.bytes);
	TRY(check_age(channel, now_steady_ms));
	return seal(channel, IECP_DATA, plain, out);
}

result iecp_seal_close(struct iecp_channel *channel, uint8_t out[static IECP_RECORD_OVERHEAD])
{
	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	TRY(seal(channel, IECP_CLOSE, SPAN_EMPTY, out));
	channel->out.closed = true;
	return OK;
}

result iecp_seal_alert(struct iecp_channel *channel, enum reason why, uint8_t out[static IECP_ALERT_RECORD])
{
	uint8_t number[2] = {(uint8_t)((unsigned)why >> 8), (uint8_t)why};

	TRY(seal(channel, IECP_ALERT, SPAN_ARRAY(number), out));
	channel->out.closed = true;
	if (channel->failed == OK)
		channel->failed = why == OK ? CHANNEL_CLOSED : why;
	return OK;
}

result iecp_seal_control(struct iecp_channel *channel, enum iecp_record_type type, struct span plain, uint8_t *out)
{
	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	return seal(channel, type, plain, out);
}

/* ---- the next generation of one direction ---- */

static result no_generation_left(const struct iecp_direction *d)
{
	if (d->generation == IECP_LAST_GENERATION)
		return fail(REKEY_NEEDED, "key generation %u is the last", d->generation);
	return OK;
}

result iecp_direction_replace(struct iecp_direction *d, const uint8_t traffic[static IECP_KEY_SIZE], bool sealing)
{
	struct iecp_direction next = {.generation = (uint16_t)(d->generation + 1), .closed = d->closed};

	TRY(no_generation_left(d));
	TRY(key_direction(&next, traffic, sealing));
	aead_free(&d->aead);
	*d = next;
	return OK;
}

/* ts' = EX(ts, "update", "", 32); ts is gone. */
static result ratchet(struct iecp_direction *d, uint8_t traffic[static IECP_KEY_SIZE], bool sealing)
{
	uint8_t next[IECP_KEY_SIZE];

	derive(traffic, "update", next);
	result r = iecp_direction_replace(d, next, sealing);
	if (r == OK)
		memcpy(traffic, next, sizeof next);
	wipe(next, sizeof next);
	return r;
}

result iecp_seal_keyupdate(struct iecp_channel *channel, uint8_t out[static IECP_RECORD_OVERHEAD])
{
	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	TRY(no_generation_left(&channel->out));
	TRY(seal(channel, IECP_KEYUPDATE, SPAN_EMPTY, out));
	result r = ratchet(&channel->out, channel->secrets->traffic_out, true);
	if (r != OK)
		channel->failed = r; /* the old key has said that it was the last record */
	return r;
}

uint16_t iecp_channel_generation(const struct iecp_channel *channel, bool sending)
{
	return sending ? channel->out.generation : channel->in.generation;
}

/* ---- opening ---- */

static result end_with(struct iecp_channel *channel, enum reason reason)
{
	channel->failed = reason;
	return reason;
}

result iecp_record_size(struct iecp_channel *channel, struct span buffered, size_t *out_total)
{
	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	if (buffered.len < IECP_HEADER_SIZE) {
		*out_total = 0;
		return OK;
	}
	struct header header = get_header(buffered.data);
	result r = check_form(&header, &channel->in);
	if (r != OK)
		return end_with(channel, r);
	*out_total = IECP_HEADER_SIZE + (size_t)header.len;
	return OK;
}

static inline result check_record(const struct iecp_channel *c, struct span record, uint64_t now, struct header *out)
{
	const struct iecp_direction *d = &c->in;

	if (is_forked(c))
		return fail(CHANNEL_FORKED, "a record of the parent process");
	if (record.len < IECP_RECORD_OVERHEAD)
		return fail(TRUNCATED, "a record of %zu bytes", record.len);
	struct header h = get_header(record.data);
	TRY(check_form(&h, d));
	if (record.len - IECP_HEADER_SIZE != h.len)
		return fail(record.len - IECP_HEADER_SIZE < h.len ? TRUNCATED : TRAILING_BYTES,
			"a record of %zu bytes whose header says %u", record.len, h.len);
	if (d->closed && !may_follow_close(h.type))
		return fail(CHANNEL_CLOSED, "a record after CLOSE");
	if (h.sequence != d->sequence)
		return fail(RECORD_OUT_OF_ORDER, "record %llu where %llu is due", (unsigned long long)h.sequence,
			(unsigned long long)d->sequence);
	if (d->sequence > last_sequence(h.type))
		return fail(REKEY_NEEDED, "%llu records without KEYUPDATE", (unsigned long long)d->sequence);
	if (h.type == IECP_DATA) {
		if (d->bytes > IECP_MAX_BYTES - (h.len - AEAD_TAG_SIZE))
			return fail(REKEY_NEEDED, "%llu bytes without KEYUPDATE", (unsigned long long)d->bytes);
	}
	if (h.type == IECP_DATA || h.type == IECP_SWITCH)
		TRY(check_age(c, now));
	*out = h;
	return OK;
}

static inline result open_record(struct iecp_channel *c, struct span record, uint64_t now, uint8_t *out,
	struct header *out_header)
{
	struct iecp_direction *d = &c->in;
	uint8_t aad[IECP_HEADER_SIZE], nonce[AEAD_NONCE_SIZE];

	TRY(check_record(c, record, now, out_header));
	memcpy(aad, record.data, sizeof aad); /* `out` may be anywhere */
	make_nonce(d, d->sequence, nonce);
	TRY(aead_open(&d->aead, nonce, SPAN_ARRAY(aad),
		span_of(record.data + IECP_HEADER_SIZE, record.len - IECP_HEADER_SIZE), out));
	d->sequence++;
	d->bytes += out_header->len - AEAD_TAG_SIZE;
	return OK;
}

static result deliver(struct iecp_channel *c, const struct header *h, const uint8_t *plain, struct iecp_record *out)
{
	struct iecp_record record = {.type = (enum iecp_record_type)h->type};

	switch (record.type) {
	case IECP_DATA:
	case IECP_HS:
		record.plain = span_of(plain, h->len - AEAD_TAG_SIZE);
		break;
	case IECP_KEYUPDATE:
		TRY(ratchet(&c->in, c->secrets->traffic_in, false));
		break;
	case IECP_SWITCH:
		TRY(iecp_rekey_switched(c));
		break;
	case IECP_ALERT:
		record.alert = (uint16_t)(plain[0] << 8 | plain[1]);
		c->failed = PEER_ALERT;
		c->in.closed = true;
		break;
	case IECP_CLOSE:
		c->in.closed = true;
		break;
	}
	*out = record;
	return OK;
}

result iecp_open(struct iecp_channel *channel, struct span record, uint64_t now_steady_ms, uint8_t *out,
	struct iecp_record *out_record)
{
	struct header header;

	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	if (channel->in.closed && channel->out.closed)
		return fail(CHANNEL_CLOSED, "it was closed both ways");
	result r = open_record(channel, record, now_steady_ms, out, &header);
	if (r == OK)
		r = deliver(channel, &header, out, out_record);
	return r == OK ? OK : end_with(channel, r);
}

result iecp_channel_end(struct iecp_channel *channel)
{
	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	if (!channel->in.closed)
		return end_with(channel, fail(CHANNEL_TRUNCATED, "%s stopped without CLOSE", channel->peer.name));
	return OK;
}
