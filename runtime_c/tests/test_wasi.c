/* WASI preview 1: programs of a C library, and each function with arguments that no library would pass. */
#include "../wasi/wasi.h"

#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"
#include "plugin_files.h"

enum { OUTPUT_MAX = 4096, PAGE = 65536, ARGS_MAX = 9, FAR_FUTURE_S = 100000 };

/* What a program wrote. */
typedef struct output {
    char text[2][OUTPUT_MAX]; /* standard output, standard error */
    size_t len[2];
    wr_status status; /* what the next write answers */
} output;

static wr_status collect(void *user, uint32_t fd, const uint8_t *bytes, uint32_t len) {
    output *out = user;
    size_t room = OUTPUT_MAX - 1 - out->len[fd - 1], kept = len < room ? len : room;
    memcpy(out->text[fd - 1] + out->len[fd - 1], bytes, kept);
    out->len[fd - 1] += kept;
    return out->status;
}

/* ---- programs of a C library (tests/programs) -------------------------------------------------------------------- */

static wr_status link_wasi(fixture *fix, wr_wasi *wasi) {
    enum { IMPORTS_MAX = 46 };
    wr_extern imports[IMPORTS_MAX];
    uint32_t count = wr_module_import_count(fix->module);
    wr_status status = count <= IMPORTS_MAX ? WR_OK : WR_FULL;
    for (uint32_t i = 0; i < count && status == WR_OK; i++) {
        wr_import_desc import = wr_module_import(fix->module, i);
        status = strcmp(import.module, "wasi_snapshot_preview1") == 0
                     ? wr_wasi_import(wasi, import.name, import.name_len, &imports[i])
                     : WR_UNKNOWN_IMPORT;
    }
    return status == WR_OK ? fixture_link(fix, imports, count, NULL) : status;
}

/* A program, loaded and linked. */
static wr_status open_program(check_t *check, fixture *fix, const char *name, const wr_wasi_config *config) {
    char path[64];
    wr_wasi *wasi = NULL;
    wr_status status = fixture_open(fix, NULL);
    if (status != WR_OK) return status;
    snprintf(path, sizeof path, "wasi/%s", name);
    fix->module = load_plugin(check, fix->engine, path);
    status = wr_wasi_new(fix->store, config, &wasi);
    return status == WR_OK ? link_wasi(fix, wasi) : status;
}

static wr_status run_program(check_t *check, fixture *fix, const char *name, const wr_wasi_config *config) {
    wr_status status = open_program(check, fix, name, config);
    wr_slot none = {0};
    return status == WR_OK ? fixture_call(fix, "_start", &none) : status;
}

static void prints_arguments_and_environment(check_t *check) {
    static const char *const args[] = {"hello", "one two", ""}, *const env[] = {"OTHER=x", "NAME=world"};
    output out = {.status = WR_OK};
    const wr_wasi_config config = {
        .args = args, .arg_count = 3, .env = env, .env_count = 2, .output = collect, .output_user = &out};
    fixture fix;
    CHECK_OK(run_program(check, &fix, "hello", &config));
    CHECK_STR(out.text[0], "hello world, pi is 3.1416\n0: hello\n1: one two\n2: \n");
    CHECK_STR(out.text[1], "done\n");
    fixture_close(&fix);
}

static void runs_without_a_configuration(check_t *check) {
    fixture fix;
    CHECK_OK(run_program(check, &fix, "hello", NULL));
    fixture_close(&fix);
}

