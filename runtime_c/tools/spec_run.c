/* Runs one script of the official WebAssembly test suite, in the line form that tests/runtime_c/spec_script.py writes.
 *
 *     spec_run SCRIPT [--bounds auto|guard|checked] [--aot MODULES.so]
 *
 * Script lines are `INDEX VERB TOKEN…`; each gives one output line, `INDEX pass` or `INDEX fail TEXT`, flushed at once
 * so that a crash belongs to the first command without a line. The last line is `end`. With --aot, modules that
 * MODULES.so has the code of run compiled; `compiled COUNT of COUNT` tells how many did. Names and texts are %-encoded
 * and start with a colon; `-` stands for none. An ACTION is `invoke INSTANCE NAME COUNT VALUE…` or `get INSTANCE NAME`.
 * Each module is loaded whole and byte by byte.
 *
 *     module NAME FILE          definition NAME FILE      instance NAME DEFINITION      register INSTANCE NAME
 *     action ACTION             return ACTION VALUE…      trap TEXT ACTION              exhaustion TEXT ACTION
 *     exception ACTION
 *     malformed TEXT FILE       invalid TEXT FILE         unlinkable TEXT FILE          uninstantiable TEXT FILE
 *
 * A TEXT is a list of accepted texts joined by |; one of them must start with the text of the status. A VALUE is a list
 * of alternatives joined by |, each `KIND:LANE,…` with KIND i8…i64, f32, f64 or ref and LANE an unsigned number,
 * nan (the canonical one, which is positive), anynan, or any (not null); a host reference n is the number n + 1. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wr.h"

enum {
    TOKENS_MAX = 256,
    NAMES_MAX = 256,
    SLOTS_MAX = 256,
    LANES_MAX = 16,
    MESSAGE_MAX = 512,
    STACK_BYTES = 1 << 20,
    CALL_DEADLINE_US = 120 * 1000 * 1000, /* hangs only: emulators are slow */
};

typedef struct text {
    const char *at;
    size_t len;
} text;

/* What a name stands for: instances by script name, instances by registered name, definitions. */
typedef struct binding {
    text name;
    void *object;
} binding;

typedef struct names {
    binding items[NAMES_MAX];
    size_t count;
} names;

typedef struct runner {
    const char *folder; /* of the script, with a slash */
    wr_engine *engine;
    wr_store *store;
    wr_exec *exec;
    wr_instance *current;
    wr_module *defined; /* the last definition */
    names instances;
    names registered;
    names definitions;
    names spectest; /* name -> wr_extern */
    const char *artefact; /* NULL: everything is interpreted */
    unsigned loaded, compiled;
    char message[MESSAGE_MAX];
} runner;

typedef struct tokens {
    char *items[TOKENS_MAX];
    size_t count;
    size_t next;
} tokens;

typedef struct result {
    wr_status status;
    wr_slot slots[SLOTS_MAX];
    uint8_t types[SLOTS_MAX];
    size_t count;
} result;

/* ---- small parts ------------------------------------------------------------------------------------------- */

static void die(const char *what, const char *detail) {
    fprintf(stderr, "spec_run: %s: %s\n", what, detail);
    exit(2);
}

__attribute__((format(printf, 2, 3))) static bool fail(runner *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(run->message, sizeof run->message, format, args);
    va_end(args);
    return false;
}

static char *next_token(tokens *line) {
    if (line->next == line->count) {
        die("a line ends early", line->count > 1 ? line->items[1] : "empty");
    }
    return line->items[line->next++];
}

static uint8_t hex_digit(char c) { return (uint8_t)(isdigit((unsigned char)c) ? c - '0' : c - 'a' + 10); }

/* Decodes :TEXT in place; `-` gives at NULL. */
static text next_text(tokens *line) {
    char *from = next_token(line);
    char *to = from;
    text out = {from, 0};
    if (*from != ':') {
        return (text){NULL, 0};
    }
    for (from++; *from != '\0'; to++) {
        if (*from == '%') {
            *to = (char)(uint8_t)(hex_digit(from[1]) << 4 | hex_digit(from[2]));
            from += 3;
        } else {
            *to = *from++;
        }
    }
    out.len = (size_t)(to - out.at);
    *to = '\0';
    return out;
}

static void bind_name(names *table, text name, void *object) {
    if (table->count == NAMES_MAX) {
        die("too many names", name.at);
    }
    table->items[table->count++] = (binding){name, object};
}

