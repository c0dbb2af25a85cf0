#include "crypto/token_module.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Theory of operation. Each request is a function of PKCS#11 calls that yields a CK_RV (an `operation`); `perform` runs it
 * with a session, and once more after a new start when the session was lost. Results of our own have numbers in the
 * vendor's range that no module can give to these calls and mean it.
 */

enum { CACHED_KEYS = 64, SLOTS_MAX = 256, FOUND_AT_ONCE = 32, KEYS_MAX = 4096 };

#define NO_SUCH_KEY ((CK_RV)(CKR_VENDOR_DEFINED | 0x74720001UL))
#define SEVERAL_KEYS ((CK_RV)(CKR_VENDOR_DEFINED | 0x74720002UL))
#define BAD_ANSWER ((CK_RV)(CKR_VENDOR_DEFINED | 0x74720003UL))
#define KEY_EXISTS ((CK_RV)(CKR_VENDOR_DEFINED | 0x74720004UL))
#define NOT_KEPT ((CK_RV)(CKR_VENDOR_DEFINED | 0x74720005UL))
#define NOT_P256 ((CK_RV)(CKR_VENDOR_DEFINED | 0x74720006UL))

/* The OID prime256v1 as CKA_EC_PARAMS has it. */
static const uint8_t p256_params[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

struct cached_key {
	struct token_name asked; /* as it was asked for */
	CK_OBJECT_HANDLE handle;
	struct token_key key;
	bool asks_again; /* wants the PIN before each signature */
};

struct token_module {
	void *library;
	CK_FUNCTION_LIST *f;
	struct secret pin;
	bool pin_refused;
	bool initialised, has_session;
	CK_SLOT_ID slot;
	CK_SESSION_HANDLE session;
	char label[33], serial[17]; /* what was asked for; after the first start what was found */
	bool any_label, any_serial;
	struct token_info info;
	struct cached_key cache[CACHED_KEYS];
	size_t cached, next_cached;
	const char *call; /* the PKCS#11 function that failed */
};

#define CALL(module, function, ...) ((module)->call = #function, (module)->f->function(__VA_ARGS__))

#define TRY_CK(expression)                                                                                             \
	do {                                                                                                           \
		CK_RV try_rv_ = (expression);                                                                          \
		if (try_rv_ != CKR_OK)                                                                                 \
			return try_rv_;                                                                                \
	} while (0)

/* ---- results ---- */

static const struct {
	CK_RV rv;
	const char *name;
	bool lost; /* a new session, or the token put back, may help */
} results[] = {
	{CKR_SLOT_ID_INVALID, "CKR_SLOT_ID_INVALID", true},
	{CKR_GENERAL_ERROR, "CKR_GENERAL_ERROR", true},
	{CKR_DEVICE_ERROR, "CKR_DEVICE_ERROR", true},
	{CKR_DEVICE_REMOVED, "CKR_DEVICE_REMOVED", true},
	{CKR_KEY_HANDLE_INVALID, "CKR_KEY_HANDLE_INVALID", true},
	{CKR_OBJECT_HANDLE_INVALID, "CKR_OBJECT_HANDLE_INVALID", true},
	{CKR_SESSION_CLOSED, "CKR_SESSION_CLOSED", true},
	{CKR_SESSION_HANDLE_INVALID, "CKR_SESSION_HANDLE_INVALID", true},
	{CKR_TOKEN_NOT_PRESENT, "CKR_TOKEN_NOT_PRESENT", true},
	{CKR_TOKEN_NOT_RECOGNIZED, "CKR_TOKEN_NOT_RECOGNIZED", true},
	{CKR_USER_NOT_LOGGED_IN, "CKR_USER_NOT_LOGGED_IN", true},
	{CKR_CRYPTOKI_NOT_INITIALIZED, "CKR_CRYPTOKI_NOT_INITIALIZED", true},
	{CKR_OPERATION_ACTIVE, "CKR_OPERATION_ACTIVE", true},
	{CKR_PIN_INCORRECT, "CKR_PIN_INCORRECT", false},
	{CKR_PIN_INVALID, "CKR_PIN_INVALID", false},
	{CKR_PIN_LEN_RANGE, "CKR_PIN_LEN_RANGE", false},
	{CKR_PIN_EXPIRED, "CKR_PIN_EXPIRED", false},
	{CKR_PIN_LOCKED, "CKR_PIN_LOCKED", false},
	{CKR_USER_PIN_NOT_INITIALIZED, "CKR_USER_PIN_NOT_INITIALIZED", false},
	{CKR_MECHANISM_INVALID, "CKR_MECHANISM_INVALID", false},
	{CKR_FUNCTION_NOT_SUPPORTED, "CKR_FUNCTION_NOT_SUPPORTED", false},
	{CKR_KEY_FUNCTION_NOT_PERMITTED, "CKR_KEY_FUNCTION_NOT_PERMITTED", false},
	{CKR_TOKEN_WRITE_PROTECTED, "CKR_TOKEN_WRITE_PROTECTED", false},
	{CKR_HOST_MEMORY, "CKR_HOST_MEMORY", false},
	{CKR_DEVICE_MEMORY, "CKR_DEVICE_MEMORY", false},
};

static const char *rv_name(CK_RV rv)
{
	static char number[32]; /* one thread */
	for (size_t i = 0; i < COUNT_OF(results); i++)
		if (results[i].rv == rv)
			return results[i].name;
	snprintf(number, sizeof(number), "CKR 0x%lx", rv);
	return number;
}

static bool is_lost(CK_RV rv)
{
	for (size_t i = 0; i < COUNT_OF(results); i++)
		if (results[i].rv == rv)
			return results[i].lost;
	return false;
}

static bool is_pin_refusal(CK_RV rv)
{
	return rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE || rv == CKR_PIN_EXPIRED ||
		rv == CKR_PIN_LOCKED;
}

static result rv_result(const struct token_module *m, CK_RV rv)
{
	if (rv == CKR_OK)
		return OK;
	if (rv == NO_SUCH_KEY)
		return fail(NOT_FOUND, "the token '%s' holds no such P-256 key", m->info.label);
	if (rv == SEVERAL_KEYS)
		return fail(BAD_VALUE, "the name fits several keys of the token '%s'; name the key's id too", m->info.label);
	if (rv == KEY_EXISTS)
		return fail(ALREADY_EXISTS, "the token '%s' holds a key with this id", m->info.label);
	if (rv == NOT_KEPT)
		return fail(NOT_SUPPORTED, "the token '%s' does not keep a new key inside (sensitive, not extractable)", m->info.label);
	if (rv == NOT_P256)
		return fail(BAD_KEY, "the key in the token '%s' is no P-256 key with a readable public half", m->info.label);
	if (rv == BAD_ANSWER)
		return fail(TOKEN_UNAVAILABLE, "%s answered what it cannot answer", m->call);
	if (rv == CKR_PIN_LOCKED)
		return fail(TOKEN_PIN_LOCKED, "%s: %s", m->call, rv_name(rv));
	if (is_pin_refusal(rv))
		return fail(TOKEN_PIN_WRONG, "%s: %s", m->call, rv_name(rv));
	if (rv == CKR_MECHANISM_INVALID || rv == CKR_FUNCTION_NOT_SUPPORTED || rv == CKR_KEY_FUNCTION_NOT_PERMITTED ||
		rv == CKR_KEY_TYPE_INCONSISTENT)
		return fail(NOT_SUPPORTED, "%s: %s", m->call, rv_name(rv));
	return fail(TOKEN_UNAVAILABLE, "%s: %s", m->call, rv_name(rv));
}

/* ---- start and end ---- */

/* Texts of PKCS#11 are padded with blanks; what is not printable becomes '?', as it goes to people. */
static void take_text(const CK_UTF8CHAR *padded, size_t len, char *out)
{
	while (len > 0 && (padded[len - 1] == ' ' || padded[len - 1] == '\0'))
		len--;
	for (size_t i = 0; i < len; i++)
		out[i] = padded[i] >= 0x20 && padded[i] <= 0x7e ? (char)padded[i] : '?';
	out[len] = '\0';
}

static result load(struct token_module *m, const char *path)
{
	m->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!m->library)
		return fail(TOKEN_UNAVAILABLE, "the module cannot be loaded: %s", dlerror());
	CK_C_GetFunctionList get_list = NULL;
	void *symbol = dlsym(m->library, "C_GetFunctionList");
	memcpy(&get_list, &symbol, sizeof(get_list));
	if (!get_list)
		return fail(TOKEN_UNAVAILABLE, "%s is no PKCS#11 module: it has no C_GetFunctionList", path);
	CK_RV rv = get_list(&m->f);
	if (rv != CKR_OK || !m->f)
		return fail(TOKEN_UNAVAILABLE, "%s: C_GetFunctionList: %s", path, rv_name(rv));
	if (m->f->version.major != 2 && m->f->version.major != 3)
		return fail(TOKEN_UNAVAILABLE, "%s is of PKCS#11 version %d.%d, not 2 or 3", path, m->f->version.major, m->f->version.minor);
	return OK;
}