static void exit_codes_come_with_the_trap(check_t *check) {
    static const struct {
        const char *how;
        wr_status status;
        int32_t code;
    } CASES[] = {
        {"0", WR_TRAP_EXIT, 0},        {"7", WR_TRAP_EXIT, 7},
        {"-1", WR_TRAP_EXIT, -1},      {"abort", WR_TRAP_UNREACHABLE, 0},
        {"trap", WR_TRAP_DIV_ZERO, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *const args[] = {"ends", CASES[i].how};
        const wr_wasi_config config = {.args = args, .arg_count = 2};
        fixture fix;
        CHECK_STATUS(run_program(check, &fix, "ends", &config), CASES[i].status);
        CHECK_EQ_I64(wr_exec_trap(fix.exec)->exit_code, CASES[i].code);
        CHECK(wr_exec_trap(fix.exec)->frame_count > 0);
        fixture_close(&fix);
    }
}

static void standard_input_is_empty(check_t *check) {
    static const char *const args[] = {"ends", "read"};
    output out = {.status = WR_OK};
    const wr_wasi_config config = {.args = args, .arg_count = 2, .output = collect, .output_user = &out};
    fixture fix;
    CHECK_OK(run_program(check, &fix, "ends", &config));
    CHECK_STR(out.text[0], "0 bytes, end of file\n");
    fixture_close(&fix);
}

static void clocks_sleep_and_chance(check_t *check) {
    output out = {.status = WR_OK};
    const wr_wasi_config config = {.output = collect, .output_user = &out};
    fixture fix;
    CHECK_OK(run_program(check, &fix, "clocks", &config));
    CHECK_STR(out.text[0], "done\n");
    fixture_close(&fix);
}

static void there_are_no_files(check_t *check) {
    output out = {.status = WR_OK};
    const wr_wasi_config config = {.output = collect, .output_user = &out};
    fixture fix;
    CHECK_OK(run_program(check, &fix, "files", &config));
    CHECK_STR(out.text[0], "fopen 1\nmkdir 1\nstat 1\nopendir 1\nseek 1\nclose 1\nisatty 1\n");
    CHECK_STR(out.text[1], "closed 1\n");
    fixture_close(&fix);
}

static void the_deadline_ends_a_sleep(check_t *check) {
    fixture fix;
    wr_slot none = {0};
    REQUIRE_OK(open_program(check, &fix, "sleeper", NULL));
    wr_exec_set_limits(fix.exec, 1000, 0);
    CHECK_STATUS(fixture_call(&fix, "_start", &none), WR_TRAP_DEADLINE);
    CHECK(wr_exec_trap(fix.exec)->frames_total > 1);
    fixture_close(&fix);
}

static void the_host_interrupts_a_sleep(check_t *check) {
    fixture fix;
    wr_slot none = {0};
    REQUIRE_OK(open_program(check, &fix, "sleeper", NULL));
    wr_exec_interrupt(fix.exec);
    CHECK_STATUS(fixture_call(&fix, "_start", &none), WR_TRAP_INTERRUPTED);
    fixture_close(&fix);
}

static void output_that_fails_ends_the_call(check_t *check) {
    output out = {.status = WR_TRAP_HOST};
    const wr_wasi_config config = {.output = collect, .output_user = &out};
    fixture fix;
    CHECK_STATUS(run_program(check, &fix, "hello", &config), WR_TRAP_HOST);
    CHECK_CONTAINS(out.text[0], "hello nobody");
    CHECK_EQ_U64(out.len[1], 0);
    fixture_close(&fix);
}

/* ---- single functions -------------------------------------------------------------------------------------------- */

#define ROW(NAME, PARAMS, FUNCTION) {#NAME, PARAMS, wr_wasi_##FUNCTION},
static const struct {
    const char *name;
    const char *params;
    wr_wasi_fn fn;
} FUNCTIONS[] = {WR_WASI_TABLE(ROW)};
enum { FUNCTION_COUNT = sizeof FUNCTIONS / sizeof FUNCTIONS[0] };

static const char *params_of(const char *name) {
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        if (strcmp(FUNCTIONS[i].name, name) == 0) return FUNCTIONS[i].params;
    }
    return "";
}

/* An instance with a page of memory whose export "call" passes its arguments on to one function. */
typedef struct guest {
    fixture fix;
    wr_wasi *wasi;
    uint8_t *memory;
    output out;
} guest;

