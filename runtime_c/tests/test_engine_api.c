/* The public API: modules, imports, exports, globals, host functions in both directions. */
#include "fixture.h"

/* ---- modules ----------------------------------------------------------------------------------------------- */

static const build_func ADD[] = {
    {"ii", "i", "add", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 1, 0x6A, 0x0B), "plus"},
};
static const build_module ADD_MODULE = {.funcs = ADD, .func_count = 1, .memory_min = 1, .memory_max = 2};

static void calls_an_export(check_t *check) {
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &ADD_MODULE));
    wr_slot slots[2] = {{.u64 = 0}, {.u64 = 0}};
    slots[0].u32 = 0xFFFFFFFF;
    slots[1].u32 = 3;
    CHECK_OK(fixture_call(&fix, "add", slots));
    CHECK_EQ_U64(slots[0].u32, 2);
    wr_func_type type = wr_func_type_of(fixture_func(&fix, "add"));
    CHECK_EQ_U64(type.param_count, 2);
    CHECK_EQ_U64(type.result_count, 1);
    CHECK_EQ_U64(type.params[1], WR_TYPE_I32);
    fixture_close(&fix);
}

static void describes_a_module(check_t *check) {
    fixture fix;
    uint32_t len = 0;
    REQUIRE_OK(fixture_module(&fix, NULL, &ADD_MODULE));
    CHECK_EQ_U64(wr_module_import_count(fix.module), 0);
    REQUIRE(wr_module_export_count(fix.module) == 2);
    wr_export_desc memory = wr_module_export(fix.module, 0);
    CHECK_EQ_U64(memory.kind, WR_EXTERN_MEMORY);
    CHECK_EQ_U64(memory.name_len, 6);
    CHECK_MEM(memory.name, "memory", 6);
    CHECK_EQ_U64(wr_module_export(fix.module, 1).kind, WR_EXTERN_FUNC);
    const char *name = wr_module_func_name(fix.module, 0, &len);
    REQUIRE(name != NULL && len == 4);
    CHECK_MEM(name, "plus", 4);
    CHECK(wr_module_func_name(fix.module, 1, &len) == NULL);
    CHECK(wr_module_footprint(fix.module) > 0);
    fixture_close(&fix);
}

/* Every kind at once needs a build with exceptions and threads; test_features.c looks at those without. */
#if !defined(WR_NO_EXCEPTIONS) && !defined(WR_NO_THREADS)
static void tells_types(check_t *check) {
    /* a table of 1 to 9 externref, a shared memory of 2 to 3 pages, a tag (i32) -> nothing, a mutable f32 */
    static const char SECTIONS[] = "\x01\x05\x01\x60\x01\x7F\x00\x04\x05\x01\x6F\x01\x01\x09\x05\x04\x01\x03\x02\x03"
                                   "\x0D\x03\x01\x00\x00\x06\x09\x01\x7D\x01\x43\x00\x00\x00\x00\x0B";
    fixture fix;
    build_t bytes = {0};
    REQUIRE_OK(fixture_open(&fix, NULL));
    build_header(&bytes);
    build_bytes(&bytes, SECTIONS, sizeof SECTIONS - 1);
    REQUIRE_OK(fixture_load(&fix, &bytes));
    CHECK_EQ_U64(wr_module_count(fix.module, WR_EXTERN_FUNC), 0);
    for (wr_extern_kind kind = WR_EXTERN_TABLE; kind <= WR_EXTERN_TAG; kind++) {
        REQUIRE(wr_module_count(fix.module, kind) == 1);
        CHECK_EQ_U64(wr_module_type(fix.module, kind, 0).kind, kind);
    }
    wr_extern_type table = wr_module_type(fix.module, WR_EXTERN_TABLE, 0);
    CHECK(table.value == WR_TYPE_EXTERNREF && table.min == 1 && table.max == 9 && !table.is64);
    wr_extern_type memory = wr_module_type(fix.module, WR_EXTERN_MEMORY, 0);
    CHECK(memory.min == 2 && memory.max == 3 && memory.is_shared && !memory.is64);
    wr_extern_type tag = wr_module_type(fix.module, WR_EXTERN_TAG, 0);
    CHECK(tag.func.param_count == 1 && tag.func.params[0] == WR_TYPE_I32 && tag.func.result_count == 0);
    wr_extern_type global = wr_module_type(fix.module, WR_EXTERN_GLOBAL, 0);
    CHECK(global.value == WR_TYPE_F32 && global.is_mutable);
    fixture_close(&fix);
}
#endif

