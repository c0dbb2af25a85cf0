#include "crypto/tpm.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <unistd.h>

#include "base/file.h"
#include "base/reader.h"
#include "base/writer.h"
#include "crypto/random.h"

/* Making a key takes hardware a few seconds; nothing here takes longer. */
enum { ANSWER_MS = 20 * 1000, RESPONSE_HEADER = 10, RESPONSE_MAX = 4096, HANDLES_MAX = 64 };
enum { COUNTER_FIRST = 0x01840000, RECORD_FIRST = 0x01850000, HEAD_FIRST = 0x01860000, PLACE_MASK = 0xffff, PLACE_TRIES = 8, NV_CHUNK = 512, CERTIFICATE_MAX_SIZE = 8192 };

/* ---- transport over a descriptor ---- */

struct transport {
	TSS2_TCTI_CONTEXT_COMMON_V1 common; /* first: what tss2 sees */
	int fd;
	bool waiting; /* a command was sent whose answer has not been read */
	uint8_t response[RESPONSE_MAX];
	size_t have;
};

enum { TRANSPORT_MAGIC = 0x74726f74 };

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
	struct transport *t = (struct transport *)context;
	if (t->waiting)
		return TSS2_TCTI_RC_BAD_SEQUENCE;
	if (write_all(t->fd, span_of(command, size)) != OK)
		return TSS2_TCTI_RC_IO_ERROR;
	t->waiting = true;
	t->have = 0;
	return TSS2_RC_SUCCESS;
}

/* Size that the header declares; 0 while it is not there. */
static size_t response_size(const struct transport *t)
{
	if (t->have < RESPONSE_HEADER)
		return 0;
	return (size_t)t->response[2] << 24 | (size_t)t->response[3] << 16 | (size_t)t->response[4] << 8 | t->response[5];
}

static TSS2_RC read_some(struct transport *t)
{
	struct pollfd wait = {.fd = t->fd, .events = POLLIN};
	int ready = poll(&wait, 1, ANSWER_MS);
	if (ready < 0 && errno == EINTR)
		return TSS2_RC_SUCCESS;
	if (ready <= 0)
		return TSS2_TCTI_RC_IO_ERROR;
	ssize_t got = read(t->fd, t->response + t->have, sizeof(t->response) - t->have);
	if (got < 0 && errno == EINTR)
		return TSS2_RC_SUCCESS;
	if (got <= 0)
		return TSS2_TCTI_RC_IO_ERROR;
	t->have += (size_t)got;
	return TSS2_RC_SUCCESS;
}

static TSS2_RC read_response(struct transport *t)
{
	for (;;) {
		size_t size = response_size(t);
		if (size != 0 && (size < RESPONSE_HEADER || size > sizeof(t->response)))
			return TSS2_TCTI_RC_MALFORMED_RESPONSE;
		if (size != 0 && t->have >= size)
			return t->have == size ? TSS2_RC_SUCCESS : TSS2_TCTI_RC_MALFORMED_RESPONSE;
		TSS2_RC rc = read_some(t);
		if (rc != TSS2_RC_SUCCESS)
			return rc;
	}
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response, int32_t timeout)
{
	struct transport *t = (struct transport *)context;
	if (!t->waiting)
		return TSS2_TCTI_RC_BAD_SEQUENCE;
	TSS2_RC rc = read_response(t);
	if (rc != TSS2_RC_SUCCESS) {
		t->waiting = false;
		return rc;
	}
	size_t needed = t->have;
	if (!response) {
		*size = needed;
		return TSS2_RC_SUCCESS;
	}
	if (*size < needed) {
		*size = needed;
		return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
	}
	memcpy(response, t->response, needed);
	wipe(t->response, needed);
	*size = needed;
	t->waiting = false;
	return TSS2_RC_SUCCESS;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
}
static TSS2_RC not_here(TSS2_TCTI_CONTEXT *context)
{
	return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}
static TSS2_RC no_handles(TSS2_TCTI_CONTEXT *context, TSS2_TCTI_POLL_HANDLE *handles, size_t *count)
{
	return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}