static wr_status open_guest(guest *self, const char *name, wr_wasi_config config, const wr_instance_limits *limits) {
    const char *params = params_of(name), *results = strcmp(name, "proc_exit") == 0 ? "" : "i";
    uint8_t body[1 + 2 * ARGS_MAX + 3] = {0};
    size_t len = 1;
    for (uint8_t i = 0; params[i] != '\0'; i++) {
        body[len++] = 0x20;
        body[len++] = i;
    }
    memcpy(body + len, (const uint8_t[]){0x10, 0, 0x0B}, 3);
    const build_func funcs[] = {{params, results, NULL, name, NULL, 0, NULL},
                                {params, results, "call", NULL, body, len + 3, NULL}};
    const build_module module = {.funcs = funcs, .func_count = 2, .memory_min = 1, .memory_max = 1};
    wr_extern import = {WR_EXTERN_FUNC, {NULL}};
    build_t bytes = {0};
    build_whole(&bytes, &module);
    *self = (guest){.out.status = WR_OK};
    config.output = collect;
    config.output_user = &self->out;
    wr_status status = fixture_open(&self->fix, NULL);
    status = status == WR_OK ? fixture_load(&self->fix, &bytes) : status;
    status = status == WR_OK ? wr_wasi_new(self->fix.store, &config, &self->wasi) : status;
    status = status == WR_OK ? wr_wasi_import(self->wasi, name, strlen(name), &import) : status;
    status = status == WR_OK ? fixture_link(&self->fix, &import, 1, limits) : status;
    self->memory = status == WR_OK ? wr_memory_data(wr_instance_memory(self->fix.instance, 0)) : NULL;
    return status;
}

static void put_u32(guest *self, uint32_t address, uint32_t value) {
    memcpy(self->memory + address, &value, sizeof value);
}
static void put_u64(guest *self, uint32_t address, uint64_t value) {
    memcpy(self->memory + address, &value, sizeof value);
}
static uint32_t u32_at(const guest *self, uint32_t address) { return wr_wasi_u32(self->memory + address); }
static uint64_t u64_at(const guest *self, uint32_t address) { return wr_wasi_u64(self->memory + address); }

/* Calls with these arguments; *error is what the function answered. */
static wr_status call_guest(guest *self, const uint64_t *args, uint32_t *error) {
    wr_slot slots[ARGS_MAX];
    for (size_t i = 0; i < ARGS_MAX; i++) slots[i].u64 = args[i];
    wr_status status = fixture_call(&self->fix, "call", slots);
    *error = slots[0].u32;
    return status;
}
#define CALL(SELF, ERROR, ...) call_guest(SELF, (const uint64_t[ARGS_MAX]){__VA_ARGS__}, ERROR)

static void all_functions_can_be_imported(check_t *check) {
    fixture fix;
    wr_wasi *lenient = NULL, *strict = NULL;
    wr_extern found;
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(wr_wasi_new(fix.store, NULL, &lenient));
    REQUIRE_OK(wr_wasi_new(fix.store, &(const wr_wasi_config){.refuses_missing = true}, &strict));
    CHECK_EQ_U64(FUNCTION_COUNT, 46);
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        const char *name = FUNCTIONS[i].name;
        if (!CHECK_OK(wr_wasi_import(lenient, name, strlen(name), &found))) return;
        wr_func_type type = wr_func_type_of(found.of.func);
        CHECK_EQ_U64(type.param_count, strlen(FUNCTIONS[i].params));
        CHECK_EQ_U64(type.result_count, strcmp(name, "proc_exit") != 0);
        for (uint32_t k = 0; k < type.param_count; k++) {
            CHECK_EQ_U64(type.params[k], FUNCTIONS[i].params[k] == 'i' ? WR_TYPE_I32 : WR_TYPE_I64);
        }
        wr_status expected = FUNCTIONS[i].fn != wr_wasi_missing ? WR_OK : WR_UNKNOWN_IMPORT;
        CHECK_STATUS(wr_wasi_import(strict, name, strlen(name), &found), expected);
    }
    CHECK_STATUS(wr_wasi_import(lenient, "fd_writ", 7, &found), WR_UNKNOWN_IMPORT);
    CHECK_STATUS(wr_wasi_import(lenient, "fd_write2", 9, &found), WR_UNKNOWN_IMPORT);
    CHECK_STATUS(wr_wasi_import(lenient, "", 0, &found), WR_UNKNOWN_IMPORT);
    fixture_close(&fix);
}

