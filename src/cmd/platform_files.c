#include "cmd/platform_files.h"

#include "base/file.h"
#include "job/state.h"

enum { MOST_ROOTS = 64, MOST_KEYS = 1024, MOST_PCRS = 256 };

static result decode(struct span bytes, struct arena *arena, struct platform_trust *out)
{
	struct span kept;
	TRY(arena_copy(arena, bytes, &kept));
	return schema_decode(&platform_trust_schema, kept, arena, out);
}

static result trust_path(const char *state, char out[static PATH_SIZE])
{
	char folder[PATH_SIZE];
	TRY(state_path(state, folder));
	return path_join(out, folder, "tpm.trust");
}

result platform_trust_load(const char *state, struct arena *arena, struct platform_trust *out)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	TRY(trust_path(state, path));
	result read = file_read(path, PLATFORM_TRUST_MAX, &file);
	if (read == NOT_FOUND) {
		*out = (struct platform_trust){.root_count = 0};
		return OK;
	}
	TRY(read);
	return decode(bytes_span(&file), arena, out);
}

result platform_trust_save(const char *state, const struct platform_trust *trust)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes encoded = BYTES_EMPTY;
	TRY(trust_path(state, path));
	TRY(schema_encode(&platform_trust_schema, trust, &encoded));
	if (encoded.len > PLATFORM_TRUST_MAX)
		return fail(TOO_LARGE, "'%s'", path);
	return file_write_atomic(path, bytes_span(&encoded), 0600);
}

result platform_trust_read(const char *path, struct arena *arena, struct platform_trust *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	TRY(file_read(path, PLATFORM_TRUST_MAX, &file));
	result parsed = decode(bytes_span(&file), arena, out);
	return parsed == OK ? OK : fail_within(parsed, "'%s' is no enrolment of `troth tpm enrol`", path);
}

static bool has_root(const struct platform_trust *trust, struct span root)
{
	for (size_t i = 0; i < trust->root_count; i++)
		if (span_equal(trust->roots[i].bytes, root))
			return true;
	return false;
}

static bool has_key(const struct platform_trust *trust, const struct platform_enrolled *key)
{
	for (size_t i = 0; i < trust->enrolled_count; i++)
		if (memcmp(&trust->enrolled[i], key, sizeof(*key)) == 0)
			return true;
	return false;
}

static bool has_pcr(const struct platform_trust *trust, const struct platform_pcr *pcr)
{
	for (size_t i = 0; i < trust->pcr_count; i++)
		if (memcmp(&trust->pcrs[i], pcr, sizeof(*pcr)) == 0)
			return true;
	return false;
}

/* Room for both lists, with the first one in it. */
static result grow(struct arena *arena, const void *have, size_t count, size_t more, size_t size, void **out)
{
	TRY(arena_alloc(arena, count + more + 1, size, out));
	if (count)
		memcpy(*out, have, count * size);
	return OK;
}

result platform_trust_add(struct platform_trust *trust, const struct platform_trust *from, struct arena *arena)
{
	void *roots, *enrolled, *pcrs;
	TRY(grow(arena, trust->roots, trust->root_count, from->root_count, sizeof(*trust->roots), &roots));
	TRY(grow(arena, trust->enrolled, trust->enrolled_count, from->enrolled_count, sizeof(*trust->enrolled), &enrolled));
	TRY(grow(arena, trust->pcrs, trust->pcr_count, from->pcr_count, sizeof(*trust->pcrs), &pcrs));
	trust->roots = roots;
	trust->enrolled = enrolled;
	trust->pcrs = pcrs;
	for (size_t i = 0; i < from->root_count; i++)
		if (!has_root(trust, from->roots[i].bytes))
			trust->roots[trust->root_count++] = from->roots[i];
	for (size_t i = 0; i < from->enrolled_count; i++)
		if (!has_key(trust, &from->enrolled[i]))
			trust->enrolled[trust->enrolled_count++] = from->enrolled[i];
	for (size_t i = 0; i < from->pcr_count; i++)
		if (!has_pcr(trust, &from->pcrs[i]))
			trust->pcrs[trust->pcr_count++] = from->pcrs[i];
	if (trust->root_count > MOST_ROOTS || trust->enrolled_count > MOST_KEYS || trust->pcr_count > MOST_PCRS)
		return fail(TOO_LARGE, "more than %d roots, %d keys or %d PCR values", MOST_ROOTS, MOST_KEYS, MOST_PCRS);
	return OK;
}

result platform_trust_remove(struct platform_trust *trust, const uint8_t ak[static SHA256_SIZE])
{
	size_t kept = 0;
	for (size_t i = 0; i < trust->enrolled_count; i++)
		if (memcmp(trust->enrolled[i].ak, ak, SHA256_SIZE) != 0)
			trust->enrolled[kept++] = trust->enrolled[i];
	if (kept == trust->enrolled_count)
		return fail(NOT_FOUND, "no TPM with this attestation key is believed here");
	trust->enrolled_count = kept;
	return OK;
}
