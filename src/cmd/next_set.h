/*
 * The next reference set: what a signed set or its source says already, with what was measured now added to it. Shared by
 * `troth reference new` and `troth upgrade plan`.
 */
#ifndef TROTH_CMD_NEXT_SET_H
#define TROTH_CMD_NEXT_SET_H

#include "object/reference_text.h"

enum { NEXT_MAX_CHANGES = 256 };

/* One measured value, and whether the set knew it before. */
struct next_value {
	const char *name;
	enum reference_what what;
	uint8_t digest[SHA384_SIZE];
	uint32_t svn;
	bool known;
};

struct next_set {
	struct arena arena;
	struct reference_set set; /* with room for more entries and rows */
	bool has_base;
	struct next_value values[NEXT_MAX_CHANGES];
	size_t value_count;
};
void next_set_free(struct next_set *next);

/* A signed set or the source of one, told apart by its content. */
NODISCARD result reference_read(const char *path, struct arena *arena, struct reference_set *out);

/* From `base` (NULL: a new set called `name`), one version higher, valid from now on. */
struct next_set_options {
	const char *base, *name;
	uint64_t now_ms, days;
};
NODISCARD result next_set_begin(const struct next_set_options *options, struct next_set *out);

/* `svn` 0: one above the highest of that entry and kind when the value is new. `forbid_older` makes that the entry's minimum. */
struct next_rule {
	uint32_t svn;
	bool forbid_older;
};
NODISCARD result next_set_add(struct next_set *next, const char *name, enum reference_what what,
	const uint8_t digest[static SHA384_SIZE], const struct next_rule *rule);
/* Troth's own programs in a folder; the enclaves of a job. */
NODISCARD result next_set_add_programs(struct next_set *next, const char *folder, const struct next_rule *rule);
NODISCARD result next_set_add_job(struct next_set *next, const char *path, const struct next_rule *rule);

/* The source form; checks what was put together. EMPTY_SET. */
NODISCARD result next_set_write(struct next_set *next, struct bytes *out);

#endif
