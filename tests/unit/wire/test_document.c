#include "wire_test.h"

#include "wire/document.h"

#include "base/clock.h"
#include "base/writer.h"

#include <sys/resource.h>
#include <unistd.h>

enum { MEMORY = 4 << 20 };

static result parse(const char *name, const char *text, struct document *out)
{
	return document_parse(name, span_str(text), MEMORY, out);
}

/* One line: maps {key: value}, lists [..], texts in quotes where the document had them. */
static void render(const struct node *node, struct writer *w)
{
	switch (node->kind) {
	case NODE_SCALAR:
		writer_str(w, node->quoted ? "\"" : "");
		writer_put(w, node->text, node->text_len);
		writer_str(w, node->quoted ? "\"" : "");
		return;
	case NODE_LIST:
	case NODE_MAP:
		writer_str(w, node->kind == NODE_LIST ? "[" : "{");
		for (size_t i = 0; i < node->count; i++) {
			writer_str(w, i ? "," : "");
			if (node->kind == NODE_MAP) {
				writer_str(w, node->children[i].key);
				writer_str(w, ":");
			}
			render(&node->children[i], w);
		}
		writer_str(w, node->kind == NODE_LIST ? "]" : "}");
	}
}

static void assert_tree(const char *name, const char *text, const char *expected)
{
	CLEANUP(document_free) struct document document = {0};
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	result outcome = parse(name, text, &document);
	if (outcome != OK)
		fail_msg("%s: %s (%s)", text, reason_name(outcome), failure_text());
	render(document.root, &w);
	writer_u8(&w, 0);
	assert_string_equal((const char *)w.data, expected);
}

static void assert_refused(const char *name, const char *text, enum reason reason, const char *message)
{
	struct document document = {.name = "untouched"};
	result outcome = parse(name, text, &document);
	if (outcome != reason)
		fail_msg("%s: %s (%s), not %s", text, reason_name(outcome), failure_text(), reason_name(reason));
	if (!strstr(failure_text(), message))
		fail_msg("\"%s\" does not say \"%s\"", failure_text(), message);
	assert_string_equal(document.name, "untouched");
}

