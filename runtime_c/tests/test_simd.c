/* Vectors where the official suite does not look: in the API, as values that travel, in other memories. */
#include "../wasm/interp.h"
#include "fixture.h"

#define BYTES_A 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10
#define BYTES_B 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF, 0xF0
#define CONST_A 0xFD, 0x0C, BYTES_A
#define CONST_B 0xFD, 0x0C, BYTES_B

#ifdef WR_NO_SIMD

static void vectors_are_refused(check_t *check) {
    const build_func TYPED[] = {{"v", "", "f", NULL, BUILD_BODY(0, 0x0B), NULL}};
    const build_func CODED[] = {{"", "", "f", NULL, BUILD_BODY(0, CONST_A, 0x1A, 0x0B), NULL}};
    const build_module modules[] = {{.funcs = TYPED, .func_count = 1}, {.funcs = CODED, .func_count = 1}};
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        fixture fix;
        CHECK_STATUS(fixture_module(&fix, NULL, &modules[i]), WR_UNSUPPORTED);
        fixture_close(&fix);
    }
}

static const check_test TESTS[] = {CHECK_TEST(vectors_are_refused)};

#else

static const uint8_t A[] = {BYTES_A};
static const uint8_t B[] = {BYTES_B};

/* ---- values ------------------------------------------------------------------------------------------------ */

/* Constants are not loaded before they are needed: here by a table of branches, by select and by a local. */
static void constants_travel(check_t *check) {
    const build_func FUNCS[] = {
        {"i", "v", "branch", NULL,
         BUILD_BODY(0, 0x02, 0x7B, 0x02, 0x7B, CONST_A, 0x20, 0, 0x0E, 1, 0, 1, 0x0B, 0x1A, CONST_B, 0x0B, 0x0B), NULL},
        {"i", "v", "select", NULL, BUILD_BODY(0, CONST_A, CONST_B, 0x20, 0, 0x1B, 0x0B), NULL},
        {"i", "v", "local", NULL,
         BUILD_BODY(1, 1, 0x7B, CONST_A, 0x21, 1, 0x20, 0, 0x04, 0x40, 0x05, CONST_B, 0x21, 1, 0x0B, 0x20, 1, 0x0B),
         NULL},
    };
    const build_module module = {.funcs = FUNCS, .func_count = 3};
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &module));
    for (size_t i = 0; i < module.func_count; i++) {
        for (uint32_t choice = 0; choice < 2; choice++) {
            wr_slot slots[2] = {{.u64 = choice}, {.u64 = 0}};
            CHECK_OK(fixture_call(&fix, FUNCS[i].export_name, slots));
            CHECK_MEM(slots, choice == 1 ? A : B, 16);
        }
    }
    fixture_close(&fix);
}

/* Of the copy of the code for memories without guard pages, which has other handlers: a constant that looks like one of
 * those stays what it is, and so do the targets of a br_table. */
static void operands_of_checked_code_stay(check_t *check) {
    enum { WHERE = 3, TARGETS = 6 };
    uint8_t constant[] = {0, 0xFD, 0x0C, BYTES_A, 0x0B};
    const uint64_t handler = wr_interp_handlers()[OP_I32_LOAD_G];
    memcpy(constant + WHERE, &handler, sizeof handler);
    memcpy(constant + WHERE + sizeof handler, &handler, sizeof handler);
    const build_func FUNCS[] = {
        {"", "v", "constant", NULL, constant, sizeof constant, NULL},
        {"i", "i", "target", NULL,
         BUILD_BODY(0, 0x02, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0E, TARGETS, 0, 1, 2, 0, 1, 2, 1, 0x0B, 0x41, 0,
                    0x0F, 0x0B, 0x41, 1, 0x0F, 0x0B, 0x41, 2, 0x0B),
         NULL},
    };
    const build_module module = {.funcs = FUNCS, .func_count = 2, .memory_min = 1, .memory_max = 1};
    const wr_instance_limits limits = {.map_bytes = UINT64_C(16) << 30}; /* too much for guard pages */
    fixture fix;
    build_t bytes = {0};
    if (sizeof(void *) < 8) return; /* all code is checked */
    build_whole(&bytes, &module);
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, NULL, 0, &limits));
    CHECK(!wr_memory_is_guarded(wr_instance_memory(fix.instance, 0)));
    wr_slot slots[2];
    CHECK_OK(fixture_call(&fix, "constant", slots));
    CHECK_MEM(slots, constant + WHERE, 16);
    for (uint32_t i = 0; i < TARGETS + 2; i++) {
        slots[0].u64 = i;
        CHECK_OK(fixture_call(&fix, "target", slots));
        CHECK_EQ_U64(slots[0].u32, i < TARGETS ? i % 3 : 1);
    }
    fixture_close(&fix);
}

