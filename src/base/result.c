#include "base/result.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct reason_row reason_table[] = {
#define REASON(number, name, exit, sentence) {name, #name, exit, sentence},
#include "base/reason.def"
#undef REASON
};
const size_t reason_table_len = COUNT_OF(reason_table);

static _Thread_local char context[1024];

const struct reason_row *reason_row(enum reason reason)
{
	for (size_t i = 0; i < reason_table_len; i++)
		if (reason_table[i].reason == reason)
			return &reason_table[i];
	return reason_row(INTERNAL);
}

const char *reason_name(enum reason reason)
{
	return reason_row(reason)->name;
}

result failure_note(enum reason reason, const char *format, ...)
{
	/* Formatted apart first: failure_text() itself may be among the arguments. */
	char text[sizeof(context)];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	memcpy(context, text, sizeof(context));
	return reason;
}

static enum reason reason_of_errno(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return NO_PERMISSION;
	case ENOSPC:
	case EDQUOT:
		return DISK_FULL;
	case EEXIST:
	case ENOTEMPTY:
		return ALREADY_EXISTS;
	case ENOMEM:
		return NO_MEMORY;
	case ETIMEDOUT:
		return TIMED_OUT;
	case EPIPE:
	case ECONNRESET:
		return PEER_CLOSED;
	case ENOSYS:
	case EOPNOTSUPP:
		return NOT_SUPPORTED;
	default:
		return IO_ERROR;
	}
}

result failure_note_errno(const char *format, ...)
{
	int error = errno;
	char text[sizeof(context)];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	size_t used = strlen(text);
	snprintf(text + used, sizeof(text) - used, ": %s", strerror(error));
	memcpy(context, text, sizeof(context));
	return reason_of_errno(error);
}

/* Appends what fits; the context of a failure may be cut. */
static void append(char *text, size_t cap, const char *more)
{
	size_t used = strlen(text), len = strlen(more), room = cap - 1 - used;
	if (len > room)
		len = room;
	memcpy(text + used, more, len);
	text[used + len] = '\0';
}

result failure_note_within(result reason, const char *format, ...)
{
	char outer[sizeof(context)], inner[sizeof(context)];
	va_list args;
	va_start(args, format);
	vsnprintf(outer, sizeof(outer), format, args);
	va_end(args);
	memcpy(inner, context, sizeof(inner));
	memcpy(context, outer, sizeof(context));
	if (inner[0]) {
		append(context, sizeof(context), ": ");
		append(context, sizeof(context), inner);
	}
	return reason;
}

const char *failure_text(void)
{
	return context;
}

void failure_clear(void)
{
	context[0] = '\0';
}
