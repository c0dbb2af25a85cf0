#include "store/window.h"

#include "store/transfer.h"

#include <stdlib.h>

enum { WINDOW_SIZE = 256 * 1024 };

result window_refresh(struct window *window)
{
	off_t size = window->io->size(window->io->ctx, window->fd);
	if (size < 0)
		return fail_errno("looking at a journal file");
	window->file_size = (uint64_t)size;
	window->len = 0;
	return OK;
}

result window_open(const struct store_io *io, int fd, struct window *out)
{
	struct window window = {.io = io, .fd = fd};
	TRY(window_refresh(&window));
	*out = window;
	return OK;
}

void window_free(struct window *window)
{
	free(window->data);
	window->data = NULL;
	window->cap = window->len = 0;
}

static result window_fill(struct window *window, uint64_t offset, size_t len)
{
	size_t cap = len > WINDOW_SIZE ? len : WINDOW_SIZE;
	if (window->cap < cap) {
		uint8_t *data = realloc(window->data, cap);
		if (!data)
			return fail(NO_MEMORY, "%zu bytes", cap);
		window->data = data;
		window->cap = cap;
	}
	window->len = 0;
	window->start = offset;
	return transfer_read_some(window->io, window->fd, window->data, window->cap, offset, &window->len);
}

result window_view(struct window *window, uint64_t offset, size_t len, struct span *out)
{
	uint64_t left = offset < window->file_size ? window->file_size - offset : 0;
	if (len > left)
		len = (size_t)left;
	bool inside = window->data && offset >= window->start && offset - window->start <= window->len &&
		len <= window->len - (size_t)(offset - window->start);
	if (!inside) {
		TRY(window_fill(window, offset, len));
		if (len > window->len)
			len = window->len;
	}
	*out = span_of(window->data + (offset - window->start), len);
	return OK;
}

/* Space that was taken ahead is long: it is compared with itself, moved by one. */
static bool is_zero(struct span bytes)
{
	return bytes.len == 0 || (bytes.data[0] == 0 && memcmp(bytes.data, bytes.data + 1, bytes.len - 1) == 0);
}

result window_last_used(struct window *window, uint64_t from, uint64_t *out)
{
	uint64_t last = from;
	for (uint64_t at = from;;) {
		struct span part;
		TRY(window_view(window, at, WINDOW_SIZE, &part));
		if (part.len == 0)
			break;
		if (!is_zero(part))
			for (size_t i = 0; i < part.len; i++)
				if (part.data[i] != 0)
					last = at + i + 1;
		at += part.len;
	}
	*out = last;
	return OK;
}