static bool token_fits(const struct token_module *m, const CK_TOKEN_INFO *info)
{
	char label[33], serial[17];
	take_text(info->label, sizeof(info->label), label);
	take_text(info->serialNumber, sizeof(info->serialNumber), serial);
	return (info->flags & CKF_TOKEN_INITIALIZED) && (m->any_label || strcmp(label, m->label) == 0) &&
		(m->any_serial || strcmp(serial, m->serial) == 0);
}

static result find_token(struct token_module *m, CK_TOKEN_INFO *out)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG count = COUNT_OF(slots);
	size_t fitting = 0;
	CK_RV rv = CALL(m, C_GetSlotList, CK_TRUE, slots, &count);
	if (rv != CKR_OK)
		return fail(TOKEN_UNAVAILABLE, "C_GetSlotList: %s", rv_name(rv));
	for (size_t i = 0; i < count && i < COUNT_OF(slots); i++) {
		CK_TOKEN_INFO info = {.flags = 0};
		if (CALL(m, C_GetTokenInfo, slots[i], &info) != CKR_OK || !token_fits(m, &info))
			continue;
		fitting++;
		m->slot = slots[i];
		*out = info;
	}
	if (fitting == 0)
		return fail(TOKEN_UNAVAILABLE, "no token %s%s%s%s is there", m->any_label ? "" : "labelled ", m->label,
			m->any_serial ? "" : " with serial number ", m->serial);
	if (fitting > 1)
		return fail(BAD_VALUE, "%zu tokens fit; name one by its label and serial number", fitting);
	return OK;
}