static TSS2_RC no_locality(TSS2_TCTI_CONTEXT *context, uint8_t locality)
{
	return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static void transport_init(struct transport *t, int fd)
{
	*t = (struct transport){.fd = fd};
	t->common.magic = TRANSPORT_MAGIC;
	t->common.version = 1;
	t->common.transmit = transmit;
	t->common.receive = receive;
	t->common.finalize = finalize;
	t->common.cancel = not_here;
	t->common.getPollHandles = no_handles;
	t->common.setLocality = no_locality;
}

/* ---- errors ---- */

struct tpm {
	struct transport transport;
	ESYS_CONTEXT *esys;
	ESYS_TR storage; /* parent of what is sealed; salts the session */
	ESYS_TR session;
	ESYS_TR ak; /* made when it is first needed */
	TPM2B_PUBLIC ak_public;
};

static result tpm_error(TSS2_RC rc, const char *call)
{
	if ((rc & 0xff0000) == TSS2_TCTI_RC_LAYER || rc == TSS2_ESYS_RC_IO_ERROR)
		return fail(TPM_UNAVAILABLE, "%s: the TPM does not answer", call);
	if (rc == TPM2_RC_LOCKOUT)
		return fail(TPM_UNAVAILABLE, "%s: the TPM is locked out after wrong authorisations; see tpm2_dictionarylockout", call);
	return fail(TPM_UNAVAILABLE, "%s: the TPM refused with code 0x%x", call, rc);
}

#define TPM_TRY(call)                                                                                                                      \
	do {                                                                                                                               \
		TSS2_RC tpm_rc_ = (call);                                                                                                  \
		if (tpm_rc_ != TSS2_RC_SUCCESS)                                                                                            \
			return tpm_error(tpm_rc_, tpm_call_name(#call));                                                                   \
	} while (0)

/* "Esys_Quote(tpm->esys, ..." -> "TPM2_Quote": what the TPM's documents call it. */
static const char *tpm_call_name(const char *call)
{
	static _Thread_local char name[48];
	size_t len = strcspn(call, "(");
	const char *start = strncmp(call, "Esys_", 5) == 0 ? call + 5 : call;
	snprintf(name, sizeof(name), "TPM2_%.*s", (int)(len - (size_t)(start - call)), start);
	return name;
}

/* Errors that name a parameter or handle carry its number beside the code. */
static TSS2_RC plain_code(TSS2_RC rc)
{
	return rc & TPM2_RC_FMT1 ? rc & (TPM2_RC_FMT1 | 0x3f) : rc;
}

/* Memory that tss2 allocated; a secret in it is wiped. */
static void esys_free(void *pointer)
{
	void **owned = pointer;
	Esys_Free(*owned);
	*owned = NULL;
}
#define ESYS_OWNED __attribute__((cleanup(esys_free)))

/* ---- opening ---- */

/* Whoever used a raw TPM before and was killed left keys and sessions in its few slots. Sent without tss2, which knows no such handle. */
static result flush_handle(struct transport *t, uint32_t handle)
{
	uint8_t command[14], response[RESPONSE_HEADER];
	size_t size = sizeof(response);
	struct writer w = writer_fixed(command, sizeof(command));
	writer_u16(&w, TPM2_ST_NO_SESSIONS);
	writer_u32(&w, sizeof(command));
	writer_u32(&w, TPM2_CC_FlushContext);
	writer_u32(&w, handle);
	TSS2_TCTI_CONTEXT *context = (TSS2_TCTI_CONTEXT *)t;
	TSS2_RC rc = transmit(context, sizeof(command), command);
	if (rc == TSS2_RC_SUCCESS)
		rc = receive(context, &size, response, ANSWER_MS);
	return rc == TSS2_RC_SUCCESS ? OK : tpm_error(rc, "TPM2_FlushContext");
}

static result flush_range(struct tpm *tpm, uint32_t first)
{
	TPMI_YES_NO more;
	ESYS_OWNED TPMS_CAPABILITY_DATA *data = NULL;
	TPM_TRY(Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, first, HANDLES_MAX, &more, &data));
	for (uint32_t i = 0; i < data->data.handles.count; i++)
		TRY(flush_handle(&tpm->transport, data->data.handles.handle[i]));
	return OK;
}

/* TCG "TPM v2.0 Provisioning Guidance": the storage root key's template, P-256. */
static const TPM2B_PUBLIC storage_template = {
	.publicArea = {
		.type = TPM2_ALG_ECC,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
			TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
		.parameters.eccDetail = {
			.symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB},
			.scheme.scheme = TPM2_ALG_NULL,
			.curveID = TPM2_ECC_NIST_P256,
			.kdf.scheme = TPM2_ALG_NULL,
		},
		.unique.ecc = {.x.size = 32, .y.size = 32},
	},
};

static const TPM2B_PUBLIC attestation_template = {
	.publicArea = {
		.type = TPM2_ALG_ECC,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
			TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT,
		.parameters.eccDetail = {
			.symmetric.algorithm = TPM2_ALG_NULL,
			.scheme = {.scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256},
			.curveID = TPM2_ECC_NIST_P256,
			.kdf.scheme = TPM2_ALG_NULL,
		},
		/* Sets this key apart from the keys of others that use the same template. */
		.unique.ecc = {.x = {.size = 8, .buffer = "troth-ak"}},
	},
};

static result make_primary(struct tpm *tpm, ESYS_TR hierarchy, const TPM2B_PUBLIC *template, ESYS_TR *out, TPM2B_PUBLIC *out_public)
{
	static const TPM2B_SENSITIVE_CREATE no_secret;
	static const TPM2B_DATA no_data;
	static const TPML_PCR_SELECTION no_pcrs;
	ESYS_OWNED TPM2B_PUBLIC *public = NULL;
	ESYS_OWNED TPM2B_CREATION_DATA *data = NULL;
	ESYS_OWNED TPM2B_DIGEST *hash = NULL;
	ESYS_OWNED TPMT_TK_CREATION *ticket = NULL;
	TPM_TRY(Esys_CreatePrimary(tpm->esys, hierarchy, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &no_secret, template, &no_data, &no_pcrs, out,
		&public, &data, &hash, &ticket));
	if (out_public)
		*out_public = *public;
	return OK;
}

static result start_session(struct tpm *tpm, TPM2_SE type, ESYS_TR *out)
{
	static const TPMT_SYM_DEF symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
	const TPMA_SESSION attributes = TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT | TPMA_SESSION_CONTINUESESSION;
	TPM_TRY(Esys_StartAuthSession(tpm->esys, tpm->storage, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, type, &symmetric,
		TPM2_ALG_SHA256, out));
	TPM_TRY(Esys_TRSess_SetAttributes(tpm->esys, *out, attributes, 0xff));
	return OK;
}

static result open_all(struct tpm *tpm)
{
	static const uint32_t ranges[] = {TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST};
	setenv("TSS2_LOG", "all+NONE", 1); /* what tss2 has to say comes back as a code */
	TPM_TRY(Esys_Initialize(&tpm->esys, (TSS2_TCTI_CONTEXT *)&tpm->transport, NULL));
	for (size_t i = 0; i < COUNT_OF(ranges); i++)
		TRY(flush_range(tpm, ranges[i]));
	TRY(make_primary(tpm, ESYS_TR_RH_OWNER, &storage_template, &tpm->storage, NULL));
	return start_session(tpm, TPM2_SE_HMAC, &tpm->session);
}

result tpm_open(int fd, struct tpm **out)
{
	struct tpm *tpm = calloc(1, sizeof(*tpm));
	if (!tpm)
		return fail(NO_MEMORY, "TPM");
	tpm->storage = tpm->session = tpm->ak = ESYS_TR_NONE;
	transport_init(&tpm->transport, fd);
	result opened = open_all(tpm);
	if (opened != OK) {
		tpm_close(tpm);
		return opened;
	}
	*out = tpm;
	return OK;
}

static void flush(struct tpm *tpm, ESYS_TR *handle)
{
	if (*handle != ESYS_TR_NONE)
		Esys_FlushContext(tpm->esys, *handle);
	*handle = ESYS_TR_NONE;
}

void tpm_close(struct tpm *tpm)
{
	if (!tpm)
		return;
	if (tpm->esys) {
		flush(tpm, &tpm->ak);
		flush(tpm, &tpm->session);
		flush(tpm, &tpm->storage);
		Esys_Finalize(&tpm->esys);
	}
	wipe(tpm, sizeof(*tpm));
	free(tpm);
}

/* A handle that is flushed when the function is done with it. */
struct loaded {
	struct tpm *tpm;
	ESYS_TR handle;
};
static void loaded_flush(struct loaded *loaded)
{
	flush(loaded->tpm, &loaded->handle);
}
#define LOADED(name, owner) CLEANUP(loaded_flush) struct loaded name = {(owner), ESYS_TR_NONE}

/* ---- randomness ---- */

result tpm_random(struct tpm *tpm, uint8_t *out, size_t len)
{
	if (len == 0 || len > 1024)
		return fail(BAD_VALUE, "%zu random bytes", len);
	while (len > 0) {
		ESYS_OWNED TPM2B_DIGEST *bytes = NULL;
		uint16_t ask = (uint16_t)(len < 32 ? len : 32);
		TPM_TRY(Esys_GetRandom(tpm->esys, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, ask, &bytes));
		if (bytes->size == 0 || bytes->size > len)
			return fail(TPM_UNAVAILABLE, "TPM2_GetRandom: %u bytes instead of %u", bytes->size, ask);
		memcpy(out, bytes->buffer, bytes->size);
		out += bytes->size;
		len -= bytes->size;
		wipe(bytes, sizeof(*bytes));
	}
	return OK;
}

/* ---- PCRs ---- */

static TPML_PCR_SELECTION selection_of(tpm_pcr_set pcrs)
{
	TPML_PCR_SELECTION selection = {.count = 1};
	selection.pcrSelections[0].hash = TPM2_ALG_SHA256;
	selection.pcrSelections[0].sizeofSelect = 3;
	for (unsigned i = 0; i < 3; i++)
		selection.pcrSelections[0].pcrSelect[i] = (uint8_t)(pcrs >> (8 * i));
	return selection;
}

/* The TPM hands out at most eight values at once and says which. */
static result read_pcrs(struct tpm *tpm, tpm_pcr_set *left, uint8_t out[static TPM_PCRS][SHA256_SIZE])
{
	TPML_PCR_SELECTION wanted = selection_of(*left);
	ESYS_OWNED TPML_PCR_SELECTION *given = NULL;
	ESYS_OWNED TPML_DIGEST *values = NULL;
	uint32_t counter, next = 0;
	TPM_TRY(Esys_PCR_Read(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &wanted, &counter, &given, &values));
	if (given->count != 1 || given->pcrSelections[0].hash != TPM2_ALG_SHA256)
		return fail(TPM_UNAVAILABLE, "the TPM has no PCR bank of SHA-256");
	for (unsigned pcr = 0; pcr < TPM_PCRS && next < values->count; pcr++) {
		if (!(given->pcrSelections[0].pcrSelect[pcr / 8] & 1u << pcr % 8))
			continue;
		if (values->digests[next].size != SHA256_SIZE || !(*left & 1u << pcr))
			return fail(TPM_UNAVAILABLE, "the TPM gave another PCR than was asked for");
		memcpy(out[pcr], values->digests[next++].buffer, SHA256_SIZE);
		*left &= ~(1u << pcr);
	}
	return next > 0 ? OK : fail(TPM_UNAVAILABLE, "the TPM has no PCR bank of SHA-256");
}

result tpm_pcr_read(struct tpm *tpm, tpm_pcr_set pcrs, uint8_t out[static TPM_PCRS][SHA256_SIZE])
{
	if (pcrs >> TPM_PCRS != 0)
		return fail(BAD_VALUE, "a PCR beyond %d", TPM_PCRS - 1);
	while (pcrs != 0)
		TRY(read_pcrs(tpm, &pcrs, out));
	return OK;
}

result tpm_pcr_reset(struct tpm *tpm, unsigned pcr)
{
	TPM_TRY(Esys_PCR_Reset(tpm->esys, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE));
	return OK;
}

result tpm_pcr_extend(struct tpm *tpm, unsigned pcr, const uint8_t digest[static SHA256_SIZE])
{
	TPML_DIGEST_VALUES values = {.count = 1};
	if (pcr >= TPM_PCRS)
		return fail(BAD_VALUE, "PCR %u", pcr);
	values.digests[0].hashAlg = TPM2_ALG_SHA256;
	memcpy(values.digests[0].digest.sha256, digest, SHA256_SIZE);
	TPM_TRY(Esys_PCR_Extend(tpm->esys, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &values));
	return OK;
}

/* ---- sealing ---- */

static const char blob_magic[] = "troth tpm sealed1"; /* then u32 PCR set, lv TPM2B_PUBLIC, lv TPM2B_PRIVATE */

static result policy_session(struct tpm *tpm, TPM2_SE type, tpm_pcr_set pcrs, struct loaded *session)
{
	const TPML_PCR_SELECTION selection = selection_of(pcrs);
	TRY(start_session(tpm, type, &session->handle));
	TSS2_RC rc = Esys_PolicyPCR(tpm->esys, session->handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, &selection);
	return rc == TSS2_RC_SUCCESS ? OK : tpm_error(rc, "TPM2_PolicyPCR");
}

static result pcr_policy(struct tpm *tpm, tpm_pcr_set pcrs, TPM2B_DIGEST *out)
{
	LOADED(trial, tpm);
	ESYS_OWNED TPM2B_DIGEST *digest = NULL;
	TRY(policy_session(tpm, TPM2_SE_TRIAL, pcrs, &trial));
	TPM_TRY(Esys_PolicyGetDigest(tpm->esys, trial.handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &digest));
	*out = *digest;
	return OK;
}

static result put_blob(tpm_pcr_set pcrs, const TPM2B_PUBLIC *public, const TPM2B_PRIVATE *private, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(4096);
	uint8_t buffer[1024];
	size_t offset = 0;
	writer_str(&w, blob_magic);
	writer_u32(&w, pcrs);
	TPM_TRY(Tss2_MU_TPM2B_PUBLIC_Marshal(public, buffer, sizeof(buffer), &offset));
	writer_lv(&w, span_of(buffer, offset));
	offset = 0;
	TPM_TRY(Tss2_MU_TPM2B_PRIVATE_Marshal(private, buffer, sizeof(buffer), &offset));
	writer_lv(&w, span_of(buffer, offset));
	return writer_take(&w, out);
}

result tpm_seal(struct tpm *tpm, tpm_pcr_set pcrs, struct span secret, struct bytes *out_blob)
{
	static const TPM2B_DATA no_data;
	static const TPML_PCR_SELECTION no_pcrs;
	TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.data.size = (uint16_t)secret.len};
	TPM2B_PUBLIC template = {.publicArea = {
		.type = TPM2_ALG_KEYEDHASH,
		.nameAlg = TPM2_ALG_SHA256,
		/* Neither userWithAuth nor adminWithPolicy: the PCR policy is the one way in. */
		.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_NODA,
		.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
	}};
	ESYS_OWNED TPM2B_PRIVATE *private = NULL;
	ESYS_OWNED TPM2B_PUBLIC *public = NULL;
	ESYS_OWNED TPM2B_CREATION_DATA *data = NULL;
	ESYS_OWNED TPM2B_DIGEST *hash = NULL;
	ESYS_OWNED TPMT_TK_CREATION *ticket = NULL;

	if (secret.len == 0 || secret.len > TPM_SEALED_MAX || pcrs == 0 || pcrs >> TPM_PCRS != 0)
		return fail(BAD_VALUE, "%zu bytes to be sealed to PCRs %06x", secret.len, pcrs);
	TRY(pcr_policy(tpm, pcrs, &template.publicArea.authPolicy));
	memcpy(sensitive.sensitive.data.buffer, secret.data, secret.len);
	TSS2_RC rc = Esys_Create(tpm->esys, tpm->storage, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &template, &no_data, &no_pcrs, &private,
		&public, &data, &hash, &ticket);
	wipe(&sensitive, sizeof(sensitive));
	if (rc != TSS2_RC_SUCCESS)
		return tpm_error(rc, "TPM2_Create");
	return put_blob(pcrs, public, private, out_blob);
}

