/* Every limit: a module at the limit loads, one beyond it has its own status. */
#include <stddef.h>

#include "fixture.h"

/* ---- modules with n of something --------------------------------------------------------------------------- */

static void put_type_section(build_t *out, const char *params, const char *results) {
    size_t mark = build_open(out, BUILD_TYPES);
    build_u32(out, 1);
    build_type(out, params, results);
    build_close(out, mark);
}

/* A section of n equal entries. */
static void put_repeated(build_t *out, int section, uint32_t n, const void *entry, size_t len) {
    size_t mark = build_open(out, section);
    build_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        build_bytes(out, entry, len);
    }
    build_close(out, mark);
}

static void with_types(build_t *out, uint32_t n) { put_repeated(out, BUILD_TYPES, n, "\x60\x00\x00", 3); }

static void with_functions(build_t *out, uint32_t n) {
    put_type_section(out, "", "");
    put_repeated(out, BUILD_FUNCTIONS, n, "\x00", 1);
    put_repeated(out, BUILD_CODE, n, "\x02\x00\x0B", 3);
}

/* One of the n functions is imported. */
static void with_imported_function(build_t *out, uint32_t n) {
    put_type_section(out, "", "");
    put_repeated(out, BUILD_IMPORTS, 1, "\x01m\x01n\x00\x00", 6);
    put_repeated(out, BUILD_FUNCTIONS, n - 1, "\x00", 1);
    put_repeated(out, BUILD_CODE, n - 1, "\x02\x00\x0B", 3);
}

static void with_imports(build_t *out, uint32_t n) {
    put_type_section(out, "", "");
    put_repeated(out, BUILD_IMPORTS, n, "\x01m\x01n\x00\x00", 6);
}

static void with_exports(build_t *out, uint32_t n) {
    put_repeated(out, BUILD_MEMORIES, 1, "\x00\x00", 2);
    size_t mark = build_open(out, BUILD_EXPORTS);
    build_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "e%u", i);
        build_name(out, name);
        build_bytes(out, "\x02\x00", 2);
    }
    build_close(out, mark);
}

static void with_globals(build_t *out, uint32_t n) { put_repeated(out, BUILD_GLOBALS, n, "\x7F\x00\x41\x00\x0B", 5); }

static void with_tables(build_t *out, uint32_t n) { put_repeated(out, BUILD_TABLES, n, "\x70\x00\x01", 3); }
static void with_memories(build_t *out, uint32_t n) { put_repeated(out, BUILD_MEMORIES, n, "\x00\x01", 2); }
static void with_data_segments(build_t *out, uint32_t n) { put_repeated(out, BUILD_DATA, n, "\x01\x01x", 3); }
static void with_elem_segments(build_t *out, uint32_t n) { put_repeated(out, BUILD_ELEMENTS, n, "\x01\x00\x00", 3); }

static void with_params(build_t *out, uint32_t n) {
    size_t mark = build_open(out, BUILD_TYPES);
    build_bytes(out, "\x01\x60", 2);
    build_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        build_byte(out, WR_TYPE_I32);
    }
    build_byte(out, 0);
    build_close(out, mark);
}

static void with_results(build_t *out, uint32_t n) {
    size_t mark = build_open(out, BUILD_TYPES);
    build_bytes(out, "\x01\x60\x00", 3);
    build_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        build_byte(out, WR_TYPE_I32);
    }
    build_close(out, mark);
}

/* One function () -> (); the body is left open for the caller. */
static size_t open_function(build_t *out, size_t *section) {
    put_type_section(out, "", "");
    put_repeated(out, BUILD_FUNCTIONS, 1, "\x00", 1);
    *section = build_open(out, BUILD_CODE);
    build_u32(out, 1);
    return build_open(out, -1);
}

static void close_function(build_t *out, size_t section, size_t body) {
    build_byte(out, 0x0B);
    build_close(out, body);
    build_close(out, section);
}

static void with_locals(build_t *out, uint32_t n) {
    size_t section = 0;
    size_t body = open_function(out, &section);
    build_u32(out, 2);
    build_u32(out, n / 2);
    build_byte(out, WR_TYPE_I32);
    build_u32(out, n - n / 2);
    build_byte(out, WR_TYPE_I64);
    close_function(out, section, body);
}

