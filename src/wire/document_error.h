/* How a message about a place in a document is made; shared by the files of this module alone. */
#ifndef TROTH_WIRE_DOCUMENT_ERROR_H
#define TROTH_WIRE_DOCUMENT_ERROR_H

#include "base/result.h"

enum { DOCUMENT_MESSAGE_SIZE = 768 };

struct position {
	unsigned line, column; /* from 1 */
};

/* Records "name:line:column: what" and yields `reason`. What is quoted from the document is made safe to print. */
#define document_fail_at(name, at, reason, ...) failure_is_not_ok_(document_note_at(name, at, reason, __VA_ARGS__))

PRINTF_LIKE(4, 5)
NODISCARD result document_note_at(const char *name, struct position at, enum reason reason, const char *format, ...);

#endif
