/* Whole reads and writes at an offset over a store_io table, with EINTR and short transfers handled. */
#ifndef TROTH_STORE_TRANSFER_H
#define TROTH_STORE_TRANSFER_H

#include "base/result.h"
#include "base/span.h"
#include "store/io.h"

/* `point` is the fault point asked before each call. DISK_FULL, IO_ERROR, ... */
NODISCARD result transfer_write(const struct store_io *io, int fd, struct span bytes, uint64_t offset, const char *point);

/* TRUNCATED when the file ends first. */
NODISCARD result transfer_read(const struct store_io *io, int fd, void *out, size_t len, uint64_t offset);

/* What is there, up to `len` bytes. */
NODISCARD result transfer_read_some(const struct store_io *io, int fd, void *out, size_t len, uint64_t offset, size_t *out_len);

#endif