static void what_is_missing_answers_nosys(check_t *check) {
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        guest self;
        uint32_t error = 0;
        if (FUNCTIONS[i].fn != wr_wasi_missing) continue;
        REQUIRE_OK(open_guest(&self, FUNCTIONS[i].name, (wr_wasi_config){0}, NULL));
        CHECK_OK(CALL(&self, &error, 1, 2, 3, 4, 5, 6, 7, 8, 9));
        CHECK_EQ_U64(error, WASI_NOSYS);
        fixture_close(&self.fix);
    }
}

static void wrong_arguments_have_their_error(check_t *check) {
    static const struct {
        const char *name;
        uint64_t args[ARGS_MAX];
        uint32_t error;
    } CASES[] = {
        {"fd_write", {0, 0, 0, 0}, WASI_BADF},
        {"fd_write", {3, 0, 0, 0}, WASI_BADF},
        {"fd_write", {UINT32_MAX, 0, 0, 0}, WASI_BADF},
        {"fd_write", {1, 0, 1025, 0}, WASI_INVAL},
        {"fd_write", {1, PAGE - 7, 1, 0}, WASI_FAULT},
        {"fd_write", {1, UINT32_MAX, 1, 0}, WASI_FAULT},
        {"fd_write", {1, 0, 0, PAGE - 3}, WASI_FAULT},
        {"fd_write", {1, 0, 0, PAGE - 4}, WASI_OK},
        {"fd_read", {0, 0, 0, 0}, WASI_OK},
        {"fd_read", {0, 0, 0, PAGE}, WASI_FAULT},
        {"fd_read", {1, 0, 0, 0}, WASI_BADF},
        {"fd_read", {4, 0, 0, 0}, WASI_BADF},
        {"fd_seek", {1, 0, 0, 0}, WASI_SPIPE},
        {"fd_seek", {3, 0, 0, 0}, WASI_BADF},
        {"fd_close", {2}, WASI_OK},
        {"fd_close", {3}, WASI_BADF},
        {"fd_prestat_get", {3, 0}, WASI_BADF},
        {"fd_prestat_dir_name", {3, 0, 8}, WASI_BADF},
        {"fd_fdstat_get", {3, 0}, WASI_BADF},
        {"fd_fdstat_get", {1, PAGE - 23}, WASI_FAULT},
        {"fd_fdstat_set_flags", {1, 4}, WASI_OK},
        {"fd_fdstat_set_flags", {1, 32}, WASI_INVAL},
        {"fd_fdstat_set_flags", {3, 0}, WASI_BADF},
        {"clock_time_get", {2, 0, 0}, WASI_INVAL},
        {"clock_time_get", {0, 0, PAGE - 7}, WASI_FAULT},
        {"clock_res_get", {4, 0}, WASI_INVAL},
        {"clock_res_get", {1, PAGE - 7}, WASI_FAULT},
        {"random_get", {PAGE - 1, 2}, WASI_FAULT},
        {"random_get", {0, UINT32_MAX}, WASI_FAULT},
        {"random_get", {PAGE, 0}, WASI_OK},
        {"args_sizes_get", {0, PAGE - 3}, WASI_FAULT},
        {"args_sizes_get", {PAGE - 3, 0}, WASI_FAULT},
        {"args_get", {PAGE - 3, 0}, WASI_FAULT},
        {"args_get", {0, PAGE - 4}, WASI_FAULT},
        {"args_get", {PAGE - 4, PAGE - 5}, WASI_OK},
        {"environ_get", {0, UINT32_MAX}, WASI_FAULT},
        {"environ_sizes_get", {UINT32_MAX, 0}, WASI_FAULT},
        {"poll_oneoff", {0, 1024, 0, 512}, WASI_INVAL},
        {"poll_oneoff", {0, 1024, 1025, 512}, WASI_INVAL},
        {"poll_oneoff", {PAGE - 47, 1024, 1, 512}, WASI_FAULT},
        {"poll_oneoff", {0, PAGE - 31, 1, 512}, WASI_FAULT},
        {"poll_oneoff", {0, 1024, 1, PAGE - 3}, WASI_FAULT},
        {"sched_yield", {0}, WASI_OK},
    };
    static const char *const args[] = {"name"};
    const wr_wasi_config config = {.args = args, .arg_count = 1};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        guest self;
        uint32_t error = UINT32_MAX;
        REQUIRE_OK(open_guest(&self, CASES[i].name, config, NULL));
        CHECK_OK(call_guest(&self, CASES[i].args, &error));
        if (!CHECK_EQ_U64(error, CASES[i].error)) CHECK_FAIL("in case %zu: %s", i, CASES[i].name);
        fixture_close(&self.fix);
    }
}

