/* Modules that arrive in pieces: whatever the pieces are, the outcome is that of the whole. */
#include <stdlib.h>

#include "fixture.h"

enum { UNKNOWN = 0, MUTATIONS = 1500 };

static const uint8_t SEED_BODY[] = {1, 1, 0x7F, 0x41, 0x2A, 0x21, 1, 0x20, 0, 0x20, 1, 0x6A, 0x0B};
static const build_func FUNCS[] = {
    {"i", "", NULL, "log", NULL, 0, NULL},
    {"i", "i", "add42", NULL, SEED_BODY, sizeof SEED_BODY, "add42"},
    {"", "", "run", NULL, BUILD_BODY(0, 0x41, 1, 0x10, 0, 0x0B), "run"},
};
static const build_module MODULE = {.funcs = FUNCS, .func_count = 3, .memory_min = 1, .memory_max = 2, .table_min = 4};

typedef struct outcome {
    wr_status status;
    uint32_t offset;
    size_t kept; /* bytes of the module */
} outcome;

static outcome ended(wr_module *module, wr_status status, const wr_error *error) {
    outcome out = {status, status == WR_OK ? 0 : error->offset, 0};
    if (status == WR_OK) {
        out.kept = wr_module_footprint(module);
        wr_module_release(module);
    }
    return out;
}

static outcome load_whole(wr_engine *engine, const uint8_t *bytes, size_t len) {
    wr_module *module = NULL;
    wr_error error = {0};
    const wr_status status = wr_module_load(engine, bytes, len, &module, &error);
    return ended(module, status, &error);
}

/* Each piece is in a block of its own, freed after it was taken: nothing may point into it afterwards. */
static outcome load_pieces(wr_engine *engine, const uint8_t *bytes, size_t len, size_t announced, size_t piece) {
    wr_module_stream *stream = NULL;
    wr_module *module = NULL;
    wr_error error = {0};
    wr_status status = wr_module_begin(engine, announced, &stream, &error);
    if (status != WR_OK) return (outcome){status, error.offset, 0};
    for (size_t at = 0; at < len; at += piece) {
        const size_t count = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(count);
        if (copy == NULL) abort();
        memcpy(copy, bytes + at, count);
        (void)wr_module_feed(stream, copy, count, NULL);
        free(copy);
    }
    status = wr_module_finish(stream, &module, &error);
    return ended(module, status, &error);
}

static void check_same(check_t *check, outcome got, outcome want, size_t piece, size_t where) {
    if (got.status == want.status && got.offset == want.offset) return;
    CHECK_FAIL("in pieces of %zu, case %zu: %s at 0x%x, whole: %s at 0x%x", piece, where, wr_status_name(got.status),
               got.offset, wr_status_name(want.status), want.offset);
}

static void every_size_of_piece(check_t *check) {
    build_t bytes = {0};
    wr_engine *engine;
    REQUIRE_OK(wr_engine_new(NULL, &engine));
    build_whole(&bytes, &MODULE);
    const outcome whole = load_whole(engine, bytes.at, bytes.len);
    CHECK_OK(whole.status);
    for (size_t piece = 1; piece <= bytes.len; piece++) {
        const outcome known = load_pieces(engine, bytes.at, bytes.len, bytes.len, piece);
        const outcome unknown = load_pieces(engine, bytes.at, bytes.len, UNKNOWN, piece);
        check_same(check, known, whole, piece, 0);
        check_same(check, unknown, whole, piece, 1);
        CHECK_EQ_U64(known.kept, whole.kept);
    }
    build_free(&bytes);
    wr_engine_free(engine);
}

static void every_prefix(check_t *check) {
    build_t bytes = {0};
    wr_engine *engine;
    REQUIRE_OK(wr_engine_new(NULL, &engine));
    build_whole(&bytes, &MODULE);
    for (size_t len = 1; len < bytes.len; len++) {
        const outcome whole = load_whole(engine, bytes.at, len);
        for (size_t piece = 1; piece <= 17; piece += 4) {
            check_same(check, load_pieces(engine, bytes.at, len, UNKNOWN, piece), whole, piece, len);
        }
    }
    build_free(&bytes);
    wr_engine_free(engine);
}

static void every_mutation(check_t *check) {
    build_t bytes = {0};
    wr_engine *engine;
    uint32_t seed = 20261125;
    REQUIRE_OK(wr_engine_new(NULL, &engine));
    build_whole(&bytes, &MODULE);
    for (size_t i = 0; i < MUTATIONS; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint8_t *at = bytes.at + (seed >> 8) % bytes.len, before = *at;
        *at = (uint8_t)(seed >> 3);
        const outcome whole = load_whole(engine, bytes.at, bytes.len);
        check_same(check, load_pieces(engine, bytes.at, bytes.len, bytes.len, 1), whole, 1, i);
        check_same(check, load_pieces(engine, bytes.at, bytes.len, bytes.len, 5), whole, 5, i);
        *at = before;
    }
    build_free(&bytes);
    wr_engine_free(engine);
}

