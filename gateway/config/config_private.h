/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_private.h: what the files that read the configuration share: one reading under way, its list of errors, and
 * the drafts that the option table fills. Nobody else includes it.
 */
#ifndef JITNEY_GATEWAY_CONFIG_CONFIG_PRIVATE_H
#define JITNEY_GATEWAY_CONFIG_CONFIG_PRIVATE_H

#include "gateway/config/config.h"
#include "base/arena.h"
#include "gateway/config/yaml.h"
#include "gateway/config/values.h"
#include "gateway/config/options.h"
#include "upstream/process_settings.h"

enum { CONFIG_ERRORS = 100, CONFIG_NAME_BYTES = 64, CONFIG_NAMED_FILE_BYTES = 4 << 20 };

/* An entry of upstreams.*.endpoints, as written. */
struct endpoint_draft {
	const char *url;
	unsigned weight;
	bool drain;
};

/* A place in the file, for what is only known to be wrong after it has been read. */
struct config_mark {
	unsigned line, column; /* from 1 */
};

/* As written, with defaults; `config` is complete when the configuration is. */
struct upstream_draft {
	struct upstream_config config;
	const struct node *node; /* the block; while the file is read */
	const char *dialect;     /* NULL: missing, wrong or not supported */
	bool faulty;             /* its block has been complained about */
	size_t in_flight;        /* batch.in_flight, as older files have it; 0: not given */
	struct endpoint_draft *endpoints;
	size_t endpoint_count;
	struct health_settings health;
	const char *hedge;
	const char *ca_file;             /* NULL: the system's authorities */
	struct authorities *authorities; /* what it holds; owned */
	const char *command, *cwd;       /* dialects of programs; NULL: none */
	struct config_mark command_mark, cwd_mark;
	const char *const *args;
	size_t arg_count;
	struct process_pool_settings process;
	struct dialect_drafts own_settings;
	struct dialect *own; /* the upstream's own, made from its settings; NULL: it has none. Owned */
};

/* The same of a tool. */
struct tool_draft {
	struct tool tool;
	const struct node *node; /* while the file is read */
	const char *upstream;    /* name */
	bool faulty;             /* its block has been complained about */
	struct route_settings request;
	struct dialect_tool_drafts own_settings;
	const char *remote; /* as written, or NULL */
};

/* Kept as long as the configuration: config_json shows them. */
struct config_drafts {
	struct upstream_draft *upstreams; /* in the order of the file, as in generation.upstreams */
	size_t upstream_count;
	struct tool_draft *tools; /* in the order of generation.tools */
	size_t tool_count;
	struct redis_tls *redis_tls; /* owned; NULL: Redis is spoken to in the clear, or not at all */
};

/* A mistake, and where it is. */
struct config_fault {
	unsigned line, column;
	const char *text;
};

/* One reading of a file. */
struct config_load {
	const char *name;    /* of the file */
	struct arena *arena; /* the configuration's own */
	struct arena *nodes; /* of the file's tree, without its texts; ends with the reading */
	struct config *config;
	struct config_drafts *drafts;
	struct config_fault faults[CONFIG_ERRORS]; /* the first ones, in file order */
	size_t fault_count, fault_total;
	struct config_file *files; /* the generation's */
	size_t file_room;
	struct buf warnings; /* what still works and ought to be written another way: one line each */
};

/* --- errors.c --- */

/* Note a mistake. At most CONFIG_ERRORS are kept, those nearest to the top of the file. */
void config_error(struct config_load *load, unsigned line, unsigned column, const char *format, ...) PRINTF_LIKE(4, 5);
/* The same at a node's value, or at its key. */
#define config_error_at(load, node, ...) config_error((load), (node)->line, (node)->column, __VA_ARGS__)
#define config_error_key(load, node, ...) config_error((load), (node)->key_line, (node)->key_column, __VA_ARGS__)
/* Note something at a node's key that is no mistake, and that the operator should know. */
void config_warning(struct config_load *load, const struct node *node, const char *format, ...) PRINTF_LIKE(3, 4);
/* Append all lines: "name:line:column: message\n". */
void config_errors_put(const struct config_load *load, struct buf *out);

/* --- read.c --- */

/* Fill config and drafts from the tree by the option table. Errors are noted in `load`. */
void config_read(struct config_load *load, const struct node *root);

/* --- field.c --- */

/* Read one value into its field of `owner`. `where`: the option's full name for messages. */
void config_read_value(struct config_load *load, const struct option *option, const struct node *node,
		       const char *where, void *owner);
/* Put the option's default into its field. */
void config_read_default(struct config_load *load, const struct option *option, void *owner);

/* --- check.c --- */

/* What the table cannot say: references, rules between options, routes. */
void config_check(struct config_load *load, const struct node *root);
/* Fill in all that follows from a draft without mistakes. False: out of memory. */
bool config_finish(struct config_load *load) MUST_CHECK;

/* --- check_arguments.c --- */

/* Warn of arguments that a tool's schema does not know. */
void config_check_arguments(struct config_load *load, const struct tool_draft *draft);

/* --- check_mcp.c --- */

/* What the table of options cannot say; faults are added to the load. */
void config_check_mcp(struct config_load *load, const struct node *root);