static void tells_imports(check_t *check) {
    static const char *const MODULES[] = {"aa", "bb", "bb", "b", ""};
    enum { IMPORTS = sizeof MODULES / sizeof MODULES[0] };
    fixture fix;
    build_t bytes = {0};
    REQUIRE_OK(fixture_open(&fix, NULL));
    build_header(&bytes);
    size_t mark = build_open(&bytes, BUILD_TYPES);
    build_u32(&bytes, 1);
    build_type(&bytes, "i", "");
    build_close(&bytes, mark);
    mark = build_open(&bytes, BUILD_IMPORTS);
    build_u32(&bytes, IMPORTS);
    for (size_t i = 0; i < IMPORTS; i++) {
        build_name(&bytes, MODULES[i]);
        build_name(&bytes, i % 2 == 0 ? "global" : "function");
        build_bytes(&bytes, i % 2 == 0 ? "\3\x7F\1" : "\0\0", i % 2 == 0 ? 3 : 2);
    }
    build_close(&bytes, mark);
    REQUIRE_OK(fixture_load(&fix, &bytes));
    for (uint32_t i = 0; i < IMPORTS; i++) {
        const wr_import_desc import = wr_module_import(fix.module, i);
        CHECK_STR(import.module, MODULES[i]);
        CHECK_STR(import.name, i % 2 == 0 ? "global" : "function");
        CHECK_EQ_U64(import.kind, i % 2 == 0 ? WR_EXTERN_GLOBAL : WR_EXTERN_FUNC);
        CHECK_EQ_U64(import.index, i / 2);
    }
    fixture_close(&fix);
}

/* A module with a memory, up to its first export; returns what build_close takes. */
static size_t open_exports(build_t *bytes, uint32_t count) {
    build_header(bytes);
    const size_t memories = build_open(bytes, BUILD_MEMORIES);
    build_bytes(bytes, "\1\0\1", 3);
    build_close(bytes, memories);
    const size_t exports = build_open(bytes, BUILD_EXPORTS);
    build_u32(bytes, count);
    return exports;
}

static void tells_exports(check_t *check) {
    static const char *const NAMES[] = {"memory", "", "of", "this", "module"};
    enum { EXPORTS = sizeof NAMES / sizeof NAMES[0] };
    fixture fix;
    build_t bytes = {0};
    REQUIRE_OK(fixture_open(&fix, NULL));
    const size_t mark = open_exports(&bytes, EXPORTS);
    for (size_t i = 0; i < EXPORTS; i++) {
        build_name(&bytes, NAMES[i]);
        build_bytes(&bytes, "\2\0", 2);
    }
    build_close(&bytes, mark);
    REQUIRE_OK(fixture_load(&fix, &bytes));
    for (uint32_t i = 0; i < EXPORTS; i++) CHECK_STR(wr_module_export(fix.module, i).name, NAMES[i]);
    fixture_close(&fix);
}

/* A count that leaves no room for a name as long as this one: the names are not written anywhere else. */
static void exports_are_counted(check_t *check) {
    enum { EXPORTS = 30000, NAME_BYTES = 60000 };
    const wr_engine_config config = {.limits.load_ratio_max = 100}; /* what is claimed does not fit into the bytes */
    fixture fix;
    build_t bytes = {0};
    REQUIRE_OK(fixture_open(&fix, &config));
    const size_t mark = open_exports(&bytes, EXPORTS);
    build_u32(&bytes, NAME_BYTES);
    for (size_t i = 0; i < NAME_BYTES; i++) build_byte(&bytes, 'n');
    build_bytes(&bytes, "\2\0", 2);
    build_close(&bytes, mark);
    CHECK_STATUS(fixture_load(&fix, &bytes), WR_UNEXPECTED_END);
    fixture_close(&fix);
}

