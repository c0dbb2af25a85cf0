/* A borrowed run of bytes. Whoever made it keeps the memory alive; a span is never freed. */
#ifndef TROTH_BASE_SPAN_H
#define TROTH_BASE_SPAN_H

#include "base/compat.h"

#include <string.h>

struct span {
	const uint8_t *data;
	size_t len;
};

#define SPAN_EMPTY ((struct span){NULL, 0})

static inline struct span span_of(const void *data, size_t len)
{
	return (struct span){(const uint8_t *)data, len};
}

/* The bytes of a C string without its NUL. */
static inline struct span span_str(const char *text)
{
	return span_of(text, strlen(text));
}

/* The bytes of a fixed-size array: SPAN_ARRAY(digest). */
#define SPAN_ARRAY(array) span_of((array), sizeof(array))

/* Equal length and content. Not for secrets: see secret_equal. */
static inline bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool span_equal_str(struct span a, const char *text)
{
	return span_equal(a, span_str(text));
}

/* Every byte is zero; also when there is none. Not for secrets. */
static inline bool span_is_zero(struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		if (bytes.data[i] != 0)
			return false;
	return true;
}

/* Bytewise lexicographic order, a prefix before what it begins: the order of RFC 8949 section 4.2.1. */
static inline int span_compare(struct span a, struct span b)
{
	size_t shared = a.len < b.len ? a.len : b.len;
	int order = shared ? memcmp(a.data, b.data, shared) : 0;
	if (order != 0)
		return order;
	return (a.len > b.len) - (a.len < b.len);
}

#endif