static void misuse_is_told(check_t *check) {
    build_t bytes = {0};
    wr_engine *engine;
    wr_module_stream *stream;
    wr_module *module = NULL;
    wr_error error = {0};
    REQUIRE_OK(wr_engine_new(NULL, &engine));
    build_whole(&bytes, &MODULE);
    REQUIRE_OK(wr_module_begin(engine, bytes.len - 1, &stream, &error));
    CHECK_STATUS(wr_module_feed(stream, bytes.at, bytes.len, &error), WR_BAD_ARGUMENT);
    CHECK_CONTAINS(error.message, "were announced");
    CHECK_STATUS(wr_module_feed(stream, bytes.at, 0, &error), WR_BAD_ARGUMENT); /* final */
    CHECK_STATUS(wr_module_finish(stream, &module, &error), WR_BAD_ARGUMENT);
    CHECK(module == NULL);
    REQUIRE_OK(wr_module_begin(engine, UNKNOWN, &stream, &error));
    CHECK_OK(wr_module_feed(stream, bytes.at, bytes.len / 2, &error));
    CHECK_OK(wr_module_finish(stream, NULL, &error)); /* given up */
    build_free(&bytes);
    wr_engine_free(engine);
}

/* How it ends with this much memory, in an engine that knows no types yet; piece 0: whole. */
static wr_status end_with(const build_t *bytes, uint32_t memory, size_t announced, size_t piece) {
    const wr_engine_config config = {.limits = {.load_ratio_max = 1, .load_bytes_min = memory}};
    wr_engine *engine;
    if (wr_engine_new(&config, &engine) != WR_OK) abort();
    const outcome out = piece == 0 ? load_whole(engine, bytes->at, bytes->len)
                                   : load_pieces(engine, bytes->at, bytes->len, announced, piece);
    wr_engine_free(engine);
    return out.status;
}

/* What is held of an incomplete unit does not count, so a module that has enough memory when it is whole has enough in
 * pieces; also when nobody tells how long it is. */
static void pieces_take_as_much_memory(check_t *check) {
    static const size_t PIECES[] = {1, 7, 100, 1000};
    build_t bytes = {0};
    uint32_t refused = 1, enough = 1 << 16;
    build_whole(&bytes, &MODULE);
    REQUIRE_OK(end_with(&bytes, enough, bytes.len, 0));
    while (enough - refused > 1) {
        const uint32_t middle = refused + (enough - refused) / 2;
        *(end_with(&bytes, middle, bytes.len, 0) == WR_OK ? &enough : &refused) = middle;
    }
    CHECK_STATUS(end_with(&bytes, refused, bytes.len, 0), WR_LIMIT_LOAD_BYTES);
    for (size_t i = 0; i < sizeof PIECES / sizeof PIECES[0]; i++) {
        CHECK_OK(end_with(&bytes, enough, bytes.len, PIECES[i]));
        CHECK_OK(end_with(&bytes, enough, UNKNOWN, PIECES[i]));
        CHECK_STATUS(end_with(&bytes, refused, bytes.len, PIECES[i]), WR_LIMIT_LOAD_BYTES);
        CHECK_STATUS(end_with(&bytes, refused, UNKNOWN, PIECES[i]), WR_LIMIT_LOAD_BYTES);
    }
    build_free(&bytes);
}

/* Who does not tell the length may take what the longest module may, while it comes. */
static void endless_pieces_are_bounded(check_t *check) {
    const wr_engine_config config = {.limits = {.module_bytes_max = 60000, .load_ratio_max = 1, .load_bytes_min = 1}};
    wr_engine *engine;
    wr_module_stream *stream;
    wr_error error = {0};
    build_t bytes = {0};
    REQUIRE_OK(wr_engine_new(&config, &engine));
    build_header(&bytes);
    const size_t mark = build_open(&bytes, BUILD_GLOBALS); /* 5 bytes, and some 24 in memory */
    build_u32(&bytes, 10000);
    for (size_t i = 0; i < 10000; i++) build_bytes(&bytes, "\x7F\x00\x41\x00\x0B", 5);
    build_close(&bytes, mark);
    REQUIRE_OK(wr_module_begin(engine, UNKNOWN, &stream, &error));
    CHECK_STATUS(wr_module_feed(stream, bytes.at, bytes.len, &error), WR_LIMIT_LOAD_BYTES);
    CHECK_CONTAINS(error.message, "allowed are 60000 ");
    CHECK_STATUS(wr_module_finish(stream, NULL, NULL), WR_LIMIT_LOAD_BYTES);
    build_free(&bytes);
    wr_engine_free(engine);
}

static const check_test TESTS[] = {
    CHECK_TEST(every_size_of_piece),
    CHECK_TEST(every_prefix),
    CHECK_TEST(every_mutation),
    CHECK_TEST(misuse_is_told),
    CHECK_TEST(pieces_take_as_much_memory),
    CHECK_TEST(endless_pieces_are_bounded),
};
CHECK_MAIN(TESTS)
