/* Input from a stranger: every prefix and thousands of mutations of real modules are refused or run, never a crash or
 * a hang. The modules are the test plugins in the folder WR_TEST_PLUGINS. One seed: the same mutations every time. */
#include <dirent.h>

#include "fixture.h"

enum {
    MUTATIONS = 10000, /* over all modules */
    MODULES_MAX = 64,
    SLOTS_MAX = 64,
    IMPORTS_MAX = 64,
    FUEL = 3000,
    DEADLINE_US = 50 * 1000,
};

typedef struct corpus {
    build_t modules[MODULES_MAX];
    size_t count;
} corpus;

static void read_module(check_t *check, corpus *all, const char *folder, const char *name) {
    char path[4096];
    uint8_t part[4096];
    build_t *module = &all->modules[all->count];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    for (size_t got = 0; (got = fread(part, 1, sizeof part, file)) > 0;) {
        build_bytes(module, part, got);
    }
    fclose(file);
    all->count++;
}

static bool open_corpus(check_t *check, corpus *all) {
    const char *folder = getenv("WR_TEST_PLUGINS");
    *all = (corpus){.count = 0};
    DIR *entries = folder != NULL ? opendir(folder) : NULL;
    if (!CHECK(entries != NULL)) {
        return false;
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL && all->count < MODULES_MAX;) {
        size_t len = strlen(entry->d_name);
        if (len > 5 && strcmp(entry->d_name + len - 5, ".wasm") == 0) {
            read_module(check, all, folder, entry->d_name);
        }
    }
    closedir(entries);
    return CHECK(all->count > 0);
}

static void close_corpus(corpus *all) {
    for (size_t i = 0; i < all->count; i++) {
        build_free(&all->modules[i]);
    }
}

/* What became of the inputs. */
typedef struct outcome {
    uint64_t refused;
    uint64_t not_linked;
    uint64_t calls;
    uint64_t traps;
    uint64_t odd; /* statuses of a class that is impossible there */
} outcome;

static wr_status answer(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec, (void)env;
    slots[0].u64 = 1;
    return WR_OK;
}

/* Host functions of whatever type the module wants; nothing for other imports. */
static uint32_t offer_imports(fixture *fix, wr_extern *imports) {
    uint32_t count = wr_module_import_count(fix->module);
    for (uint32_t i = 0; i < count && i < IMPORTS_MAX; i++) {
        wr_import_desc import = wr_module_import(fix->module, i);
        imports[i] = (wr_extern){import.kind, {NULL}};
        if (import.kind == WR_EXTERN_FUNC) {
            (void)wr_func_new(fix->store, &import.func_type, answer, NULL, &imports[i].of.func);
        }
    }
    return count < IMPORTS_MAX ? count : IMPORTS_MAX;
}

static void call_export(fixture *fix, uint32_t index, outcome *seen) {
    wr_slot slots[SLOTS_MAX] = {{.u64 = 0}};
    wr_export_desc description = wr_module_export(fix->module, index);
    wr_extern found;
    if (description.kind != WR_EXTERN_FUNC ||
        wr_instance_export(fix->instance, description.name, description.name_len, &found) != WR_OK) {
        return;
    }
    wr_func_type type = wr_func_type_of(found.of.func);
    if (type.param_count > SLOTS_MAX / 2 || type.result_count > SLOTS_MAX / 2) {
        return;
    }
    for (size_t i = 0; i < type.param_count; i++) {
        slots[i].u64 = 3;
    }
    wr_exec_set_limits(fix->exec, DEADLINE_US, FUEL);
    wr_status status = wr_call(fix->exec, found.of.func, slots, slots);
    seen->calls++;
    seen->traps += status != WR_OK;
    seen->odd += status != WR_OK && wr_status_class_of(status) != WR_CLASS_TRAP;
}