static void json_trees(void **state)
{
	const char *const rows[][2] = {
		{"{\"a\":1}", "{a:1}"},
		{"{\"a\":[1,2,{\"b\":null}]}", "{a:[1,2,{b:null}]}"},
		{"{}", "{}"},
		{"[]", "[]"},
		{"[[],{},[{}]]", "[[],{},[{}]]"},
		{"{\"a\":-1.5e+3,\"b\":true,\"c\":false,\"d\":0,\"e\":1E5}", "{a:-1.5e+3,b:true,c:false,d:0,e:1E5}"},
		{" \n\t{\t\"a\"\t:\t\"b\"\t,\n\t\"c\" : [ ]\r\n}\n", "{a:\"b\",c:[]}"},
		{"{\"a\":\"x\\/y\\\\ \\\" \\u00fc \\ud83d\\ude00 \\b\\f\\t\"}", "{a:\"x/y\\ \" \xc3\xbc \xf0\x9f\x98\x80 \b\f\t\"}"},
		{"{\"k\\ud83d\\ude00\":\"\\\\ud83d\\\\ude00\"}", "{k\xf0\x9f\x98\x80:\"\\ud83d\\ude00\"}"},
		{"{\"-\":\"- a: b\",\"#\":\"# no comment\",\"&x\":\"*y\",\"<<\":\"!!str\"}",
			"{-:\"- a: b\",#:\"# no comment\",&x:\"*y\",<<:\"!!str\"}"},
		{"{\"a\": \"  two  spaces  \"}", "{a:\"  two  spaces  \"}"},
		{"{\"\":\"\"}", "{:\"\"}"},
		{"[\"\\n\", \"\\u2028\", \"%\", \"---\", \"...\"]", "[\"\n\",\"\xe2\x80\xa8\",\"%\",\"---\",\"...\"]"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_tree("x.json", rows[i][0], rows[i][1]);
		assert_tree("x.yaml", rows[i][0], rows[i][1]); /* recognised by its first character */
	}
	assert_tree("x.json", "\"text\"", "\"text\"");
	assert_tree("x.json", "5", "5");
}

static void yaml_trees(void **state)
{
	assert_tree("x", "a: 1\nb: two words\nc: \"3\"\nd: 'it''s'\n", "{a:1,b:two words,c:\"3\",d:\"it's\"}");
	assert_tree("x", "# comment\n---\n- a\n- - b\n  - c\n- {x: 1, y: [2, 3]}\n...\n", "[a,[b,c],{x:1,y:[2,3]}]");
	assert_tree("x", "a: |\n  line\n  two\nb: >\n  folded\n  text\n", "{a:\"line\ntwo\n\",b:\"folded text\n\"}");
	assert_tree("x", "a:\nb: ~\nc: null\nd: no\n", "{a:,b:~,c:null,d:no}");
	assert_tree("x", "a: \"\\x41\\u00e9\\U0001F600\"\r\nb: 2\r\n", "{a:\"A\xc3\xa9\xf0\x9f\x98\x80\",b:2}");
	assert_tree("x", "\"<<\": 1\n", "{<<:1}");
	assert_tree("x", "? a\n: b\n", "{a:b}");
}

static void positions(void **state)
{
	CLEANUP(document_free) struct document document = {0};
	expect_ok(parse("x", "top:\n  - name: \xc3\xbc\xc3\xbc\n    port:   80\nlist: [a, {b: c}]\n", &document));
	const struct node *item = &node_field(document.root, "top")->children[0];
	const struct node *port = node_field(item, "port"), *list = node_field(document.root, "list");
	assert_int_equal(item->line, 2);
	assert_int_equal(item->column, 5);
	assert_int_equal(port->line, 3);
	assert_int_equal(port->column, 13);
	assert_int_equal(port->key_line, 3);
	assert_int_equal(port->key_column, 5);
	assert_int_equal(list->children[1].children[0].column, 15);
	char path[64];
	document_path(&document, port, path, sizeof(path));
	assert_string_equal(path, "top[0].port");
	document_path(&document, &list->children[1].children[0], path, sizeof(path));
	assert_string_equal(path, "list[1].b");
	document_path(&document, document.root, path, sizeof(path));
	assert_string_equal(path, "");
	document_path(&document, port, path, 6);
	assert_true(strlen(path) < 6);

	CLEANUP(document_free) struct document json = {0};
	expect_ok(parse("x.json", "{\n\t\"a\": {\"b\":\t[1,\n 22]}}", &json));
	const struct node *b = node_field(node_field(json.root, "a"), "b");
	assert_int_equal(b->line, 2);
	assert_int_equal(b->column, 13);
	assert_int_equal(b->children[1].line, 3);
	assert_int_equal(b->children[1].column, 2);
}

static void yaml_liberties_are_refused(void **state)
{
	assert_refused("f", "a: &x 1\nb: 2\n", BAD_SYNTAX, "f:1:4: anchors");
	assert_refused("f", "&x a: 1\n", BAD_SYNTAX, "f:1:1: anchors");
	assert_refused("f", "a: &x [1]\n", BAD_SYNTAX, "f:1:4: anchors");
	assert_refused("f", "a: &x\n  b: 1\n", BAD_SYNTAX, "anchors");
	assert_refused("f", "a: 1\nb: *a\n", BAD_SYNTAX, "f:2:4: aliases");
	assert_refused("f", "*a : 1\n", BAD_SYNTAX, "aliases");
	assert_refused("f", "<<: {a: 1}\n", BAD_SYNTAX, "f:1:1: merge keys");
	assert_refused("f", "a:\n  <<: 1\n", BAD_SYNTAX, "f:2:3: merge keys");
	assert_refused("f", "a: !!int 1\n", BAD_SYNTAX, "f:1:4: tags");
	assert_refused("f", "a: !x 1\n", BAD_SYNTAX, "tags");
	assert_refused("f", "a: ! 1\n", BAD_SYNTAX, "f:1:4: tags");
	assert_refused("f", "\xc3\xbc: ! \"1\"\n", BAD_SYNTAX, "f:1:4: tags");
	assert_refused("f", "! a: 1\n", BAD_SYNTAX, "tags");
	assert_refused("f", "a: !!map {b: 1}\n", BAD_SYNTAX, "tags");
	assert_refused("f", "a: ! [1]\n", BAD_SYNTAX, "tags");
	assert_refused("f", "%YAML 1.1\n---\na: 1\n", BAD_SYNTAX, "directives");
	assert_refused("f", "%TAG ! tag:x,2000:\n---\na: 1\n", BAD_SYNTAX, "directives");
	assert_refused("f", "a: 1\n---\nb: 1\n", BAD_SYNTAX, "f:2:1: a second document");
	assert_refused("f", "? [a]\n: 1\n", BAD_SYNTAX, "a key must be a text");
	assert_refused("f", "? {a: 1}\n: 1\n", BAD_SYNTAX, "a key must be a text");
	assert_refused("f", "?\n: 1\n", BAD_SYNTAX, "a key is missing");
	assert_refused("f", "", BAD_SYNTAX, "f:1:1: the document is empty");
	assert_refused("f", "# nothing\n", BAD_SYNTAX, "empty");
	assert_refused("f", "a: b: c\n", BAD_SYNTAX, "f:1:5");
	assert_refused("f", "a: 1\n\tb: 2\n", BAD_SYNTAX, "f:2:1");
	assert_refused("f", "a: [1, 2\n", BAD_SYNTAX, "begun at line 1");
}

static void json_is_strict(void **state)
{
	assert_refused("f.json", "", BAD_SYNTAX, "not JSON");
	assert_refused("f.json", "a: 1", BAD_SYNTAX, "f.json:1");
	assert_refused("f", "{a: 1}", BAD_SYNTAX, "f:1:2");
	assert_refused("f", "{\"a\": 1,}", BAD_SYNTAX, "f:1:9");
	assert_refused("f", "{\"a\": 01}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": .5}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": NaN}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": 0x10}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": 'b'}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": \"b\"\n # comment\n}", BAD_SYNTAX, "f:2");
	assert_refused("f", "{\"a\": 1} {\"b\": 2}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": \"\\u0000\"}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": \"\\ud83d\"}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": \"\\ude00\\ud83d\"}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": \"\tx\"}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": \"\\x41\"}", BAD_SYNTAX, "not JSON");
	assert_refused("f", "{\"a\": 99999999999999999999}", BAD_SYNTAX, "not JSON");
	/* JSON, but libyaml cannot read it: refused with advice, never read as something else. */
	assert_refused("f", "{\"a\"\n:1}", BAD_SYNTAX, "its colon in the same line");
}