static void finds_custom_sections(check_t *check) {
    fixture fix;
    build_t bytes = {0};
    size_t len = 0;
    REQUIRE_OK(fixture_open(&fix, NULL));
    build_header(&bytes);
    size_t mark = build_open(&bytes, 0);
    build_name(&bytes, "note");
    build_bytes(&bytes, "a\0b", 3);
    build_close(&bytes, mark);
    REQUIRE_OK(fixture_load(&fix, &bytes));
    const uint8_t *note = wr_module_custom(fix.module, "note", &len);
    REQUIRE(note != NULL);
    CHECK_EQ_U64(len, 3);
    CHECK_MEM(note, "a\0b", 3);
    CHECK(wr_module_custom(fix.module, "not", &len) == NULL);
    CHECK(wr_module_custom(fix.module, "notes", &len) == NULL);
    fixture_close(&fix);
}

static void errors_tell_where(check_t *check) {
    const build_func BROKEN[] = {{"", "i", "f", NULL, BUILD_BODY(0, 0x42, 0, 0x0B), NULL}}; /* i64.const 0 */
    const build_module module = {.funcs = BROKEN, .func_count = 1};
    fixture fix;
    build_t bytes = {0};
    REQUIRE_OK(fixture_open(&fix, NULL));
    build_whole(&bytes, &module);
    size_t end = bytes.len - 1;
    CHECK_STATUS(fixture_load(&fix, &bytes), WR_TYPE_MISMATCH);
    CHECK_STATUS(fix.error.status, WR_TYPE_MISMATCH);
    CHECK_EQ_U64(fix.error.offset, end);
    CHECK_CONTAINS(fix.error.message, "type mismatch");
    build_bytes(&bytes, "\0asm\2\0\0\0", 8);
    CHECK_STATUS(fixture_load(&fix, &bytes), WR_BAD_VERSION);
    CHECK_STATUS(wr_module_load(fix.engine, (const uint8_t *)"", 0, &fix.module, NULL), WR_UNEXPECTED_END);
    fixture_close(&fix);
}

static void modules_are_counted(check_t *check) {
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &ADD_MODULE));
    wr_module *again = wr_module_retain(fix.module);
    wr_module_release(fix.module);
    fix.module = NULL;
    CHECK_EQ_U64(wr_module_export_count(again), 2);
    wr_module_release(again); /* the instance goes on */
    wr_slot slots[2] = {{.u64 = 20}, {.u64 = 22}};
    CHECK_OK(fixture_call(&fix, "add", slots));
    CHECK_EQ_U64(slots[0].u32, 42);
    fixture_close(&fix);
}

/* ---- imports ----------------------------------------------------------------------------------------------- */

/* A module that only imports one thing: description bytes as in the binary format. */
static wr_status load_import(fixture *fix, const void *description, size_t len) {
    build_t bytes = {0};
    build_header(&bytes);
    size_t mark = build_open(&bytes, BUILD_TYPES);
    build_u32(&bytes, 1);
    build_type(&bytes, "i", "i");
    build_close(&bytes, mark);
    mark = build_open(&bytes, BUILD_IMPORTS);
    build_u32(&bytes, 1);
    build_name(&bytes, "site");
    build_name(&bytes, "thing");
    build_bytes(&bytes, description, len);
    build_close(&bytes, mark);
    return fixture_load(fix, &bytes);
}

static wr_status add_one(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    slots[0].u32 += *(const uint32_t *)env;
    return WR_OK;
}

typedef struct things {
    wr_extern func; /* (i32) -> i32 */
    wr_extern table;
    wr_extern memory;
    wr_extern global; /* mutable i32 */
    uint32_t step;
} things;