static void read_mechanisms(struct token_module *m)
{
	static const struct {
		CK_MECHANISM_TYPE mechanism;
		CK_FLAGS flag;
		uint8_t ability;
	} wanted[] = {
		{CKM_ECDSA, CKF_SIGN, TOKEN_SIGNS},
		{CKM_ECDH1_DERIVE, CKF_DERIVE, TOKEN_AGREES},
		{CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR, TOKEN_MADE},
	};
	m->info.abilities = 0;
	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		CK_MECHANISM_INFO info = {.flags = 0};
		if (CALL(m, C_GetMechanismInfo, m->slot, wanted[i].mechanism, &info) == CKR_OK && (info.flags & wanted[i].flag))
			m->info.abilities |= wanted[i].ability;
	}
}

/*
 * One attempt with one PIN per process, unless that PIN was accepted before: tokens count wrong ones and lock. The token's
 * own warning is heeded, so that a service that is started again and again cannot use up the last try.
 */
static result log_in(struct token_module *m, const CK_TOKEN_INFO *info)
{
	if (!(info->flags & CKF_LOGIN_REQUIRED))
		return OK;
	if (m->pin_refused)
		return fail(TOKEN_PIN_WRONG, "the PIN was refused before and is not tried again");
	if (info->flags & (CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY))
		return fail(TOKEN_PIN_LOCKED, "the token '%s' says so", m->info.label);
	bool asks_itself = m->pin.len == 0 && (info->flags & CKF_PROTECTED_AUTHENTICATION_PATH);
	if (m->pin.len == 0 && !asks_itself)
		return fail(TOKEN_PIN_WRONG, "the token '%s' needs a PIN and none was given", m->info.label);
	CK_RV rv = CALL(m, C_Login, m->session, CKU_USER, m->pin.data, m->pin.len);
	if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
		return OK;
	if (is_pin_refusal(rv)) {
		m->pin_refused = true;
		secret_free(&m->pin);
	}
	return rv_result(m, rv);
}

static void stop(struct token_module *m)
{
	m->cached = m->next_cached = 0;
	m->has_session = false;
	if (m->initialised)
		(void)m->f->C_Finalize(NULL);
	m->initialised = false;
}

static result start_module(struct token_module *m)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	CK_RV rv = CALL(m, C_Initialize, &args);
	if (rv == CKR_CANT_LOCK)
		rv = CALL(m, C_Initialize, NULL);
	if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
		return fail(TOKEN_UNAVAILABLE, "C_Initialize: %s", rv_name(rv));
	m->initialised = true;
	return OK;
}