static void keys_stand_once(void **state)
{
	assert_refused("f", "a: 1\nb: 2\na: 3\n", DUPLICATE_KEY, "f:3:1: \"a\" stands twice in one map, first at line 1");
	assert_refused("f", "{\"a\":1,\n\"b\":{\"c\":1,\"c\":2}}", DUPLICATE_KEY, "f:2:12: \"c\" stands twice");
	assert_refused("f", "{\"a\":1,\"\\u0061\":2}", DUPLICATE_KEY, "f:1:8");
	assert_refused("f", "a: 1\n\"a\": 2\n", DUPLICATE_KEY, "f:2:1");
	assert_tree("f", "- {a: 1}\n- {a: 2}\n", "[{a:1},{a:2}]");

	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	for (int i = 0; i < 5000; i++) {
		char line[32];
		snprintf(line, sizeof(line), "k%d: %d\n", (i * 7919) % 5003, i);
		writer_str(&w, line);
	}
	size_t without = w.len;
	writer_str(&w, "k4711: again\n");
	struct document document = {0};
	expect_ok(document_parse("f", span_of(w.data, without), MEMORY, &document));
	assert_int_equal(document.root->count, 5000);
	document_free(&document);
	expect(document_parse("f", span_of(w.data, w.len), MEMORY, &document), DUPLICATE_KEY);
	assert_non_null(strstr(failure_text(), "f:5001:1: \"k4711\""));
}