static wr_status make_things(fixture *fix, things *out) {
    static const uint8_t I32[] = {WR_TYPE_I32};
    const wr_func_type type = {I32, I32, 1, 1};
    out->step = 1;
    out->func.kind = WR_EXTERN_FUNC;
    out->table.kind = WR_EXTERN_TABLE;
    out->memory.kind = WR_EXTERN_MEMORY;
    out->global.kind = WR_EXTERN_GLOBAL;
    wr_status status = wr_func_new(fix->store, &type, add_one, &out->step, &out->func.of.func);
    status = status == WR_OK ? wr_table_new(fix->store, WR_TYPE_FUNCREF, 2, 5, &out->table.of.table) : status;
    status = status == WR_OK ? wr_memory_new(fix->store, 1, 4, &out->memory.of.memory) : status;
    wr_slot seven = {.u64 = 7};
    return status == WR_OK ? wr_global_new(fix->store, WR_TYPE_I32, true, seven, &out->global.of.global) : status;
}

static void imports_must_fit(check_t *check) {
    fixture fix;
    things host;
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(make_things(&fix, &host));
    const struct {
        const char *what;
        const char *description;
        size_t len;
        const wr_extern *given;
        wr_status want;
    } CASES[] = {
        {"function", "\x00\x00", 2, &host.func, WR_OK},
        {"function, given a memory", "\x00\x00", 2, &host.memory, WR_IMPORT_TYPE},
        {"table 2..5 as 1..5", "\x01\x70\x01\x01\x05", 5, &host.table, WR_OK},
        {"table 2..5 as 3..5", "\x01\x70\x01\x03\x05", 5, &host.table, WR_IMPORT_TYPE},
        {"table 2..5 as 1..4", "\x01\x70\x01\x01\x04", 5, &host.table, WR_IMPORT_TYPE},
        {"table 2..5 as 0..", "\x01\x70\x00\x00", 4, &host.table, WR_OK},
        {"externref table, given funcref", "\x01\x6F\x00\x00", 4, &host.table, WR_IMPORT_TYPE},
        {"memory 1..4 as 1..", "\x02\x00\x01", 3, &host.memory, WR_OK},
        {"memory 1..4 as 2..", "\x02\x00\x02", 3, &host.memory, WR_IMPORT_TYPE},
        {"memory 1..4 as 1..3", "\x02\x01\x01\x03", 4, &host.memory, WR_IMPORT_TYPE},
        {"mutable i32", "\x03\x7F\x01", 3, &host.global, WR_OK},
        {"i32, given a mutable one", "\x03\x7F\x00", 3, &host.global, WR_IMPORT_TYPE},
        {"mutable i64, given i32", "\x03\x7E\x01", 3, &host.global, WR_IMPORT_TYPE},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        REQUIRE_OK(load_import(&fix, CASES[i].description, CASES[i].len));
        if (!CHECK_STATUS(fixture_link(&fix, CASES[i].given, 1, NULL), CASES[i].want)) {
            CHECK_FAIL("in the case: %s", CASES[i].what);
        }
        if (CASES[i].want != WR_OK) {
            CHECK_CONTAINS(fix.error.message, "site.thing");
        }
    }
    fixture_close(&fix);
}

static void missing_imports_are_named(check_t *check) {
    fixture fix;
    const wr_extern nothing = {WR_EXTERN_FUNC, {NULL}};
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(load_import(&fix, "\x00\x00", 2));
    wr_import_desc import = wr_module_import(fix.module, 0);
    CHECK_STR(import.module, "site");
    CHECK_STR(import.name, "thing");
    CHECK_EQ_U64(import.module_len, 4);
    CHECK_EQ_U64(import.name_len, 5);
    CHECK_EQ_U64(import.func_type.param_count, 1);
    CHECK_STATUS(fixture_link(&fix, &nothing, 1, NULL), WR_UNKNOWN_IMPORT);
    CHECK_CONTAINS(fix.error.message, "site.thing");
    CHECK_STATUS(fixture_link(&fix, NULL, 0, NULL), WR_BAD_ARGUMENT);
    fixture_close(&fix);
}

