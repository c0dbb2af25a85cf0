#include "root/pins.h"

#include <fcntl.h>

#include "base/file.h"
#include "crypto/random.h"

enum { PINS_MAX = 64 * 1024, KEY_SIZE = 32 };

/* Version 1; each body is its table without the last row, and is what the MAC covers. */
static const struct field pins1_fields[] = {
	F_VERSION(struct pins, 1, v, 1),
	F_FIXED(struct pins, 2, rot_id),
	F_BYTES(struct pins, 3, head, 1, 32 * 1024),
	F_UINT(struct pins, 4, era, 0),
	F_UINT(struct pins, 5, epoch, 0),
	F_UINT(struct pins, 6, seq, 0),
	F_FIXED(struct pins, 7, ap_digest),
	F_FIXED(struct pins, 8, mac),
};
static const struct field pins2_fields[] = {
	F_VERSION(struct pins, 1, v, 2),
	F_FIXED(struct pins, 2, rot_id),
	F_BYTES(struct pins, 3, head, 1, 32 * 1024),
	F_UINT(struct pins, 4, era, 0),
	F_UINT(struct pins, 5, epoch, 0),
	F_UINT(struct pins, 6, seq, 0),
	F_FIXED(struct pins, 7, ap_digest),
	F_UINT(struct pins, 8, history.count, 0),
	F_FIXED(struct pins, 9, history.digest),
	F_TEXT(struct pins, 10, trust_domain, 0, 120),
	F_FIXED(struct pins, 11, mac),
};
static const struct form {
	struct schema whole, body;
	const char *label;
} forms[] = {
	{SCHEMA(struct pins, "pins", SHAPE_MAP, pins1_fields),
		{"pins", SHAPE_MAP, sizeof(struct pins), pins1_fields, COUNT_OF(pins1_fields) - 1}, "troth pins1"},
	{SCHEMA(struct pins, "pins", SHAPE_MAP, pins2_fields),
		{"pins", SHAPE_MAP, sizeof(struct pins), pins2_fields, COUNT_OF(pins2_fields) - 1}, "troth pins2"},
};
static const struct form *const current = &forms[1];

static result compute_mac(const struct form *form, const struct pins *pins, const struct secret *key, uint8_t out[static SHA256_SIZE])
{
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	TRY(schema_encode(&form->body, pins, &body));
	struct hmac hmac;
	TRY(hmac_start(&hmac, secret_span(key)));
	hmac_add(&hmac, span_str(form->label));
	hmac_add(&hmac, bytes_span(&body));
	hmac_finish(&hmac, out);
	return OK;
}

static result load_key(const char *state_dir, struct secret *out)
{
	char path[PATH_SIZE];
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(path_join(path, state_dir, "pins.key"));
	TRY(file_open(path, O_RDONLY | O_NOFOLLOW, 0, &fd));
	TRY(file_read_secret(fd.n, KEY_SIZE, out));
	if (out->len != KEY_SIZE) {
		secret_free(out);
		return fail(PIN_DAMAGED, "pins.key has the wrong size");
	}
	return OK;
}

static result make_key(const char *state_dir, struct secret *out)
{
	char path[PATH_SIZE];
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	TRY(path_join(path, state_dir, "pins.key"));
	TRY(secret_new(KEY_SIZE, &key));
	random_bytes(key.data, key.len);
	TRY(file_write_atomic(path, secret_span(&key), 0600));
	*out = secret_move(&key);
	return OK;
}

static const struct form *decode(struct span bytes, struct arena *arena, struct pins *out)
{
	for (size_t i = 0; i < COUNT_OF(forms); i++) {
		*out = (struct pins){.v = 0};
		if (schema_decode(&forms[i].whole, bytes, arena, out) != OK)
			continue;
		if (!out->trust_domain)
			out->trust_domain = "";
		return &forms[i];
	}
	return NULL;
}

result pins_load(const char *state_dir, struct arena *arena, struct pins *out)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	struct span kept;
	struct pins pins;
	uint8_t mac[SHA256_SIZE];
	TRY(path_join(path, state_dir, "pins"));
	TRY(file_read(path, PINS_MAX, &file));
	if (load_key(state_dir, &key) != OK)
		return fail(PIN_DAMAGED, "'%s' cannot be checked: its key is missing", path);
	TRY(arena_copy(arena, bytes_span(&file), &kept));
	const struct form *form = decode(kept, arena, &pins);
	if (!form)
		return fail(PIN_DAMAGED, "'%s' is not a pin store", path);
	TRY(compute_mac(form, &pins, &key, mac));
	if (!secret_equal(SPAN_ARRAY(mac), SPAN_ARRAY(pins.mac)))
		return fail(PIN_DAMAGED, "'%s' was altered", path);
	sha256(kept, pins.digest);
	*out = pins;
	return OK;
}

result pins_store(const char *state_dir, struct pins *pins)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	result loaded = load_key(state_dir, &key);
	if (loaded == NOT_FOUND)
		loaded = make_key(state_dir, &key);
	TRY(loaded);
	pins->v = 2;
	if (!pins->trust_domain)
		pins->trust_domain = "";
	pins->seq++;
	TRY(compute_mac(current, pins, &key, pins->mac));
	TRY(schema_encode(&current->whole, pins, &encoding));
	sha256(bytes_span(&encoding), pins->digest);
	TRY(path_join(path, state_dir, "pins"));
	return file_write_atomic(path, bytes_span(&encoding), 0600);
}

result pins_mac(const char *state_dir, const char *label, struct span body, uint8_t out[static SHA256_SIZE])
{
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	struct hmac hmac;
	TRY(load_key(state_dir, &key));
	TRY(hmac_start(&hmac, secret_span(&key)));
	hmac_add(&hmac, span_str(label));
	hmac_add(&hmac, body);
	hmac_finish(&hmac, out);
	return OK;
}