static void characters(void **state)
{
	assert_refused("f", "a: \xff\n", BAD_UTF8, "f:1:4");
	assert_refused("f", "a: 1\nb: \xc3\xbc\xc0\x80\n", BAD_UTF8, "f:2:5");
	assert_refused("f.json", "{\"a\":\"\xed\xa0\x80\"}", BAD_UTF8, "f.json:1:7");
	assert_refused("f",
		"\xef\xbb\xbf"
		"a: 1\n",
		BAD_SYNTAX, "byte order mark");
	assert_refused("f.json", "\xef\xbb\xbf{}", BAD_SYNTAX, "byte order mark");
	assert_refused("f", "a: \xef\xbb\xbf\n", BAD_SYNTAX, "f:1:4: character U+FEFF");
	assert_refused("f", "a: \x01\n", BAD_SYNTAX, "f:1:4: character U+0001");
	assert_refused("f", "a: \x1b[2J\n", BAD_SYNTAX, "U+001B");
	assert_refused("f", "a: \x7f\n", BAD_SYNTAX, "U+007F");
	assert_refused("f", "a: \xc2\x85\n", BAD_SYNTAX, "U+0085");
	assert_refused("f", "a: \xe2\x80\xa8\n", BAD_SYNTAX, "U+2028");
	assert_refused("f", "a: \xe2\x80\xae\n", BAD_SYNTAX, "U+202E");
	assert_refused("f.json", "{\"a\":\"\xe2\x81\xa6\"}", BAD_SYNTAX, "U+2066");
	assert_refused("f", "a: \xef\xbf\xbf\n", BAD_SYNTAX, "U+FFFF");
	assert_refused("f", "a: \"\\0\"\n", BAD_SYNTAX, "f:1:4: a text with a NUL");
	struct document document;
	expect(document_parse("f", span_of("a: 1\0b", 6), MEMORY, &document), BAD_SYNTAX);
	expect(document_parse("f", SPAN_EMPTY, MEMORY, &document), BAD_SYNTAX);
	expect(document_parse("f.json", SPAN_EMPTY, MEMORY, &document), BAD_SYNTAX);
	/* Both byte orders of UTF-16 are not UTF-8. */
	expect(document_parse("f",
			      span_of("\xff\xfe"
				      "a\0",
				      4),
			      MEMORY, &document),
		BAD_UTF8);
}

static void put_times(struct writer *w, const char *text, size_t times)
{
	for (size_t i = 0; i < times; i++)
		writer_str(w, text);
}

static enum reason parse_nested(const char *name, const char *opening, const char *inner, const char *closing, size_t depth)
{
	CLEANUP(writer_free) struct writer w = writer_growing(8 << 20);
	CLEANUP(document_free) struct document document = {0};
	put_times(&w, opening, depth);
	writer_str(&w, inner);
	put_times(&w, closing, depth);
	return document_parse(name, span_of(w.data, w.len), 64 << 20, &document);
}

