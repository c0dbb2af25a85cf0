#include "cmd/epoch_files.h"

#include "base/file.h"

void epoch_files_free(struct epoch_files *files)
{
	for (size_t i = 0; i < files->file_count; i++)
		bytes_free(&files->files[i]);
	arena_free(&files->arena);
	*files = (struct epoch_files){0};
}

static result append(struct arena *arena, struct bytes_item **items, size_t *count, const struct bytes_item *more, size_t more_count)
{
	void *memory;
	TRY(arena_alloc(arena, *count + more_count + 1, sizeof(**items), &memory));
	struct bytes_item *joined = memory;
	for (size_t i = 0; i < *count; i++)
		joined[i] = (*items)[i];
	for (size_t i = 0; i < more_count; i++)
		joined[*count + i] = more[i];
	*items = joined;
	*count += more_count;
	return OK;
}

static result read_one(const char *path, struct epoch_files *files)
{
	struct epoch_history one, *all = &files->history;
	struct bytes *file = &files->files[files->file_count];
	TRY(file_read(path, EPOCH_HISTORY_MAX, file));
	files->file_count++;
	result parsed = epochs_file_parse(bytes_span(file), &files->arena, &one);
	if (parsed != OK)
		return fail_within(parsed, "'%s' is no epoch history, record or HALT", path);
	TRY(append(&files->arena, &all->objects, &all->object_count, one.objects, one.object_count));
	return append(&files->arena, &all->keys, &all->key_count, one.keys, one.key_count);
}

result epoch_files_read(const struct words *paths, struct epoch_files *out)
{
	struct epoch_files files = {.arena = arena_of((size_t)EPOCH_HISTORY_MAX), .history = {.v = 1}};
	void *memory;
	TRY(arena_alloc(&files.arena, paths->count + 1, sizeof(struct bytes), &memory));
	files.files = memory;
	for (size_t i = 0; i < paths->count; i++) {
		result read = read_one(paths->items[i], &files);
		if (read != OK) {
			epoch_files_free(&files);
			return read;
		}
	}
	*out = files;
	return OK;
}
