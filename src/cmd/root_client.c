#include "cmd/root_client.h"

#include <sys/mman.h>
#include <unistd.h>

#include "job/state.h"

enum { CALL_MS = 120 * 1000 };

result root_connect(const struct host_options *options, bool create, struct client *out)
{
	return verb_connect_with(options, &(struct client_options){.create = create, .recovery = true}, out);
}

void epoch_chain_cleanup(struct epoch_chain **chain)
{
	epoch_chain_free(*chain);
}

result root_memory_file(struct span bytes, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = fd_of(memfd_create("troth-history", MFD_CLOEXEC));
	if (fd.n < 0)
		return fail_errno("memfd_create");
	TRY(write_all(fd.n, bytes));
	if (lseek(fd.n, 0, SEEK_SET) != 0)
		return fail_errno("lseek");
	*out = fd_move(&fd);
	return OK;
}

result root_fetch(struct client *client, struct epoch_chain **out_chain, struct bytes *out_bytes)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	TRY(root_memory_file(SPAN_EMPTY, &fd));
	const struct client_call call = {
		.type = SERVICE_HISTORY, .fds = &fd.n, .fd_count = 1, .expected = SERVICE_DONE, .timeout_ms = CALL_MS};
	TRY(client_call(client, &call, &arena, NULL, NULL));
	if (lseek(fd.n, 0, SEEK_SET) != 0)
		return fail_errno("lseek");
	TRY(file_read_fd(fd.n, EPOCH_HISTORY_MAX, &history));
	TRY(epoch_chain_of_history(bytes_span(&history), out_chain));
	if (out_bytes) {
		*out_bytes = history;
		history = BYTES_EMPTY;
	}
	return OK;
}

result root_read(struct client *client, struct arena *arena, struct service_root *out)
{
	const struct client_call call = {.type = SERVICE_ROOT, .expected = SERVICE_ROOT_IS, .timeout_ms = CALL_MS};
	return client_call(client, &call, arena, out, NULL);
}
