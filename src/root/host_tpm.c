#include "root/host_tpm.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/sock.h"
#include "root/tpm_order.h"

enum { CONNECT_MS = 5000, PCRS = 24 };

void host_tpm_free(struct host_tpm *tpm)
{
	fd_close(&tpm->device);
	fd_close(&tpm->order);
}

/* Where it is: as said now, else as said when the root was made. */
static result find_device(const char *ap_dir, const struct wrap_source *source, char out[static PATH_SIZE])
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	if (source->tpm) {
		if (strlen(source->tpm) >= PATH_SIZE)
			return fail(TOO_LARGE, "the path of the TPM");
		memcpy(out, source->tpm, strlen(source->tpm) + 1);
		return OK;
	}
	TRY(path_join(path, ap_dir, "wrap.device"));
	result read = file_read(path, PATH_SIZE - 1, &text);
	if (read == NOT_FOUND)
		return fail(USAGE, "say where the TPM is: --tpm /dev/tpmrm0");
	TRY(read);
	memcpy(out, text.data, text.len);
	out[text.len] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return OK;
}

result host_tpm_open_device(const char *spec, struct fd *out)
{
	static const char unix_prefix[] = "unix:";
	struct stat at;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	if (strncmp(spec, unix_prefix, sizeof(unix_prefix) - 1) == 0) {
		if (sock_connect(spec + sizeof(unix_prefix) - 1, CONNECT_MS, out) != OK)
			return fail_within(TPM_UNAVAILABLE, "TPM at '%s'", spec);
		return OK;
	}
	if (file_open(spec, O_RDWR | O_NOFOLLOW, 0, &fd) != OK)
		return fail_within(TPM_UNAVAILABLE, "TPM at '%s'", spec);
	if (fstat(fd.n, &at) != 0 || !S_ISCHR(at.st_mode))
		return fail(TPM_UNAVAILABLE, "'%s' is no device", spec);
	*out = fd_move(&fd);
	return OK;
}

static result read_sealed(const char *ap_dir, struct bytes *out)
{
	char path[PATH_SIZE];
	TRY(path_join(path, ap_dir, "wrap.tpm"));
	result read = file_read(path, TPM_ORDER_MAX, out);
	return read == NOT_FOUND ? fail(NO_WRAP_KEY, "'%s' is missing: without it the TPM cannot open the state", path) : read;
}

static result send_order(struct span order, struct fd *out_read)
{
	struct fd ends[2];
	TRY(fd_pipe(ends));
	CLEANUP(fd_close) struct fd write_end = ends[1];
	*out_read = ends[0];
	return write_all(write_end.n, order);
}

result host_tpm_begin(const char *ap_dir, const struct wrap_source *source, bool is_new, struct host_tpm *out)
{
	CLEANUP(host_tpm_free) struct host_tpm tpm = HOST_TPM_NONE;
	CLEANUP(bytes_free) struct bytes sealed = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(TPM_ORDER_MAX);
	struct span order;
	tpm.is_new = is_new;
	TRY(find_device(ap_dir, source, tpm.spec));
	if (is_new) {
		tpm_order_put_new(&w, source->tpm_pcrs ? source->tpm_pcrs : HOST_TPM_PCRS);
	} else {
		TRY(read_sealed(ap_dir, &sealed));
		writer_span(&w, bytes_span(&sealed));
	}
	TRY(writer_finish(&w, &order));
	TRY(host_tpm_open_device(tpm.spec, &tpm.device));
	TRY(send_order(order, &tpm.order));
	*out = tpm;
	tpm = HOST_TPM_NONE; /* transferred */
	return OK;
}

static result keep(const char *ap_dir, const struct host_tpm *tpm, struct span sealed)
{
	char path[PATH_SIZE];
	TRY(path_join(path, ap_dir, "wrap.tpm"));
	TRY(file_write_atomic(path, sealed, 0600));
	TRY(path_join(path, ap_dir, "wrap.device"));
	TRY(file_write_atomic(path, span_str(tpm->spec), 0600));
	return wrap_kind_keep(ap_dir, WRAP_TPM);
}

result host_tpm_finish(const char *ap_dir, const struct host_tpm *tpm, int bootstrap, int timeout_ms)
{
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	struct span sealed;
	result received = sock_receive(bootstrap, 2 * TPM_ORDER_MAX, 0, timeout_ms, &message);
	if (received == PEER_CLOSED)
		return fail(AP_STOPPED, "it ended while it opened the TPM; its own message says why");
	TRY(received);
	TRY(tpm_answer_read(bytes_span(&message.data), &sealed));
	if (tpm->is_new != (sealed.len > 0))
		return fail(AP_UNTRUSTED, "it gave %zu bytes to keep", sealed.len);
	return tpm->is_new ? keep(ap_dir, tpm, sealed) : OK;
}

result host_tpm_pcrs_parse(const char *text, uint32_t *out)
{
	uint32_t set = 0;
	const char *at = text;
	do {
		char *end;
		unsigned long pcr = strtoul(at, &end, 10);
		if (end == at || pcr >= PCRS || (*end && *end != ','))
			return fail(USAGE, "'%s' is no list of PCRs; write 7 or 0,2,4,7", text);
		set |= 1u << pcr;
		at = *end ? end + 1 : end;
	} while (*at);
	*out = set;
	return OK;
}
