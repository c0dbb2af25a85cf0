#include "policy/names.h"

#include "policy/table.h"

#include <endian.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

static inline uint64_t load64(const uint8_t *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof(word));
	return le64toh(word);
}

/* The last len % 8 bytes, little-endian. Of a longer name, with one load that ends at its end. */
static inline uint64_t load_rest(struct span name)
{
	size_t rest = name.len % 8;
	uint64_t word = 0;
	if (rest == 0)
		return 0;
	if (name.len > 8)
		return load64(name.data + name.len - 8) >> (64 - 8 * rest);
	for (size_t i = 0; i < rest; i++)
		word |= (uint64_t)name.data[i] << (8 * i);
	return word;
}

uint64_t name_hash(const struct name_key *key, uint64_t within, struct span name)
{
	struct sip s = {
		key->k0 ^ 0x736f6d6570736575,
		key->k1 ^ 0x646f72616e646f6d,
		key->k0 ^ 0x6c7967656e657261,
		key->k1 ^ 0x7465646279746573,
	};
	sip_word(&s, within);
	for (size_t at = 0; at + 8 <= name.len; at += 8)
		sip_word(&s, load64(name.data + at));
	uint64_t total = name.len + sizeof(within);
	sip_word(&s, total << 56 | load_rest(name));
	s.v2 ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* ---- Alphabets ------------------------------------------------------------------------------------------ */

static bool is_name_byte(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool policy_name_ok(struct span name, size_t *out_bad)
{
	size_t at = 0;
	while (at < name.len && at < POLICY_NAME_MAX && is_name_byte(name.data[at]))
		at++;
	*out_bad = at;
	return at == name.len && at > 0;
}

bool policy_item_ok(struct span item, size_t *out_bad)
{
	size_t at = 0;
	while (at < item.len && at < POLICY_ITEM_MAX && (is_name_byte(item.data[at]) || item.data[at] == ':' || item.data[at] == '/'))
		at++;
	*out_bad = at;
	return at == item.len && at > 0;
}
