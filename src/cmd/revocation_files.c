#include "cmd/revocation_files.h"

#include "base/file.h"

void revocation_files_free(struct revocation_files *files)
{
	revocation_set_free(&files->set);
	for (size_t i = 0; i < files->file_count; i++)
		bytes_free(&files->files[i]);
	files->file_count = 0;
}

result revocation_files_read(const struct words *paths, const struct trust *trust, struct revocation_files *out)
{
	struct span lists[REVOCATION_MAX_LISTS];
	if (paths->count > REVOCATION_MAX_LISTS)
		return fail(USAGE, "more than %d --revocations", REVOCATION_MAX_LISTS);
	for (size_t i = 0; i < paths->count; i++) {
		TRY(file_read(paths->items[i], REVOCATION_LIST_MAX, &out->files[i]));
		out->file_count++;
		lists[i] = bytes_span(&out->files[i]);
	}
	return verify_revocations(trust, lists, paths->count, &out->set);
}