/* The latest binding of a name wins. */
static void *lookup(const names *table, text name) {
    for (size_t i = table->count; i-- > 0;) {
        const binding *item = &table->items[i];
        if (item->name.len == name.len && memcmp(item->name.at, name.at, name.len) == 0) {
            return item->object;
        }
    }
    return NULL;
}

static char *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        die(path, strerror(errno));
    }
    *len = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*len + 1);
    if (bytes == NULL || fread(bytes, 1, *len, file) != *len) {
        die(path, "cannot be read");
    }
    bytes[*len] = '\0';
    fclose(file);
    return bytes;
}

/* ---- the host module spectest ------------------------------------------------------------------------------ */

static wr_status print_nothing(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec, (void)env, (void)slots;
    return WR_OK;
}

static void must(wr_status status, const char *what) {
    if (status != WR_OK) {
        die(what, wr_status_name(status));
    }
}

static void offer(runner *run, const char *name, wr_extern_kind kind, void *object) {
    wr_extern *item = malloc(sizeof *item);
    if (item == NULL) {
        die(name, "out of memory");
    }
    item->kind = kind;
    item->of.any = object;
    bind_name(&run->spectest, (text){name, strlen(name)}, item);
}

static void offer_functions(runner *run) {
    static const struct {
        const char *name;
        uint8_t params[2];
        uint32_t count;
    } PRINTS[] = {
        {"print", {0, 0}, 0},
        {"print_i32", {WR_TYPE_I32, 0}, 1},
        {"print_i64", {WR_TYPE_I64, 0}, 1},
        {"print_f32", {WR_TYPE_F32, 0}, 1},
        {"print_f64", {WR_TYPE_F64, 0}, 1},
        {"print_i32_f32", {WR_TYPE_I32, WR_TYPE_F32}, 2},
        {"print_f64_f64", {WR_TYPE_F64, WR_TYPE_F64}, 2},
    };
    for (size_t i = 0; i < sizeof PRINTS / sizeof PRINTS[0]; i++) {
        wr_func_type type = {PRINTS[i].params, PRINTS[i].params, PRINTS[i].count, 0};
        wr_func *func = NULL;
        must(wr_func_new(run->store, &type, print_nothing, NULL, &func), PRINTS[i].name);
        offer(run, PRINTS[i].name, WR_EXTERN_FUNC, func);
    }
}

static void offer_globals(runner *run) {
    const struct {
        const char *name;
        uint8_t type;
        wr_slot value;
    } GLOBALS[] = {
        {"global_i32", WR_TYPE_I32, {.u64 = 666}},
        {"global_i64", WR_TYPE_I64, {.u64 = 666}},
        {"global_f32", WR_TYPE_F32, {.u64 = 0x4426A666}},
        {"global_f64", WR_TYPE_F64, {.f64 = 666.6}},
    };
    for (size_t i = 0; i < sizeof GLOBALS / sizeof GLOBALS[0]; i++) {
        wr_global *global = NULL;
        must(wr_global_new(run->store, GLOBALS[i].type, false, GLOBALS[i].value, &global), GLOBALS[i].name);
        offer(run, GLOBALS[i].name, WR_EXTERN_GLOBAL, global);
    }
}

static void offer_spectest(runner *run) {
    wr_table *table = NULL;
    wr_memory *memory = NULL, *shared = NULL;
    offer_functions(run);
    offer_globals(run);
    must(wr_table_new(run->store, WR_TYPE_FUNCREF, 10, 20, &table), "table");
    must(wr_memory_new(run->store, 1, 2, &memory), "memory");
    wr_status status = wr_memory_new_shared(run->store, 1, 2, &shared);
    if (status != WR_UNSUPPORTED) must(status, "shared memory");
    offer(run, "table", WR_EXTERN_TABLE, table);
    offer(run, "memory", WR_EXTERN_MEMORY, memory);
    if (shared != NULL) offer(run, "shared_memory", WR_EXTERN_MEMORY, shared);
}

/* ---- modules ----------------------------------------------------------------------------------------------- */

/* What the registry has for an import; of.any is NULL where there is nothing. */
static wr_extern resolve(const runner *run, const wr_import_desc *import) {
    text module = {import->module, import->module_len};
    wr_instance *instance = lookup(&run->registered, module);
    wr_extern found = {import->kind, {NULL}};
    if (instance != NULL) {
        if (wr_instance_export(instance, import->name, import->name_len, &found) != WR_OK) {
            found.of.any = NULL;
        }
    } else if (module.len == 8 && memcmp(module.at, "spectest", 8) == 0) {
        const wr_extern *item = lookup(&run->spectest, (text){import->name, import->name_len});
        found = item != NULL ? *item : found;
    }
    return found;
}