static result take_blob(struct span blob, tpm_pcr_set *out_pcrs, TPM2B_PUBLIC *out_public, TPM2B_PRIVATE *out_private)
{
	struct reader r = reader_of(blob);
	struct span magic, public, private;
	size_t offset = 0;
	TRY(reader_take(&r, sizeof(blob_magic) - 1, &magic));
	if (!span_equal_str(magic, blob_magic))
		return fail(WRONG_TAG, "the sealed key is of another format");
	TRY(reader_u32(&r, out_pcrs));
	TRY(reader_lv(&r, 2048, &public));
	TRY(reader_lv(&r, 2048, &private));
	TRY(reader_finish(&r));
	if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(public.data, public.len, &offset, out_public) != TSS2_RC_SUCCESS || offset != public.len)
		return fail(BAD_VALUE, "the sealed key's public part is damaged");
	offset = 0;
	if (Tss2_MU_TPM2B_PRIVATE_Unmarshal(private.data, private.len, &offset, out_private) != TSS2_RC_SUCCESS || offset != private.len)
		return fail(BAD_VALUE, "the sealed key's private part is damaged");
	return OK;
}

static result load_sealed(struct tpm *tpm, const TPM2B_PRIVATE *private, const TPM2B_PUBLIC *public, struct loaded *out)
{
	TSS2_RC rc = Esys_Load(tpm->esys, tpm->storage, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, private, public, &out->handle);
	TSS2_RC plain = plain_code(rc);
	if (plain == TPM2_RC_INTEGRITY || plain == TPM2_RC_BINDING || plain == TPM2_RC_SIZE || plain == TPM2_RC_VALUE)
		return fail(TPM_FOREIGN, "this TPM did not seal the key, or it has been cleared since");
	return rc == TSS2_RC_SUCCESS ? OK : tpm_error(rc, "TPM2_Load");
}

