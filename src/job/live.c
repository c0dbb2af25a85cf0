#include "job/live.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/text.h"

struct live_entry {
	struct live_entry *next;
	struct ire *launch;
	char name[NAME_MAX_LEN + 1], job[NAME_MAX_LEN + 1];
	char run[2 * RUN_ID_SIZE + 1];
	bool stays;
	uint64_t since;
};

struct live {
	pthread_mutex_t lock;
	struct live_entry *first;
};

result live_new(struct live **out)
{
	struct live *live = calloc(1, sizeof(*live));
	if (!live || pthread_mutex_init(&live->lock, NULL) != 0) {
		free(live);
		return fail(NO_MEMORY, "list of live enclaves");
	}
	*out = live;
	return OK;
}

void live_free(struct live *live)
{
	if (!live)
		return;
	pthread_mutex_destroy(&live->lock);
	free(live);
}

result live_add(struct live *live, const struct live_row *info, struct ire *launch, struct live_entry **out)
{
	struct live_entry *entry = calloc(1, sizeof(*entry));
	if (!entry)
		return fail(NO_MEMORY, "list of live enclaves");
	entry->launch = launch;
	entry->stays = info->stays;
	entry->since = info->since;
	snprintf(entry->name, sizeof(entry->name), "%s", launch_name(launch));
	snprintf(entry->job, sizeof(entry->job), "%s", info->job);
	hex_encode(span_of(launch_run_id(launch), RUN_ID_SIZE), entry->run);
	pthread_mutex_lock(&live->lock);
	entry->next = live->first;
	live->first = entry;
	pthread_mutex_unlock(&live->lock);
	*out = entry;
	return OK;
}

void live_remove(struct live *live, struct live_entry *entry)
{
	if (!entry)
		return;
	pthread_mutex_lock(&live->lock);
	struct live_entry **at = &live->first;
	while (*at && *at != entry)
		at = &(*at)->next;
	if (*at)
		*at = entry->next;
	pthread_mutex_unlock(&live->lock);
	free(entry);
}

static int compare_rows(const void *a, const void *b)
{
	const struct live_row *x = a, *y = b;
	int names = strcmp(x->name, y->name);
	return names ? names : memcmp(x->run_id, y->run_id, RUN_ID_SIZE);
}

static result copy_row(const struct live_entry *entry, struct arena *arena, struct live_row *out)
{
	*out = (struct live_row){.stays = entry->stays, .since = entry->since};
	memcpy(out->run_id, launch_run_id(entry->launch), RUN_ID_SIZE);
	TRY(arena_string(arena, span_str(entry->name), &out->name));
	return arena_string(arena, span_str(entry->job), &out->job);
}

static result copy_rows(const struct live *live, struct arena *arena, struct live_row **out, size_t *out_count)
{
	size_t count = 0;
	void *rows;
	for (const struct live_entry *entry = live->first; entry; entry = entry->next)
		count++;
	TRY(arena_alloc(arena, count + 1, sizeof(**out), &rows));
	*out = rows;
	count = 0;
	for (const struct live_entry *entry = live->first; entry; entry = entry->next)
		TRY(copy_row(entry, arena, &(*out)[count++]));
	*out_count = count;
	return OK;
}

result live_list(struct live *live, struct arena *arena, struct live_row **out, size_t *out_count)
{
	pthread_mutex_lock(&live->lock);
	result copied = copy_rows(live, arena, out, out_count);
	pthread_mutex_unlock(&live->lock);
	TRY(copied);
	qsort(*out, *out_count, sizeof(**out), compare_rows);
	return OK;
}

static bool is_meant(const struct live_entry *entry, const char *target)
{
	const char *at = strrchr(target, '@');
	size_t len = at ? (size_t)(at - target) : strlen(target);
	if (strlen(entry->name) != len || memcmp(entry->name, target, len) != 0)
		return false;
	return !at || strncmp(entry->run, at + 1, strlen(at + 1)) == 0;
}

static result find(const struct live *live, const char *target, struct ire **out)
{
	struct ire *found = NULL;
	for (const struct live_entry *entry = live->first; entry; entry = entry->next) {
		if (!is_meant(entry, target))
			continue;
		if (found)
			return fail(IRE_AMBIGUOUS, "'%s'", target);
		found = entry->launch;
	}
	if (!found)
		return fail(IRE_UNKNOWN, "'%s'", target);
	*out = found;
	return OK;
}

result live_ask(struct live *live, const char *target, enum control_type type, const void *body, enum control_type reply,
	int timeout_ms, struct bytes *out)
{
	struct letter *letter;
	struct ire *launch;
	/* Whoever takes it out of the list does so before it is freed: while the lock is held it lives. */
	pthread_mutex_lock(&live->lock);
	result posted = find(live, target, &launch);
	if (posted == OK)
		posted = launch_post(launch, type, body, reply, &letter);
	pthread_mutex_unlock(&live->lock);
	TRY(posted);
	result answered = letter_wait(letter, timeout_ms, out);
	letter_free(letter);
	return answered == OK ? OK : fail_within(answered, "'%s'", target);
}