/* ---- globals, tables, memories ----------------------------------------------------------------------------- */

static void host_globals(check_t *check) {
    fixture fix;
    wr_global *constant = NULL;
    wr_global *variable = NULL;
    bool is_mutable = true;
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(wr_global_new(fix.store, WR_TYPE_I64, false, (wr_slot){.i64 = -5}, &constant));
    REQUIRE_OK(wr_global_new(fix.store, WR_TYPE_F64, true, (wr_slot){.f64 = 0.5}, &variable));
    CHECK_EQ_I64(wr_global_get(constant).i64, -5);
    CHECK_STATUS(wr_global_set(constant, (wr_slot){.u64 = 1}), WR_BAD_ARGUMENT);
    CHECK_EQ_I64(wr_global_get(constant).i64, -5);
    CHECK_EQ_U64(wr_global_type_of(constant, &is_mutable), WR_TYPE_I64);
    CHECK(!is_mutable);
    CHECK_OK(wr_global_set(variable, (wr_slot){.f64 = -0.25}));
    CHECK_EQ_F64(wr_global_get(variable).f64, -0.25);
    CHECK_STATUS(wr_global_new(fix.store, 0x12, false, (wr_slot){.u64 = 0}, &constant), WR_BAD_ARGUMENT);
    fixture_close(&fix);
}

static void memory_is_reachable(check_t *check) {
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &ADD_MODULE));
    wr_memory *memory = wr_instance_memory(fix.instance, 0);
    REQUIRE(memory != NULL);
    CHECK(wr_instance_memory(fix.instance, 1) == NULL);
    CHECK_EQ_U64(wr_memory_size(memory), 65536);
    CHECK(wr_memory_at(memory, 0, 65536) == wr_memory_data(memory));
    CHECK(wr_memory_at(memory, 65536, 0) != NULL);
    CHECK(wr_memory_at(memory, 65536, 1) == NULL);
    CHECK(wr_memory_at(memory, 1, 65536) == NULL);
    CHECK(wr_memory_at(memory, UINT64_MAX, 2) == NULL);
    CHECK(wr_memory_at(memory, 2, UINT64_MAX) == NULL);
    fixture_close(&fix);
}

static void exports_are_found_by_name(check_t *check) {
    fixture fix;
    wr_extern found;
    REQUIRE_OK(fixture_module(&fix, NULL, &ADD_MODULE));
    CHECK_OK(wr_instance_export(fix.instance, "memory", 6, &found));
    CHECK_EQ_U64(found.kind, WR_EXTERN_MEMORY);
    CHECK_STATUS(wr_instance_export(fix.instance, "memory", 5, &found), WR_NOT_FOUND);
    CHECK_STATUS(wr_instance_export(fix.instance, "", 0, &found), WR_NOT_FOUND);
    wr_instance_set_user(fix.instance, check);
    CHECK(wr_instance_user(fix.instance) == check);
    fixture_close(&fix);
}

static void memory_of_an_instance_is_limited(check_t *check) {
    /* memory.grow by the argument, on a memory of 1 to 100 pages */
    const build_func GROW[] = {{"i", "i", "grow", NULL, BUILD_BODY(0, 0x20, 0, 0x40, 0, 0x0B), NULL}};
    const build_module module = {.funcs = GROW, .func_count = 1, .memory_min = 1, .memory_max = 100};
    const wr_instance_limits three = {.memory_bytes_max = 3 * 65536};
    const wr_instance_limits none = {.memory_bytes_max = 65535};
    fixture fix;
    build_t bytes = {0};
    wr_slot slot = {.u64 = 2};
    REQUIRE_OK(fixture_open(&fix, NULL));
    build_whole(&bytes, &module);
    REQUIRE_OK(fixture_load(&fix, &bytes));
    CHECK_STATUS(fixture_link(&fix, NULL, 0, &none), WR_LIMIT_MEMORY_BYTES);
    REQUIRE_OK(fixture_link(&fix, NULL, 0, &three));
    CHECK_OK(fixture_call(&fix, "grow", &slot));
    CHECK_EQ_U64(slot.u32, 1);
    CHECK_EQ_U64(wr_memory_size(wr_instance_memory(fix.instance, 0)), 3 * 65536);
    slot.u64 = 1;
    CHECK_OK(fixture_call(&fix, "grow", &slot));
    CHECK_EQ_U64(slot.u32, 0xFFFFFFFF);
    slot.u64 = 0;
    CHECK_OK(fixture_call(&fix, "grow", &slot));
    CHECK_EQ_U64(slot.u32, 3);
    fixture_close(&fix);
}

