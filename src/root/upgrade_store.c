#include "root/upgrade_store.h"

#include <stdio.h>

#include "base/file.h"
#include "root/pins.h"
#include "wire/text.h"

enum { FILE_MAX = UPGRADES_MAX + 256 };

struct upgrade_file {
	uint8_t v;
	struct span body;
	uint8_t mac[SHA256_SIZE];
};
static const struct field file_fields[] = {
	F_VERSION(struct upgrade_file, 1, v, 1),
	F_BYTES(struct upgrade_file, 2, body, 1, UPGRADES_MAX),
	F_FIXED(struct upgrade_file, 3, mac),
};
static const struct schema file_schema = SCHEMA(struct upgrade_file, "upgrades file", SHAPE_MAP, file_fields);

result upgrade_store_load(const char *state_dir, struct upgrades *out)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct upgrade_file file;
	uint8_t mac[SHA256_SIZE];
	TRY(path_join(path, state_dir, "upgrades"));
	result read = file_read(path, FILE_MAX, &bytes);
	if (read == NOT_FOUND)
		return upgrades_decode(SPAN_EMPTY, out);
	TRY(read);
	if (schema_decode(&file_schema, bytes_span(&bytes), &arena, &file) != OK)
		return fail(PIN_DAMAGED, "'%s' is no record of upgrades", path);
	TRY(pins_mac(state_dir, "troth upgrades1", file.body, mac));
	if (!secret_equal(SPAN_ARRAY(mac), SPAN_ARRAY(file.mac)))
		return fail(PIN_DAMAGED, "'%s' was altered", path);
	return upgrades_decode(file.body, out);
}

result upgrade_store_save(const char *state_dir, const struct upgrades *upgrades)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY, bytes = BYTES_EMPTY;
	struct upgrade_file file = {.v = 1};
	TRY(path_join(path, state_dir, "upgrades"));
	TRY(upgrades_encode(upgrades, &body));
	file.body = bytes_span(&body);
	TRY(pins_mac(state_dir, "troth upgrades1", file.body, file.mac));
	TRY(schema_encode(&file_schema, &file, &bytes));
	return file_write_atomic(path, bytes_span(&bytes), 0600);
}

/* references/<first 16 digits of the author's key id>-<name>: names have no slash and do not begin with a dot. */
static result set_path(const char *state_dir, const uint8_t author[static KEY_ID_SIZE], const char *name, char out[static PATH_SIZE])
{
	char file[128], id[17];
	hex_encode(span_of(author, 8), id);
	snprintf(file, sizeof(file), "references/%s-%s", id, name);
	return path_join(out, state_dir, file);
}

result upgrade_store_keep(const char *state_dir, const uint8_t author[static KEY_ID_SIZE], const char *name, struct span set)
{
	char folder[PATH_SIZE], path[PATH_SIZE];
	TRY(path_join(folder, state_dir, "references"));
	TRY(file_make_dirs(folder, 0700));
	TRY(set_path(state_dir, author, name, path));
	return file_write_atomic(path, set, 0600);
}

result upgrade_store_find(const char *state_dir, const struct reference *reference, struct arena *arena, struct span *out)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	TRY(set_path(state_dir, reference->author, reference->set, path));
	result read = file_read(path, REFERENCE_SET_MAX, &bytes);
	if (read == NOT_FOUND)
		return fail(REFERENCE_MISSING, "set '%s' was never given to this host with `troth upgrade authorise`", reference->set);
	TRY(read);
	return arena_copy(arena, bytes_span(&bytes), out);
}
