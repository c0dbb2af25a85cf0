/* A buffered view of one file that is read forwards, over a store_io table. Owns its memory, not the descriptor. */
#ifndef TROTH_STORE_WINDOW_H
#define TROTH_STORE_WINDOW_H

#include "base/result.h"
#include "base/span.h"
#include "store/io.h"

struct window {
	const struct store_io *io;
	int fd;
	uint64_t file_size; /* when it was opened or refreshed */
	uint8_t *data;
	size_t cap;
	size_t len;
	uint64_t start; /* offset of data[0] */
};

NODISCARD result window_open(const struct store_io *io, int fd, struct window *out);
NODISCARD result window_refresh(struct window *window); /* the file may have changed: forgets what was read */
void window_free(struct window *window);

/*
 * The bytes [offset, offset + len) where the file has them all; fewer at its end (TRUNCATED is not used: look at
 * out->len). Borrowed until the next call. Memory grows with what the file really has.
 */
NODISCARD result window_view(struct window *window, uint64_t offset, size_t len, struct span *out);

/* The offset after the last byte that is not zero, `from` when there is none past it. */
NODISCARD result window_last_used(struct window *window, uint64_t from, uint64_t *out);

#endif
