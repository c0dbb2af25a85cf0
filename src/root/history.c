#include "root/history.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/hash.h"
#include "store/journal.h"

static const struct field note_fields[] = {
	F_VERSION(struct history_note, 1, v, 1),
	F_TIME(struct history_note, 2, time),
	F_UINT(struct history_note, 3, era, 0),
	F_UINT(struct history_note, 4, epoch, 0),
	F_UINT(struct history_note, 5, reason, EPOCH_RECOVERY),
	F_BOOL(struct history_note, 6, emergency),
	F_TEXT(struct history_note, 7, text, 0, HISTORY_TEXT_MAX),
};
const struct schema history_note_schema = SCHEMA(struct history_note, "history note", SHAPE_MAP, note_fields);

struct history {
	struct journal *journal;
	struct history_mark durable, pending;
};

static result advance(struct history_mark *mark, enum history_type type, struct span payload)
{
	uint8_t head[6];
	struct writer w = writer_fixed(head, sizeof(head));
	CLEANUP(hash_free) struct hash hash = {0};
	writer_u16(&w, (uint16_t)type);
	writer_u32(&w, (uint32_t)payload.len);
	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, span_str("troth history1"));
	hash_add(&hash, SPAN_ARRAY(mark->digest));
	hash_add(&hash, SPAN_ARRAY(head));
	hash_add(&hash, payload);
	hash_finish(&hash, mark->digest);
	mark->count++;
	return OK;
}

result history_open(const char *state_dir, bool create, struct history **out)
{
	/* A record is about 1 KiB; the default steps of a journal would be most of what a small root needs. */
	const struct journal_options options = {.preallocate = 64 * 1024, .must_exist = !create, .lazy_head = true};
	char path[PATH_SIZE];
	struct history *history = calloc(1, sizeof(*history));
	if (!history)
		return fail(NO_MEMORY, "history of the root");
	result opened = path_join(path, state_dir, "epochs");
	if (opened == OK && create)
		opened = file_make_dirs(path, 0700);
	if (opened == OK)
		opened = journal_open(path, "epochs", &options, &history->journal, NULL);
	if (opened != OK) {
		free(history);
		if (opened == NOT_FOUND || opened == JOURNAL_DAMAGED || opened == UNKNOWN_VERSION)
			return fail_within(HISTORY_DAMAGED, "the epoch records in '%s/epochs'", state_dir);
		return opened;
	}
	*out = history;
	return OK;
}

void history_close(struct history *history)
{
	if (!history)
		return;
	journal_close(history->journal);
	free(history);
}

struct reading {
	struct history *history;
	const struct history_mark *pinned;
	history_each *each;
	void *ctx;
};

static result read_entry(void *arg, const struct journal_entry *entry)
{
	struct reading *reading = arg;
	struct history_mark *mark = &reading->history->durable;
	enum history_type type = (enum history_type)entry->type;
	if (type != HISTORY_OBJECT && type != HISTORY_KEY && type != HISTORY_NOTE)
		return fail(HISTORY_DAMAGED, "an entry of type %u", entry->type);
	TRY(advance(mark, type, entry->payload));
	if (mark->count == reading->pinned->count && memcmp(mark->digest, reading->pinned->digest, SHA256_SIZE) != 0)
		return fail(HISTORY_DAMAGED, "the first %llu entries are not those that were pinned", (unsigned long long)mark->count);
	return OK;
}

static result give_entry(void *arg, const struct journal_entry *entry)
{
	struct reading *reading = arg;
	return reading->each(reading->ctx, (enum history_type)entry->type, entry->payload, entry->sequence <= reading->pinned->count);
}

result history_read(struct history *history, const struct history_mark *pinned, history_each *each, void *ctx)
{
	struct reading reading = {history, pinned, each, ctx};
	history->durable = (struct history_mark){0};
	/* First whether it is what was pinned, then what it says. */
	result readable = journal_read(history->journal, 1, read_entry, &reading);
	if (readable == JOURNAL_DAMAGED)
		return fail_within(HISTORY_DAMAGED, "the epoch records");
	TRY(readable);
	if (history->durable.count < pinned->count)
		return fail(HISTORY_DAMAGED, "%llu entries are pinned, %llu are there", (unsigned long long)pinned->count,
			(unsigned long long)history->durable.count);
	history->pending = history->durable;
	return journal_read(history->journal, 1, give_entry, &reading);
}

/* What could not be made durable is taken back, so that the next commit does not make it so in passing. */
static result take_back(struct history *history, result failed)
{
	history->pending = history->durable;
	result told = fail_within(failed, "the epoch records");
	return journal_discard(history->journal) == OK ? told : fail(JOURNAL_POISONED, "the epoch records");
}

result history_add(struct history *history, enum history_type type, struct span payload)
{
	result added = journal_append(history->journal, (uint16_t)type, payload, NULL);
	if (added == OK)
		added = advance(&history->pending, type, payload);
	return added == OK ? OK : take_back(history, added);
}

result history_commit(struct history *history)
{
	result committed = journal_commit(history->journal);
	if (committed != OK)
		return take_back(history, committed);
	history->durable = history->pending;
	return OK;
}

struct history_mark history_mark(const struct history *history)
{
	return history->durable;
}