/* From nothing to a session that is logged in. */
static result start(struct token_module *m)
{
	CK_TOKEN_INFO info = {.flags = 0};
	TRY(start_module(m));
	TRY(find_token(m, &info));
	take_text(info.label, sizeof(info.label), m->info.label);
	take_text(info.manufacturerID, sizeof(info.manufacturerID), m->info.manufacturer);
	take_text(info.model, sizeof(info.model), m->info.model);
	take_text(info.serialNumber, sizeof(info.serialNumber), m->info.serial);
	read_mechanisms(m);
	CK_FLAGS flags = CKF_SERIAL_SESSION | (info.flags & CKF_WRITE_PROTECTED ? 0 : CKF_RW_SESSION);
	CK_RV rv = CALL(m, C_OpenSession, m->slot, flags, NULL, NULL, &m->session);
	if (rv != CKR_OK)
		return rv_result(m, rv);
	m->has_session = true;
	TRY(log_in(m, &info));
	/* From now on only this very token will do. */
	snprintf(m->label, sizeof(m->label), "%s", m->info.label);
	snprintf(m->serial, sizeof(m->serial), "%s", m->info.serial);
	m->any_label = m->any_serial = false;
	return OK;
}

static result restart(struct token_module *m)
{
	stop(m);
	result started = start(m);
	if (started != OK)
		stop(m);
	return started;
}

result token_module_open(const struct token_module_config *config, struct token_module **out)
{
	if ((config->label && strlen(config->label) > 32) || (config->serial && strlen(config->serial) > 16))
		return fail(BAD_VALUE, "a token's label has at most 32 bytes and its serial number 16");
	struct token_module *m = calloc(1, sizeof(*m));
	if (!m)
		return fail(NO_MEMORY, "PKCS#11 module");
	m->any_label = !config->label;
	m->any_serial = !config->serial;
	snprintf(m->label, sizeof(m->label), "%s", config->label ? config->label : "");
	snprintf(m->serial, sizeof(m->serial), "%s", config->serial ? config->serial : "");
	result opened = config->pin.len ? secret_copy(config->pin, &m->pin) : OK;
	if (opened == OK)
		opened = load(m, config->path);
	if (opened == OK)
		opened = start(m);
	if (opened != OK) {
		token_module_close(m);
		return opened;
	}
	*out = m;
	return OK;
}

void token_module_close(struct token_module *m)
{
	if (!m)
		return;
	stop(m);
	secret_free(&m->pin);
	/* The module stays loaded: some leave threads behind that run in its code. The process is about to end. */
	free(m);
}

typedef CK_RV operation(struct token_module *m, void *arg);

/* `again`: the operation may be made a second time when it is not known whether the first took place. */
static result perform(struct token_module *m, operation *operate, void *arg, bool again)
{
	bool fresh = !m->has_session;
	if (fresh)
		TRY(restart(m));
	CK_RV rv = operate(m, arg);
	/* Some modules show an empty token where there is none any more: "no such key" counts from a new start only. */
	bool lost_or_empty = is_lost(rv) || (rv == NO_SUCH_KEY && !fresh);
	if (!lost_or_empty)
		return rv_result(m, rv);
	result lost = rv_result(m, rv);
	if (fresh) {
		stop(m);
		return lost;
	}
	TRY(restart(m));
	if (!again && rv != NO_SUCH_KEY)
		return fail(lost, "the session was lost and made anew; whether the request was carried out is not known, ask again");
	rv = operate(m, arg);
	if (is_lost(rv))
		stop(m);
	return rv_result(m, rv);
}

/* ---- attributes ---- */

static bool is_usable_length(CK_ULONG len, size_t max)
{
	return len != CK_UNAVAILABLE_INFORMATION && len <= max;
}

/* An attribute of at most `max` bytes; one that is not there, or longer, has the length 0. */
static CK_RV read_attribute(struct token_module *m, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *out, size_t max,
	size_t *out_len)
{
	CK_ATTRIBUTE attribute = {type, out, max};
	CK_RV rv = CALL(m, C_GetAttributeValue, m->session, object, &attribute, 1);
	bool none = rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_BUFFER_TOO_SMALL;
	if (rv != CKR_OK && !none)
		return rv;
	*out_len = rv == CKR_OK && is_usable_length(attribute.ulValueLen, max) ? attribute.ulValueLen : 0;
	return CKR_OK;
}

static CK_RV read_flag(struct token_module *m, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool otherwise, bool *out)
{
	CK_BBOOL value = CK_FALSE;
	size_t len;
	TRY_CK(read_attribute(m, object, type, &value, sizeof(value), &len));
	*out = len == sizeof(value) ? value != CK_FALSE : otherwise;
	return CKR_OK;
}