static void nesting(void **state)
{
	expect(parse_nested("f.json", "[", "", "]", DOCUMENT_MAX_DEPTH), OK);
	expect(parse_nested("f.json", "[", "", "]", DOCUMENT_MAX_DEPTH + 1), TOO_DEEP);
	expect(parse_nested("f.json", "{\"a\":", "1", "}", DOCUMENT_MAX_DEPTH), OK);
	expect(parse_nested("f.json", "{\"a\":", "1", "}", DOCUMENT_MAX_DEPTH + 1), TOO_DEEP);
	expect(parse_nested("f.json", "[", "", "]", 1000), TOO_DEEP);
	expect(parse_nested("f.json", "[", "", "]", 100000), TOO_DEEP);
	expect(parse_nested("f", "- ", "a", "", DOCUMENT_MAX_DEPTH), OK);
	expect(parse_nested("f", "- ", "a", "", DOCUMENT_MAX_DEPTH + 1), TOO_DEEP);
	expect(parse_nested("f", "- ", "a", "", 100000), TOO_DEEP);
	expect(parse_nested("f", "a: [", "", "", 100000), TOO_DEEP);
	/* Flow lists in a YAML document, deeper than libyaml itself allows. */
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	struct document document;
	writer_str(&w, "a: ");
	put_times(&w, "[", 5000);
	expect(document_parse("f", span_of(w.data, w.len), MEMORY, &document), TOO_DEEP);
}

/* ---- Typed reads ---- */

static void typed_reads(void **state)
{
	CLEANUP(document_free) struct document d = {0};
	expect_ok(parse("f",
		"t: hello\nq: \"12\"\nn: 12\nmax: 18446744073709551615\nyes: true\nfalse: false\nhex: 00FFa5\ndigits: \"001122\"\n"
		"no: no\n",
		&d));
	const char *text;
	uint64_t number;
	bool flag;
	uint8_t bytes[3];
	expect_ok(node_text(&d, node_field(d.root, "t"), &text));
	assert_string_equal(text, "hello");
	expect_ok(node_text(&d, node_field(d.root, "no"), &text));
	assert_string_equal(text, "no");
	expect_ok(node_text(&d, node_field(d.root, "n"), &text));
	expect_ok(node_uint(&d, node_field(d.root, "n"), 12, &number));
	assert_int_equal(number, 12);
	expect_ok(node_uint(&d, node_field(d.root, "max"), UINT64_MAX, &number));
	assert_true(number == UINT64_MAX);
	expect_ok(node_bool(&d, node_field(d.root, "yes"), &flag));
	assert_true(flag);
	expect_ok(node_bool(&d, node_field(d.root, "false"), &flag));
	assert_false(flag);
	expect_ok(node_hex(&d, node_field(d.root, "hex"), bytes, 3));
	assert_memory_equal(bytes, "\x00\xff\xa5", 3);
	expect_ok(node_hex(&d, node_field(d.root, "digits"), bytes, 3));
	assert_null(node_field(d.root, "absent"));
	assert_null(node_field(node_field(d.root, "t"), "t"));
}

static void assert_wrong(result outcome, enum reason reason, const char *message)
{
	if (outcome != reason || !strstr(failure_text(), message))
		fail_msg("%s (%s), not %s with \"%s\"", reason_name(outcome), failure_text(), reason_name(reason), message);
}

