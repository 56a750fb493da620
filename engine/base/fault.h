/* fault.h - the table of diagnostics: what can be wrong, its code, its exit status, its long text.
 *
 * A code is never reused. Levels are in the code's first letter: `E` error, `W` warning. Everything that reports, exits or
 * chooses a fallback reads this table; nothing else knows a code by heart. */
#pragma once

#include <stddef.h>

/* Exit statuses, cli-conventions.md section 2 (64-77: sysexits.h). */
enum status {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_CHANGES = 2,
	STATUS_INFEASIBLE = 3,
	STATUS_HOST = 4,
	STATUS_MISMATCH = 5,
	STATUS_FALLBACK = 6,
	STATUS_DECLINED = 7,
	STATUS_USAGE = 64,
	STATUS_MANIFEST = 65,
	STATUS_NO_INPUT = 66,
	STATUS_UNAVAILABLE = 69,
	STATUS_INTERNAL = 70,
	STATUS_CANNOT_CREATE = 73,
	STATUS_IO = 74,
	STATUS_TRY_AGAIN = 75,
	STATUS_PERMISSION = 77,
};

/* What a failure may trigger: the words of `fallback: on:`. */
enum failure_class {
	CLASS_NONE = 0,
	CLASS_INFEASIBLE,
	CLASS_HOST,
	CLASS_OUT_OF_MEMORY,
	CLASS_START_FAILED,
	CLASS_NOT_ACCEPTED,
};