static CK_RV find_objects(struct token_module *m, CK_ATTRIBUTE *template, size_t attributes, CK_OBJECT_HANDLE *out, size_t max,
	size_t *out_count)
{
	size_t count = 0;
	TRY_CK(CALL(m, C_FindObjectsInit, m->session, template, attributes));
	CK_RV rv = CKR_OK;
	while (count < max) {
		CK_ULONG found = 0;
		CK_ULONG room = max - count < FOUND_AT_ONCE ? max - count : FOUND_AT_ONCE;
		rv = CALL(m, C_FindObjects, m->session, out + count, room, &found);
		if (rv == CKR_OK && found > room)
			rv = BAD_ANSWER;
		if (rv != CKR_OK || found == 0)
			break;
		count += found;
	}
	CK_RV ended = CALL(m, C_FindObjectsFinal, m->session);
	TRY_CK(rv);
	TRY_CK(ended);
	*out_count = count;
	return CKR_OK;
}

/* A query for EC keys of one class by what of the name is there. */
struct query {
	CK_OBJECT_CLASS class;
	CK_KEY_TYPE type;
	CK_ATTRIBUTE template[4];
	size_t count;
};

static void query_for(struct query *q, CK_OBJECT_CLASS class, const struct token_name *name)
{
	*q = (struct query){.class = class, .type = CKK_EC};
	q->template[q->count++] = (CK_ATTRIBUTE){CKA_CLASS, &q->class, sizeof(q->class)};
	q->template[q->count++] = (CK_ATTRIBUTE){CKA_KEY_TYPE, &q->type, sizeof(q->type)};
	/* The interface takes pointers to non-const for what it only reads here. */
	if (name->id_len)
		q->template[q->count++] = (CK_ATTRIBUTE){CKA_ID, (void *)(uintptr_t)name->id, name->id_len};
	if (name->label[0])
		q->template[q->count++] = (CK_ATTRIBUTE){CKA_LABEL, (void *)(uintptr_t)name->label, strlen(name->label)};
}

/* ---- keys ---- */

/* CKA_EC_POINT is an OCTET STRING around the point; some modules give the bare point. */
static CK_RV read_point(struct token_module *m, CK_OBJECT_HANDLE object, uint8_t out[static POINT_SIZE])
{
	uint8_t params[32], value[POINT_SIZE + 2], id[KEY_ID_SIZE];
	size_t len;
	TRY_CK(read_attribute(m, object, CKA_EC_PARAMS, params, sizeof(params), &len));
	if (!span_equal(span_of(params, len), SPAN_ARRAY(p256_params)))
		return NOT_P256;
	TRY_CK(read_attribute(m, object, CKA_EC_POINT, value, sizeof(value), &len));
	const uint8_t *point = value;
	if (len == POINT_SIZE + 2 && value[0] == 0x04 && value[1] == POINT_SIZE)
		point += 2;
	else if (len != POINT_SIZE)
		return NOT_P256;
	if (point_key_id(span_of(point, POINT_SIZE), id) != OK)
		return NOT_P256;
	memcpy(out, point, POINT_SIZE);
	return CKR_OK;
}

static CK_RV read_name(struct token_module *m, CK_OBJECT_HANDLE object, struct token_name *out)
{
	CK_UTF8CHAR label[TOKEN_LABEL_MAX];
	size_t id_len, label_len;
	TRY_CK(read_attribute(m, object, CKA_ID, out->id, sizeof(out->id), &id_len));
	TRY_CK(read_attribute(m, object, CKA_LABEL, label, sizeof(label), &label_len));
	out->id_len = (uint8_t)id_len;
	take_text(label, label_len, out->label);
	return CKR_OK;
}

static CK_RV read_abilities(struct token_module *m, CK_OBJECT_HANDLE object, uint8_t *out)
{
	bool signs, agrees, sensitive, extractable, local;
	TRY_CK(read_flag(m, object, CKA_SIGN, false, &signs));
	TRY_CK(read_flag(m, object, CKA_DERIVE, false, &agrees));
	TRY_CK(read_flag(m, object, CKA_SENSITIVE, false, &sensitive));
	TRY_CK(read_flag(m, object, CKA_EXTRACTABLE, true, &extractable));
	TRY_CK(read_flag(m, object, CKA_LOCAL, false, &local));
	*out = (uint8_t)((signs ? TOKEN_SIGNS : 0) | (agrees ? TOKEN_AGREES : 0) | (sensitive && !extractable ? TOKEN_KEEPS : 0) |
		(local ? TOKEN_MADE : 0));
	return CKR_OK;
}

