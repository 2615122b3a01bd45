/* Writes small Wasm modules for tests: growing bytes, sections, and the few shapes that most tests need. */
#ifndef WR_TESTS_BUILD_H
#define WR_TESTS_BUILD_H
#include <stddef.h>
#include <stdint.h>

typedef struct build_t {
    uint8_t *at;
    size_t len;
    size_t capacity;
} build_t;

enum {
    BUILD_TYPES = 1,
    BUILD_IMPORTS = 2,
    BUILD_FUNCTIONS = 3,
    BUILD_TABLES = 4,
    BUILD_MEMORIES = 5,
    BUILD_GLOBALS = 6,
    BUILD_EXPORTS = 7,
    BUILD_START = 8,
    BUILD_ELEMENTS = 9,
    BUILD_CODE = 10,
    BUILD_DATA = 11
};

void build_free(build_t *out);
void build_byte(build_t *out, uint8_t byte);
void build_bytes(build_t *out, const void *bytes, size_t len);
void build_u32(build_t *out, uint32_t value); /* LEB128 */
void build_name(build_t *out, const char *name);
void build_header(build_t *out);

/* Section or body: what is written between open and close gets its size in front. */
size_t build_open(build_t *out, int section /* -1: none, a body */);
void build_close(build_t *out, size_t mark);

/* A function type from letters: i, l, f, d, v, r (funcref), x (externref). */
void build_type(build_t *out, const char *params, const char *results);

/* One function of a module, in the order of its index. */
typedef struct build_func {
    const char *params;
    const char *results;
    const char *export_name; /* NULL: not exported */
    const char *import_name; /* not NULL: imported from module "env"; imports come first */
    const uint8_t *body;     /* local declarations, code, end */
    size_t body_len;
    const char *debug_name; /* for the name section; NULL: none */
} build_func;

typedef struct build_module {
    const build_func *funcs;
    size_t func_count;
    uint32_t memory_min; /* pages; a memory exists if memory_max is not 0, exported as "memory" */
    uint32_t memory_max;
    uint32_t
        table_min;   /* a funcref table exists if not 0; element i is function i, unless extra begins with elements */
    const uint8_t *extra; /* raw sections before the code section, in their order between export (7) and code (10) */
    size_t extra_len;
} build_module;

void build_whole(build_t *out, const build_module *module);

/* Position of the first place where these bytes stand, or (size_t)-1. */
size_t build_find(const build_t *bytes, const void *needle, size_t len);

#define BUILD_BODY(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

#endif
