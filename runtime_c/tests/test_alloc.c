/* Every allocation fails once: whatever is allowed before, the status is clear and nothing leaks. */
#include "fixture.h"

/* Keeps the size of each block in front of it, so that a wrong old_size is found. */
typedef struct ledger {
    uint64_t allowed; /* allocations that still succeed */
    uint64_t blocks;
    uint64_t bytes;
    uint64_t wrong_sizes;
    uint64_t refused;
} ledger;

enum { HEAD = 16 };

static void *ledger_alloc(void *user, void *old, size_t old_size, size_t size) {
    ledger *book = user;
    uint8_t *block = old != NULL ? (uint8_t *)old - HEAD : NULL;
    if (block != NULL) {
        size_t noted;
        memcpy(&noted, block, sizeof noted);
        book->wrong_sizes += noted != old_size;
    }
    if (size == 0) {
        book->blocks -= block != NULL;
        book->bytes -= block != NULL ? old_size : 0;
        free(block);
        return NULL;
    }
    if (book->allowed == 0) {
        book->refused++;
        return NULL;
    }
    book->allowed--;
    uint8_t *fresh = realloc(block, size + HEAD);
    if (fresh == NULL) {
        return NULL;
    }
    book->blocks += block == NULL;
    book->bytes += size;
    book->bytes -= block != NULL ? old_size : 0;
    memcpy(fresh, &size, sizeof size);
    return fresh + HEAD;
}

/* A bit of everything: types, names, a table with elements, a memory, calls, branches, a data segment. */
static const build_func FUNCS[] = {
    {"i", "i", "twice", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 0, 0x6A, 0x0B), "doubles"},
    {"i", "i", "run", NULL,
     BUILD_BODY(2, 3, 0x7E, 1, 0x7C, 0x02, 0x7F, 0x20, 0, 0x41, 0, 0x11, 0, 0, 0x20, 0, 0x0D, 0, 0x1A, 0x41, 9, 0x0B,
                0x41, 0, 0x40, 0, 0x6A, 0x0B),
     "runs"},
    {"ii", "l", "wide", NULL, BUILD_BODY(0, 0x20, 0, 0xAD, 0x0B), NULL},
};
static const build_module MODULE = {.funcs = FUNCS, .func_count = 3, .memory_min = 1, .memory_max = 4, .table_min = 4};

static wr_status whole_life(fixture *fix, ledger *book) {
    const wr_engine_config config = {.bounds = WR_BOUNDS_CHECKED, .alloc = ledger_alloc, .alloc_user = book};
    wr_slot slot = {.u64 = 21};
    const wr_wasi_config wasi_config = {.args = (const char *const[]){"it"}, .arg_count = 1};
    wr_wasi *wasi = NULL;
    wr_extern import;
    wr_status status = fixture_module(fix, &config, &MODULE);
    status = status == WR_OK ? wr_wasi_new(fix->store, &wasi_config, &wasi) : status;
    status = status == WR_OK ? wr_wasi_import(wasi, "fd_write", 8, &import) : status;
    return status == WR_OK ? fixture_call(fix, "run", &slot) : status;
}

static void every_allocation_fails_once(check_t *check) {
    uint64_t allowed = 0;
    bool done = false;
    for (; !done && allowed < 10000; allowed++) {
        ledger book = {.allowed = allowed};
        fixture fix;
        wr_status status = whole_life(&fix, &book);
        done = status == WR_OK && book.refused == 0;
        if (book.refused > 0 && status != WR_OK) {
            CHECK_STATUS(status, WR_NO_MEMORY);
        }
        fixture_close(&fix);
        if (!CHECK(book.blocks == 0 && book.bytes == 0 && book.wrong_sizes == 0)) {
            CHECK_FAIL("%" PRIu64 " allowed: %" PRIu64 " blocks, %" PRIu64 " bytes left, %" PRIu64 " wrong sizes",
                       allowed, book.blocks, book.bytes, book.wrong_sizes);
            return;
        }
    }
    CHECK(done);
    CHECK(allowed > 10); /* the allocator was really asked */
}

/* In pieces, too: also what is held of an incomplete section, and what is made after a failure was told. */
static wr_status load_pieces(ledger *book, const wr_limits *limits, const build_t *bytes, size_t announced) {
    enum { PIECE = 7 };
    const wr_engine_config config = {.limits = *limits, .alloc = ledger_alloc, .alloc_user = book};
    wr_engine *engine;
    wr_module_stream *stream;
    wr_module *module = NULL;
    wr_status status = wr_engine_new(&config, &engine);
    if (status != WR_OK) return status;
    status = wr_module_begin(engine, announced, &stream, NULL);
    if (status == WR_OK) {
        for (size_t at = 0; at < bytes->len; at += PIECE) {
            (void)wr_module_feed(stream, bytes->at + at, bytes->len - at < PIECE ? bytes->len - at : PIECE, NULL);
        }
        status = wr_module_finish(stream, &module, NULL);
    }
    wr_module_release(module);
    wr_engine_free(engine);
    return status;
}