/* Byte by byte the outcome must be the same. */
static void check_pieces(const runner *run, const uint8_t *bytes, size_t len, wr_status whole, const wr_error *error) {
    wr_module_stream *stream;
    wr_module *module = NULL;
    wr_error piecewise = {0};
    must(wr_module_begin(run->engine, len, &stream, &piecewise), "stream");
    for (size_t i = 0; i < len; i++) {
        (void)wr_module_feed(stream, bytes + i, 1, NULL);
    }
    wr_status status = wr_module_finish(stream, &module, &piecewise);
    wr_module_release(module);
    if (status != whole || (status != WR_OK && piecewise.offset != error->offset)) {
        die("byte by byte another outcome", piecewise.message);
    }
}

static wr_status load(runner *run, text file, wr_module **out, wr_error *error) {
    char path[4096];
    size_t len = 0;
    snprintf(path, sizeof path, "%s%s", run->folder, file.at);
    char *bytes = read_file(path, &len);
    wr_status status = wr_module_load(run->engine, (const uint8_t *)bytes, len, out, error);
    check_pieces(run, (const uint8_t *)bytes, len, status, error);
    if (status == WR_OK && run->artefact != NULL) {
        wr_error refused = {0};
        run->loaded++;
        run->compiled += wr_aot_attach(*out, (const uint8_t *)bytes, len, run->artefact, &refused) == WR_OK;
    }
    free(bytes);
    return status;
}

static wr_status instantiate(runner *run, const wr_module *module, wr_instance **out, wr_error *error) {
    uint32_t count = wr_module_import_count(module);
    wr_extern *imports = calloc(count + 1, sizeof *imports);
    if (imports == NULL) {
        die("imports", "out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        wr_import_desc import = wr_module_import(module, i);
        imports[i] = resolve(run, &import);
    }
    wr_exec_set_limits(run->exec, CALL_DEADLINE_US, 0);
    wr_status status = wr_instance_new(run->store, module, imports, count, NULL, run->exec, out, error);
    free(imports);
    return status;
}

static bool failed(runner *run, const char *step, wr_status status, const wr_error *error) {
    return fail(run, "%s: %s: %s", step, wr_status_name(status), error->message);
}

static bool make_instance(runner *run, const wr_module *module, text name) {
    wr_error error = {0};
    wr_status status = instantiate(run, module, &run->current, &error);
    if (status != WR_OK) {
        run->current = NULL;
        return failed(run, "instantiate", status, &error);
    }
    if (name.at != NULL) {
        bind_name(&run->instances, name, run->current);
    }
    return true;
}

static bool do_module(runner *run, tokens *line) {
    text name = next_text(line);
    text file = next_text(line);
    wr_error error = {0};
    wr_module *module = NULL;
    wr_status status = load(run, file, &module, &error);
    run->current = NULL;
    if (status != WR_OK) {
        return failed(run, "load", status, &error);
    }
    bool done = make_instance(run, module, name);
    wr_module_release(module);
    return done;
}

static bool do_definition(runner *run, tokens *line) {
    text name = next_text(line);
    text file = next_text(line);
    wr_error error = {0};
    wr_status status = load(run, file, &run->defined, &error);
    if (status != WR_OK) {
        return failed(run, "load", status, &error);
    }
    bind_name(&run->definitions, name.at != NULL ? name : (text){"", 0}, run->defined);
    return true;
}

static bool do_instance(runner *run, tokens *line) {
    text name = next_text(line);
    text definition = next_text(line);
    const wr_module *module = definition.at != NULL ? lookup(&run->definitions, definition) : run->defined;
    return module != NULL ? make_instance(run, module, name) : fail(run, "there is no such definition");
}

static wr_instance *next_instance(runner *run, tokens *line) {
    text name = next_text(line);
    return name.at != NULL ? lookup(&run->instances, name) : run->current;
}

static bool do_register(runner *run, tokens *line) {
    wr_instance *instance = next_instance(run, line);
    text name = next_text(line);
    if (instance == NULL) {
        return fail(run, "there is no instance to register");
    }
    bind_name(&run->registered, name, instance);
    return true;
}

/* ---- values ------------------------------------------------------------------------------------------------ */

typedef enum lane_match { LANE_EQUAL, LANE_NAN, LANE_ANY_NAN, LANE_NOT_NULL } lane_match;

typedef struct pattern {
    size_t width; /* of a lane in bytes */
    size_t count;
    lane_match match[LANES_MAX];
    uint64_t bits[LANES_MAX];
} pattern;

static size_t lane_width(const char *kind, size_t len) {
    static const struct {
        const char *kind;
        size_t width;
    } KINDS[] = {{"i8", 1}, {"i16", 2}, {"i32", 4}, {"i64", 8}, {"f32", 4}, {"f64", 8}, {"ref", 8}};
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        if (strlen(KINDS[i].kind) == len && memcmp(KINDS[i].kind, kind, len) == 0) {
            return KINDS[i].width;
        }
    }
    die("unknown kind of value", kind);
    return 0;
}