/* The point stands at the private object, or at the public one of the same id (label, where there is no id). */
static CK_RV read_public_half(struct token_module *m, CK_OBJECT_HANDLE private, const struct token_name *name,
	uint8_t out[static POINT_SIZE])
{
	struct query q;
	struct token_name by = *name;
	CK_OBJECT_HANDLE public[2];
	size_t count;
	CK_RV rv = read_point(m, private, out);
	if (rv != NOT_P256)
		return rv;
	if (by.id_len)
		by.label[0] = '\0';
	else if (by.label[0] == '\0')
		return NOT_P256;
	query_for(&q, CKO_PUBLIC_KEY, &by);
	TRY_CK(find_objects(m, q.template, q.count, public, COUNT_OF(public), &count));
	return count == 1 ? read_point(m, public[0], out) : NOT_P256;
}

static CK_RV read_key(struct token_module *m, CK_OBJECT_HANDLE private, struct token_key *out)
{
	TRY_CK(read_name(m, private, &out->name));
	TRY_CK(read_abilities(m, private, &out->abilities));
	return read_public_half(m, private, &out->name, out->point);
}

static struct cached_key *cached_key(struct token_module *m, const struct token_name *name)
{
	for (size_t i = 0; i < m->cached; i++)
		if (token_name_equal(&m->cache[i].asked, name))
			return &m->cache[i];
	return NULL;
}

static struct cached_key *remember(struct token_module *m, const struct cached_key *key)
{
	struct cached_key *place = &m->cache[m->next_cached];
	if (m->cached < CACHED_KEYS)
		m->cached++;
	m->next_cached = (m->next_cached + 1) % CACHED_KEYS;
	*place = *key;
	return place;
}

static CK_RV find_handle(struct token_module *m, const struct token_name *name, CK_OBJECT_HANDLE *out)
{
	struct query q;
	CK_OBJECT_HANDLE found[2];
	size_t count;
	query_for(&q, CKO_PRIVATE_KEY, name);
	TRY_CK(find_objects(m, q.template, q.count, found, COUNT_OF(found), &count));
	if (count != 1)
		return count ? SEVERAL_KEYS : NO_SUCH_KEY;
	*out = found[0];
	return CKR_OK;
}

static CK_RV look_up(struct token_module *m, const struct token_name *name, struct cached_key **out)
{
	struct cached_key *known = cached_key(m, name);
	if (!known) {
		struct cached_key found = {.asked = *name};
		TRY_CK(find_handle(m, name, &found.handle));
		TRY_CK(read_key(m, found.handle, &found.key));
		TRY_CK(read_flag(m, found.handle, CKA_ALWAYS_AUTHENTICATE, false, &found.asks_again));
		known = remember(m, &found);
	}
	*out = known;
	return CKR_OK;
}

/* ---- requests ---- */

static CK_RV operate_info(struct token_module *m, void *arg)
{
	CK_TOKEN_INFO info;
	return CALL(m, C_GetTokenInfo, m->slot, &info);
}

result token_module_info(struct token_module *m, struct token_info *out)
{
	TRY(perform(m, operate_info, NULL, true));
	*out = m->info;
	return OK;
}

struct list_request {
	size_t first;
	struct token_key *out;
	size_t count, total;
};

static CK_RV operate_list(struct token_module *m, void *arg)
{
	struct list_request *request = arg;
	static CK_OBJECT_HANDLE handles[KEYS_MAX]; /* one thread */
	struct query q;
	size_t count;
	request->count = request->total = 0;
	query_for(&q, CKO_PRIVATE_KEY, &(struct token_name){.id_len = 0});
	TRY_CK(find_objects(m, q.template, q.count, handles, COUNT_OF(handles), &count));
	for (size_t i = 0; i < count; i++) {
		struct token_key key;
		CK_RV rv = read_key(m, handles[i], &key);
		if (rv == NOT_P256)
			continue;
		TRY_CK(rv);
		if (request->total++ >= request->first && request->count < TOKEN_LIST_MAX)
			request->out[request->count++] = key;
	}
	return CKR_OK;
}

result token_module_list(struct token_module *m, size_t first, struct token_key out[static TOKEN_LIST_MAX], size_t *out_count,
	size_t *out_total)
{
	struct list_request request = {.first = first, .out = out};
	TRY(perform(m, operate_list, &request, true));
	*out_count = request.count;
	*out_total = request.total;
	return OK;
}

struct key_request {
	const struct token_name *name;
	uint8_t uses;
	struct token_key key;
	const uint8_t *digest, *point;
	uint8_t *out;
};

