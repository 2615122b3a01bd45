/* What the translator remembers of open blocks, where the official suite does not look. */
#include "fixture.h"

/* ---- tables of branches whose values have to move ---------------------------------------------------------------- */

/* A value that stays below makes the outer label's slot another one than that of the table's value. */
#define TABLE_BODY(KEPT, CARRIED)                                                                                 \
    BUILD_BODY(0, 0x02, 0x7F, 0x41, KEPT, 0x02, 0x7F, 0x41, CARRIED, 0x20, 0, 0x0E, 1, 0, 1, 0x0B, 0x6A, 0x0B, 0x0B)

/* What moves the values for a label belongs to one table: another function's may begin at the same instruction, and a
 * label of the same depth have another place for them. */
static void each_table_moves_its_own_values(check_t *check) {
    const build_func FUNCS[] = {
        {"i", "i", "first", NULL, TABLE_BODY(5, 7), NULL},
        {"i", "i", "second", NULL, TABLE_BODY(6, 9), NULL},
        {"i", "i", "two", NULL,
         BUILD_BODY(0, 0x41, 1, 0x02, 0x7F, 0x41, 5, 0x02, 0x7F, 0x41, 7, 0x20, 0, 0x0E, 1, 0, 1, 0x0B, 0x6A, 0x0B,
                    0x02, 0x7F, 0x41, 3, 0x02, 0x7F, 0x41, 8, 0x20, 0, 0x0E, 1, 0, 1, 0x0B, 0x6A, 0x0B, 0x6C, 0x6A,
                    0x0B),
         NULL},
    };
    const uint32_t expected[][2] = {{12, 7}, {15, 9}, {1 + 12 * 11, 1 + 7 * 8}};
    const build_module module = {.funcs = FUNCS, .func_count = 3};
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &module));
    for (size_t i = 0; i < module.func_count; i++) {
        for (uint32_t choice = 0; choice < 2; choice++) {
            wr_slot slots[1] = {{.u64 = choice}};
            CHECK_OK(fixture_call(&fix, FUNCS[i].export_name, slots));
            CHECK_EQ_U64(slots[0].u32, expected[i][choice]);
        }
    }
    fixture_close(&fix);
}

/* ---- clauses of open try_tables ---------------------------------------------------------------------------------- */

#ifndef WR_NO_EXCEPTIONS
enum { TAGS = 13 };

/* A function without parameters that returns an i32, and a tag without values. */
static wr_status load_thrower(fixture *fix, const uint8_t *body, size_t len) {
    build_t bytes = {0};
    build_header(&bytes);
    size_t mark = build_open(&bytes, BUILD_TYPES);
    build_u32(&bytes, 2);
    build_type(&bytes, "", "i");
    build_type(&bytes, "", "");
    build_close(&bytes, mark);
    mark = build_open(&bytes, BUILD_FUNCTIONS);
    build_bytes(&bytes, (const uint8_t[]){1, 0}, 2);
    build_close(&bytes, mark);
    mark = build_open(&bytes, TAGS);
    build_bytes(&bytes, (const uint8_t[]){1, 0, 1}, 3);
    build_close(&bytes, mark);
    mark = build_open(&bytes, BUILD_EXPORTS);
    build_bytes(&bytes, (const uint8_t[]){1, 1, 'f', 0, 0}, 5);
    build_close(&bytes, mark);
    mark = build_open(&bytes, BUILD_CODE);
    build_u32(&bytes, 1);
    const size_t size = build_open(&bytes, -1);
    build_bytes(&bytes, body, len);
    build_close(&bytes, size);
    build_close(&bytes, mark);
    const wr_status status = fixture_load(fix, &bytes);
    return status == WR_OK ? fixture_link(fix, NULL, 0, NULL) : status;
}

/* Two blocks to go on at, 2 and 1 by what they return; 0: nothing was thrown. */
#define TWO_BLOCKS(...)                                                                                        \
    BUILD_BODY(0, 0x02, 0x40, 0x02, 0x40, __VA_ARGS__, 0x41, 0, 0x0F, 0x0B, 0x41, 1, 0x0F, 0x0B, 0x41, 2, 0x0B)
#define TRY(...) 0x1F, 0x40, __VA_ARGS__
#define CATCH_ALL(LABEL) 1, 2, LABEL
#define THROW 0x08, 0
#define END 0x0B

/* One without clauses begins at the same instruction as the one around it, whose clauses it must leave alone. */
static void clauses_are_those_of_their_own_block(check_t *check) {
    const struct {
        const char *what;
        const uint8_t *body;
        size_t len;
        uint32_t lands;
    } ROWS[] = {
        {"behind one without", TWO_BLOCKS(TRY(CATCH_ALL(0)), TRY(0), END, THROW, END), 1},
        {"in one without", TWO_BLOCKS(TRY(CATCH_ALL(0)), TRY(0), THROW, END, END), 1},
        {"around one with", TWO_BLOCKS(TRY(0), TRY(CATCH_ALL(2)), THROW, END, END), 2},
        {"inner of two", TWO_BLOCKS(TRY(CATCH_ALL(0)), TRY(CATCH_ALL(2)), THROW, END, END), 2},
        {"outer of two", TWO_BLOCKS(TRY(CATCH_ALL(0)), TRY(CATCH_ALL(2)), END, THROW, END), 1},
        {"second of two", TWO_BLOCKS(TRY(CATCH_ALL(0)), END, TRY(CATCH_ALL(1)), THROW, END), 2},
        {"two clauses", TWO_BLOCKS(TRY(CATCH_ALL(0)), TRY(2, 0, 0, 2, 2, 1), THROW, END, END), 2},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        fixture fix;
        wr_slot result = {.u64 = 99};
        REQUIRE_OK(fixture_open(&fix, NULL));
        CHECK_OK(load_thrower(&fix, ROWS[i].body, ROWS[i].len));
        CHECK_OK(fixture_call(&fix, "f", &result));
        if (result.u32 != ROWS[i].lands) CHECK_FAIL("%s: lands at %u", ROWS[i].what, result.u32);
        fixture_close(&fix);
    }
}
#endif

static const check_test TESTS[] = {
    CHECK_TEST(each_table_moves_its_own_values),
#ifndef WR_NO_EXCEPTIONS
    CHECK_TEST(clauses_are_those_of_their_own_block),
#endif
};

CHECK_MAIN(TESTS)