static lane_match parse_lane(const char *at, uint64_t *bits) {
    *bits = 0;
    switch (*at) {
    case 'n': return LANE_NAN;
    case 'a': return strncmp(at, "anynan", 6) == 0 ? LANE_ANY_NAN : LANE_NOT_NULL;
    default: *bits = strtoull(at, NULL, 10); return LANE_EQUAL;
    }
}

/* Parses one alternative; returns where the next one starts, or NULL. */
static const char *parse_pattern(const char *at, pattern *out) {
    size_t kind = strcspn(at, ":");
    out->width = lane_width(at, kind);
    out->count = 0;
    for (at += kind; *at != '\0' && *at != '|'; at += strcspn(at, ",|")) {
        if (out->count == LANES_MAX) {
            die("too many lanes", at);
        }
        at++;
        out->match[out->count] = parse_lane(at, &out->bits[out->count]);
        out->count++;
    }
    return *at == '|' ? at + 1 : NULL;
}

static bool is_nan(uint64_t bits, size_t width, lane_match match) {
    const uint64_t canonical = width == 4 ? UINT64_C(0x7FC00000) : UINT64_C(0x7FF8000000000000);
    return match == LANE_NAN ? bits == canonical : (bits & canonical) == canonical;
}

static bool lane_matches(const pattern *want, size_t lane, uint64_t got) {
    switch (want->match[lane]) {
    case LANE_EQUAL: return got == want->bits[lane];
    case LANE_NOT_NULL: return got != 0;
    default: return is_nan(got, want->width, want->match[lane]);
    }
}

static bool value_matches(const pattern *want, const wr_slot *slots) {
    for (size_t lane = 0; lane < want->count; lane++) {
        uint64_t got = 0;
        memcpy(&got, (const uint8_t *)slots + lane * want->width, want->width);
        if (!lane_matches(want, lane, got)) {
            return false;
        }
    }
    return true;
}

static size_t slots_of(uint8_t type) { return type == WR_TYPE_V128 ? 2 : 1; }

/* The token as an argument; returns the slots it takes. */
static size_t store_argument(const char *token, wr_slot *slots) {
    pattern value;
    parse_pattern(token, &value);
    for (size_t lane = 0; lane < value.count; lane++) {
        memcpy((uint8_t *)slots + lane * value.width, &value.bits[lane], value.width);
    }
    return value.width * value.count > sizeof *slots ? 2 : 1;
}

/* ---- actions ----------------------------------------------------------------------------------------------- */

static bool do_invoke(runner *run, tokens *line, const wr_func *func, result *out) {
    wr_func_type type = wr_func_type_of(func);
    size_t given = strtoul(next_token(line), NULL, 10);
    size_t at = 0;
    if (given != type.param_count || given * 2 > SLOTS_MAX || type.result_count * 2 > SLOTS_MAX) {
        return fail(run, "%zu arguments for %u parameters", given, type.param_count);
    }
    memset(out->slots, 0, sizeof out->slots);
    for (size_t i = 0; i < given; i++) {
        at += store_argument(next_token(line), &out->slots[at]);
    }
    memcpy(out->types, type.results, type.result_count);
    out->count = type.result_count;
    wr_exec_set_limits(run->exec, CALL_DEADLINE_US, 0);
    out->status = wr_call(run->exec, func, out->slots, out->slots);
    return true;
}

static bool do_get(result *out, const wr_global *global) {
    bool is_mutable = false;
    out->types[0] = wr_global_type_of(global, &is_mutable);
    out->slots[0] = wr_global_get(global);
    if (out->types[0] == WR_TYPE_V128) must(wr_global_get_v128(global, out->slots), "a vector global");
    out->count = 1;
    out->status = WR_OK;
    return true;
}