static CK_RV operate_find(struct token_module *m, void *arg)
{
	struct key_request *request = arg;
	struct cached_key *key;
	TRY_CK(look_up(m, request->name, &key));
	request->key = key->key;
	return CKR_OK;
}

result token_module_find(struct token_module *m, const struct token_name *name, struct token_key *out)
{
	struct key_request request = {.name = name};
	TRY(perform(m, operate_find, &request, true));
	*out = request.key;
	return OK;
}

static CK_RV generate_pair(struct token_module *m, const struct key_request *request, CK_OBJECT_HANDLE out[static 2])
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_BBOOL signs = request->uses & TOKEN_SIGNS ? CK_TRUE : CK_FALSE, agrees = request->uses & TOKEN_AGREES ? CK_TRUE : CK_FALSE;
	/* As in query_for: read, not written. */
	void *id = (void *)(uintptr_t)request->name->id, *label = (void *)(uintptr_t)request->name->label;
	size_t label_len = strlen(request->name->label);
	uint8_t params[sizeof(p256_params)];
	memcpy(params, p256_params, sizeof(params));
	CK_ATTRIBUTE public[] = {
		{CKA_TOKEN, &yes, sizeof(yes)},
		{CKA_VERIFY, &signs, sizeof(signs)},
		{CKA_EC_PARAMS, params, sizeof(params)},
		{CKA_ID, id, request->name->id_len},
		{CKA_LABEL, label, label_len},
	};
	CK_ATTRIBUTE private[] = {
		{CKA_TOKEN, &yes, sizeof(yes)},
		{CKA_PRIVATE, &yes, sizeof(yes)},
		{CKA_SENSITIVE, &yes, sizeof(yes)},
		{CKA_EXTRACTABLE, &no, sizeof(no)},
		{CKA_SIGN, &signs, sizeof(signs)},
		{CKA_DERIVE, &agrees, sizeof(agrees)},
		{CKA_ID, id, request->name->id_len},
		{CKA_LABEL, label, label_len},
	};
	CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
	return CALL(m, C_GenerateKeyPair, m->session, &mechanism, public, COUNT_OF(public), private, COUNT_OF(private), &out[0], &out[1]);
}

static CK_RV operate_generate(struct token_module *m, void *arg)
{
	struct key_request *request = arg;
	struct token_name by_id = *request->name;
	CK_OBJECT_HANDLE pair[2], other;
	by_id.label[0] = '\0';
	CK_RV rv = find_handle(m, &by_id, &other);
	if (rv != NO_SUCH_KEY)
		return rv == CKR_OK || rv == SEVERAL_KEYS ? KEY_EXISTS : rv;
	TRY_CK(generate_pair(m, request, pair));
	rv = read_name(m, pair[1], &request->key.name);
	if (rv == CKR_OK)
		rv = read_abilities(m, pair[1], &request->key.abilities);
	if (rv == CKR_OK)
		rv = read_point(m, pair[0], request->key.point);
	uint8_t needed = (uint8_t)(request->uses | TOKEN_KEEPS | TOKEN_MADE);
	if (rv == CKR_OK && ((request->key.abilities & needed) != needed || !token_name_equal(&request->key.name, request->name)))
		rv = NOT_KEPT;
	if (rv != CKR_OK) {
		(void)m->f->C_DestroyObject(m->session, pair[0]);
		(void)m->f->C_DestroyObject(m->session, pair[1]);
	}
	return rv;
}

result token_module_generate(struct token_module *m, const struct token_name *name, uint8_t uses, struct token_key *out)
{
	struct key_request request = {.name = name, .uses = uses};
	TRY(perform(m, operate_generate, &request, false));
	*out = request.key;
	return OK;
}

static CK_RV operate_sign(struct token_module *m, void *arg)
{
	struct key_request *request = arg;
	struct cached_key *key;
	uint8_t digest[SHA256_SIZE], signature[2 * SIGNATURE_SIZE];
	CK_ULONG len = sizeof(signature);
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
	TRY_CK(look_up(m, request->name, &key));
	memcpy(digest, request->digest, sizeof(digest));
	TRY_CK(CALL(m, C_SignInit, m->session, &mechanism, key->handle));
	if (key->asks_again)
		TRY_CK(CALL(m, C_Login, m->session, CKU_CONTEXT_SPECIFIC, m->pin.data, m->pin.len));
	TRY_CK(CALL(m, C_Sign, m->session, digest, sizeof(digest), signature, &len));
	if (len != SIGNATURE_SIZE)
		return BAD_ANSWER;
	memcpy(request->out, signature, SIGNATURE_SIZE);
	return CKR_OK;
}

