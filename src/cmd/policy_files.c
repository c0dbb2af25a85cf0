#include "cmd/policy_files.h"

#include <stdlib.h>

#include "base/file.h"
#include "object/policy_version.h"
#include "policy/schema.h"
#include "policy/versions.h"

enum { MOST_FILES = 256, COSE_SIGN1_TAG = 0xd2 };

struct files {
	struct policy_table *tables[MOST_FILES];
	size_t count;
	struct span *policies;
	size_t policy_count;
};

static void files_free(struct files *files)
{
	for (size_t i = 0; i < files->count; i++)
		policy_table_free(files->tables[i]);
	free(files->policies);
}

static result join_one(struct span compiled, struct policy_table **out)
{
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	TRY(policy_set_join(&compiled, 1, &set));
	return policy_table_load(bytes_span(&set), out);
}

static result load_signed(struct span object, struct policy_table **out)
{
	CLEANUP(policy_versions_cleanup) struct policy_versions *versions = NULL;
	const struct policy_version *version;
	TRY(policy_versions_new(&versions));
	TRY(policy_versions_add(versions, object, &version));
	return join_one(version->policy.compiled, out);
}

static result load_one(const char *path, struct policy_table **out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	TRY(file_read(path, POLICY_MAX_FILE, &file));
	if (file.len == 0 || file.data[0] != COSE_SIGN1_TAG)
		return policy_load_file(path, out);
	result loaded = load_signed(bytes_span(&file), out);
	return loaded == OK ? OK : fail_within(loaded, "'%s'", path);
}

static result list_policies(struct files *files)
{
	size_t total = 0;
	for (size_t i = 0; i < files->count; i++)
		total += policy_count(files->tables[i]);
	files->policies = calloc(total ? total : 1, sizeof(*files->policies));
	if (!files->policies)
		return fail(NO_MEMORY, "%zu policies", total);
	for (size_t i = 0; i < files->count; i++)
		for (size_t k = 0; k < policy_count(files->tables[i]); k++) {
			struct policy_view view;
			policy_at(files->tables[i], k, &view);
			files->policies[files->policy_count++] = view.compiled;
		}
	return OK;
}

result policy_files_load(const char *const *paths, size_t count, struct policy_table **out)
{
	CLEANUP(files_free) struct files files = {.count = 0};
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	if (count > MOST_FILES)
		return fail(USAGE, "%zu files, more than %d", count, MOST_FILES);
	for (size_t i = 0; i < count; i++) {
		TRY(load_one(paths[i], &files.tables[i]));
		files.count++;
	}
	TRY(list_policies(&files));
	TRY(policy_set_join(files.policies, files.policy_count, &set));
	return policy_table_load(bytes_span(&set), out);
}