/* ---- host functions ---------------------------------------------------------------------------------------- */

/* "twice" calls the import two times: f(f(x)). */
static const build_func TWICE[] = {
    {"i", "i", NULL, "step", NULL, 0, NULL},
    {"i", "i", "twice", NULL, BUILD_BODY(0, 0x20, 0, 0x10, 0, 0x10, 0, 0x0B), NULL},
    {"i", "i", "square", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 0, 0x6C, 0x0B), NULL},
};
static const build_module TWICE_MODULE = {.funcs = TWICE, .func_count = 3};

static wr_status open_twice(fixture *fix, wr_host_fn step, void *env) {
    static const uint8_t I32[] = {WR_TYPE_I32};
    const wr_func_type type = {I32, I32, 1, 1};
    wr_extern import = {WR_EXTERN_FUNC, {NULL}};
    build_t bytes = {0};
    wr_status status = fixture_open(fix, NULL);
    build_whole(&bytes, &TWICE_MODULE);
    status = status == WR_OK ? fixture_load(fix, &bytes) : status;
    status = status == WR_OK ? wr_func_new(fix->store, &type, step, env, &import.of.func) : status;
    return status == WR_OK ? fixture_link(fix, &import, 1, NULL) : status;
}

static void calls_the_host(check_t *check) {
    fixture fix;
    uint32_t step = 5;
    wr_slot slot = {.u64 = 100};
    REQUIRE_OK(open_twice(&fix, add_one, &step));
    CHECK_OK(fixture_call(&fix, "twice", &slot));
    CHECK_EQ_U64(slot.u32, 110);
    fixture_close(&fix);
}

/* Calls back into the instance that called. */
static wr_status square_in_wasm(wr_exec *exec, void *env, wr_slot *slots) {
    wr_extern square;
    fixture *fix = env;
    wr_instance *caller = wr_exec_instance(exec);
    if (caller != fix->instance || wr_instance_export(caller, "square", 6, &square) != WR_OK) {
        return WR_TRAP_HOST;
    }
    return wr_call(exec, square.of.func, slots, slots);
}

static void the_host_calls_back(check_t *check) {
    fixture fix;
    wr_slot slot = {.u64 = 3};
    REQUIRE_OK(open_twice(&fix, square_in_wasm, &fix));
    CHECK_OK(fixture_call(&fix, "twice", &slot));
    CHECK_EQ_U64(slot.u32, 81);
    fixture_close(&fix);
}

static wr_status refuse(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec, (void)slots;
    return *(const wr_status *)env;
}

static void host_failures_are_traps(check_t *check) {
    static const wr_status STATUSES[] = {WR_TRAP_HOST, WR_TRAP_CAPABILITY, WR_TRAP_RING};
    for (size_t i = 0; i < sizeof STATUSES / sizeof STATUSES[0]; i++) {
        fixture fix;
        wr_status status = STATUSES[i];
        wr_slot slot = {.u64 = 1};
        REQUIRE_OK(open_twice(&fix, refuse, &status));
        CHECK_STATUS(fixture_call(&fix, "twice", &slot), STATUSES[i]);
        CHECK_STATUS(wr_exec_trap(fix.exec)->status, STATUSES[i]);
        status = WR_OK; /* the exec is as good as new */
        CHECK_OK(fixture_call(&fix, "twice", &slot));
        fixture_close(&fix);
    }
}