/* Words move as one, bytes alone; the result may be one of the operands. */
static void shuffles_in_place(check_t *check) {
    const build_func FUNCS[] = {
        {"vv", "v", "words", NULL,
         BUILD_BODY(0, 0x20, 0, 0x20, 1, 0xFD, 0x0D, 28, 29, 30, 31, 8, 9, 10, 11, 20, 21, 22, 23, 0, 1, 2, 3, 0x21, 0,
                    0x20, 0, 0x0B),
         NULL},
        {"vv", "v", "bytes", NULL,
         BUILD_BODY(0, 0x20, 0, 0x20, 1, 0xFD, 0x0D, 31, 0, 30, 1, 29, 2, 28, 3, 27, 4, 26, 5, 25, 6, 24, 7, 0x21, 0,
                    0x20, 0, 0x0B),
         NULL},
    };
    static const uint8_t WANT[2][16] = {
        {0xFD, 0xFE, 0xFF, 0xF0, 0x09, 0x0A, 0x0B, 0x0C, 0xF5, 0xF6, 0xF7, 0xF8, 0x01, 0x02, 0x03, 0x04},
        {0xF0, 0x01, 0xFF, 0x02, 0xFE, 0x03, 0xFD, 0x04, 0xFC, 0x05, 0xFB, 0x06, 0xFA, 0x07, 0xF9, 0x08},
    };
    const build_module module = {.funcs = FUNCS, .func_count = 2};
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &module));
    for (size_t i = 0; i < 2; i++) {
        wr_slot slots[4];
        memcpy(slots, A, 16);
        memcpy(slots + 2, B, 16);
        CHECK_OK(fixture_call(&fix, FUNCS[i].export_name, slots));
        CHECK_MEM(slots, WANT[i], 16);
    }
    fixture_close(&fix);
}

/* ---- the API ----------------------------------------------------------------------------------------------- */

static wr_status add_to_halves(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec, (void)env;
    slots[0].u64 += slots[2].u32;
    slots[1].u64 += slots[2].u32;
    return WR_OK;
}

/* (vector, number) -> (number, vector), by way of the host. */
static void host_functions_take_vectors(check_t *check) {
    const build_func FUNCS[] = {
        {"vi", "v", NULL, "add", NULL, 0, NULL},
        {"vi", "iv", "f", NULL, BUILD_BODY(0, 0x20, 1, 0x20, 0, 0x20, 1, 0x10, 0, 0x0B), NULL},
    };
    const build_module module = {.funcs = FUNCS, .func_count = 2};
    const wr_func_type type = {(const uint8_t[]){WR_TYPE_V128, WR_TYPE_I32}, (const uint8_t[]){WR_TYPE_V128}, 2, 1};
    fixture fix;
    build_t bytes = {0};
    wr_extern import = {WR_EXTERN_FUNC, {NULL}};
    wr_slot slots[3] = {{.u64 = 10}, {.u64 = 20}, {.u64 = 7}};
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(wr_func_new(fix.store, &type, add_to_halves, NULL, &import.of.func));
    build_whole(&bytes, &module);
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, &import, 1, NULL));
    CHECK_OK(fixture_call(&fix, "f", slots));
    CHECK_EQ_U64(slots[0].u32, 7);
    CHECK_EQ_U64(slots[1].u64, 17);
    CHECK_EQ_U64(slots[2].u64, 27);
    fixture_close(&fix);
}