/* n bytes: no locals, nops, end. */
static void with_body_bytes(build_t *out, uint32_t n) {
    size_t section = 0;
    size_t body = open_function(out, &section);
    build_byte(out, 0);
    for (uint32_t i = 2; i < n; i++) {
        build_byte(out, 0x01);
    }
    close_function(out, section, body);
}

/* n open blocks, the function's own being one. */
static void with_nesting(build_t *out, uint32_t n) {
    size_t section = 0;
    size_t body = open_function(out, &section);
    build_byte(out, 0);
    for (uint32_t i = 1; i < n; i++) {
        build_bytes(out, "\x02\x40", 2);
    }
    for (uint32_t i = 1; i < n; i++) {
        build_byte(out, 0x0B);
    }
    close_function(out, section, body);
}

static void with_memory_pages(build_t *out, uint32_t n) {
    size_t mark = build_open(out, BUILD_MEMORIES);
    build_bytes(out, "\x01\x00", 2);
    build_u32(out, n);
    build_close(out, mark);
}

/* n operands on the stack. */
static void with_operands(build_t *out, uint32_t n) {
    put_type_section(out, "", "");
    put_repeated(out, BUILD_FUNCTIONS, 1, "\x00", 1);
    with_memory_pages(out, 1);
    size_t section = build_open(out, BUILD_CODE);
    build_u32(out, 1);
    size_t body = build_open(out, -1);
    build_byte(out, 0);
    for (uint32_t i = 0; i < n; i++) {
        build_bytes(out, "\x3F\x00", 2); /* memory.size: a value that is not known before */
    }
    for (uint32_t i = 0; i < n; i++) {
        build_byte(out, 0x1A);
    }
    close_function(out, section, body);
}

static void with_name(build_t *out, uint32_t n) {
    put_repeated(out, BUILD_MEMORIES, 1, "\x00\x00", 2);
    size_t mark = build_open(out, BUILD_EXPORTS);
    build_u32(out, 1);
    build_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        build_byte(out, 'n');
    }
    build_bytes(out, "\x02\x00", 2);
    build_close(out, mark);
}

/* n bytes in all. */
static void with_bytes(build_t *out, uint32_t n) {
    size_t mark = build_open(out, 0);
    build_name(out, "pad");
    while (out->len < n) {
        build_byte(out, 0);
    }
    build_close(out, mark);
}

static void with_table_elements(build_t *out, uint32_t n) {
    size_t mark = build_open(out, BUILD_TABLES);
    build_bytes(out, "\x01\x70\x00", 3);
    build_u32(out, n);
    build_close(out, mark);
}

/* ---- the table --------------------------------------------------------------------------------------------- */

#define LIMIT(field) offsetof(wr_limits, field), sizeof((wr_limits){0}.field)

static const struct limit_case {
    const char *what;
    size_t offset; /* of the field in wr_limits */
    size_t size;
    uint64_t limit;
    uint32_t fits; /* n of the builder that is just accepted */
    void (*build)(build_t *out, uint32_t n);
    wr_status want;
} CASES[] = {
    {"module bytes", LIMIT(module_bytes_max), 100, 100, with_bytes, WR_LIMIT_MODULE_BYTES},
    {"types", LIMIT(types_max), 7, 7, with_types, WR_LIMIT_TYPES},
    {"functions", LIMIT(functions_max), 9, 9, with_functions, WR_LIMIT_FUNCTIONS},
    {"functions with an imported one", LIMIT(functions_max), 9, 9, with_imported_function, WR_LIMIT_FUNCTIONS},
    {"imports", LIMIT(imports_max), 5, 5, with_imports, WR_LIMIT_IMPORTS},
    {"exports", LIMIT(exports_max), 6, 6, with_exports, WR_LIMIT_EXPORTS},
    {"globals", LIMIT(globals_max), 11, 11, with_globals, WR_LIMIT_GLOBALS},
    {"tables", LIMIT(tables_max), 3, 3, with_tables, WR_LIMIT_TABLES},
    {"memories", LIMIT(memories_max), 3, 3, with_memories, WR_LIMIT_MEMORIES},
    {"data segments", LIMIT(segments_max), 4, 4, with_data_segments, WR_LIMIT_SEGMENTS},
    {"element segments", LIMIT(segments_max), 4, 4, with_elem_segments, WR_LIMIT_SEGMENTS},
    {"parameters", LIMIT(params_max), 12, 12, with_params, WR_LIMIT_PARAMS},
    {"results", LIMIT(params_max), 12, 12, with_results, WR_LIMIT_PARAMS},
    {"locals", LIMIT(locals_max), 33, 33, with_locals, WR_LIMIT_LOCALS},
    {"body bytes", LIMIT(body_bytes_max), 50, 50, with_body_bytes, WR_LIMIT_BODY_BYTES},
    {"nesting", LIMIT(nesting_max), 10, 10, with_nesting, WR_LIMIT_NESTING},
    {"name bytes", LIMIT(name_bytes_max), 20, 20, with_name, WR_LIMIT_NAME_BYTES},
    {"table elements", LIMIT(table_elements_max), 100, 100, with_table_elements, WR_LIMIT_TABLE_ELEMENTS},
    {"memory bytes", LIMIT(memory_bytes_max), 3 * 65536, 3, with_memory_pages, WR_LIMIT_MEMORY_BYTES},
};

