/* Features that a build may do without (Makefile: MINIMAL): there, modules that need them are refused by name. */
#include "fixture.h"

#ifdef WR_NO_SIMD
enum { SIMD = 0 };
#else
enum { SIMD = 1 };
#endif
#ifdef WR_NO_EXCEPTIONS
enum { EXCEPTIONS = 0 };
#else
enum { EXCEPTIONS = 1 };
#endif
#ifdef WR_NO_MEMORY64
enum { MEMORY64 = 0 };
#else
enum { MEMORY64 = 1 };
#endif
#ifdef WR_NO_THREADS
enum { THREADS = 0 };
#else
enum { THREADS = 1 };
#endif

typedef struct feature_case {
    bool present;
    const char *told; /* in the message where it is not */
    const uint8_t *sections;
    size_t len;
} feature_case;

#define SECTIONS(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})
/* type () -> (), a function of it, a memory of one page, and the body */
#define FUNCTION(SIZE, ...) \
    SECTIONS(1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 10, (SIZE) + 4, 1, (SIZE) + 2, 0, __VA_ARGS__, 0x0B)

static const feature_case CASES[] = {
    {SIMD, "v128", SECTIONS(1, 5, 1, 0x60, 1, 0x7B, 0)},
    {SIMD, "opcode 0xfd", FUNCTION(19, 0xFD, 0x0C, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1A)},
    {EXCEPTIONS, "exnref", SECTIONS(1, 5, 1, 0x60, 1, 0x69, 0)},
    {EXCEPTIONS, "exnref", SECTIONS(1, 6, 1, 0x60, 1, 0x63, 0x69, 0)},
    {EXCEPTIONS, "tag", SECTIONS(1, 4, 1, 0x60, 0, 0, 13, 3, 1, 0, 0)},
    {EXCEPTIONS, "tag", SECTIONS(1, 4, 1, 0x60, 0, 0, 2, 8, 1, 1, 'm', 1, 't', 4, 0, 0)},
    {EXCEPTIONS, "try_table", FUNCTION(4, 0x1F, 0x40, 0, 0x0B)},
    {MEMORY64, "64-bit memory", SECTIONS(5, 3, 1, 4, 1)},
    {MEMORY64, "64-bit memory or table", SECTIONS(4, 4, 1, 0x70, 4, 1)},
    {THREADS, "shared memory", SECTIONS(5, 4, 1, 3, 1, 1)},
    {THREADS, "opcode 0xfe", FUNCTION(3, 0xFE, 3, 0)},
};

static void modules_are_refused_by_feature(check_t *check) {
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const feature_case *one = &CASES[i];
        fixture fix;
        build_t bytes = {0};
        wr_module *module = NULL;
        wr_error error = {0};
        REQUIRE_OK(fixture_open(&fix, NULL));
        build_header(&bytes);
        build_bytes(&bytes, one->sections, one->len);
        wr_status status = wr_module_load(fix.engine, bytes.at, bytes.len, &module, &error);
        if (!CHECK_STATUS(status, one->present ? WR_OK : WR_UNSUPPORTED)) CHECK_FAIL("case %zu", i);
        if (!one->present) CHECK_CONTAINS(error.message, one->told);
        wr_module_release(module);
        build_free(&bytes);
        fixture_close(&fix);
    }
}

static void objects_are_refused_by_feature(check_t *check) {
    const wr_func_type type = {NULL, NULL, 0, 0};
    fixture fix;
    wr_tag *tag = NULL;
    wr_memory *memory = NULL;
    REQUIRE_OK(fixture_open(&fix, NULL));
    CHECK_STATUS(wr_tag_new(fix.store, &type, &tag), EXCEPTIONS ? WR_OK : WR_UNSUPPORTED);
    CHECK_STATUS(wr_memory_new_shared(fix.store, 1, 2, &memory), THREADS ? WR_OK : WR_UNSUPPORTED);
    CHECK((tag != NULL) == EXCEPTIONS && (memory != NULL) == THREADS);
    fixture_close(&fix);
}

static const check_test TESTS[] = {
    CHECK_TEST(modules_are_refused_by_feature),
    CHECK_TEST(objects_are_refused_by_feature),
};
CHECK_MAIN(TESTS)
