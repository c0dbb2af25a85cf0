/* Profile sealed of the queue: the secure processor signs the greeting under its current epoch key. */
#include "object/object.h"
#include "root/ap_internal.h"

result ap_sign_queue_hello(void *context, struct queue_hello *hello, struct bytes *out_record, struct bytes *out_object)
{
	const struct ap *ap = context;
	CLEANUP(bytes_free) struct bytes record = BYTES_EMPTY;
	if (!ap_has_root(ap))
		return OK;
	memcpy(hello->epoch_oid, ap->current.oid, OID_SIZE);
	TRY(bytes_copy(bytes_span(&ap->current.record), &record));
	TRY(object_sign(KIND_QUEUE_HELLO, hello, &ap->current.keys.sign, out_object, NULL));
	*out_record = bytes_move(&record);
	return OK;
}