/* --- check_alerts.c --- */

/* What the table of options cannot say; faults are added to the load. */
void config_check_alerts(struct config_load *load, const struct node *root);

/* --- check_redis.c --- */

/* `redis`: the block of the file. */
void config_check_redis(struct config_load *load, const struct node *redis);
/* Fill in config->generation.redis, if there is a block. */
void config_finish_redis(struct config_load *load);

/* --- check_tracing.c --- */

/* What the table of options cannot say; faults are added to the load. */
void config_check_tracing(struct config_load *load, const struct node *root);
/* Fill in generation.traces, if calls are traced. */
void config_finish_tracing(struct config_load *load);

/* --- check_disk.c --- */

/* `disk`: the block of the file. */
void config_check_disk(struct config_load *load, const struct node *root, const struct node *disk);
/* Fill in config->disk, if there is a block. */
void config_finish_disk(struct config_load *load);

/* --- check_process.c --- */

/* Whether its dialect is one of programs. */
bool config_is_program(const struct upstream_draft *draft);
/* Whether the option, one of upstreams or another, would do nothing for this upstream: check refuses it there. */
bool config_is_foreign(const struct upstream_draft *draft, const struct option *option);
/* What a program's options ask of each other. */
void config_check_program(struct config_load *load, struct upstream_draft *draft);
/* Fill in what follows, for one that is. False: out of memory. */
bool config_finish_program(struct config_load *load, struct upstream_draft *draft) MUST_CHECK;

/* --- check_endpoints.c --- */

/* Headers that the HTTP client writes; a second one would change where a request ends or who answers it. */
bool config_is_reserved_header(const char *name);
/* What the options of an upstream's endpoints ask of each other. */
void config_check_endpoints(struct config_load *load, struct upstream_draft *draft);
/* The settings that follow. False: out of memory. */
bool config_finish_endpoints(struct config_load *load, struct upstream_draft *draft) MUST_CHECK;

/* --- check_dialect.c: what each dialect asks of the options of its upstreams and tools --- */

/* What a dialect adds to the configuration, by its name; NULL: there is none of that name. */
const struct config_dialect *config_dialect_find(const char *name);
/* Whether an upstream's option is one that only other dialects know. */
bool config_dialect_hides(const char *dialect, const char *option);
/* A dialect's error, at the option in `block` that it is about, or at the block. `where`: the block, for people. */
void config_note_dialect_error(struct config_load *load, const struct node *block, const char *where,
			       const struct dialect_error *error);
/* The upstream's dialect into its settings: one of all upstreams', or its own. NULL there after an error. */
void config_check_dialect(struct config_load *load, struct upstream_draft *draft);
/* The tool's options that are its dialect's, and its route. The upstream has a dialect. */
void config_check_route(struct config_load *load, struct tool_draft *draft, const struct upstream_draft *upstream);
/* For config_json: what the dialect did in place of what the file does not say. */
void config_fill_request(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect);

/* --- check_listed.c: upstreams that list their tools, and tools: entries about those --- */

/* Options of upstreams that are theirs alone, without "upstreams.*."; NULL-terminated. */
extern const char *const config_of_tool_list[];
/* After config_check_dialect. */
void config_check_exposure(struct config_load *load, struct upstream_draft *draft);
/* After it, for all. */
void config_check_prefixes(struct config_load *load);
/* False: complained about. Fills in what the route of such a tool needs. */
bool config_check_listed(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect) MUST_CHECK;
/* Which of a tool's options the file has: enum overridden. */
unsigned config_overridden(const struct tool_draft *draft);

/* --- show.c: all that an option says, secrets included: two that write the same are the same --- */

/* All options of the upstream (of the tool) of this place in the generation. lasting: only those with which it is another
 * one (option_is_adjustable says no). */
void config_put_upstream(const struct config *config, size_t index, bool lasting, struct buf *out);
void config_put_tool(const struct config *config, size_t index, struct buf *out);
/* An option that is neither a block nor below upstreams or tools. */
void config_put_setting(const struct config *config, const struct option *option, struct buf *out);

/* --- config.c --- */

/* SHA-256 of a text, 64 hexadecimal digits. NULL: out of memory. */
const char *config_hash(struct config_load *load, struct slice text);

/* --- expand.c --- */

/* What it holds belongs to what the configuration says: watched with it. hash: as in struct config_file. The path lives as
 * long as the configuration. */
void config_note_file(struct config_load *load, const char *path, const char *hash);

/* --- file.c --- */

/* Append a file of at most max_bytes. NULL, or what is wrong; static, or of this thread. Blocks, on a pipe that says
 * nothing for seconds at most. */
const char *config_read_file(const char *path, size_t max_bytes, const char *too_long, struct buf *out) MUST_CHECK;

/* --- expand.c --- */

/*
 * A scalar's text with ${NAME} and ${file:PATH} filled in ($${ stands for ${), in the arena, a NUL behind it.
 * *filled: something was filled in, so the text is marked secret. False: an error was noted, or no memory.
 */
bool config_expand(struct config_load *load, const struct node *node, const char *where, struct slice *text,
		   bool *filled);

#endif
