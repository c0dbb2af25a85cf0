#include "object/manifest.h"

static const struct field file_fields[] = {
	F_TEXT(struct manifest_file, 1, path, 1, 4095),
	F_UINT(struct manifest_file, 2, type, FILE_DIRECTORY),
	F_UINT(struct manifest_file, 3, mode, 0777),
	F_UINT(struct manifest_file, 4, size, 0),
	F_FIXED_OR_NULL(struct manifest_file, 5, digest, has_digest),
	F_TEXT_OR_NULL(struct manifest_file, 6, target, has_target, 1, 4095),
};
const struct schema manifest_file_schema = SCHEMA(struct manifest_file, "file", SHAPE_ARRAY, file_fields);

static const struct field variable_fields[] = {
	F_TEXT(struct manifest_variable, 1, name, 1, 255),
	F_TEXT(struct manifest_variable, 2, value, 0, 4096),
};
const struct schema manifest_variable_schema = SCHEMA(struct manifest_variable, "variable", SHAPE_ARRAY, variable_fields);

static const struct field limits_fields[] = {
	F_UINT(struct manifest_limits, 1, memory, 0),
	F_UINT(struct manifest_limits, 2, scratch, 0),
	F_UINT(struct manifest_limits, 3, output, 0),
	F_UINT(struct manifest_limits, 4, processes, 0),
	F_UINT(struct manifest_limits, 5, open_files, 0),
	F_UINT(struct manifest_limits, 6, cpu_ms, 0),
	F_UINT(struct manifest_limits, 7, wall_ms, 0),
};
static const struct schema limits_schema = SCHEMA(struct manifest_limits, "limits", SHAPE_MAP, limits_fields);

static const struct field secret_fields[] = {
	F_TEXT(struct manifest_secret, 1, name, 1, NAME_MAX_LEN),
	F_UINT(struct manifest_secret, 2, fd, 63),
};
const struct schema manifest_secret_schema = SCHEMA(struct manifest_secret, "secret", SHAPE_ARRAY, secret_fields);

static const struct field output_fields[] = {
	F_TEXT(struct manifest_output, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct manifest_output, 2, path, 1, 255),
};
const struct schema manifest_output_schema = SCHEMA(struct manifest_output, "output", SHAPE_ARRAY, output_fields);

static const struct field peer_fields[] = {
	F_TEXT(struct manifest_peer, 1, name, 1, NAME_MAX_LEN),
	F_FIXED(struct manifest_peer, 2, core),
	F_UINT(struct manifest_peer, 3, rot_rule, PEER_ROT_LISTED),
	F_LIST(struct manifest_peer, 4, rot_ids, rot_id_count, &digest32_schema, FIELD_SORTED, 0, 64),
};
const struct schema manifest_peer_schema = SCHEMA(struct manifest_peer, "peer", SHAPE_ARRAY, peer_fields);

static const struct field manifest_fields[] = {
	F_VERSION(struct manifest, 1, v, 1),
	F_TEXT(struct manifest, 2, name, 1, NAME_MAX_LEN),
	F_TEXT(struct manifest, 3, program, 1, 4095),
	F_LIST(struct manifest, 4, arguments, argument_count, &text_item_schema, 0, 1, 1024),
	F_LIST(struct manifest, 5, environment, environment_count, &manifest_variable_schema, FIELD_SORTED, 0, 256),
	F_LIST(struct manifest, 6, files, file_count, &manifest_file_schema, FIELD_SORTED, 1, 100000),
	F_FIXED(struct manifest, 7, policy_digest),
	F_STRUCT(struct manifest, 8, limits, &limits_schema),
	F_LIST(struct manifest, 9, permissions, permission_count, &text_item_schema, FIELD_SORTED, 0, 32),
	F_LIST(struct manifest, 10, secrets, secret_count, &manifest_secret_schema, FIELD_SORTED, 0, 32),
	F_LIST(struct manifest, 11, outputs, output_count, &manifest_output_schema, FIELD_SORTED, 0, 64),
	F_TEXT(struct manifest, 12, interpreter, 1, 16),
	F_TEXT(struct manifest, 13, backend, 1, 16),
	F_FIXED_OR_NULL(struct manifest, 14, kernel, has_kernel),
	F_FIXED_OR_NULL(struct manifest, 15, initrd, has_initrd),
	F_TEXT_OR_NULL(struct manifest, 16, command_line, has_command_line, 0, 4096),
	F_LIST(struct manifest, 17, devices, device_count, &text_item_schema, FIELD_SORTED, 0, 64),
	F_LIST(struct manifest, 18, peers, peer_count, &manifest_peer_schema, FIELD_SORTED, 0, 1024),
	F_LIST_ABSENT(struct manifest, 19, roots, root_count, &digest32_schema, FIELD_SORTED, 1, 64),
};
const struct schema manifest_schema = SCHEMA(struct manifest, "manifest", SHAPE_MAP, manifest_fields);
/* The same table but for its last two rows: whom it meets, and under which roots. */
const struct schema manifest_core_schema = {"manifest core", SHAPE_MAP, sizeof(struct manifest), manifest_fields,
	COUNT_OF(manifest_fields) - 2};

