/*
 * Bytes that must not leak: keys, seeds, unsealed data. They live in memfd_secret pages where the kernel
 * has them (Linux >= 5.14 with secretmem enabled), else in locked pages that are left out of core dumps.
 * They are wiped when freed, compared in constant time, and there is no function that prints one.
 *
 * Small secrets share pages of a pool, so one costs a few hundred nanoseconds, not a mapping. Thread-safe.
 */
#ifndef TROTH_BASE_SECRET_H
#define TROTH_BASE_SECRET_H

#include "base/result.h"
#include "base/span.h"

struct secret {
	uint8_t *data; /* NULL when empty */
	size_t len;
};

#define SECRET_EMPTY ((struct secret){NULL, 0})

/* Where secrets live on this machine; reported by `troth doctor` and in launch reports. */
enum secret_memory {
	SECRET_MEMORY_SECRETMEM, /* memfd_secret */
	SECRET_MEMORY_LOCKED,	 /* mlock + MADV_DONTDUMP */
	SECRET_MEMORY_PLAIN,	 /* neither was allowed: MADV_DONTDUMP only */
};

enum secret_memory secret_memory(void);
const char *secret_memory_name(enum secret_memory memory);

/* `len` zeroed bytes, 1 <= len <= 1 MiB. NO_MEMORY, TOO_LARGE. Free with secret_free. */
NODISCARD result secret_new(size_t len, struct secret *out);
NODISCARD result secret_copy(struct span from, struct secret *out);

/* Wipes and frees; accepts NULL and empty; leaves it empty. Use with CLEANUP(secret_free). */
void secret_free(struct secret *secret);

static inline struct secret secret_move(struct secret *from)
{
	struct secret taken = *from;
	*from = SECRET_EMPTY;
	return taken;
}

static inline struct span secret_span(const struct secret *secret)
{
	return span_of(secret->data, secret->len);
}

/* Constant time in the content; lengths are not secret. */
NODISCARD bool secret_equal(struct span a, struct span b);

/* Overwrites memory in a way the compiler keeps. */
void wipe(void *data, size_t len);

#endif