result token_module_sign(struct token_module *m, const struct token_name *name, const uint8_t digest[static SHA256_SIZE],
	uint8_t out[static SIGNATURE_SIZE])
{
	struct key_request request = {.name = name, .digest = digest, .out = out};
	return perform(m, operate_sign, &request, true);
}

static CK_RV derive(struct token_module *m, CK_OBJECT_HANDLE private, uint8_t *point, size_t len, CK_OBJECT_HANDLE *out)
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	CK_ULONG value_len = ECDH_SIZE;
	CK_ATTRIBUTE template[] = {
		{CKA_CLASS, &class, sizeof(class)},
		{CKA_KEY_TYPE, &type, sizeof(type)},
		{CKA_VALUE_LEN, &value_len, sizeof(value_len)},
		{CKA_TOKEN, &no, sizeof(no)},
		{CKA_SENSITIVE, &no, sizeof(no)},
		{CKA_EXTRACTABLE, &yes, sizeof(yes)},
	};
	CK_ECDH1_DERIVE_PARAMS params = {.kdf = CKD_NULL, .ulPublicDataLen = len, .pPublicData = point};
	CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &params, sizeof(params)};
	return CALL(m, C_DeriveKey, m->session, &mechanism, private, template, COUNT_OF(template), out);
}

static CK_RV operate_agree(struct token_module *m, void *arg)
{
	struct key_request *request = arg;
	struct cached_key *key;
	CK_OBJECT_HANDLE shared;
	uint8_t wrapped[POINT_SIZE + 2] = {0x04, POINT_SIZE};
	size_t len;
	memcpy(wrapped + 2, request->point, POINT_SIZE);
	TRY_CK(look_up(m, request->name, &key));
	/* As a bare point first (PKCS#11 v2.40); older modules want the OCTET STRING. */
	CK_RV rv = derive(m, key->handle, wrapped + 2, POINT_SIZE, &shared);
	if (rv != CKR_OK && !is_lost(rv) && rv != CKR_MECHANISM_INVALID)
		rv = derive(m, key->handle, wrapped, sizeof(wrapped), &shared);
	TRY_CK(rv);
	rv = read_attribute(m, shared, CKA_VALUE, request->out, ECDH_SIZE, &len);
	CK_RV destroyed = CALL(m, C_DestroyObject, m->session, shared);
	TRY_CK(rv);
	TRY_CK(destroyed);
	return len == ECDH_SIZE ? CKR_OK : BAD_ANSWER;
}

result token_module_agree(struct token_module *m, const struct token_name *name, const uint8_t point[static POINT_SIZE],
	uint8_t out[static ECDH_SIZE])
{
	uint8_t shared[ECDH_SIZE];
	struct key_request request = {.name = name, .point = point, .out = shared};
	result agreed = perform(m, operate_agree, &request, true);
	if (agreed == OK)
		memcpy(out, shared, ECDH_SIZE);
	wipe(shared, sizeof(shared));
	return agreed;
}

static CK_RV operate_destroy(struct token_module *m, void *arg)
{
	struct key_request *request = arg;
	struct query q;
	struct token_name by;
	CK_OBJECT_HANDLE private, public[2];
	size_t count;
	TRY_CK(find_handle(m, request->name, &private));
	TRY_CK(read_name(m, private, &by));
	m->cached = m->next_cached = 0;
	TRY_CK(CALL(m, C_DestroyObject, m->session, private));
	if (by.id_len)
		by.label[0] = '\0';
	else if (by.label[0] == '\0')
		return CKR_OK;
	query_for(&q, CKO_PUBLIC_KEY, &by);
	TRY_CK(find_objects(m, q.template, q.count, public, COUNT_OF(public), &count));
	/* Several public keys of one name are not ours to judge. */
	return count == 1 ? CALL(m, C_DestroyObject, m->session, public[0]) : CKR_OK;
}

result token_module_destroy(struct token_module *m, const struct token_name *name)
{
	struct key_request request = {.name = name};
	return perform(m, operate_destroy, &request, false);
}

struct random_request {
	uint8_t *out;
	size_t len;
};

static CK_RV operate_random(struct token_module *m, void *arg)
{
	struct random_request *request = arg;
	return CALL(m, C_GenerateRandom, m->session, request->out, request->len);
}

result token_module_random(struct token_module *m, uint8_t *out, size_t len)
{
	struct random_request request = {out, len};
	return perform(m, operate_random, &request, true);
}