result tpm_unseal(struct tpm *tpm, struct span blob, struct secret *out)
{
	LOADED(object, tpm);
	LOADED(session, tpm);
	TPM2B_PUBLIC public = {0};
	TPM2B_PRIVATE private = {0};
	ESYS_OWNED TPM2B_SENSITIVE_DATA *data = NULL;
	tpm_pcr_set pcrs;

	TRY(take_blob(blob, &pcrs, &public, &private));
	TRY(load_sealed(tpm, &private, &public, &object));
	TRY(policy_session(tpm, TPM2_SE_POLICY, pcrs, &session));
	TSS2_RC rc = Esys_Unseal(tpm->esys, object.handle, session.handle, ESYS_TR_NONE, ESYS_TR_NONE, &data);
	if (plain_code(rc) == TPM2_RC_POLICY_FAIL)
		return fail(TPM_STATE_CHANGED, "PCRs %06x have other values than when the key was sealed", pcrs);
	if (rc != TSS2_RC_SUCCESS)
		return tpm_error(rc, "TPM2_Unseal");
	result copied = data->size ? secret_copy(span_of(data->buffer, data->size), out) : fail(TPM_UNAVAILABLE, "TPM2_Unseal: no data");
	wipe(data, sizeof(*data));
	return copied;
}

/* ---- counter and record ---- */

/* Everybody may see the values with the owner's authorisation; Troth itself uses the index's own. */
enum { PLACE_ATTRIBUTES = TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_OWNERREAD | TPMA_NV_NO_DA };

static const struct place_kind {
	const char *name;
	uint32_t first;
	TPMA_NV attributes;
	uint16_t size;
} a_counter = {"counter", COUNTER_FIRST, PLACE_ATTRIBUTES | (TPMA_NV)TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT, 8},
  a_record = {"record", RECORD_FIRST, PLACE_ATTRIBUTES | (TPMA_NV)TPM2_NT_ORDINARY << TPMA_NV_TPM2_NT_SHIFT, TPM_RECORD_SIZE},
  a_head = {"head", HEAD_FIRST, PLACE_ATTRIBUTES | (TPMA_NV)TPM2_NT_EXTEND << TPMA_NV_TPM2_NT_SHIFT, SHA256_SIZE};

