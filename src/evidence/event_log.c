#include "evidence/event_log.h"

#include "wire/cbor.h"

enum {
	ALGORITHMS_MAX = TPM_BANKS_MAX,
	SPEC_ID_SIZE = 16,
	SEPARATOR_PCRS = 8, /* PCR 0..7 end with a separator before the operating system starts */
	CEL_RECNUM = 0,
	CEL_PCR = 1,
	CEL_DIGESTS = 3,
	CEL_CBOR_PAIRS = 4,
	PADDING_MIN = 16, /* fewer bytes could be the beginning of an event */
};

/* Logs of firmware are little-endian, unlike everything else here. */
static result take_le(struct reader *r, size_t width, uint32_t *out)
{
	struct span bytes;
	TRY(reader_take(r, width, &bytes));
	uint32_t value = 0;
	for (size_t i = width; i > 0; i--)
		value = value << 8 | bytes.data[i - 1];
	*out = value;
	return OK;
}

static result take_event_data(struct reader *r, uint32_t size, struct span *out)
{
	if (size > EVENT_DATA_MAX)
		return fail(TOO_LARGE, "an event of %u bytes", size);
	return reader_take(r, size, out);
}

/* ---- TCG logs ---- */

static const uint8_t spec_id_03[SPEC_ID_SIZE] = "Spec ID Event03";

/* pcr, type, SHA-1 digest, data: every event of an old log, and the first one of a crypto-agile log. */
static result take_sha1_event(struct reader *r, struct event *out)
{
	uint32_t size;
	TRY(take_le(r, 4, &out->pcr));
	TRY(take_le(r, 4, &out->type));
	out->digests[0].algorithm = TPM_SHA1;
	out->digest_count = 1;
	TRY(reader_take(r, 20, &out->digests[0].bytes));
	TRY(take_le(r, 4, &size));
	return take_event_data(r, size, &out->data);
}

static result take_algorithms(struct reader *header, struct event_log *log)
{
	uint32_t count;
	TRY(take_le(header, 4, &count));
	if (count == 0 || count > ALGORITHMS_MAX)
		return fail(EVENT_LOG_DAMAGED, "the header declares %u digest algorithms", count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t algorithm, size;
		TRY(take_le(header, 2, &algorithm));
		TRY(take_le(header, 2, &size));
		size_t known = platform_digest_size(tpm_digest((uint16_t)algorithm));
		if (size == 0 || size > DIGEST_MAX || (known != 0 && size != known))
			return fail(EVENT_LOG_DAMAGED, "the header gives algorithm %04x a size of %u", algorithm, size);
		for (uint32_t before = 0; before < i; before++)
			if (log->sizes[before].algorithm == algorithm)
				return fail(EVENT_LOG_DAMAGED, "the header declares algorithm %04x twice", algorithm);
		log->sizes[i] = (struct event_digest){(uint16_t)algorithm, {NULL, size}};
	}
	log->bank_count = count;
	return OK;
}

/* TCG_EfiSpecIdEvent: signature[16], platform class u32, version 2 × u8, errata u8, uintn size u8, algorithms, vendor info. */
static result take_spec_id(struct span data, struct event_log *log)
{
	struct reader header = reader_of(data);
	struct span unused;
	uint8_t vendor_size;

	TRY(reader_take(&header, SPEC_ID_SIZE + 8, &unused));
	TRY(take_algorithms(&header, log));
	TRY(reader_u8(&header, &vendor_size));
	TRY(reader_take(&header, vendor_size, &unused));
	return OK; /* some firmware leaves bytes of its own behind */
}

static bool is_spec_id(const struct event *event)
{
	return event->type == EV_NO_ACTION && event->data.len >= SPEC_ID_SIZE &&
		memcmp(event->data.data, spec_id_03, SPEC_ID_SIZE) == 0;
}

static result open_tcg(struct span bytes, struct event_log *log)
{
	struct reader r = reader_of(bytes);
	struct event first = {0};
	TRY(take_sha1_event(&r, &first));
	log->form = EVENT_LOG_TCG_SHA1;
	log->sizes[0] = (struct event_digest){TPM_SHA1, {NULL, 20}};
	log->bank_count = 1;
	if (!is_spec_id(&first))
		return OK; /* the first event is one like all */
	log->form = EVENT_LOG_TCG;
	log->rest = r;
	return take_spec_id(first.data, log);
}

