#include "store/transfer.h"

#include "base/fault.h"

#include <errno.h>

result transfer_write(const struct store_io *io, int fd, struct span bytes, uint64_t offset, const char *point)
{
	while (bytes.len) {
		ssize_t n = fault_hit(point) ? -1 : io->pwrite(io->ctx, fd, bytes.data, bytes.len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("writing at offset %llu", (unsigned long long)offset);
		if (n == 0)
			return fail(IO_ERROR, "nothing was written at offset %llu", (unsigned long long)offset);
		bytes = span_of(bytes.data + n, bytes.len - (size_t)n);
		offset += (uint64_t)n;
	}
	return OK;
}

result transfer_read_some(const struct store_io *io, int fd, void *out, size_t len, uint64_t offset, size_t *out_len)
{
	uint8_t *at = out;
	size_t got = 0;
	while (got < len) {
		ssize_t n = io->pread(io->ctx, fd, at + got, len - got, (off_t)(offset + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("reading at offset %llu", (unsigned long long)(offset + got));
		if (n == 0)
			break;
		got += (size_t)n;
	}
	*out_len = got;
	return OK;
}

result transfer_read(const struct store_io *io, int fd, void *out, size_t len, uint64_t offset)
{
	size_t got;
	TRY(transfer_read_some(io, fd, out, len, offset, &got));
	if (got < len)
		return fail(TRUNCATED, "the file ends %zu bytes early", len - got);
	return OK;
}
