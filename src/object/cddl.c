#include "object/cddl.h"

#include <stdio.h>

/* Schemas already printed in this run, so that shared parts stand once. */
struct printed {
	const struct schema *schemas[128];
	size_t count;
};

static void rule_name(const struct schema *schema, FILE *out)
{
	for (const char *c = schema->name; *c; c++)
		fputc(*c == ' ' ? '-' : *c, out);
}

static void value_type(const struct field *field, FILE *out)
{
	switch (field->type) {
	case FIELD_UINT:
		if (field->flags & FIELD_VERSION)
			fprintf(out, "%llu", (unsigned long long)field->max);
		else if (field->flags & FIELD_TIME)
			fprintf(out, "time-ms");
		else if (field->max)
			fprintf(out, "0..%llu", (unsigned long long)field->max);
		else
			fprintf(out, "uint .size %zu", field->size);
		return;
	case FIELD_BOOL: fprintf(out, "bool"); return;
	case FIELD_FIXED: fprintf(out, "bstr .size %zu", field->size); return;
	case FIELD_BYTES: fprintf(out, "bstr .size (%llu..%llu)", (unsigned long long)field->min, (unsigned long long)field->max); return;
	case FIELD_TEXT: fprintf(out, "tstr .size (%llu..%llu)", (unsigned long long)field->min, (unsigned long long)field->max); return;
	case FIELD_STRUCT: rule_name(field->sub, out); return;
	case FIELD_LIST:
		fprintf(out, "[%llu*%llu ", (unsigned long long)field->min, (unsigned long long)field->max);
		rule_name(field->sub, out);
		fprintf(out, "]");
		return;
	case FIELD_ANY: fprintf(out, "any"); return;
	}
}

static void print_field(const struct schema *schema, const struct field *field, FILE *out)
{
	bool wrapped = schema->shape != SHAPE_BARE;
	if (schema->shape == SHAPE_MAP)
		fprintf(out, "  %s%u: ", field->flags & FIELD_ABSENT ? "? " : "", field->key);
	else if (wrapped)
		fprintf(out, "  %s: ", field->name);
	value_type(field, out);
	if (field->flags & FIELD_OPTIONAL)
		fprintf(out, " / null");
	if (wrapped)
		fprintf(out, ", ; %s", schema->shape == SHAPE_MAP ? field->name : "");
	if (field->flags & FIELD_SORTED)
		fprintf(out, "%s ascending in encoded order, no repeats", wrapped ? "," : " ;");
	fprintf(out, "\n");
}

static void print_rule(const struct schema *schema, struct printed *printed, FILE *out)
{
	for (size_t i = 0; i < printed->count; i++)
		if (printed->schemas[i] == schema)
			return;
	if (printed->count < COUNT_OF(printed->schemas))
		printed->schemas[printed->count++] = schema;
	rule_name(schema, out);
	/* RFC 8610: the first rule of a name is "=", each older version one more choice "/=". */
	bool another = false;
	for (size_t i = 0; i + 1 < printed->count; i++)
		another |= printed->schemas[i]->older == schema;
	fprintf(out, " %s %s", another ? "/=" : "=", schema->shape == SHAPE_MAP ? "{\n" : schema->shape == SHAPE_ARRAY ? "[\n" : "");
	for (size_t i = 0; i < schema->field_count; i++)
		print_field(schema, &schema->fields[i], out);
	fprintf(out, "%s", schema->shape == SHAPE_MAP ? "}\n" : schema->shape == SHAPE_ARRAY ? "]\n" : "");
	for (size_t i = 0; i < schema->field_count; i++)
		if (schema->fields[i].sub)
			print_rule(schema->fields[i].sub, printed, out);
	if (schema->older)
		print_rule(schema->older, printed, out);
}

void cddl_print(const struct schema *const *schemas, size_t count, FILE *out)
{
	struct printed printed = {0};
	for (size_t i = 0; i < count; i++)
		print_rule(schemas[i], &printed, out);
}