static void pointers_without_a_memory_are_faults(check_t *check) {
    fixture fix;
    wr_wasi *wasi = NULL;
    wr_extern found;
    wr_slot slots[2] = {{.u64 = 0}, {.u64 = 1}};
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(wr_wasi_new(fix.store, NULL, &wasi));
    REQUIRE_OK(wr_wasi_import(wasi, "random_get", 10, &found));
    CHECK_OK(wr_call(fix.exec, found.of.func, slots, slots)); /* by the host: no instance calls */
    CHECK_EQ_U64(slots[0].u32, WASI_FAULT);
    fixture_close(&fix);
}

static void writes_are_gathered(check_t *check) {
    guest self;
    uint32_t error = 0;
    REQUIRE_OK(open_guest(&self, "fd_write", (wr_wasi_config){0}, NULL));
    memcpy(self.memory + 100, "hello, world", 12);
    const uint32_t iovecs[] = {107, 5, 0, 0, 105, 2, 100, 5};
    memcpy(self.memory, iovecs, sizeof iovecs);
    CHECK_OK(CALL(&self, &error, 2, 0, 4, 64));
    CHECK_EQ_U64(error, WASI_OK);
    CHECK_EQ_U64(u32_at(&self, 64), 12);
    CHECK_STR(self.out.text[1], "world, hello");
    put_u32(&self, 8, PAGE + 1); /* even an empty one must lie inside */
    CHECK_OK(CALL(&self, &error, 2, 0, 4, 64));
    CHECK_EQ_U64(error, WASI_FAULT);
    fixture_close(&self.fix);
}

static void long_writes_are_cut(check_t *check) {
    guest self;
    uint32_t error = 0;
    REQUIRE_OK(open_guest(&self, "fd_write", (wr_wasi_config){0}, NULL));
    for (uint32_t i = 0; i < 3; i++) {
        put_u32(&self, i * 8, 0);
        put_u32(&self, i * 8 + 4, 40000);
    }
    CHECK_OK(CALL(&self, &error, 1, 0, 3, 64));
    CHECK_EQ_U64(error, WASI_OK);
    CHECK_EQ_U64(u32_at(&self, 64), 65536);
    fixture_close(&self.fix);
}

/* Each part of a gathered write may take as long as a call. */
static void many_writes_look_at_the_limits(check_t *check) {
    const uint32_t iovecs[] = {100, 5, 105, 5};
    guest self;
    uint32_t error = 0;
    REQUIRE_OK(open_guest(&self, "fd_write", (wr_wasi_config){0}, NULL));
    memcpy(self.memory + 100, "firstother", 10);
    memcpy(self.memory, iovecs, sizeof iovecs);
    wr_exec_interrupt(self.fix.exec);
    CHECK_STATUS(CALL(&self, &error, 1, 0, 2, 64), WR_TRAP_INTERRUPTED);
    CHECK_STR(self.out.text[0], "first");
    fixture_close(&self.fix);
}

static void a_closed_descriptor_is_gone(check_t *check) {
    guest self;
    uint32_t error = 0;
    REQUIRE_OK(open_guest(&self, "fd_close", (wr_wasi_config){0}, NULL));
    CHECK_OK(CALL(&self, &error, 1));
    CHECK_EQ_U64(error, WASI_OK);
    CHECK_OK(CALL(&self, &error, 1));
    CHECK_EQ_U64(error, WASI_BADF);
    fixture_close(&self.fix);
}