static void a_host_function_can_be_called_directly(check_t *check) {
    fixture fix;
    things host;
    wr_slot slot = {.u64 = 41};
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(make_things(&fix, &host));
    CHECK_OK(wr_call(fix.exec, host.func.of.func, &slot, &slot));
    CHECK_EQ_U64(slot.u32, 42);
    CHECK_EQ_U64(wr_table_size(host.table.of.table), 2);
    fixture_close(&fix);
}

/* Sleeps until the time that env points to. */
static wr_status doze(wr_exec *exec, void *env, wr_slot *slots) {
    (void)slots;
    return wr_exec_sleep(exec, *(const uint64_t *)env);
}

static void sleeping_looks_at_the_limits(check_t *check) {
    fixture fix;
    uint64_t until_ns = 1; /* long ago */
    wr_slot slot = {.u64 = 0};
    REQUIRE_OK(open_twice(&fix, doze, &until_ns));
    CHECK_OK(fixture_call(&fix, "twice", &slot));
    until_ns = UINT64_MAX;
    wr_exec_set_limits(fix.exec, 1000, 0);
    CHECK_STATUS(fixture_call(&fix, "twice", &slot), WR_TRAP_DEADLINE);
    wr_exec_set_limits(fix.exec, 0, 0);
    wr_exec_interrupt(fix.exec);
    CHECK_STATUS(fixture_call(&fix, "twice", &slot), WR_TRAP_INTERRUPTED);
    fixture_close(&fix);
}

static wr_status leave(wr_exec *exec, void *env, wr_slot *slots) {
    (void)env;
    wr_exec_set_exit_code(exec, slots[0].i32);
    return slots[0].i32 < 0 ? WR_TRAP_HOST : WR_TRAP_EXIT;
}

static void exits_carry_a_code(check_t *check) {
    static const int32_t CODES[][2] = {{0, 0}, {77, 77}, {-1, 0}}; /* given, of the trap: only exits have one */
    for (size_t i = 0; i < 3; i++) {
        fixture fix;
        wr_slot slot = {.i32 = CODES[i][0]};
        REQUIRE_OK(open_twice(&fix, leave, NULL));
        CHECK_STATUS(fixture_call(&fix, "twice", &slot), CODES[i][0] < 0 ? WR_TRAP_HOST : WR_TRAP_EXIT);
        CHECK_EQ_I64(wr_exec_trap(fix.exec)->exit_code, CODES[i][1]);
        CHECK_EQ_U64(wr_exec_trap(fix.exec)->frames_total, 1);
        fixture_close(&fix);
    }
}

static void memory_of_a_store(check_t *check) {
    fixture fix;
    REQUIRE_OK(fixture_open(&fix, NULL));
    for (size_t size = 0; size < 100; size++) {
        uint8_t *block = wr_store_alloc(fix.store, size);
        REQUIRE(block != NULL && (uintptr_t)block % _Alignof(max_align_t) == 0);
        for (size_t i = 0; i < size; i++) CHECK_EQ_U64(block[i], 0);
        memset(block, 0xFF, size);
    }
    CHECK(wr_store_alloc(fix.store, SIZE_MAX) == NULL);
    fixture_close(&fix);
}

static void timed_calls_have_the_limits_anew(check_t *check) {
    uint32_t step = 1;
    uint64_t times_ns[4] = {0};
    wr_slot argument = {.u64 = 5}, result = {.u64 = 0};
    fixture fix;
    REQUIRE_OK(open_twice(&fix, add_one, &step));
    wr_func *twice = fixture_func(&fix, "twice");
    wr_exec_set_limits(fix.exec, 1000000, 2); /* one call needs two */
    CHECK_OK(wr_call_timed(fix.exec, twice, &argument, &result, times_ns, 4));
    CHECK_EQ_U64(result.u32, 7);
    for (size_t i = 0; i < 4; i++) CHECK(times_ns[i] > 0);
    wr_exec_set_limits(fix.exec, 0, 1);
    CHECK_STATUS(wr_call_timed(fix.exec, twice, &argument, &result, times_ns, 4), WR_TRAP_FUEL);
    CHECK_STATUS(wr_call_timed(fix.exec, twice, &argument, &result, times_ns, 4), WR_TRAP_FUEL); /* none is left */
    fixture_close(&fix);
}

