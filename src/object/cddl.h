/*
 * Prints structures as CDDL (RFC 8610), from the same tables that encode and decode them. docs/PROTOCOL.objects
 * carries the output, and a test compares the two, so that the page cannot drift from the code.
 */
#ifndef TROTH_OBJECT_CDDL_H
#define TROTH_OBJECT_CDDL_H

#include "object/schema.h"

#include <stdio.h>

void cddl_print(const struct schema *const *schemas, size_t count, FILE *out);

#endif
