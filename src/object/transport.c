#include "object/transport.h"

static const struct field transport_key_fields[] = {
	F_VERSION(struct transport_key, 1, v, 1),
	F_FIXED(struct transport_key, 2, spki),
	F_FIXED(struct transport_key, 3, rot_id),
	F_FIXED(struct transport_key, 4, epoch_oid),
	F_TEXT(struct transport_key, 5, purpose, 1, 32),
	F_TIME(struct transport_key, 6, not_before),
	F_TIME(struct transport_key, 7, not_after),
};
const struct schema transport_key_schema = SCHEMA(struct transport_key, "transport key", SHAPE_MAP, transport_key_fields);

static const struct field transport_request_fields[] = {
	F_FIXED(struct transport_request, 1, spki),
	F_TEXT(struct transport_request, 2, purpose, 1, 32),
	F_UINT(struct transport_request, 3, valid_ms, TRANSPORT_VALID_MAX_MS),
};
const struct schema transport_request_schema = SCHEMA(struct transport_request, "transport request", SHAPE_MAP, transport_request_fields);

static const struct field enrolment_fields[] = {
	F_VERSION(struct enrolment, 1, v, 1),
	F_FIXED(struct enrolment, 2, rot_id),
	F_TEXT(struct enrolment, 3, name, 1, PEER_NAME_MAX),
	F_FIXED(struct enrolment, 4, peer),
	F_LIST(struct enrolment, 5, addresses, address_count, &text_item_schema, 0, 0, PEER_ADDRESSES_MAX),
	F_TIME(struct enrolment, 6, time),
};
const struct schema enrolment_schema = SCHEMA(struct enrolment, "enrolment", SHAPE_MAP, enrolment_fields);