static result take_digests(struct event_log *log, struct event *out)
{
	uint32_t count;
	TRY(take_le(&log->rest, 4, &count));
	if (count != log->bank_count)
		return fail(EVENT_LOG_DAMAGED, "%u digests, but the header declares %zu", count, log->bank_count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t algorithm;
		size_t size = 0;
		TRY(take_le(&log->rest, 2, &algorithm));
		for (size_t bank = 0; bank < log->bank_count; bank++)
			if (log->sizes[bank].algorithm == algorithm)
				size = log->sizes[bank].bytes.len;
		for (uint32_t before = 0; before < i; before++)
			if (out->digests[before].algorithm == algorithm)
				size = 0;
		if (size == 0)
			return fail(EVENT_LOG_DAMAGED, "a digest of algorithm %04x, which the header does not declare or which stood before", algorithm);
		out->digests[i].algorithm = (uint16_t)algorithm;
		TRY(reader_take(&log->rest, size, &out->digests[i].bytes));
	}
	out->digest_count = count;
	return OK;
}

static result take_agile_event(struct event_log *log, struct event *out)
{
	uint32_t size;
	TRY(take_le(&log->rest, 4, &out->pcr));
	TRY(take_le(&log->rest, 4, &out->type));
	TRY(take_digests(log, out));
	TRY(take_le(&log->rest, 4, &size));
	return take_event_data(&log->rest, size, &out->data);
}

/* A log that is copied out of its memory area as a whole ends in bytes that were never written: all ones or all zeros. */
static bool is_padding(const struct reader *r)
{
	if (reader_left(r) < PADDING_MIN || (*r->at != 0xff && *r->at != 0x00))
		return false;
	for (const uint8_t *at = r->at; at < r->end; at++)
		if (*at != *r->at)
			return false;
	return true;
}

/* Types whose digest is by definition that of the event data, so that the data counts as measured. */
static bool type_is_bound(uint32_t type)
{
	static const uint32_t bound[] = {EV_SEPARATOR, EV_ACTION, EV_NONHOST_INFO, (uint32_t)EV_EFI_VARIABLE_DRIVER_CONFIG,
		(uint32_t)EV_EFI_GPT_EVENT, (uint32_t)EV_EFI_ACTION};
	for (size_t i = 0; i < COUNT_OF(bound); i++)
		if (bound[i] == type)
			return true;
	return false;
}

static result next_tcg(struct event_log *log, struct event *out)
{
	TRY(log->form == EVENT_LOG_TCG ? take_agile_event(log, out) : take_sha1_event(&log->rest, out));
	out->extends = out->type != EV_NO_ACTION;
	if (out->extends && out->pcr >= TPM_PCR_COUNT)
		return fail(EVENT_LOG_DAMAGED, "an event of PCR %u", out->pcr);
	out->bound = type_is_bound(out->type);
	return OK;
}

/* ---- canonical logs ---- */

/* Type u8, length u32, value; big-endian. */
static result take_tlv(struct reader *r, uint8_t *out_type, struct span *out_value)
{
	uint32_t length;
	TRY(reader_u8(r, out_type));
	TRY(reader_u32(r, &length));
	return take_event_data(r, length, out_value);
}

static result expect_tlv(struct reader *r, uint8_t type, size_t length, struct span *out)
{
	uint8_t found;
	TRY(take_tlv(r, &found, out));
	if (found != type || (length != 0 && out->len != length))
		return fail(EVENT_LOG_DAMAGED, "field %u of %zu bytes where field %u is due", found, out->len, type);
	return OK;
}

static result check_new_digest(struct event *out, uint64_t algorithm, struct span bytes)
{
	size_t size = algorithm <= UINT16_MAX ? platform_digest_size(tpm_digest((uint16_t)algorithm)) : 0;
	if (out->digest_count == ALGORITHMS_MAX || size == 0 || bytes.len != size)
		return fail(EVENT_LOG_DAMAGED, "a digest of %zu bytes of algorithm %llu", bytes.len, (unsigned long long)algorithm);
	for (size_t i = 0; i < out->digest_count; i++)
		if (out->digests[i].algorithm == algorithm)
			return fail(EVENT_LOG_DAMAGED, "two digests of one algorithm");
	out->digests[out->digest_count++] = (struct event_digest){(uint16_t)algorithm, bytes};
	return OK;
}