static bool path_is_canonical(const char *path)
{
	if (path[0] != '/' || path[1] == '\0')
		return false;
	for (const char *part = path; *part;) {
		const char *name = part + 1;
		size_t len = strcspn(name, "/");
		if (len == 0 || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
			return false;
		part = name + len;
	}
	return true;
}

static result check_file(const struct manifest_file *file)
{
	if (!path_is_canonical(file->path))
		return fail(BAD_VALUE, "'%s' is not a canonical absolute path", file->path);
	bool regular = file->type == FILE_REGULAR, symlink = file->type == FILE_SYMLINK;
	uint16_t mode = regular ? file->mode : symlink ? 0777 : 0555;
	if (file->type < FILE_REGULAR || file->has_digest != regular || file->has_target != symlink ||
		(!regular && file->size != 0) || file->mode != mode || (regular && mode != 0555 && mode != 0444))
		return fail(BAD_VALUE, "the entry of '%s' contradicts itself", file->path);
	return OK;
}

static result check_names(const struct manifest *manifest)
{
	if (!name_is_valid(manifest->name))
		return fail(BAD_VALUE, "'%s' is not a name", manifest->name);
	for (size_t i = 0; i < manifest->secret_count; i++)
		if (!name_is_valid(manifest->secrets[i].name) || manifest->secrets[i].fd < 3)
			return fail(BAD_VALUE, "secret '%s' on descriptor %u", manifest->secrets[i].name, manifest->secrets[i].fd);
	for (size_t i = 0; i < manifest->output_count; i++)
		if (!name_is_valid(manifest->outputs[i].name) || !path_is_canonical(manifest->outputs[i].path) ||
			strncmp(manifest->outputs[i].path, "/tmp/", 5) != 0)
			return fail(BAD_VALUE, "output '%s' at '%s', expected a path below /tmp", manifest->outputs[i].name,
				manifest->outputs[i].path);
	for (size_t i = 0; i < manifest->peer_count; i++) {
		const struct manifest_peer *peer = &manifest->peers[i];
		if (!name_is_valid(peer->name) || peer->rot_rule < PEER_ROT_SAME ||
			(peer->rot_rule == PEER_ROT_LISTED) != (peer->rot_id_count > 0))
			return fail(BAD_VALUE, "peer '%s'", peer->name);
	}
	if (strcmp(manifest->interpreter, "open") != 0 && strcmp(manifest->interpreter, "closed") != 0)
		return fail(BAD_VALUE, "interpreter '%s' is neither open nor closed", manifest->interpreter);
	return OK;
}

static result check(const struct manifest *manifest)
{
	TRY(check_names(manifest));
	bool program_found = false;
	for (size_t i = 0; i < manifest->file_count; i++) {
		TRY(check_file(&manifest->files[i]));
		if (i && strcmp(manifest->files[i - 1].path, manifest->files[i].path) == 0)
			return fail(BAD_VALUE, "'%s' stands twice", manifest->files[i].path);
		program_found |= strcmp(manifest->files[i].path, manifest->program) == 0;
	}
	if (!program_found)
		return fail(BAD_VALUE, "the program '%s' is not among the files", manifest->program);
	return OK;
}

result manifest_decode(struct span encoding, struct arena *arena, struct manifest *out)
{
	struct manifest manifest;
	TRY(schema_decode(&manifest_schema, encoding, arena, &manifest));
	TRY(check(&manifest));
	*out = manifest;
	return OK;
}

result manifest_encode(const struct manifest *manifest, struct bytes *out)
{
	TRY(check(manifest));
	return schema_encode(&manifest_schema, manifest, out);
}

result manifest_fabric(const struct manifest *manifest, int *out_fd)
{
	const char *number = NULL;
	bool permitted = false;
	for (size_t i = 0; i < manifest->permission_count; i++)
		permitted |= strcmp(manifest->permissions[i].text, MANIFEST_FABRIC_PERMISSION) == 0;
	for (size_t i = 0; permitted && i < manifest->environment_count; i++)
		if (strcmp(manifest->environment[i].name, MANIFEST_FABRIC_VARIABLE) == 0)
			number = manifest->environment[i].value;
	if (!permitted) {
		*out_fd = -1;
		return OK;
	}
	int fd = 0;
	for (const char *digit = number; digit && *digit >= '0' && *digit <= '9' && fd < 64; digit++)
		fd = 10 * fd + *digit - '0';
	if (!number || strspn(number, "0123456789") != strlen(number) || number[0] == '0' || fd < 3 || fd > 63)
		return fail(BAD_VALUE, "permission fabric without a descriptor from 3 to 63 in " MANIFEST_FABRIC_VARIABLE);
	for (size_t i = 0; i < manifest->secret_count; i++)
		if (manifest->secrets[i].fd == fd)
			return fail(BAD_VALUE, "descriptor %d is that of secret '%s' and of the fabric", fd, manifest->secrets[i].name);
	*out_fd = fd;
	return OK;
}

result manifest_core(const struct manifest *manifest, uint8_t out[static SHA384_SIZE])
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(schema_encode(&manifest_core_schema, manifest, &encoding));
	sha384(bytes_span(&encoding), out);
	return OK;
}

void manifest_measurement(struct span encoding, uint8_t out[static SHA384_SIZE])
{
	sha384(encoding, out);
}
