/*
 * The manifest of an IRE: every file its program can execute or read as code, its arguments and environment, its
 * policy, limits and peers. measurement = SHA-384(encoding); core = SHA-384(encoding without `peers`)
 * (constructions/objects.md "Peers are measured too"; docs/PROTOCOL.manifest).
 */
#ifndef TROTH_OBJECT_MANIFEST_H
#define TROTH_OBJECT_MANIFEST_H

#include "object/report.h"

enum manifest_file_type { FILE_REGULAR = 1, FILE_SYMLINK = 2, FILE_DIRECTORY = 3 };

struct manifest_file {
	const char *path;  /* absolute inside the root, no "." or ".." parts, no trailing slash */
	uint8_t type;
	uint16_t mode;	   /* 0555 or 0444 for files, 0555 for directories, 0777 for symlinks */
	uint64_t size;	   /* bytes of a regular file, else 0 */
	uint8_t digest[SHA384_SIZE]; /* regular files */
	bool has_digest;
	const char *target; /* symlinks */
	bool has_target;
};

struct manifest_variable {
	const char *name, *value;
};

struct manifest_limits {
	uint64_t memory;	/* bytes */
	uint64_t scratch;	/* bytes of the writable scratch folder */
	uint64_t output;	/* bytes of stdout and of all output files */
	uint32_t processes;
	uint32_t open_files;
	uint64_t cpu_ms;	/* processor time */
	uint64_t wall_ms;	/* elapsed time */
};

struct manifest_secret {
	const char *name; /* role */
	uint8_t fd;	  /* where the program reads it once */
};

/* A file that the program leaves in its scratch folder and that becomes an output. */
struct manifest_output {
	const char *name;
	const char *path;
};

enum peer_rot_rule { PEER_ROT_SAME = 1, PEER_ROT_LISTED = 2 };

/*
 * A program that speaks with its runtime (docs/PROTOCOL.fabric) has the permission "fabric" and, in this variable of its
 * environment, the number of the descriptor: both are measured.
 */
#define MANIFEST_FABRIC_PERMISSION "fabric"
#define MANIFEST_FABRIC_VARIABLE "TROTH_FABRIC"
enum { MANIFEST_FABRIC_FD = 3 }; /* unless the job chooses another one */

struct manifest_peer {
	const char *name;
	uint8_t core[SHA384_SIZE]; /* all zero for an external peer, which has no measurement */
	uint8_t rot_rule;
	struct digest32 *rot_ids; /* sorted; empty for PEER_ROT_SAME */
	size_t rot_id_count;
};

struct manifest {
	uint8_t v;
	const char *name;    /* enclave */
	const char *program; /* absolute path inside the root */
	struct text_item *arguments; /* argv[0] included */
	size_t argument_count;
	struct manifest_variable *environment; /* sorted by name */
	size_t environment_count;
	struct manifest_file *files; /* sorted by path */
	size_t file_count;
	uint8_t policy_digest[SHA256_SIZE];
	struct manifest_limits limits;
	struct text_item *permissions; /* sorted; named exceptions of the seccomp list */
	size_t permission_count;
	struct manifest_secret *secrets;
	size_t secret_count;
	struct manifest_output *outputs;
	size_t output_count;
	const char *interpreter; /* "open" or "closed" */
	const char *backend;	 /* "process"; later "vm", "tee" */
	uint8_t kernel[SHA384_SIZE]; /* vm backend */
	bool has_kernel;
	uint8_t initrd[SHA384_SIZE];
	bool has_initrd;
	const char *command_line;
	bool has_command_line;
	struct text_item *devices;
	size_t device_count;
	struct manifest_peer *peers; /* sorted by name */
	size_t peer_count;
	struct digest32 *roots; /* sorted; roots beside its own under which records may stand that its data come from; no part of the core */
	size_t root_count;
};

extern const struct schema manifest_schema;	 /* with peers */
/* Element schemas, for schema_sort. */
extern const struct schema manifest_file_schema, manifest_variable_schema, manifest_secret_schema, manifest_output_schema,
	manifest_peer_schema;
extern const struct schema manifest_core_schema; /* without */

/* Decodes and checks what the schema cannot say: order and form of paths, names, one program among the files. */
NODISCARD result manifest_decode(struct span encoding, struct arena *arena, struct manifest *out);
/* Encodes; checks the same. */
NODISCARD result manifest_encode(const struct manifest *manifest, struct bytes *out);
/* The number of that descriptor; -1: it has none. BAD_VALUE when the manifest contradicts itself about it. */
NODISCARD result manifest_fabric(const struct manifest *manifest, int *out_fd);
NODISCARD result manifest_core(const struct manifest *manifest, uint8_t out[static SHA384_SIZE]);
void manifest_measurement(struct span encoding, uint8_t out[static SHA384_SIZE]);

#endif