static result next_tlv(struct event_log *log, struct event *out)
{
	struct span number, pcr, digests;
	uint8_t type;
	uint64_t n = 0;

	TRY(expect_tlv(&log->rest, CEL_RECNUM, 8, &number));
	for (size_t i = 0; i < 8; i++)
		n = n << 8 | number.data[i];
	if (n != log->next_number)
		return fail(EVENT_LOG_DAMAGED, "record %llu where %llu is due", (unsigned long long)n, (unsigned long long)log->next_number);
	TRY(expect_tlv(&log->rest, CEL_PCR, 1, &pcr));
	out->pcr = pcr.data[0];
	TRY(expect_tlv(&log->rest, CEL_DIGESTS, 0, &digests));
	struct reader inside = reader_of(digests);
	while (reader_left(&inside) > 0) {
		struct span bytes;
		TRY(take_tlv(&inside, &type, &bytes));
		TRY(check_new_digest(out, type, bytes));
	}
	/* The digest is that of the whole content field, its head included. */
	const uint8_t *start = log->rest.at;
	struct span unused;
	TRY(take_tlv(&log->rest, &type, &unused));
	out->type = type;
	out->data = span_of(start, (size_t)(log->rest.at - start));
	out->extends = true;
	out->bound = false; /* by content type; digests are compared by whoever knows it */
	return OK;
}

static result next_cbor(struct event_log *log, struct event *out)
{
	struct reader *r = &log->rest;
	size_t pairs, digests;
	uint64_t key, number, pcr, algorithm;

	TRY(cbor_read_map(r, &pairs));
	if (pairs != CEL_CBOR_PAIRS)
		return fail(EVENT_LOG_DAMAGED, "a record of %zu fields", pairs);
	TRY(cbor_read_uint(r, &key));
	TRY(cbor_read_uint(r, &number));
	if (key != CEL_RECNUM || number != log->next_number)
		return fail(EVENT_LOG_DAMAGED, "record %llu where %llu is due", (unsigned long long)number,
			(unsigned long long)log->next_number);
	TRY(cbor_read_uint(r, &key));
	TRY(cbor_read_uint(r, &pcr));
	if (key != CEL_PCR || pcr >= TPM_PCR_COUNT)
		return fail(EVENT_LOG_DAMAGED, "register %llu", (unsigned long long)pcr);
	TRY(cbor_read_uint(r, &key));
	if (key != CEL_DIGESTS)
		return fail(EVENT_LOG_DAMAGED, "field %llu where the digests are due", (unsigned long long)key);
	TRY(cbor_read_map(r, &digests));
	for (size_t i = 0; i < digests; i++) {
		struct span bytes;
		TRY(cbor_read_uint(r, &algorithm));
		TRY(cbor_read_bytes(r, &bytes));
		TRY(check_new_digest(out, algorithm, bytes));
	}
	TRY(cbor_read_uint(r, &key));
	if (key > UINT32_MAX)
		return fail(EVENT_LOG_DAMAGED, "a content of type %llu", (unsigned long long)key);
	TRY(cbor_read_bytes(r, &out->data));
	out->pcr = (uint32_t)pcr;
	out->type = (uint32_t)key;
	out->extends = true;
	out->bound = key == 16; /* Troth's own content (docs/PROTOCOL.root) */
	return OK;
}

/* ---- one reader over all forms ---- */

static bool starts_tlv(struct span bytes)
{
	static const uint8_t first[] = {CEL_RECNUM, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, CEL_PCR, 0, 0, 0, 1};
	return bytes.len >= sizeof(first) && memcmp(bytes.data, first, sizeof(first)) == 0;
}

static bool starts_cbor(struct span bytes)
{
	static const uint8_t first[] = {0xa4, CEL_RECNUM, 0x00, CEL_PCR};
	return bytes.len >= sizeof(first) && memcmp(bytes.data, first, sizeof(first)) == 0;
}

result event_log_open(struct span bytes, struct event_log *out)
{
	struct event_log log = {.rest = reader_of(bytes)};
	if (bytes.len > EVENT_LOG_MAX)
		return fail(TOO_LARGE, "an event log of %zu bytes", bytes.len);
	if (starts_tlv(bytes)) {
		log.form = EVENT_LOG_CEL_TLV;
	} else if (starts_cbor(bytes)) {
		log.form = EVENT_LOG_CEL_CBOR;
	} else {
		result opened = open_tcg(bytes, &log);
		if (opened != OK)
			return fail_within(opened == TRUNCATED ? EVENT_LOG_DAMAGED : opened, "event log");
	}
	*out = log;
	return OK;
}

result event_log_next(struct event_log *log, bool *out_more, struct event *out)
{
	struct event event = {.number = log->next_number};
	bool tcg = log->form == EVENT_LOG_TCG || log->form == EVENT_LOG_TCG_SHA1;

	if (reader_left(&log->rest) == 0 || (tcg && is_padding(&log->rest))) {
		log->rest.at = log->rest.end;
		*out_more = false;
		return OK;
	}
	if (log->next_number == EVENT_LOG_EVENTS_MAX)
		return fail(TOO_LARGE, "more than %d events", EVENT_LOG_EVENTS_MAX);
	result taken = tcg			  ? next_tcg(log, &event)
		: log->form == EVENT_LOG_CEL_TLV ? next_tlv(log, &event)
						  : next_cbor(log, &event);
	if (taken != OK)
		return fail_within(taken == TOO_LARGE ? TOO_LARGE : EVENT_LOG_DAMAGED, "event %llu", (unsigned long long)event.number);
	log->next_number++;
	*out = event;
	*out_more = true;
	return OK;
}