static void outputs_are_terminals(check_t *check) {
    guest self;
    uint32_t error = 0;
    REQUIRE_OK(open_guest(&self, "fd_fdstat_get", (wr_wasi_config){0}, NULL));
    memset(self.memory, 0xFF, 64);
    CHECK_OK(CALL(&self, &error, 1, 8));
    CHECK_EQ_U64(error, WASI_OK);
    CHECK_EQ_U64(u64_at(&self, 8), 2);                                   /* character device, no flags */
    CHECK_EQ_U64(u64_at(&self, 16) & ((1u << 2) | (1u << 5)), 0);        /* no right to seek or tell */
    CHECK_EQ_U64(u64_at(&self, 16) & ((1u << 1) | (1u << 6)), 1u << 6);  /* write, not read */
    CHECK_EQ_U64(u64_at(&self, 24), 0);
    CHECK_EQ_U64(self.memory[7], 0xFF);
    CHECK_EQ_U64(self.memory[32], 0xFF);
    fixture_close(&self.fix);
}

static void seeded_chance_repeats(check_t *check) {
    static const uint64_t SEEDS[] = {0, 0, 1};
    uint8_t got[3][300];
    for (size_t i = 0; i < 3; i++) {
        guest self;
        uint32_t error = 0;
        REQUIRE_OK(open_guest(&self, "random_get", (wr_wasi_config){.is_seeded = true, .seed = SEEDS[i]}, NULL));
        CHECK_OK(CALL(&self, &error, 7, 300));
        memcpy(got[i], self.memory + 7, 300);
        CHECK_EQ_U64(self.memory[6] | self.memory[307], 0);
        CHECK_OK(CALL(&self, &error, 7, 300));
        CHECK(memcmp(got[i], self.memory + 7, 300) != 0);
        fixture_close(&self.fix);
    }
    CHECK_EQ_U64(wr_wasi_u64(got[0]), UINT64_C(0xE220A8397B1DCDAF)); /* of splitmix64, as published */
    CHECK_MEM(got[0], got[1], 300);
    CHECK(memcmp(got[0], got[2], 300) != 0);
}

static void much_chance_looks_at_the_limits(check_t *check) {
    guest self;
    uint32_t error = 0;
    REQUIRE_OK(open_guest(&self, "random_get", (wr_wasi_config){0}, NULL));
    wr_exec_interrupt(self.fix.exec);
    CHECK_STATUS(CALL(&self, &error, 0, 2048), WR_TRAP_INTERRUPTED);
    fixture_close(&self.fix);
}

static void stores_to_read_only_pages_trap(check_t *check) {
    const wr_instance_limits limits = {.map_bytes = PAGE};
    guest self;
    uint32_t error = 0;
    uint64_t address = 0;
    int fd = memfd_create("mapped", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && ftruncate(fd, PAGE) == 0);
    const wr_map_part part = {.fd = fd, .bytes = PAGE, .writable = false};
    REQUIRE_OK(open_guest(&self, "random_get", (wr_wasi_config){0}, &limits));
    REQUIRE_OK(wr_memory_map(wr_instance_memory(self.fix.instance, 0), &part, 1, &address));
    CHECK_STATUS(CALL(&self, &error, address, 16), WR_TRAP_MEMORY_PROTECTED);
    CHECK_OK(CALL(&self, &error, 0, 16));
    fixture_close(&self.fix);
    close(fd);
}

/* ---- poll_oneoff ------------------------------------------------------------------------------------------------- */

typedef struct subscription {
    uint64_t user;
    uint8_t kind; /* 0 clock, 1 and 2 descriptor */
    uint32_t id;  /* clock or descriptor */
    uint64_t timeout_ns;
    bool is_absolute;
} subscription;

static void put_subscription(guest *self, uint32_t address, const subscription *of) {
    memset(self->memory + address, 0, 48);
    put_u64(self, address, of->user);
    self->memory[address + 8] = of->kind;
    put_u32(self, address + 16, of->id);
    put_u64(self, address + 24, of->timeout_ns);
    self->memory[address + 40] = of->is_absolute;
}