static result open_place(struct tpm *tpm, const struct place_kind *kind, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE],
	ESYS_TR *out)
{
	TPM2B_AUTH value = {.size = TPM_COUNTER_AUTH_SIZE};
	ESYS_OWNED TPM2B_NV_PUBLIC *public = NULL;
	ESYS_OWNED TPM2B_NAME *name = NULL;
	if (index >> 16 != kind->first >> 16)
		return fail(TAMPERED, "%08x is no place of a %s", index, kind->name);
	TSS2_RC rc = Esys_TR_FromTPMPublic(tpm->esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, out);
	if (plain_code(rc) == TPM2_RC_HANDLE)
		return fail(TAMPERED, "the TPM has no %s at %08x any more", kind->name, index);
	if (rc != TSS2_RC_SUCCESS)
		return tpm_error(rc, "TPM2_NV_ReadPublic");
	TPM_TRY(Esys_NV_ReadPublic(tpm->esys, *out, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public, &name));
	if ((public->nvPublic.attributes & ~(TPMA_NV)TPMA_NV_WRITTEN) != kind->attributes || public->nvPublic.dataSize != kind->size)
		return fail(TAMPERED, "what the TPM has at %08x is not the %s that was made", index, kind->name);
	memcpy(value.buffer, auth, TPM_COUNTER_AUTH_SIZE);
	rc = Esys_TR_SetAuth(tpm->esys, *out, &value);
	wipe(&value, sizeof(value));
	return rc == TSS2_RC_SUCCESS ? OK : tpm_error(rc, "Esys_TR_SetAuth");
}

/* Gives tss2's own record of an index back; the index stays. */
static void forget_place(struct tpm *tpm, ESYS_TR *handle)
{
	if (*handle != ESYS_TR_NONE)
		Esys_TR_Close(tpm->esys, handle);
}

static result place_error(TSS2_RC rc, const struct place_kind *kind, const char *call)
{
	TSS2_RC plain = plain_code(rc);
	if (plain == TPM2_RC_BAD_AUTH || plain == TPM2_RC_AUTH_FAIL)
		return fail(TAMPERED, "the %s was made anew by somebody else", kind->name);
	if (rc == TPM2_RC_NV_UNINITIALIZED)
		return fail(TAMPERED, "the %s was made anew and has never been used", kind->name);
	return tpm_error(rc, call);
}

static result read_place(struct tpm *tpm, const struct place_kind *kind, uint32_t index,
	const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint8_t *out)
{
	ESYS_TR handle = ESYS_TR_NONE;
	ESYS_OWNED TPM2B_MAX_NV_BUFFER *data = NULL;
	result opened = open_place(tpm, kind, index, auth, &handle);
	TSS2_RC rc = TSS2_RC_SUCCESS;
	if (opened == OK)
		rc = Esys_NV_Read(tpm->esys, handle, handle, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, kind->size, 0, &data);
	forget_place(tpm, &handle);
	TRY(opened);
	if (rc != TSS2_RC_SUCCESS)
		return place_error(rc, kind, "TPM2_NV_Read");
	if (data->size != kind->size)
		return fail(TAMPERED, "a %s of %u bytes", kind->name, data->size);
	memcpy(out, data->buffer, kind->size);
	return OK;
}

result tpm_counter_read(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint64_t *out)
{
	uint8_t bytes[8];
	TRY(read_place(tpm, &a_counter, index, auth, bytes));
	struct reader r = reader_of(SPAN_ARRAY(bytes));
	return reader_u64(&r, out);
}

result tpm_counter_increment(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE])
{
	ESYS_TR handle = ESYS_TR_NONE;
	result opened = open_place(tpm, &a_counter, index, auth, &handle);
	TSS2_RC rc = TSS2_RC_SUCCESS;
	if (opened == OK)
		rc = Esys_NV_Increment(tpm->esys, handle, handle, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE);
	forget_place(tpm, &handle);
	TRY(opened);
	return rc == TSS2_RC_SUCCESS ? OK : place_error(rc, &a_counter, "TPM2_NV_Increment");
}

result tpm_record_read(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE],
	uint8_t out[static TPM_RECORD_SIZE])
{
	return read_place(tpm, &a_record, index, auth, out);
}

result tpm_record_write(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE],
	const uint8_t bytes[static TPM_RECORD_SIZE])
{
	TPM2B_MAX_NV_BUFFER data = {.size = TPM_RECORD_SIZE};
	ESYS_TR handle = ESYS_TR_NONE;
	memcpy(data.buffer, bytes, TPM_RECORD_SIZE);
	result opened = open_place(tpm, &a_record, index, auth, &handle);
	TSS2_RC rc = TSS2_RC_SUCCESS;
	if (opened == OK)
		rc = Esys_NV_Write(tpm->esys, handle, handle, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, &data, 0);
	forget_place(tpm, &handle);
	TRY(opened);
	return rc == TSS2_RC_SUCCESS ? OK : place_error(rc, &a_record, "TPM2_NV_Write");
}

static TSS2_RC define_at(struct tpm *tpm, const struct place_kind *kind, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE])
{
	TPM2B_AUTH value = {.size = TPM_COUNTER_AUTH_SIZE};
	TPM2B_NV_PUBLIC public = {.nvPublic = {
		.nvIndex = index,
		.nameAlg = TPM2_ALG_SHA256,
		.attributes = kind->attributes,
		.dataSize = kind->size,
	}};
	ESYS_TR handle = ESYS_TR_NONE;
	memcpy(value.buffer, auth, TPM_COUNTER_AUTH_SIZE);
	TSS2_RC rc = Esys_NV_DefineSpace(tpm->esys, ESYS_TR_RH_OWNER, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, &value, &public, &handle);
	wipe(&value, sizeof(value));
	forget_place(tpm, &handle);
	return rc;
}

static result define_place(struct tpm *tpm, const struct place_kind *kind, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint32_t *out_index)
{
	TSS2_RC rc = TPM2_RC_NV_DEFINED;
	uint32_t index = 0;
	for (int i = 0; i < PLACE_TRIES && rc == TPM2_RC_NV_DEFINED; i++) {
		random_bytes(&index, sizeof(index));
		index = kind->first | (index & PLACE_MASK);
		rc = define_at(tpm, kind, index, auth);
	}
	if (rc != TSS2_RC_SUCCESS)
		return tpm_error(rc, "TPM2_NV_DefineSpace");
	*out_index = index;
	return OK;
}