/* Performs the action; false: it was not possible, which is not the same as a trap. */
static bool act(runner *run, tokens *line, result *out) {
    bool get = strcmp(next_token(line), "get") == 0;
    wr_instance *instance = next_instance(run, line);
    text name = next_text(line);
    wr_extern found;
    if (instance == NULL) {
        return fail(run, "there is no instance to act on");
    }
    if (wr_instance_export(instance, name.at, name.len, &found) != WR_OK ||
        found.kind != (get ? WR_EXTERN_GLOBAL : WR_EXTERN_FUNC)) {
        return fail(run, "the instance exports no such %s", get ? "global" : "function");
    }
    return get ? do_get(out, found.of.global) : do_invoke(run, line, found.of.func, out);
}

static bool do_action(runner *run, tokens *line) {
    result got;
    return act(run, line, &got) && (got.status == WR_OK || fail(run, "got %s", wr_status_name(got.status)));
}

static bool do_return(runner *run, tokens *line) {
    result got;
    if (!act(run, line, &got)) {
        return false;
    }
    if (got.status != WR_OK) {
        return fail(run, "got %s", wr_status_name(got.status));
    }
    if (got.count != line->count - line->next) {
        return fail(run, "got %zu results, want %zu", got.count, line->count - line->next);
    }
    for (size_t i = 0, slot = 0; i < got.count; slot += slots_of(got.types[i]), i++) {
        const char *token = next_token(line);
        bool matches = false;
        for (const char *at = token; at != NULL && !matches;) {
            pattern want;
            at = parse_pattern(at, &want);
            matches = value_matches(&want, &got.slots[slot]);
        }
        if (!matches) {
            return fail(run, "result %zu: got 0x%016" PRIx64 " (%" PRIu64 "), want %s", i, got.slots[slot].u64,
                        got.slots[slot].u64, token);
        }
    }
    return true;
}

/* ---- expected failures ------------------------------------------------------------------------------------- */

static const char *class_name(wr_status_class class) {
    static const char *const NAMES[] = {"ok", "malformed", "invalid", "unlinkable", "limit", "trap", "host"};
    return NAMES[class];
}

/* Whether one of the texts joined by | starts with the text of the status. */
static bool text_fits(const char *texts, wr_status status) {
    size_t len = strlen(wr_status_text(status));
    for (const char *at = texts; at != NULL; at = strchr(at, '|'), at = at != NULL ? at + 1 : NULL) {
        if (strncmp(at, wr_status_text(status), len) == 0) {
            return true;
        }
    }
    return false;
}

static bool judge(runner *run, wr_status status, wr_status_class want, text texts, const char *detail) {
    wr_status_class class = wr_status_class_of(status);
    if (class != want) {
        return fail(run, "got class %s (%s: %s), want %s \"%s\"", class_name(class), wr_status_name(status), detail,
                    class_name(want), texts.at);
    }
    return text_fits(texts.at, status) ||
           fail(run, "got text %s (%s), want \"%s\"", wr_status_name(status), detail, texts.at);
}

static bool do_trap(runner *run, tokens *line) {
    text texts = next_text(line);
    result got;
    return act(run, line, &got) && judge(run, got.status, WR_CLASS_TRAP, texts, "");
}

static bool do_exception(runner *run, tokens *line) {
    static const char want[] = "uncaught exception";
    result got;
    return act(run, line, &got) && judge(run, got.status, WR_CLASS_TRAP, (text){want, sizeof want - 1}, "");
}

static bool refuse(runner *run, tokens *line, wr_status_class want) {
    text texts = next_text(line);
    wr_error error = {0};
    wr_module *module = NULL;
    wr_status status = load(run, next_text(line), &module, &error);
    if (status == WR_OK) {
        wr_module_release(module);
    }
    return judge(run, status, want, texts, error.message);
}

static bool do_malformed(runner *run, tokens *line) { return refuse(run, line, WR_CLASS_MALFORMED); }
static bool do_invalid(runner *run, tokens *line) { return refuse(run, line, WR_CLASS_INVALID); }