static void typed_reads_refuse(void **state)
{
	CLEANUP(document_free) struct document d = {0};
	expect_ok(parse("f",
		"n: {big: 13, text: \"12\", neg: -1, plus: +1, zero: 01, hex: 0x10, float: 1.0, under: 1_000, empty: , over: "
		"18446744073709551616}\n"
		"b: {no: no, yes: yes, upper: True, text: \"true\", one: 1, empty: , list: [true]}\n"
		"t: {empty: , tilde: ~, null: null, list: [a], map: {a: 1}}\n"
		"h: {short: 00, long: 00112233, odd: 001, bad: 0011zz}\n",
		&d));
	uint64_t number = 5;
	bool flag = true;
	const char *text = "old";
	uint8_t bytes[3] = {1, 2, 3};
	const struct node *n = node_field(d.root, "n");
	for (size_t i = 0; i < n->count; i++) {
		bool size = strcmp(n->children[i].key, "big") == 0 || strcmp(n->children[i].key, "over") == 0;
		assert_wrong(node_uint(&d, &n->children[i], 12, &number), size ? BAD_VALUE : BAD_TYPE, n->children[i].key);
	}
	assert_wrong(node_uint(&d, node_field(n, "over"), UINT64_MAX, &number), BAD_VALUE, "f:1:");
	const struct node *b = node_field(d.root, "b"), *t = node_field(d.root, "t"), *h = node_field(d.root, "h");
	for (size_t i = 0; i < b->count; i++)
		assert_wrong(node_bool(&d, &b->children[i], &flag), BAD_TYPE, "f:2:");
	for (size_t i = 0; i < t->count; i++)
		assert_wrong(node_text(&d, &t->children[i], &text), BAD_TYPE, "f:3:");
	for (size_t i = 0; i < h->count; i++)
		assert_wrong(node_hex(&d, &h->children[i], bytes, 3), BAD_VALUE, "must be 6 hex digits");
	assert_wrong(node_uint(&d, t, 12, &number), BAD_TYPE, "t is a map");
	assert_int_equal(number, 5);
	assert_true(flag);
	assert_string_equal(text, "old");
	assert_memory_equal(bytes, "\x01\x02\x03", 3);
	assert_true(node_is_null(node_field(t, "tilde")));
	assert_false(node_is_null(node_field(n, "text")));

	CLEANUP(document_free) struct document j = {0};
	expect_ok(parse("f.json", "{\"a\": 5, \"b\": true, \"c\": null, \"d\": \"5\", \"e\": \"null\"}", &j));
	for (const char *key = "abc"; *key; key++) {
		char name[2] = {*key};
		assert_wrong(node_text(&j, node_field(j.root, name), &text), BAD_TYPE, "f.json:1:");
	}
	expect_ok(node_text(&j, node_field(j.root, "d"), &text));
	expect_ok(node_text(&j, node_field(j.root, "e"), &text));
	assert_wrong(node_uint(&j, node_field(j.root, "d"), 12, &number), BAD_TYPE, "f.json:1:");
}

static void fields(void **state)
{
	static const char *const names[] = {"!name", "port", "allowed_communicators", "min_level", NULL};
	CLEANUP(document_free) struct document good = {0}, bad = {0}, far = {0}, missing = {0}, list = {0};
	expect_ok(parse("f", "port: 1\nname: a\n", &good));
	expect_ok(document_fields(&good, good.root, names));
	expect_ok(parse("p.yaml", "name: a\nallowed_comunicators: []\n", &bad));
	assert_wrong(document_fields(&bad, bad.root, names), UNKNOWN_FIELD,
		"p.yaml:2:1: unknown field \"allowed_comunicators\"; did you mean \"allowed_communicators\"?");
	expect_ok(parse("f", "name: a\nsomething: 1\n", &far));
	assert_wrong(document_fields(&far, far.root, names), UNKNOWN_FIELD, "f:2:1: unknown field \"something\"");
	assert_null(strstr(failure_text(), "did you mean"));
	expect_ok(parse("f", "x:\n  port: 1\n", &missing));
	assert_wrong(document_fields(&missing, node_field(missing.root, "x"), names), MISSING_FIELD,
		"f:2:3: the field \"name\" is missing in x");
	expect_ok(parse("f", "x: [1]\n", &list));
	assert_wrong(document_fields(&list, node_field(list.root, "x"), names), BAD_TYPE, "f:1:4: x is a list");
	assert_string_equal(document_nearest("prot", names), "port");
	assert_string_equal(document_nearest("Name", names), "name");
	assert_null(document_nearest("x", names));
	/* A message shows what the document holds, it does not obey it. */
	CLEANUP(document_free) struct document hostile = {0};
	expect_ok(parse("f", "{\"\\u001b[2Jpwned\": 1, \"name\": 1}", &hostile));
	assert_wrong(document_fields(&hostile, hostile.root, names), UNKNOWN_FIELD, "f:1:2: unknown field \"?[2Jpwned\"");
}

/* ---- Bounds ---- */