result tpm_counter_define(struct tpm *tpm, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint32_t *out_index, uint64_t *out_value)
{
	uint32_t index;
	TRY(define_place(tpm, &a_counter, auth, &index));
	/* A counter has no value before it has counted once. */
	TRY(tpm_counter_increment(tpm, index, auth));
	TRY(tpm_counter_read(tpm, index, auth, out_value));
	*out_index = index;
	return OK;
}

result tpm_record_define(struct tpm *tpm, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint32_t *out_index)
{
	static const uint8_t nothing[TPM_RECORD_SIZE];
	uint32_t index;
	TRY(define_place(tpm, &a_record, auth, &index));
	/* The TPM reads none that was never written; so one that somebody else made anew is never taken for an empty one. */
	TRY(tpm_record_write(tpm, index, auth, nothing));
	*out_index = index;
	return OK;
}

result tpm_head_extend(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE],
	const uint8_t digest[static SHA256_SIZE])
{
	TPM2B_MAX_NV_BUFFER data = {.size = SHA256_SIZE};
	ESYS_TR handle = ESYS_TR_NONE;
	memcpy(data.buffer, digest, SHA256_SIZE);
	result opened = open_place(tpm, &a_head, index, auth, &handle);
	TSS2_RC rc = TSS2_RC_SUCCESS;
	if (opened == OK)
		rc = Esys_NV_Extend(tpm->esys, handle, handle, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
	forget_place(tpm, &handle);
	TRY(opened);
	return rc == TSS2_RC_SUCCESS ? OK : place_error(rc, &a_head, "TPM2_NV_Extend");
}

result tpm_head_define(struct tpm *tpm, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint32_t *out_index)
{
	static const uint8_t nothing[SHA256_SIZE];
	uint32_t index;
	TRY(define_place(tpm, &a_head, auth, &index));
	/* As for a record: the TPM reads none that was never extended. */
	TRY(tpm_head_extend(tpm, index, auth, nothing));
	*out_index = index;
	return OK;
}

result tpm_head_read(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint8_t out[static SHA256_SIZE])
{
	return read_place(tpm, &a_head, index, auth, out);
}

static result remove_place(struct tpm *tpm, const struct place_kind *kind, uint32_t index)
{
	ESYS_TR handle = ESYS_TR_NONE;
	if (index >> 16 != kind->first >> 16)
		return fail(BAD_VALUE, "%08x is no place of a %s", index, kind->name);
	TPM_TRY(Esys_TR_FromTPMPublic(tpm->esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &handle));
	TSS2_RC rc = Esys_NV_UndefineSpace(tpm->esys, ESYS_TR_RH_OWNER, handle, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE);
	if (rc != TSS2_RC_SUCCESS)
		forget_place(tpm, &handle);
	return rc == TSS2_RC_SUCCESS ? OK : tpm_error(rc, "TPM2_NV_UndefineSpace");
}

result tpm_counter_remove(struct tpm *tpm, uint32_t index)
{
	return remove_place(tpm, &a_counter, index);
}

result tpm_record_remove(struct tpm *tpm, uint32_t index)
{
	return remove_place(tpm, &a_record, index);
}

result tpm_head_remove(struct tpm *tpm, uint32_t index)
{
	return remove_place(tpm, &a_head, index);
}

/* ---- identity ---- */

enum { EK_ATTRIBUTES = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_ADMINWITHPOLICY |
		TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT };

/* TCG EK Credential Profile: PolicySecret of the endorsement hierarchy; in the newer templates or'ed with one of the user's. */
#define POLICY_A_SHA256 \
	{.size = 32, .buffer = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, \
		0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa}}
#define POLICY_B_SHA384 \
	{.size = 48, .buffer = {0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, \
		0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, \
		0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12}}

static const TPM2B_PUBLIC ek_p256 = {.publicArea = {
	.type = TPM2_ALG_ECC,
	.nameAlg = TPM2_ALG_SHA256,
	.objectAttributes = EK_ATTRIBUTES,
	.authPolicy = POLICY_A_SHA256,
	.parameters.eccDetail = {
		.symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB},
		.scheme.scheme = TPM2_ALG_NULL,
		.curveID = TPM2_ECC_NIST_P256,
		.kdf.scheme = TPM2_ALG_NULL,
	},
	.unique.ecc = {.x.size = 32, .y.size = 32},
}};

static const TPM2B_PUBLIC ek_rsa2048 = {.publicArea = {
	.type = TPM2_ALG_RSA,
	.nameAlg = TPM2_ALG_SHA256,
	.objectAttributes = EK_ATTRIBUTES,
	.authPolicy = POLICY_A_SHA256,
	.parameters.rsaDetail = {
		.symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB},
		.scheme.scheme = TPM2_ALG_NULL,
		.keyBits = 2048,
	},
	.unique.rsa.size = 256,
}};

static const TPM2B_PUBLIC ek_p384 = {.publicArea = {
	.type = TPM2_ALG_ECC,
	.nameAlg = TPM2_ALG_SHA384,
	.objectAttributes = EK_ATTRIBUTES | TPMA_OBJECT_USERWITHAUTH,
	.authPolicy = POLICY_B_SHA384,
	.parameters.eccDetail = {
		.symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 256, .mode.aes = TPM2_ALG_CFB},
		.scheme.scheme = TPM2_ALG_NULL,
		.curveID = TPM2_ECC_NIST_P384,
		.kdf.scheme = TPM2_ALG_NULL,
	},
}};

/* Where makers put the certificate of each kind of endorsement key. The first that is there is used. */
static const struct ek_kind {
	uint32_t certificate;
	const TPM2B_PUBLIC *template;
} ek_kinds[] = {
	{0x01c0000a, &ek_p256},
	{0x01c00016, &ek_p384},
	{0x01c00002, &ek_rsa2048},
};

static result read_nv(struct tpm *tpm, ESYS_TR handle, size_t size, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(CERTIFICATE_MAX_SIZE);
	while (w.len < size) {
		ESYS_OWNED TPM2B_MAX_NV_BUFFER *part = NULL;
		size_t ask = size - w.len < NV_CHUNK ? size - w.len : NV_CHUNK;
		TPM_TRY(Esys_NV_Read(tpm->esys, handle, handle, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, (uint16_t)ask, (uint16_t)w.len, &part));
		if (part->size != ask)
			return fail(TPM_UNAVAILABLE, "TPM2_NV_Read: %u bytes instead of %zu", part->size, ask);
		writer_put(&w, part->buffer, part->size);
	}
	return writer_take(&w, out);
}