/* Imports a mutable vector and defines two constants from a constant expression and from an import. */
static void load_globals_module(build_t *out) {
    static const uint8_t IMPORTS[] = {2, 1, 'e', 1, 'c', 3, 0x7B, 0, 1, 'e', 1, 'v', 3, 0x7B, 1};
    static const uint8_t GLOBALS[] = {2, 0x7B, 0, CONST_B, 0x0B, 0x7B, 0, 0x23, 0, 0x0B};
    static const uint8_t EXPORTS[] = {2, 1, 'b', 3, 2, 1, 'd', 3, 3};
    static const uint8_t CODE[] = {1, 6, 0, 0x23, 2, 0x24, 1, 0x0B}; /* v = b */
    const struct {
        int id;
        const uint8_t *bytes;
        size_t len;
    } SECTIONS[] = {
        {BUILD_TYPES, (const uint8_t[]){1, 0x60, 0, 0}, 4},
        {BUILD_IMPORTS, IMPORTS, sizeof IMPORTS},
        {BUILD_FUNCTIONS, (const uint8_t[]){1, 0}, 2},
        {BUILD_GLOBALS, GLOBALS, sizeof GLOBALS},
        {BUILD_EXPORTS, EXPORTS, sizeof EXPORTS},
        {BUILD_START, (const uint8_t[]){0}, 1},
        {BUILD_CODE, CODE, sizeof CODE},
    };
    build_header(out);
    for (size_t i = 0; i < sizeof SECTIONS / sizeof SECTIONS[0]; i++) {
        size_t mark = build_open(out, SECTIONS[i].id);
        build_bytes(out, SECTIONS[i].bytes, SECTIONS[i].len);
        build_close(out, mark);
    }
}

static void globals_hold_vectors(check_t *check) {
    fixture fix;
    build_t bytes = {0};
    wr_extern imports[2] = {{WR_EXTERN_GLOBAL, {NULL}}, {WR_EXTERN_GLOBAL, {NULL}}};
    wr_extern found;
    wr_slot value[2];
    bool is_mutable = true;
    REQUIRE_OK(fixture_open(&fix, NULL));
    memcpy(value, A, 16);
    REQUIRE_OK(wr_global_new_v128(fix.store, false, value, &imports[0].of.global));
    REQUIRE_OK(wr_global_new_v128(fix.store, true, value, &imports[1].of.global));
    load_globals_module(&bytes);
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, imports, 2, NULL));
    CHECK_OK(wr_global_get_v128(imports[1].of.global, value));
    CHECK_MEM(value, B, 16);
    REQUIRE_OK(wr_instance_export(fix.instance, "d", 1, &found));
    CHECK_EQ_U64(wr_global_type_of(found.of.global, &is_mutable), WR_TYPE_V128);
    CHECK(!is_mutable);
    CHECK_OK(wr_global_get_v128(found.of.global, value));
    CHECK_MEM(value, A, 16);
    fixture_close(&fix);
}

static void globals_keep_their_type(check_t *check) {
    fixture fix;
    wr_global *constant = NULL, *variable = NULL, *number = NULL;
    wr_slot value[2] = {{.u64 = 1}, {.u64 = 2}};
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(wr_global_new_v128(fix.store, false, value, &constant));
    REQUIRE_OK(wr_global_new_v128(fix.store, true, value, &variable));
    REQUIRE_OK(wr_global_new(fix.store, WR_TYPE_I64, true, value[0], &number));
    CHECK_STATUS(wr_global_new(fix.store, WR_TYPE_V128, true, value[0], &number), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_global_set(variable, value[1]), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_global_set_v128(constant, value), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_global_set_v128(number, value), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_global_get_v128(number, value), WR_BAD_ARGUMENT);
    value[1].u64 = 3;
    CHECK_OK(wr_global_set_v128(variable, value));
    value[1].u64 = 0;
    CHECK_OK(wr_global_get_v128(variable, value));
    CHECK_EQ_U64(value[1].u64, 3);
    CHECK_EQ_U64(wr_global_get(variable).u64, 1);
    fixture_close(&fix);
}

/* ---- lanes in another memory -------------------------------------------------------------------------------- */