/* Sanitizers keep what was freed, and shadow what is used. */
#ifdef TROTH_INSTRUMENTED
enum { MEMORY_SLACK = 8 };
#else
enum { MEMORY_SLACK = 1 };
#endif

static size_t peak_memory(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (size_t)usage.ru_maxrss * 1024;
}

static struct document_file {
	char path[64];
} new_file(const char *suffix, int *out_fd)
{
	struct document_file file;
	snprintf(file.path, sizeof(file.path), "/tmp/troth-document-XXXXXX%s", suffix);
	*out_fd = mkstemps(file.path, (int)strlen(suffix));
	assert_true(*out_fd >= 0);
	return file;
}

static void files(void **state)
{
	int fd;
	struct document_file file = new_file(".yaml", &fd);
	assert_int_equal(write(fd, "a: 1\n", 5), 5);
	close(fd);
	CLEANUP(document_free) struct document document = {0};
	expect_ok(document_load(file.path, 5, &document));
	assert_string_equal(document.name, file.path);
	struct document other;
	expect(document_load(file.path, 4, &other), TOO_LARGE);
	unlink(file.path);
	expect(document_load(file.path, 5, &other), NOT_FOUND);
	expect(document_load("/", 5, &other), BAD_TYPE);
	expect(document_load("/dev/null", 5, &other), BAD_TYPE);
	file = new_file(".yaml", &fd);
	close(fd);
	expect(document_load(file.path, 5, &other), BAD_SYNTAX);
	unlink(file.path);
}

/* 100 MB and 1 GB (sparse) are refused by their size, without being read. */
static void large_files(void **state)
{
	int fd;
	struct document_file file = new_file(".json", &fd);
	const off_t sizes[] = {100 << 20, 1 << 30};
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		assert_int_equal(ftruncate(fd, sizes[i]), 0);
		size_t before = peak_memory();
		uint64_t start = clock_monotonic_ns();
		struct document document;
		expect(document_load(file.path, 16 << 20, &document), TOO_LARGE);
		assert_true(peak_memory() - before < MEMORY_SLACK * (size_t)(4 << 20));
		assert_true(clock_monotonic_ns() - start < 1000000000u);
	}
	close(fd);
	unlink(file.path);
}

/* What costs much memory for little text is refused at the bound, by each of the two parsers. */
static void memory_is_bounded(void **state)
{
	const struct {
		const char *name, *first, *more, *last;
	} rows[] = {
		{"f.json", "[{}", ",{}", "]"},
		{"f.json", "[0", ",0", "]"},
		{"f.json", "[[]", ",[]", "]"},
		{"f.json", "[{\"a\":1}", ",{\"a\":1}", "]"},
		{"f", "", "-\n", ""},
		{"f", "x: [a", ",a", "]\n"},
		{"f", "x: [[]", ",[]", "]\n"},
	};
	size_t before = peak_memory();
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CLEANUP(writer_free) struct writer w = writer_growing(8 << 20);
		struct document document;
		writer_str(&w, rows[i].first);
		put_times(&w, rows[i].more, 200000);
		writer_str(&w, rows[i].last);
		expect(document_parse(rows[i].name, span_of(w.data, w.len), 4 << 20, &document), TOO_LARGE);
	}
	assert_true(peak_memory() - before < MEMORY_SLACK * (size_t)(48 << 20));
}

int run_document_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_files),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(json_trees),
		cmocka_unit_test(yaml_trees),
		cmocka_unit_test(positions),
		cmocka_unit_test(yaml_liberties_are_refused),
		cmocka_unit_test(json_is_strict),
		cmocka_unit_test(keys_stand_once),
		cmocka_unit_test(characters),
		cmocka_unit_test(nesting),
		cmocka_unit_test(typed_reads),
		cmocka_unit_test(typed_reads_refuse),
		cmocka_unit_test(fields),
		cmocka_unit_test(files),
	};
	return cmocka_run_group_tests_name("document", tests, NULL, NULL);
}