/* Loads, links and calls everything in a store of its own. */
static void use(fixture *fix, const uint8_t *bytes, size_t len, outcome *seen) {
    const wr_instance_limits limits = {.memory_bytes_max = 1 << 20};
    wr_extern imports[IMPORTS_MAX];
    wr_status status = wr_module_load(fix->engine, bytes, len, &fix->module, &fix->error);
    if (status != WR_OK) {
        wr_status_class class = wr_status_class_of(status);
        seen->refused++;
        seen->odd += class != WR_CLASS_MALFORMED && class != WR_CLASS_INVALID && class != WR_CLASS_LIMIT;
        return;
    }
    if (wr_store_new(fix->engine, &fix->store) == WR_OK) {
        uint32_t count = offer_imports(fix, imports);
        wr_exec_set_limits(fix->exec, DEADLINE_US, FUEL);
        if (fixture_link(fix, imports, count, &limits) == WR_OK) {
            for (uint32_t i = 0; i < wr_module_export_count(fix->module); i++) {
                call_export(fix, i, seen);
            }
        } else {
            seen->not_linked++;
        }
        wr_store_free(fix->store);
        fix->store = NULL;
    }
    wr_module_release(fix->module);
    fix->module = NULL;
}

/* In a block of just this size, so that a sanitizer finds reading on. */
static void use_copy(fixture *fix, const uint8_t *bytes, size_t len, outcome *seen) {
    uint8_t *copy = malloc(len != 0 ? len : 1);
    memcpy(copy, bytes, len);
    use(fix, copy, len, seen);
    free(copy);
}

/* An engine and an exec; stores come and go. */
static void open_user(check_t *check, fixture *fix, wr_bounds bounds) {
    const wr_engine_config config = {.bounds = bounds, .limits = {.table_elements_max = 100000}};
    REQUIRE_OK(fixture_open(fix, &config));
    wr_store_free(fix->store);
    fix->store = NULL;
}

/* Every module alone is fine, so that what follows tests what it claims. */
static void real_modules_run(check_t *check) {
    corpus all;
    fixture fix;
    REQUIRE(open_corpus(check, &all));
    open_user(check, &fix, WR_BOUNDS_AUTO);
    for (size_t i = 0; i < all.count; i++) {
        outcome seen = {0};
        use(&fix, all.modules[i].at, all.modules[i].len, &seen);
        CHECK_EQ_U64(seen.refused + seen.not_linked + seen.odd, 0);
        CHECK(seen.calls > 0);
    }
    fixture_close(&fix);
    close_corpus(&all);
}

static void every_prefix_is_refused_or_runs(check_t *check) {
    corpus all;
    fixture fix;
    outcome seen = {0};
    REQUIRE(open_corpus(check, &all));
    open_user(check, &fix, WR_BOUNDS_CHECKED);
    for (size_t i = 0; i < all.count; i++) {
        for (size_t len = 0; len < all.modules[i].len; len++) {
            use_copy(&fix, all.modules[i].at, len, &seen);
        }
    }
    CHECK_EQ_U64(seen.odd, 0);
    CHECK(seen.refused > 1000);
    fixture_close(&fix);
    close_corpus(&all);
}

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void mutate(check_t *check, wr_bounds bounds, uint32_t count) {
    corpus all;
    fixture fix;
    outcome seen = {0};
    uint64_t state = 2026;
    REQUIRE(open_corpus(check, &all));
    open_user(check, &fix, bounds);
    for (uint32_t i = 0; i < count; i++) {
        build_t *module = &all.modules[i % all.count];
        size_t at = (size_t)(next_random(&state) % module->len);
        uint8_t before = module->at[at];
        module->at[at] = (uint8_t)next_random(&state);
        use_copy(&fix, module->at, module->len, &seen);
        module->at[at] = before;
    }
    CHECK_EQ_U64(seen.odd, 0);
    CHECK(seen.refused >= count / 10 && seen.calls >= count / 10 && seen.traps >= count / 100);
    fixture_close(&fix);
    close_corpus(&all);
}

static void mutations_are_refused_or_run(check_t *check) { mutate(check, WR_BOUNDS_CHECKED, MUTATIONS); }

static void mutations_under_guards(check_t *check) {
    mutate(check, WR_BOUNDS_AUTO, fixture_guard_rounds(MUTATIONS / 2));
}

static const check_test TESTS[] = {
    CHECK_TEST(real_modules_run),
    CHECK_TEST(every_prefix_is_refused_or_runs),
    CHECK_TEST(mutations_are_refused_or_run),
    CHECK_TEST(mutations_under_guards),
};
CHECK_MAIN(TESTS)