static result read_certificate(struct tpm *tpm, uint32_t index, struct bytes *out)
{
	ESYS_TR handle = ESYS_TR_NONE;
	ESYS_OWNED TPM2B_NV_PUBLIC *public = NULL;
	ESYS_OWNED TPM2B_NAME *name = NULL;
	if (Esys_TR_FromTPMPublic(tpm->esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &handle) != TSS2_RC_SUCCESS)
		return fail(NOT_FOUND, "the TPM has no certificate at %08x", index);
	TSS2_RC rc = Esys_NV_ReadPublic(tpm->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public, &name);
	result taken = rc == TSS2_RC_SUCCESS ? OK : tpm_error(rc, "TPM2_NV_ReadPublic");
	if (taken == OK && (public->nvPublic.dataSize == 0 || public->nvPublic.dataSize > CERTIFICATE_MAX_SIZE))
		taken = fail(NOT_FOUND, "a certificate of %u bytes", public->nvPublic.dataSize);
	if (taken == OK)
		taken = read_nv(tpm, handle, public->nvPublic.dataSize, out);
	Esys_TR_Close(tpm->esys, &handle);
	return taken;
}

/* Which kind of endorsement key this TPM is known by; without a certificate the first kind. */
static const struct ek_kind *find_ek(struct tpm *tpm, struct bytes *out_certificate)
{
	for (size_t i = 0; i < COUNT_OF(ek_kinds); i++)
		if (read_certificate(tpm, ek_kinds[i].certificate, out_certificate) == OK)
			return &ek_kinds[i];
	failure_clear();
	return &ek_kinds[0];
}

static result need_ak(struct tpm *tpm)
{
	if (tpm->ak != ESYS_TR_NONE)
		return OK;
	return make_primary(tpm, ESYS_TR_RH_ENDORSEMENT, &attestation_template, &tpm->ak, &tpm->ak_public);
}

static result put_public(const TPM2B_PUBLIC *public, struct bytes *out)
{
	uint8_t buffer[1024];
	size_t offset = 0;
	TPM_TRY(Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, buffer, sizeof(buffer), &offset));
	return bytes_copy(span_of(buffer, offset), out);
}

void tpm_identity_free(struct tpm_identity *identity)
{
	bytes_free(&identity->ek_public);
	bytes_free(&identity->ek_certificate);
	bytes_free(&identity->ak_public);
}

result tpm_identify(struct tpm *tpm, struct tpm_identity *out)
{
	CLEANUP(tpm_identity_free) struct tpm_identity identity = {0};
	LOADED(ek, tpm);
	TPM2B_PUBLIC public;
	const struct ek_kind *kind = find_ek(tpm, &identity.ek_certificate);
	TRY(make_primary(tpm, ESYS_TR_RH_ENDORSEMENT, kind->template, &ek.handle, &public));
	TRY(put_public(&public, &identity.ek_public));
	TRY(need_ak(tpm));
	TRY(put_public(&tpm->ak_public, &identity.ak_public));
	*out = identity;
	identity = (struct tpm_identity){0}; /* transferred */
	return OK;
}

/* ---- quote, credential ---- */

result tpm_quote(struct tpm *tpm, struct span nonce, tpm_pcr_set pcrs, struct bytes *out_attest, struct bytes *out_signature)
{
	static const TPMT_SIG_SCHEME of_the_key = {.scheme = TPM2_ALG_NULL};
	const TPML_PCR_SELECTION selection = selection_of(pcrs);
	TPM2B_DATA qualifying = {.size = (uint16_t)nonce.len};
	ESYS_OWNED TPM2B_ATTEST *attest = NULL;
	ESYS_OWNED TPMT_SIGNATURE *signature = NULL;
	CLEANUP(bytes_free) struct bytes attest_bytes = BYTES_EMPTY;
	uint8_t buffer[1024];
	size_t offset = 0;

	if (nonce.len > TPM_NONCE_MAX || pcrs == 0 || pcrs >> TPM_PCRS != 0)
		return fail(BAD_VALUE, "a quote of PCRs %06x over %zu bytes", pcrs, nonce.len);
	if (nonce.len > 0)
		memcpy(qualifying.buffer, nonce.data, nonce.len);
	TRY(need_ak(tpm));
	TPM_TRY(Esys_Quote(tpm->esys, tpm->ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &qualifying, &of_the_key, &selection, &attest, &signature));
	TPM_TRY(Tss2_MU_TPMT_SIGNATURE_Marshal(signature, buffer, sizeof(buffer), &offset));
	TRY(bytes_copy(span_of(attest->attestationData, attest->size), &attest_bytes));
	TRY(bytes_copy(span_of(buffer, offset), out_signature));
	*out_attest = bytes_move(&attest_bytes);
	return OK;
}

result tpm_head_certify(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], struct span nonce,
	struct bytes *out_attest, struct bytes *out_signature)
{
	static const TPMT_SIG_SCHEME of_the_key = {.scheme = TPM2_ALG_NULL};
	TPM2B_DATA qualifying = {.size = (uint16_t)nonce.len};
	ESYS_TR handle = ESYS_TR_NONE;
	ESYS_OWNED TPM2B_ATTEST *attest = NULL;
	ESYS_OWNED TPMT_SIGNATURE *signature = NULL;
	CLEANUP(bytes_free) struct bytes attest_bytes = BYTES_EMPTY;
	uint8_t buffer[1024];
	size_t offset = 0;

