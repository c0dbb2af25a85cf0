#include "base/bytes.h"

#include <stdlib.h>

void bytes_free(struct bytes *bytes)
{
	if (!bytes)
		return;
	free(bytes->data);
	*bytes = BYTES_EMPTY;
}

result bytes_copy(struct span from, struct bytes *out)
{
	uint8_t *data = malloc(from.len ? from.len : 1);
	if (!data)
		return fail(NO_MEMORY, "%zu bytes", from.len);
	if (from.len)
		memcpy(data, from.data, from.len);
	*out = (struct bytes){data, from.len};
	return OK;
}