static void every_allocation_of_pieces_fails_once(check_t *check) {
    const wr_limits defaults = {0};
    build_t bytes = {0};
    wr_status status = WR_NO_MEMORY;
    uint64_t allowed = 0;
    build_whole(&bytes, &MODULE);
    for (; status != WR_OK && allowed < 10000; allowed++) {
        ledger book = {.allowed = allowed};
        status = load_pieces(&book, &defaults, &bytes, 0);
        CHECK_STATUS(status, book.refused == 0 ? WR_OK : WR_NO_MEMORY);
        REQUIRE(book.blocks == 0 && book.bytes == 0 && book.wrong_sizes == 0);
    }
    CHECK(allowed > 10);
    build_free(&bytes);
}

/* Wherever the limit strikes, whether it is known beforehand or not: the status is clear and nothing leaks. */
static void every_limit_of_memory(check_t *check) {
    enum { STEP = 8 };
    build_t bytes = {0};
    build_whole(&bytes, &MODULE);
    for (int knows = 0; knows < 2; knows++) {
        wr_limits limits = {.load_ratio_max = 1, .load_bytes_min = 1};
        wr_status status = WR_LIMIT_LOAD_BYTES;
        for (; status == WR_LIMIT_LOAD_BYTES; limits.load_bytes_min += STEP) {
            ledger book = {.allowed = UINT64_MAX};
            status = load_pieces(&book, &limits, &bytes, knows ? bytes.len : 0);
            REQUIRE(book.blocks == 0 && book.bytes == 0 && book.wrong_sizes == 0);
        }
        CHECK_OK(status);
        CHECK(limits.load_bytes_min > 100 * STEP); /* it was refused at many places */
    }
    build_free(&bytes);
}

/* Memory that is refused by the allocator is not blamed on the module. */
static void a_failed_load_changes_nothing(check_t *check) {
    ledger book = {.allowed = UINT64_MAX};
    const wr_engine_config config = {.alloc = ledger_alloc, .alloc_user = &book};
    fixture fix;
    build_t bytes = {0};
    wr_module *module = NULL;
    REQUIRE_OK(fixture_open(&fix, &config));
    build_whole(&bytes, &MODULE);
    uint64_t before = book.bytes;
    for (uint64_t allowed = 0; allowed < 5; allowed++) {
        wr_error error = {0};
        book.allowed = allowed;
        CHECK_STATUS(wr_module_load(fix.engine, bytes.at, bytes.len, &module, &error), WR_NO_MEMORY);
        CHECK_CONTAINS(error.message, "out of memory");
        CHECK_EQ_U64(book.bytes, before);
    }
    book.allowed = UINT64_MAX;
    CHECK_OK(fixture_load(&fix, &bytes));
    CHECK_OK(fixture_link(&fix, NULL, 0, NULL));
    fixture_close(&fix);
    CHECK_EQ_U64(book.bytes, 0);
}

static void refused_modules_leave_nothing(check_t *check) {
    ledger book = {.allowed = UINT64_MAX};
    const wr_engine_config config = {.alloc = ledger_alloc, .alloc_user = &book};
    fixture fix;
    build_t bytes = {0};
    REQUIRE_OK(fixture_open(&fix, &config));
    uint64_t before = book.bytes;
    build_whole(&bytes, &MODULE);
    for (size_t len = 0; len < bytes.len; len++) {
        wr_module *module = NULL;
        if (wr_module_load(fix.engine, bytes.at, len, &module, NULL) == WR_OK) {
            wr_module_release(module);
        }
        REQUIRE(book.bytes == before);
    }
    build_free(&bytes);
    fixture_close(&fix);
    CHECK_EQ_U64(book.wrong_sizes, 0);
}

static const check_test TESTS[] = {
    CHECK_TEST(every_allocation_fails_once),   CHECK_TEST(every_allocation_of_pieces_fails_once),
    CHECK_TEST(every_limit_of_memory),         CHECK_TEST(a_failed_load_changes_nothing),
    CHECK_TEST(refused_modules_leave_nothing),
};
CHECK_MAIN(TESTS)
