/* troth version */
#include "cmd/verb.h"

#include <openssl/crypto.h>
#include <stdio.h>

#include "base/seccomp.h"
#include "wire/json.h"

static result print(bool json)
{
	const char *mode = seccomp_instrumented() ? "instrumented" : "release";
	const char *library = OpenSSL_version(OPENSSL_VERSION);
	if (!json) {
		printf("troth %s (%s build, %s)\n", TROTH_VERSION, mode, library);
		return OK;
	}
	json_t *object = json_pack("{s:s, s:s, s:s}", "version", TROTH_VERSION, "build", mode, "crypto", library);
	result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
	json_decref(object);
	return printed;
}

int verb_version(int argc, char **argv)
{
	CLEANUP(options_free)
	struct options options = {.verb = "version", .usage = "", .description = "Version and build of this program."};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = print(options.json);
	return verb_end(done, argc, argv);
}