	if (nonce.len > TPM_NONCE_MAX)
		return fail(BAD_VALUE, "a nonce of %zu bytes", nonce.len);
	if (nonce.len > 0)
		memcpy(qualifying.buffer, nonce.data, nonce.len);
	TRY(need_ak(tpm));
	result opened = open_place(tpm, &a_head, index, auth, &handle);
	TSS2_RC rc = TSS2_RC_SUCCESS;
	if (opened == OK)
		rc = Esys_NV_Certify(tpm->esys, tpm->ak, handle, handle, ESYS_TR_PASSWORD, tpm->session, ESYS_TR_NONE, &qualifying, &of_the_key,
			SHA256_SIZE, 0, &attest, &signature);
	forget_place(tpm, &handle);
	TRY(opened);
	if (rc != TSS2_RC_SUCCESS)
		return place_error(rc, &a_head, "TPM2_NV_Certify");
	TPM_TRY(Tss2_MU_TPMT_SIGNATURE_Marshal(signature, buffer, sizeof(buffer), &offset));
	TRY(bytes_copy(span_of(attest->attestationData, attest->size), &attest_bytes));
	TRY(bytes_copy(span_of(buffer, offset), out_signature));
	*out_attest = bytes_move(&attest_bytes);
	return OK;
}

/* The older kinds of endorsement key are used only by who holds the endorsement hierarchy. */
static result ek_session(struct tpm *tpm, struct loaded *session)
{
	ESYS_OWNED TPM2B_TIMEOUT *timeout = NULL;
	ESYS_OWNED TPMT_TK_AUTH *ticket = NULL;
	TRY(start_session(tpm, TPM2_SE_POLICY, &session->handle));
	TPM_TRY(Esys_PolicySecret(tpm->esys, ESYS_TR_RH_ENDORSEMENT, session->handle, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, NULL, NULL, NULL, 0,
		&timeout, &ticket));
	return OK;
}

static result activate(struct tpm *tpm, const TPM2B_ID_OBJECT *credential, const TPM2B_ENCRYPTED_SECRET *encrypted, struct secret *out)
{
	CLEANUP(bytes_free) struct bytes unused = BYTES_EMPTY;
	LOADED(ek, tpm);
	LOADED(policy, tpm);
	ESYS_OWNED TPM2B_DIGEST *content = NULL;
	const struct ek_kind *kind = find_ek(tpm, &unused);
	ESYS_TR auth = ESYS_TR_PASSWORD;

	TRY(make_primary(tpm, ESYS_TR_RH_ENDORSEMENT, kind->template, &ek.handle, NULL));
	TRY(need_ak(tpm));
	if (!(kind->template->publicArea.objectAttributes & TPMA_OBJECT_USERWITHAUTH)) {
		TRY(ek_session(tpm, &policy));
		auth = policy.handle;
	}
	TSS2_RC rc = Esys_ActivateCredential(tpm->esys, tpm->ak, ek.handle, ESYS_TR_PASSWORD, auth, ESYS_TR_NONE, credential, encrypted, &content);
	TSS2_RC plain = plain_code(rc);
	if (plain == TPM2_RC_INTEGRITY || plain == TPM2_RC_VALUE || plain == TPM2_RC_SIZE || plain == TPM2_RC_ECC_POINT || plain == TPM2_RC_KEY_SIZE ||
		plain == TPM2_RC_INSUFFICIENT)
		return fail(TPM_CHALLENGE_FAILED, "the credential was made for another endorsement key or attestation key");
	if (rc != TSS2_RC_SUCCESS)
		return tpm_error(rc, "TPM2_ActivateCredential");
	result copied = content->size ? secret_copy(span_of(content->buffer, content->size), out) : fail(TPM_CHALLENGE_FAILED, "an empty credential");
	wipe(content, sizeof(*content));
	return copied;
}

result tpm_activate(struct tpm *tpm, struct span credential, struct span encrypted, struct secret *out)
{
	TPM2B_ID_OBJECT object = {0};
	TPM2B_ENCRYPTED_SECRET secret = {0};
	size_t object_len = 0, secret_len = 0;
	if (Tss2_MU_TPM2B_ID_OBJECT_Unmarshal(credential.data, credential.len, &object_len, &object) != TSS2_RC_SUCCESS || object_len != credential.len ||
		Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal(encrypted.data, encrypted.len, &secret_len, &secret) != TSS2_RC_SUCCESS ||
		secret_len != encrypted.len)
		return fail(TPM_CHALLENGE_FAILED, "the challenge is damaged");
	return activate(tpm, &object, &secret, out);
}

/* ---- signatures of others ---- */

static TPM2B_PUBLIC public_of(const uint8_t point[static 65])
{
	TPM2B_PUBLIC public = {.publicArea = {.type = TPM2_ALG_ECC, .nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_USERWITHAUTH,
		.parameters.eccDetail = {.symmetric.algorithm = TPM2_ALG_NULL, .scheme.scheme = TPM2_ALG_NULL, .curveID = TPM2_ECC_NIST_P256,
			.kdf.scheme = TPM2_ALG_NULL},
		.unique.ecc = {.x.size = 32, .y.size = 32}}};
	memcpy(public.publicArea.unique.ecc.x.buffer, point + 1, 32);
	memcpy(public.publicArea.unique.ecc.y.buffer, point + 33, 32);
	return public;
}

result tpm_verify_signature(struct tpm *tpm, const uint8_t point[static 65], const uint8_t digest[static SHA256_SIZE],
	const uint8_t signature[static 64])
{
	const TPM2B_PUBLIC public = public_of(point);
	TPM2B_DIGEST hash = {.size = SHA256_SIZE};
	TPMT_SIGNATURE sig = {.sigAlg = TPM2_ALG_ECDSA, .signature.ecdsa = {.hash = TPM2_ALG_SHA256, .signatureR.size = 32, .signatureS.size = 32}};
	LOADED(key, tpm);
	ESYS_OWNED TPMT_TK_VERIFIED *ticket = NULL;
	memcpy(hash.buffer, digest, SHA256_SIZE);
	memcpy(sig.signature.ecdsa.signatureR.buffer, signature, 32);
	memcpy(sig.signature.ecdsa.signatureS.buffer, signature + 32, 32);
	TPM_TRY(Esys_LoadExternal(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, &public, ESYS_TR_RH_NULL, &key.handle));
	TSS2_RC rc = Esys_VerifySignature(tpm->esys, key.handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &hash, &sig, &ticket);
	if (plain_code(rc) == TPM2_RC_SIGNATURE)
		return fail(BAD_SIGNATURE, "the TPM does not accept the signature");
	return rc == TSS2_RC_SUCCESS ? OK : tpm_error(rc, "TPM2_VerifySignature");
}
