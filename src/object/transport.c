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
	F_VERSION(struct host_enrolment, 1, v, 1),
	F_FIXED(struct host_enrolment, 2, rot_id),
	F_TEXT(struct host_enrolment, 3, name, 1, PEER_NAME_MAX),
	F_FIXED(struct host_enrolment, 4, peer),
	F_LIST(struct host_enrolment, 5, addresses, address_count, &text_item_schema, 0, 0, PEER_ADDRESSES_MAX),
	F_TIME(struct host_enrolment, 6, time),
};
const struct schema enrolment_schema = SCHEMA(struct host_enrolment, "enrolment", SHAPE_MAP, enrolment_fields);

static const struct field approval_fields[] = {
	F_BYTES(struct enrolment_approval, 1, object, 1, ENROLMENT_APPROVAL_MAX),
	F_LIST(struct enrolment_approval, 2, keys, key_count, &bytes_item_schema, 0, 0, OFFICERS_MAX),
};
const struct schema enrolment_approval_schema = SCHEMA(struct enrolment_approval, "approval", SHAPE_MAP, approval_fields);