enum fault {
	FAULT_NONE = 0,
	/* E00: usage */
	FAULT_USAGE,            /* E0001 */
	FAULT_NO_SUCH_TARGET,   /* E0002 */
	/* E01: manifest */
	FAULT_SYNTAX,           /* E0101 */
	FAULT_UNKNOWN_KEY,      /* E0102 */
	FAULT_BAD_VALUE,        /* E0103 wrong type, or out of range */
	FAULT_MISSING_KEY,      /* E0104 */
	FAULT_DUPLICATE_KEY,    /* E0105 */
	FAULT_TOO_LARGE,        /* E0106 over a limit of the parser */
	FAULT_ENCODING,         /* E0107 */
	FAULT_FORMAT_VERSION,   /* E0108 */
	FAULT_UNKNOWN_RULE,     /* E0109 */
	FAULT_UNDEFINED,        /* E0110 `${name}` that nothing defines */
	FAULT_REFERENCE,        /* E0111 a reference that cannot be read, or vars that refer to each other in a circle */
	FAULT_EXTENDS,          /* E0112 */
	FAULT_BAD_NAME,         /* E0113 */
	FAULT_SECRET_IN_TEXT,   /* E0114 */
	FAULT_CONFLICT,         /* E0115 parameters that exclude each other, or one without its other */
	FAULT_FALLBACK,         /* E0116 */
	/* E02: graph */
	FAULT_CYCLE,            /* E0201 */
	FAULT_UNKNOWN_TARGET,   /* E0202 */
	FAULT_UNKNOWN_OUTPUT,   /* E0203 */
	FAULT_TWO_MAKERS,       /* E0204 two targets make one path, port or tag */
	/* E03: inputs */
	FAULT_NOT_FOUND,        /* E0301 */
	FAULT_INPUT_CHANGED,    /* E0302 changed while it was being used */
	FAULT_CHECKSUM_LIST,    /* E0303 */
	FAULT_UNSAFE_DIRECTORY, /* E0304 */
	/* E04: feasibility */
	FAULT_INFEASIBLE,       /* E0401 the shape cannot run this model */
	FAULT_MEMORY,           /* E0402 the model does not fit the GPUs' memory */
	FAULT_TOO_FEW_GPUS,     /* E0403 */
	FAULT_MODEL_UNKNOWN,    /* W0404 config.json does not say enough */
	FAULT_RESERVED_GPU,     /* E0405 */
	FAULT_TIGHT,            /* W0406 */
	FAULT_MODEL_CODE,       /* W0407 the repository asks for its own code to be run */
	FAULT_QUANTISED,        /* W0408 the quantisation may refuse this shape */
	FAULT_IMAGE_DISAGREES,  /* E0409 the transformers of the image reads another model */
	FAULT_IMAGE_UNASKED,    /* W0410 the transformers of the image could not be asked */
	/* E05: host */
	FAULT_NO_DRIVER,        /* E0501 */
	FAULT_GPU_COUNT,        /* E0502 */
	FAULT_GPU_KIND,         /* E0503 name or memory */
	FAULT_DRIVER_VERSION,   /* E0504 */
	FAULT_CUDA_VERSION,     /* E0505 */
	FAULT_GPU_BUSY,         /* E0506 */
	FAULT_DISK,             /* E0507 */
	FAULT_PORT,             /* E0508 */
	FAULT_HUB_UNREACHABLE,  /* E0509 */
	FAULT_NO_COMMAND,       /* E0510 */
	FAULT_NO_ENGINE,        /* E0511 */
	FAULT_ENGINE_GPUS,      /* E0512 containers cannot see the GPUs */
	FAULT_ENGINE_VERSION,   /* E0513 */
	FAULT_P2P,              /* E0514 */
	FAULT_HOST_IN_LOG,      /* E0515 a service's log shows that the host is not fit */
	/* E06: network and hubs */
	FAULT_NETWORK,          /* E0601 */
	FAULT_HUB_NOT_FOUND,    /* E0602 */
	FAULT_HUB_DENIED,       /* E0603 */
	FAULT_RATE_LIMIT,       /* E0604 */
	FAULT_PROTOCOL,         /* E0605 */
	FAULT_DIGEST,           /* E0606 */
	FAULT_HOSTILE_NAME,     /* E0607 */
	FAULT_NO_DIGEST,        /* E0608 */
	FAULT_NO_SPACE,         /* E0609 */
	FAULT_INSECURE,         /* E0610 */
	FAULT_CODE_REFUSED,     /* E0611 pickle or Python files that nobody asked for */
	FAULT_NOT_OURS,         /* E0612 a file, container or port in the way that we did not make */
	FAULT_NO_MATCH,         /* E0613 a pattern that matches nothing */
	FAULT_OFFLINE,          /* E0614 */
	FAULT_NOT_THERE,        /* E0615 a file to be adopted is missing, or another */
	/* E07: engine and image */
	FAULT_ENGINE,           /* E0701 */
	FAULT_BUILD,            /* E0702 */
	FAULT_NO_IMAGE,         /* E0703 */
	/* E08: service and validation */
	FAULT_OPEN_PORT,        /* W0801 reachable beyond loopback without an API key */
	FAULT_NOT_READY,        /* E0802 not ready in time */
	FAULT_START,            /* E0803 ended before it was ready */
	FAULT_NOT_ACCEPTED,     /* E0804 */
	FAULT_PORT_HELD,        /* E0805 */
	FAULT_GPU_HELD,         /* E0806 */
	FAULT_COMMAND,          /* E0807 */
	FAULT_TIME_LIMIT,       /* E0808 */
	FAULT_OUT_OF_MEMORY,    /* E0809 */
	FAULT_NOT_STOPPED,      /* E0810 */
	FAULT_SECRET_VISIBLE,   /* W0802 a secret must be handed over where others can read it */
	/* E09: database, lock, audit */
	FAULT_LOCKED,           /* E0901 */
	FAULT_DATABASE,         /* E0902 */
	FAULT_NO_LOCKS,         /* E0903 */
	FAULT_NEWER_DATABASE,   /* E0904 */
	FAULT_IO,               /* E0905 */
	FAULT_CANNOT_CREATE,    /* E0906 */
	FAULT_PERMISSION,       /* E0907 */
	FAULT_NO_RECORD,        /* E0908 nothing is recorded under that name */
	FAULT_DECLINED,         /* E0909 */
	FAULT_INTERRUPTED,      /* E0910 */
	FAULT_MISMATCH,         /* E0911 */
	FAULT_INTERNAL,         /* E0999 */
	FAULT_COUNT,
};

struct fault_row {
	const char *code;          /* "E0401" */
	enum status status;        /* exit status if this is what ended the run; STATUS_OK for warnings */
	enum failure_class class;  /* what `fallback: on:` calls it */
	const char *title;         /* a few words */
	const char *text;          /* what `provision explain` prints: what it means, what to do. A paragraph is one line, to be
	                              broken to the terminal's width; a line that begins with two spaces is shown as it is */
};

const struct fault_row *fault_row(enum fault fault);

/* Look a code up as the user types it, any case; FAULT_NONE if there is none. */
enum fault fault_find(const char *code);

/* "infeasible", "out_of_memory" ...; NULL for CLASS_NONE. */
const char *failure_class_name(enum failure_class class);

/* The status that stands for several, in the order of cli-conventions.md section 2. */
enum status status_worse(enum status a, enum status b);