static wr_status try(check_t *check, const wr_limits *limits, void (*build)(build_t *, uint32_t), uint32_t n) {
    const wr_engine_config config = {.limits = *limits, .bounds = WR_BOUNDS_CHECKED};
    const wr_extern nothing[8] = {{WR_EXTERN_FUNC, {NULL}}};
    fixture fix;
    build_t bytes = {0};
    CHECK_OK(fixture_open(&fix, &config));
    build_header(&bytes);
    build(&bytes, n);
    wr_status status = fixture_load(&fix, &bytes);
    if (status == WR_OK && wr_module_import_count(fix.module) == 0) {
        status = fixture_link(&fix, nothing, 0, NULL);
    }
    if (status != WR_OK) {
        CHECK_STATUS(fix.error.status, status);
        CHECK_CONTAINS(fix.error.message, wr_status_text(status));
    }
    fixture_close(&fix);
    return status;
}

static void every_limit_has_its_status(check_t *check) {
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const struct limit_case *row = &CASES[i];
        wr_limits limits = {0};
        uint32_t small = (uint32_t)row->limit;
        const void *value = row->size == sizeof small ? (const void *)&small : (const void *)&row->limit;
        memcpy((uint8_t *)&limits + row->offset, value, row->size);
        bool fits = CHECK_OK(try(check, &limits, row->build, row->fits));
        bool exceeds = CHECK_STATUS(try(check, &limits, row->build, row->fits + 1), row->want);
        if (!fits || !exceeds) {
            CHECK_FAIL("in the case: %s", row->what);
        }
    }
}

static void the_defaults_are_generous(check_t *check) {
    const wr_limits defaults = {.load_ratio_max = 50}; /* these modules are of one thing only: dense */
    CHECK_OK(try(check, &defaults, with_functions, 65536));
    CHECK_OK(try(check, &defaults, with_params, 1000));
    CHECK_OK(try(check, &defaults, with_nesting, 4000));
    CHECK_STATUS(try(check, &defaults, with_nesting, 1000000), WR_LIMIT_NESTING);
    CHECK_STATUS(try(check, &defaults, with_functions, 65537), WR_LIMIT_FUNCTIONS);
    CHECK_STATUS(try(check, &defaults, with_table_elements, 10000001), WR_LIMIT_TABLE_ELEMENTS);
}

static void frames_are_limited(check_t *check) {
    const wr_limits defaults = {.load_ratio_max = 50};
    CHECK_OK(try(check, &defaults, with_operands, 1000));
    CHECK_STATUS(try(check, &defaults, with_operands, 100000), WR_LIMIT_FRAME);
}

/* ---- memory that loading takes ------------------------------------------------------------------------------- */

enum { DENSE_FUNCTIONS = 3000, RATIO_DEFAULT = 6, BYTES_DEFAULT = 9216 };