/* ---- replay ---- */

/* The firmware says here from which locality PCR 0 was started; the value before the first event depends on it. */
static result take_start_locality(const struct event *event, struct replay *replay)
{
	static const char signature[16] = "StartupLocality";
	if (event->pcr != 0 || event->data.len != sizeof(signature) + 1 || memcmp(event->data.data, signature, sizeof(signature)) != 0)
		return OK;
	uint8_t locality = event->data.data[sizeof(signature)];
	if ((locality != 0 && locality != 3 && locality != 4) || replay->touched & 1)
		return fail(EVENT_LOG_DAMAGED, "PCR 0 started from locality %u", locality);
	replay->value[0][replay->size - 1] = locality;
	return OK;
}

static result check_separator(const struct event *event, struct replay *replay)
{
	static const uint8_t zeros[4] = {0}, ones[4] = {0xff, 0xff, 0xff, 0xff};
	if (event->type != EV_SEPARATOR || event->pcr >= SEPARATOR_PCRS)
		return OK;
	if (replay->separators & 1u << event->pcr)
		return fail(EVENT_SEPARATOR_WRONG, "PCR %u has two separators", event->pcr);
	if (!span_equal(event->data, SPAN_ARRAY(zeros)) && !span_equal(event->data, SPAN_ARRAY(ones)))
		return fail(EVENT_SEPARATOR_WRONG, "the separator of PCR %u says that the firmware failed", event->pcr);
	replay->separators |= 1u << event->pcr;
	return OK;
}

static result check_bound(const struct event *event)
{
	uint8_t digest[DIGEST_MAX];
	for (size_t i = 0; i < event->digest_count; i++) {
		enum platform_digest algorithm = tpm_digest(event->digests[i].algorithm);
		if (algorithm == 0)
			continue;
		platform_digest(algorithm, event->data, digest);
		if (memcmp(digest, event->digests[i].bytes.data, event->digests[i].bytes.len) != 0)
			return fail(EVENT_DIGEST_MISMATCH, "event %llu of PCR %u: the %s digest is not that of its data",
				(unsigned long long)event->number, event->pcr, tpm_algorithm_name(event->digests[i].algorithm));
	}
	return OK;
}

static result extend(const struct event *event, struct replay *replay)
{
	uint8_t input[2 * DIGEST_MAX];
	for (size_t i = 0; i < event->digest_count; i++) {
		if (event->digests[i].algorithm != replay->bank)
			continue;
		memcpy(input, replay->value[event->pcr], replay->size);
		memcpy(input + replay->size, event->digests[i].bytes.data, replay->size);
		platform_digest(tpm_digest(replay->bank), span_of(input, 2 * replay->size), replay->value[event->pcr]);
		replay->touched |= 1u << event->pcr;
		return OK;
	}
	return fail(TPM_WRONG_BANK, "event %llu has no digest of %s", (unsigned long long)event->number, tpm_algorithm_name(replay->bank));
}

static result replay_event(const struct event_log *log, const struct event *event, struct replay *replay)
{
	bool tcg = log->form == EVENT_LOG_TCG || log->form == EVENT_LOG_TCG_SHA1;
	if (!event->extends)
		return take_start_locality(event, replay);
	if (event->pcr >= TPM_PCR_COUNT)
		return fail(EVENT_LOG_DAMAGED, "an event of PCR %u", event->pcr);
	if (tcg)
		TRY(check_separator(event, replay));
	if (event->bound)
		TRY(check_bound(event));
	else
		replay->unbound++;
	return extend(event, replay);
}

result event_log_replay(struct span bytes, uint16_t bank, struct replay *out)
{
	struct event_log log;
	struct event event;
	bool more;
	struct replay replay = {.bank = bank, .size = platform_digest_size(tpm_digest(bank))};

	if (replay.size == 0)
		return fail(TPM_WRONG_BANK, "no bank has algorithm %04x", bank);
	TRY(event_log_open(bytes, &log));
	for (;;) {
		TRY(event_log_next(&log, &more, &event));
		if (!more)
			break;
		TRY(replay_event(&log, &event, &replay));
		replay.events++;
	}
	*out = replay;
	return OK;
}