static bool refuse_instance(runner *run, tokens *line, wr_status_class want) {
    text texts = next_text(line);
    wr_error error = {0};
    wr_module *module = NULL;
    wr_instance *instance = NULL;
    wr_status status = load(run, next_text(line), &module, &error);
    if (status != WR_OK) {
        return failed(run, "load", status, &error);
    }
    status = instantiate(run, module, &instance, &error);
    wr_module_release(module);
    return judge(run, status, want, texts, error.message);
}

static bool do_unlinkable(runner *run, tokens *line) { return refuse_instance(run, line, WR_CLASS_UNLINKABLE); }
static bool do_uninstantiable(runner *run, tokens *line) { return refuse_instance(run, line, WR_CLASS_TRAP); }

/* ---- the script -------------------------------------------------------------------------------------------- */

static const struct verb {
    const char *name;
    bool (*run)(runner *run, tokens *line);
} VERBS[] = {
    {"module", do_module},
    {"definition", do_definition},
    {"instance", do_instance},
    {"register", do_register},
    {"action", do_action},
    {"return", do_return},
    {"trap", do_trap},
    {"exhaustion", do_trap},
    {"malformed", do_malformed},
    {"exception", do_exception},
    {"invalid", do_invalid},
    {"unlinkable", do_unlinkable},
    {"uninstantiable", do_uninstantiable},
};

static void run_line(runner *run, tokens *line) {
    const char *index = next_token(line);
    const char *name = next_token(line);
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++) {
        if (strcmp(VERBS[i].name, name) == 0) {
            bool passed = VERBS[i].run(run, line);
            printf(passed ? "%s pass\n" : "%s fail %s\n", index, run->message);
            fflush(stdout);
            return;
        }
    }
    die("unknown verb", name);
}

static void run_script(runner *run, char *script) {
    char *rest = NULL;
    for (char *row = strtok_r(script, "\n", &rest); row != NULL; row = strtok_r(NULL, "\n", &rest)) {
        tokens line = {.count = 0};
        char *more = NULL;
        for (char *item = strtok_r(row, " ", &more); item != NULL; item = strtok_r(NULL, " ", &more)) {
            if (line.count == TOKENS_MAX) {
                die("too many words in a line", row);
            }
            line.items[line.count++] = item;
        }
        run_line(run, &line);
    }
}

static wr_bounds parse_bounds(const char *name) {
    static const char *const BOUNDS[] = {
        [WR_BOUNDS_AUTO] = "auto", [WR_BOUNDS_GUARD] = "guard", [WR_BOUNDS_CHECKED] = "checked"};
    for (size_t i = 0; i < sizeof BOUNDS / sizeof BOUNDS[0]; i++) {
        if (strcmp(name, BOUNDS[i]) == 0) {
            return (wr_bounds)i;
        }
    }
    die("unknown bounds", name);
    return WR_BOUNDS_AUTO;
}

static void parse_options(runner *run, wr_engine_config *config, int argc, char **argv) {
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--bounds") == 0) {
            config->bounds = parse_bounds(argv[i + 1]);
        } else if (i + 1 < argc && strcmp(argv[i], "--aot") == 0) {
            run->artefact = argv[i + 1];
        } else {
            die("usage", "spec_run SCRIPT [--bounds auto|guard|checked] [--aot MODULES.so]");
        }
    }
}

static void close_runner(runner *run) {
    wr_exec_free(run->exec);
    wr_store_free(run->store);
    for (size_t i = 0; i < run->definitions.count; i++) {
        wr_module_release(run->definitions.items[i].object);
    }
    for (size_t i = 0; i < run->spectest.count; i++) {
        free(run->spectest.items[i].object);
    }
    wr_engine_free(run->engine);
}

int main(int argc, char **argv) {
    wr_engine_config config = {.bounds = WR_BOUNDS_AUTO};
    runner run = {.message = ""};
    size_t len = 0;
    parse_options(&run, &config, argc, argv);
    char *script = read_file(argv[1], &len);
    char *slash = strrchr(argv[1], '/');
    if (slash != NULL) {
        slash[1] = '\0';
    }
    run.folder = slash != NULL ? argv[1] : "";
    must(wr_engine_new(&config, &run.engine), "engine");
    must(wr_store_new(run.engine, &run.store), "store");
    must(wr_exec_new(run.engine, STACK_BYTES, &run.exec), "exec");
    offer_spectest(&run);
    run_script(&run, script);
    close_runner(&run);
    free(script);
    if (run.artefact != NULL) printf("compiled %u of %u\n", run.compiled, run.loaded);
    puts("end");
    return EXIT_SUCCESS;
}