static void a_dense_module_is_refused(check_t *check) {
    fixture fix;
    build_t bytes = {0};
    REQUIRE_OK(fixture_open(&fix, NULL));
    build_header(&bytes);
    with_functions(&bytes, DENSE_FUNCTIONS);
    const uint32_t most = RATIO_DEFAULT * (uint32_t)bytes.len;
    CHECK_STATUS(fixture_load(&fix, &bytes), WR_LIMIT_LOAD_BYTES);
    CHECK(wr_status_class_of(fix.error.status) == WR_CLASS_LIMIT);
    uint32_t wanted = 0;
    char expected[sizeof fix.error.message];
    CHECK_EQ_U64(sscanf(fix.error.message, "loading takes more memory than the limit: %u", &wanted), 1);
    snprintf(
        expected, sizeof expected,
        "loading takes more memory than the limit: %u bytes, allowed are %u (load_ratio_max %d, load_bytes_min %d) "
        "at offset 0x%x",
        wanted, most, RATIO_DEFAULT, BYTES_DEFAULT, fix.error.offset);
    CHECK_STR(fix.error.message, expected);
    CHECK(wanted > most && fix.error.offset > 0);
    fixture_close(&fix);
}

static void more_memory_can_be_allowed(check_t *check) {
    const wr_limits by_ratio = {.load_ratio_max = 50}, by_bytes = {.load_bytes_min = 1 << 20};
    const wr_limits off = {.load_ratio_max = UINT32_MAX}, too_few = {.load_bytes_min = 1 << 16};
    CHECK_OK(try(check, &by_ratio, with_functions, DENSE_FUNCTIONS));
    CHECK_OK(try(check, &by_bytes, with_functions, DENSE_FUNCTIONS));
    CHECK_OK(try(check, &off, with_functions, DENSE_FUNCTIONS));
    CHECK_STATUS(try(check, &too_few, with_functions, DENSE_FUNCTIONS), WR_LIMIT_LOAD_BYTES);
}

/* So little that not even the stream has room: refused before there is a byte. */
static void no_memory_at_all(check_t *check) {
    const wr_engine_config config = {.limits = {.load_ratio_max = 1, .load_bytes_min = 1}};
    fixture fix;
    wr_module_stream *stream = NULL;
    wr_error error = {0};
    REQUIRE_OK(fixture_open(&fix, &config));
    CHECK_STATUS(wr_module_begin(fix.engine, 100, &stream, &error), WR_LIMIT_LOAD_BYTES);
    CHECK_CONTAINS(error.message, " bytes, allowed are 100 (load_ratio_max 1, load_bytes_min 1)");
    CHECK_EQ_U64(error.offset, 0);
    CHECK(stream == NULL);
    fixture_close(&fix);
}

static void counts_beyond_the_bytes_are_refused_early(check_t *check) {
    /* a section of a few bytes that claims four thousand million entries: no memory is taken for them */
    static const uint8_t SECTIONS[] = {BUILD_TYPES,   BUILD_IMPORTS,  BUILD_FUNCTIONS, BUILD_TABLES, BUILD_GLOBALS,
                                       BUILD_EXPORTS, BUILD_ELEMENTS, BUILD_CODE,      BUILD_DATA};
    for (size_t i = 0; i < sizeof SECTIONS; i++) {
        fixture fix;
        build_t bytes = {0};
        REQUIRE_OK(fixture_open(&fix, NULL));
        build_header(&bytes);
        size_t mark = build_open(&bytes, SECTIONS[i]);
        build_u32(&bytes, UINT32_MAX);
        build_close(&bytes, mark);
        wr_status_class class = wr_status_class_of(fixture_load(&fix, &bytes));
        CHECK(class == WR_CLASS_MALFORMED || class == WR_CLASS_LIMIT);
        fixture_close(&fix);
    }
}

static const check_test TESTS[] = {
    CHECK_TEST(every_limit_has_its_status),
    CHECK_TEST(the_defaults_are_generous),
    CHECK_TEST(frames_are_limited),
    CHECK_TEST(a_dense_module_is_refused),
    CHECK_TEST(more_memory_can_be_allowed),
    CHECK_TEST(no_memory_at_all),
    CHECK_TEST(counts_beyond_the_bytes_are_refused_early),
};
CHECK_MAIN(TESTS)