/* Memory 1 has 64-bit addresses; put(address, vector) stores lane 3, get(address, vector) loads lane 1, 4 bytes on. */
static void load_lanes_module(build_t *out) {
    const build_func FUNCS[] = {
        {"lv", "", "put", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 1, 0xFD, 0x5A, 0x42, 1, 4, 3, 0x0B), NULL},
        {"lv", "v", "get", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 1, 0xFD, 0x56, 0x42, 1, 4, 1, 0x0B), NULL},
    };
    build_header(out);
    size_t mark = build_open(out, BUILD_TYPES);
    build_u32(out, 2);
    for (size_t i = 0; i < 2; i++) build_type(out, FUNCS[i].params, FUNCS[i].results);
    build_close(out, mark);
    mark = build_open(out, BUILD_FUNCTIONS);
    build_bytes(out, "\2\0\1", 3);
    build_close(out, mark);
    mark = build_open(out, BUILD_MEMORIES);
    build_bytes(out, "\2\0\1\4\1", 5);
    build_close(out, mark);
    mark = build_open(out, BUILD_EXPORTS);
    build_bytes(out, "\2\3put\0\0\3get\0\1", 13);
    build_close(out, mark);
    mark = build_open(out, BUILD_CODE);
    build_u32(out, 2);
    for (size_t i = 0; i < 2; i++) {
        size_t body = build_open(out, -1);
        build_bytes(out, FUNCS[i].body, FUNCS[i].body_len);
        build_close(out, body);
    }
    build_close(out, mark);
}

static void lanes_reach_every_memory(check_t *check) {
    static const uint8_t LOADED[] = {0x01, 0x02, 0x03, 0x04, 0x0D, 0x0E, 0x0F, 0x10,
                                     0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10};
    static const wr_bounds BOUNDS[] = {WR_BOUNDS_AUTO, WR_BOUNDS_CHECKED};
    for (size_t i = 0; i < sizeof BOUNDS / sizeof BOUNDS[0]; i++) {
        const wr_engine_config config = {.bounds = BOUNDS[i]};
        fixture fix;
        build_t bytes = {0};
        wr_slot slots[3] = {{.u64 = 9}, {.u64 = 0}, {.u64 = 0}};
        REQUIRE_OK(fixture_open(&fix, &config));
        load_lanes_module(&bytes);
        REQUIRE_OK(fixture_load(&fix, &bytes));
        REQUIRE_OK(fixture_link(&fix, NULL, 0, NULL));
        memcpy(slots + 1, A, 16);
        CHECK_OK(fixture_call(&fix, "put", slots));
        CHECK_MEM(wr_memory_at(wr_instance_memory(fix.instance, 1), 13, 4), A + 12, 4);
        slots[0].u64 = 9;
        memcpy(slots + 1, A, 16);
        CHECK_OK(fixture_call(&fix, "get", slots));
        CHECK_MEM(slots, LOADED, 16);
        slots[0].u64 = 65536 - 7;
        CHECK_STATUS(fixture_call(&fix, "get", slots), WR_TRAP_MEMORY_BOUNDS);
        slots[0].u64 = UINT64_MAX - 2; /* with the offset it would be 1 */
        CHECK_STATUS(fixture_call(&fix, "put", slots), WR_TRAP_MEMORY_BOUNDS);
        fixture_close(&fix);
    }
}

/* A store that does not fit leaves no part of it behind. */
static void stores_are_whole(check_t *check) {
    const build_func FUNCS[] = {
        {"iv", "", "put", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 1, 0xFD, 0x0B, 0, 0, 0x0B), NULL},
    };
    const build_module module = {.funcs = FUNCS, .func_count = 1, .memory_min = 1, .memory_max = 1};
    fixture fix;
    wr_slot slots[3] = {{.u64 = 65536 - 15}, {.u64 = UINT64_MAX}, {.u64 = UINT64_MAX}};
    REQUIRE_OK(fixture_module(&fix, NULL, &module));
    CHECK_STATUS(fixture_call(&fix, "put", slots), WR_TRAP_MEMORY_BOUNDS);
    static const uint8_t ZEROS[15];
    CHECK_MEM(wr_memory_at(wr_instance_memory(fix.instance, 0), 65536 - 15, 15), ZEROS, 15);
    fixture_close(&fix);
}

static const check_test TESTS[] = {
    CHECK_TEST(constants_travel),
    CHECK_TEST(shuffles_in_place),
    CHECK_TEST(host_functions_take_vectors),
    CHECK_TEST(globals_hold_vectors),
    CHECK_TEST(globals_keep_their_type),
    CHECK_TEST(lanes_reach_every_memory),
    CHECK_TEST(stores_are_whole),
    CHECK_TEST(operands_of_checked_code_stay),
};

#endif

CHECK_MAIN(TESTS)