static void many_results(check_t *check) {
    /* (i, l, f, d) -> (d, f, l, i) */
    const build_func SWAP[] = {
        {"ilfd", "dfli", "swap", NULL, BUILD_BODY(0, 0x20, 3, 0x20, 2, 0x20, 1, 0x20, 0, 0x0B), NULL},
    };
    const build_module module = {.funcs = SWAP, .func_count = 1};
    fixture fix;
    wr_slot args[4] = {{.u64 = 7}, {.i64 = -8}, {.u64 = 0}, {.f64 = 2.5}};
    wr_slot results[4];
    args[2].f32 = 1.5F;
    REQUIRE_OK(fixture_module(&fix, NULL, &module));
    CHECK_OK(wr_call(fix.exec, fixture_func(&fix, "swap"), args, results));
    CHECK_EQ_F64(results[0].f64, 2.5);
    CHECK_EQ_F64((double)results[1].f32, 1.5);
    CHECK_EQ_I64(results[2].i64, -8);
    CHECK_EQ_U64(results[3].u32, 7);
    CHECK_EQ_F64(args[3].f64, 2.5);
    fixture_close(&fix);
}

/* ---- statuses ---------------------------------------------------------------------------------------------- */

static void every_status_is_described(check_t *check) {
    for (int i = 0; i < WR_STATUS_COUNT; i++) {
        const char *name = wr_status_name((wr_status)i);
        wr_status_class class = wr_status_class_of((wr_status)i);
        CHECK(name != NULL && name[0] != '\0');
        CHECK(wr_status_text((wr_status)i)[0] != '\0');
        CHECK_EQ_U64(class == WR_CLASS_TRAP, strncmp(name, "TRAP_", 5) == 0);
        CHECK((class == WR_CLASS_LIMIT) == (strncmp(name, "LIMIT_", 6) == 0) || i == WR_UNSUPPORTED);
    }
    CHECK_STR(wr_status_name(WR_TRAP_DIV_ZERO), "TRAP_DIV_ZERO");
    CHECK_STR(wr_status_text(WR_TRAP_DIV_ZERO), "integer divide by zero");
    CHECK_EQ_U64(wr_status_class_of(WR_BAD_UTF8), WR_CLASS_MALFORMED);
    CHECK_EQ_U64(wr_status_class_of(WR_NO_MEMORY), WR_CLASS_HOST);
}

static const check_test TESTS[] = {
    CHECK_TEST(calls_an_export),
    CHECK_TEST(describes_a_module),
#if !defined(WR_NO_EXCEPTIONS) && !defined(WR_NO_THREADS)
    CHECK_TEST(tells_types),
#endif
    CHECK_TEST(tells_imports),
    CHECK_TEST(tells_exports),
    CHECK_TEST(exports_are_counted),
    CHECK_TEST(finds_custom_sections),
    CHECK_TEST(errors_tell_where),
    CHECK_TEST(modules_are_counted),
    CHECK_TEST(imports_must_fit),
    CHECK_TEST(missing_imports_are_named),
    CHECK_TEST(host_globals),
    CHECK_TEST(memory_is_reachable),
    CHECK_TEST(exports_are_found_by_name),
    CHECK_TEST(memory_of_an_instance_is_limited),
    CHECK_TEST(calls_the_host),
    CHECK_TEST(the_host_calls_back),
    CHECK_TEST(host_failures_are_traps),
    CHECK_TEST(a_host_function_can_be_called_directly),
    CHECK_TEST(sleeping_looks_at_the_limits),
    CHECK_TEST(exits_carry_a_code),
    CHECK_TEST(memory_of_a_store),
    CHECK_TEST(timed_calls_have_the_limits_anew),
    CHECK_TEST(many_results),
    CHECK_TEST(every_status_is_described),
};
CHECK_MAIN(TESTS)
