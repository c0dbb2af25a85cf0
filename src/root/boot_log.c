#include "root/boot_log.h"

#include <stdlib.h>

struct cel_digest {
	uint8_t digest[SHA384_SIZE];
};
static const struct field digest_fields[] = {F_FIXED(struct cel_digest, 12, digest)};
static const struct schema digest_schema = SCHEMA(struct cel_digest, "event digests", SHAPE_MAP, digest_fields);

struct cel_record {
	uint64_t number;
	uint8_t index;
	struct cel_digest digests;
	struct span content;
};
static const struct field record_fields[] = {
	F_UINT(struct cel_record, 0, number, 0),
	F_UINT(struct cel_record, 1, index, REGISTER_COUNT - 1),
	F_STRUCT(struct cel_record, 3, digests, &digest_schema),
	F_BYTES(struct cel_record, 16, content, 1, 16 * 1024),
};
static const struct schema record_schema_ = SCHEMA(struct cel_record, "event", SHAPE_MAP, record_fields);

void boot_log_init(struct boot_log *log)
{
	*log = (struct boot_log){.records = writer_growing(BOOT_LOG_MAX)};
}

void boot_log_free(struct boot_log *log)
{
	writer_free(&log->records);
	free(log->offsets);
	*log = (struct boot_log){0};
}

void register_extend(struct register_value *value, const uint8_t digest[static SHA384_SIZE])
{
	uint8_t input[2 * SHA384_SIZE];
	memcpy(input, value->value, SHA384_SIZE);
	memcpy(input + SHA384_SIZE, digest, SHA384_SIZE);
	sha384(SPAN_ARRAY(input), value->value);
}

static result make_room(struct boot_log *log)
{
	if (log->count == BOOT_LOG_MAX_EVENTS)
		return fail(TOO_LARGE, "the event log has %zu events; restart `trothd host`", log->count);
	if (log->count < log->cap)
		return OK;
	size_t cap = log->cap ? log->cap * 2 : 64;
	uint32_t *offsets = realloc(log->offsets, cap * sizeof(*offsets));
	if (!offsets)
		return fail(NO_MEMORY, "event log");
	log->offsets = offsets;
	log->cap = cap;
	return OK;
}

result boot_log_extend(struct boot_log *log, uint8_t index, struct span content)
{
	if (index >= REGISTER_COUNT)
		return fail(BAD_VALUE, "register %u", index);
	TRY(make_room(log));
	struct cel_record record = {.number = log->count, .index = index, .content = content};
	sha384(content, record.digests.digest);
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(schema_encode(&record_schema_, &record, &encoding));
	if (encoding.len > BOOT_LOG_MAX - log->records.len)
		return fail(TOO_LARGE, "the event log is full; restart `trothd host`");
	size_t start = log->records.len;
	writer_span(&log->records, bytes_span(&encoding));
	struct span all;
	TRY(writer_finish(&log->records, &all));
	log->offsets[log->count++] = (uint32_t)start;
	register_extend(&log->registers[index], record.digests.digest);
	return OK;
}

struct span boot_log_record(const struct boot_log *log, size_t at)
{
	size_t start = log->offsets[at], end = at + 1 < log->count ? log->offsets[at + 1] : log->records.len;
	return span_of(log->records.data + start, end - start);
}

result boot_log_replay(struct register_value registers[static REGISTER_COUNT], uint64_t expected_number,
	struct span record, struct span *out_content, uint8_t *out_index)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct cel_record event;
	uint8_t digest[SHA384_SIZE];
	TRY(schema_decode(&record_schema_, record, &arena, &event));
	if (event.number != expected_number)
		return fail(BAD_VALUE, "event %llu where %llu was due", (unsigned long long)event.number,
			(unsigned long long)expected_number);
	sha384(event.content, digest);
	if (memcmp(digest, event.digests.digest, sizeof(digest)) != 0)
		return fail(DIGEST_MISMATCH, "the content of event %llu is not what was extended", (unsigned long long)event.number);
	register_extend(&registers[event.index], digest);
	*out_content = event.content;
	*out_index = event.index;
	return OK;
}