/* Subscriptions at 0, events over them, their number at 4096. */
static uint32_t poll_guest(check_t *check, guest *self, const subscription *of, uint32_t count) {
    uint32_t error = 0;
    for (uint32_t i = 0; i < count; i++) put_subscription(self, i * 48, &of[i]);
    CHECK_OK(CALL(self, &error, 0, 0, count, 4096));
    CHECK_EQ_U64(error, WASI_OK);
    return u32_at(self, 4096);
}

static void polls_what_is_due_first(check_t *check) {
    const uint64_t far_ns = UINT64_C(1000000000) * FAR_FUTURE_S;
    const subscription clocks[] = {
        {10, 0, 1, far_ns, false},     {11, 0, 1, 1, false}, {12, 0, 0, UINT64_MAX, true},
        {13, 0, 1, UINT64_MAX, false}, {14, 0, 0, 1, true}, /* passed in 1970 */
    };
    guest self;
    REQUIRE_OK(open_guest(&self, "poll_oneoff", (wr_wasi_config){0}, NULL));
    CHECK_EQ_U64(poll_guest(check, &self, clocks, 5), 1);
    CHECK_EQ_U64(u64_at(&self, 0), 14);
    CHECK_EQ_U64(u64_at(&self, 8), 0); /* no error, a clock */
    CHECK_EQ_U64(poll_guest(check, &self, clocks, 2), 1);
    CHECK_EQ_U64(u64_at(&self, 0), 11);
    fixture_close(&self.fix);
}

static void polls_descriptors_and_mistakes(check_t *check) {
    const subscription at_once[] = {
        {20, 1, 0, 0, false}, {21, 2, 1, 0, false}, {22, 2, 9, 0, false}, {23, 0, 5, 0, false}, {24, 3, 0, 0, false},
    };
    static const uint16_t errors[] = {WASI_OK, WASI_OK, WASI_BADF, WASI_INVAL, WASI_INVAL};
    guest self;
    REQUIRE_OK(open_guest(&self, "poll_oneoff", (wr_wasi_config){0}, NULL));
    REQUIRE(poll_guest(check, &self, at_once, 5) == 5);
    for (uint32_t i = 0; i < 5; i++) {
        CHECK_EQ_U64(u64_at(&self, i * 32), at_once[i].user);
        CHECK_EQ_U64(u32_at(&self, i * 32 + 8) & 0xFFFF, errors[i]);
        CHECK_EQ_U64(self.memory[i * 32 + 10], at_once[i].kind);
    }
    fixture_close(&self.fix);
}

static const check_test TESTS[] = {
    CHECK_TEST(prints_arguments_and_environment),
    CHECK_TEST(runs_without_a_configuration),
    CHECK_TEST(exit_codes_come_with_the_trap),
    CHECK_TEST(standard_input_is_empty),
    CHECK_TEST(clocks_sleep_and_chance),
    CHECK_TEST(there_are_no_files),
    CHECK_TEST(the_deadline_ends_a_sleep),
    CHECK_TEST(the_host_interrupts_a_sleep),
    CHECK_TEST(output_that_fails_ends_the_call),
    CHECK_TEST(all_functions_can_be_imported),
    CHECK_TEST(what_is_missing_answers_nosys),
    CHECK_TEST(wrong_arguments_have_their_error),
    CHECK_TEST(pointers_without_a_memory_are_faults),
    CHECK_TEST(writes_are_gathered),
    CHECK_TEST(long_writes_are_cut),
    CHECK_TEST(many_writes_look_at_the_limits),
    CHECK_TEST(a_closed_descriptor_is_gone),
    CHECK_TEST(outputs_are_terminals),
    CHECK_TEST(seeded_chance_repeats),
    CHECK_TEST(much_chance_looks_at_the_limits),
    CHECK_TEST(stores_to_read_only_pages_trap),
    CHECK_TEST(polls_what_is_due_first),
    CHECK_TEST(polls_descriptors_and_mistakes),
};

CHECK_MAIN(TESTS)
