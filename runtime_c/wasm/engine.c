#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"

/* ---- status ---- */

#define CLASS_OF(NAME, CLASS, TEXT) WR_CLASS_##CLASS,
#define NAME_OF(NAME, CLASS, TEXT) #NAME,
#define TEXT_OF(NAME, CLASS, TEXT) TEXT,
static const uint8_t status_class[] = {WR_STATUS_TABLE(CLASS_OF)};
static const char *const status_name[] = {WR_STATUS_TABLE(NAME_OF)};
static const char *const status_text[] = {WR_STATUS_TABLE(TEXT_OF)};

wr_status_class wr_status_class_of(wr_status status) {
    return (unsigned)status < WR_STATUS_COUNT ? (wr_status_class)status_class[status] : WR_CLASS_HOST;
}
const char *wr_status_name(wr_status status) { return (unsigned)status < WR_STATUS_COUNT ? status_name[status] : "?"; }
const char *wr_status_text(wr_status status) {
    return (unsigned)status < WR_STATUS_COUNT ? status_text[status] : "unknown status";
}

wr_status wr_error_set(wr_error *error, wr_status status, uint32_t offset, const char *format, ...) {
    if (error == NULL) return status;
    error->status = status;
    error->offset = offset;
    int used = snprintf(error->message, sizeof error->message, "%s", wr_status_text(status));
    if (format[0] != '\0' && used > 0 && (size_t)used + 3 < sizeof error->message) {
        error->message[used] = ':';
        error->message[used + 1] = ' ';
        va_list args;
        va_start(args, format);
        vsnprintf(error->message + used + 2, sizeof error->message - (size_t)used - 2, format, args);
        va_end(args);
    }
    return status;
}

/* ---- engine ---- */

#define LIMIT_TABLE(X)                        \
    X(module_bytes_max, 64u << 20)            \
    X(types_max, 65536)                       \
    X(functions_max, 65536)                   \
    X(imports_max, 4096)                      \
    X(exports_max, 65536)                     \
    X(globals_max, 65536)                     \
    X(tables_max, 256)                        \
    X(memories_max, 16)                       \
    X(segments_max, 65536)                    \
    X(params_max, 1024)                       \
    X(locals_max, 50000)                      \
    X(body_bytes_max, 8u << 20)               \
    X(nesting_max, 4096)                      \
    X(name_bytes_max, 65536)                  \
    X(table_elements_max, 10000000)           \
    X(memory_bytes_max, UINT64_C(4) << 30)    \
    X(load_ratio_max, 6)                      \
    X(load_bytes_min, 9216)

enum {
    MODULE_BYTES_MOST = 1 << 30,  /* offsets and indices have room for no more (module.h) */
    PARAMS_MOST = UINT16_MAX / 2, /* two slots each are counted in 16 bits */
};

static void limits_fill(wr_limits *limits) {
#define FILL(FIELD, DEFAULT) \
    if (limits->FIELD == 0) limits->FIELD = (DEFAULT);
    LIMIT_TABLE(FILL)
#undef FILL
    if (limits->module_bytes_max > MODULE_BYTES_MOST) limits->module_bytes_max = MODULE_BYTES_MOST;
    /* The code format numbers types in 16 bits and tables in 8 (code.h). */
    if (limits->types_max > 65536) limits->types_max = 65536;
    if (limits->tables_max > 256) limits->tables_max = 256;
    if (limits->params_max > PARAMS_MOST) limits->params_max = PARAMS_MOST;
}

wr_status wr_engine_new(const wr_engine_config *config, wr_engine **out) {
    wr_engine_config filled = {0};
    if (config != NULL) filled = *config;
    if (filled.alloc == NULL) filled.alloc = wr_mem_default();
    if ((unsigned)filled.bounds > WR_BOUNDS_CHECKED) return WR_BAD_ARGUMENT;
    limits_fill(&filled.limits);
    wr_status status = wr_fault_install();
    if (status != WR_OK) return status;
    wr_engine *engine = filled.alloc(filled.alloc_user, NULL, 0, sizeof *engine);
    if (engine == NULL) return WR_NO_MEMORY;
    memset(engine, 0, sizeof *engine);
    engine->config = filled;
    engine->heap = (wr_heap){.alloc = filled.alloc, .user = filled.alloc_user};
    pthread_mutex_init(&engine->lock, NULL);
    *out = engine;
    return WR_OK;
}

void wr_engine_free(wr_engine *engine) {
    if (engine == NULL) return;
    wr_spaces_free(engine);
    pthread_mutex_destroy(&engine->lock);
    wr_vec_free(&engine->heap, &engine->types, sizeof(wr_type *));
    wr_mem_free(&engine->heap, engine, sizeof *engine);
}

/* ---- value types ---- */

static bool heap_matches(uint32_t sub, uint32_t super) {
    if (sub == super || sub == WR_HEAP_BOTTOM) return true;
    switch (super) {
    case WR_HEAP_FUNC: return sub < WR_HEAP_ABSTRACT || sub == WR_HEAP_NOFUNC;
    case WR_HEAP_EXTERN: return sub == WR_HEAP_NOEXTERN;
    case WR_HEAP_EXN: return sub == WR_HEAP_NOEXN;
    default: return super < WR_HEAP_ABSTRACT && sub == WR_HEAP_NOFUNC;
    }
}

bool wr_vt_is_subtype(wr_vt sub, wr_vt super) {
    if (sub == WR_VT_BOTTOM || super == WR_VT_BOTTOM) return true;
    if (!wr_vt_is_ref(sub) || !wr_vt_is_ref(super)) return false;
    if ((sub & WR_VT_NULLABLE) != 0 && (super & WR_VT_NULLABLE) == 0) return false;
    return heap_matches(sub & WR_VT_HEAP, super & WR_VT_HEAP);
}

wr_vt wr_vt_from_byte(uint8_t byte) {
    if (byte >= WR_TYPE_V128 && byte <= WR_TYPE_I32) return byte;
    switch (byte) {
    case WR_TYPE_FUNCREF: return WR_VT_FUNCREF;
    case WR_TYPE_EXTERNREF: return WR_VT_EXTERNREF;
    case 0x69:
    case 0x72:
    case 0x73:
    case 0x74: return WR_VT_REF | WR_VT_NULLABLE | WR_HEAP_ABSTRACT | byte;
    default: return WR_VT_BOTTOM;
    }
}

uint8_t wr_vt_to_byte(wr_vt type) {
    if (wr_vt_is_ref(type) && (type & WR_VT_HEAP) < WR_HEAP_ABSTRACT) return WR_TYPE_FUNCREF;
    return (uint8_t)type;
}

/* ---- interned function types ---- */

static uint32_t type_hash(const wr_vt *values, uint32_t params, uint32_t results) {
    uint32_t hash = 2166136261u ^ params;
    for (uint32_t i = 0; i < params + results; i++) hash = (hash ^ values[i]) * 16777619u;
    return hash ^ results;
}

static bool type_equals(const wr_type *type, uint32_t hash, const wr_vt *values, uint32_t params, uint32_t results) {
    return type->hash == hash && type->param_count == params && type->result_count == results &&
           (params + results == 0 || memcmp(type->values, values, (params + results) * sizeof *values) == 0);
}

static size_t type_size(uint32_t count) { return offsetof(wr_type, values) + count * (sizeof(wr_vt) + 1); }

/* Also counts its place in the table of types, which grows for all modules together. */
static wr_type *type_new(const wr_heap *heap, uint32_t hash, const wr_vt *values, uint32_t params, uint32_t results) {
    uint32_t count = params + results;
    wr_type *type = wr_heap_charge(heap, sizeof type) ? wr_mem_zero(heap, type_size(count)) : NULL;
    if (type == NULL) return NULL;
    type->hash = hash;
    type->param_count = (uint16_t)params;
    type->result_count = (uint16_t)results;
    uint8_t *bytes = (uint8_t *)(type->values + count);
    for (uint32_t i = 0; i < count; i++) {
        type->values[i] = values[i];
        bytes[i] = wr_vt_to_byte(values[i]);
        uint16_t *slots = i < params ? &type->param_slots : &type->result_slots;
        *slots = (uint16_t)(*slots + wr_vt_slots(values[i]));
    }
    return type;
}

static wr_type *type_at(const wr_engine *engine, uint32_t id) { return ((wr_type **)engine->types.items)[id]; }

/* A number for a new type, and references to the types it mentions. */
static wr_status type_register(wr_engine *engine, wr_type *type) {
    wr_type **types = engine->types.items;
    while (engine->free_id < engine->types.count && types[engine->free_id] != NULL) engine->free_id++;
    if (engine->free_id == engine->types.count) {
        if (engine->types.count >= WR_HEAP_ABSTRACT) return WR_LIMIT_TYPES;
        wr_status status = wr_vec_reserve(&engine->heap, &engine->types, 1, sizeof(wr_type *));
        if (status != WR_OK) return status;
        engine->types.count++;
    }
    type->id = engine->free_id;
    ((wr_type **)engine->types.items)[type->id] = type;
    engine->live_types++;
    for (uint32_t i = 0; i < type->param_count + type->result_count; i++) {
        uint32_t heap = type->values[i] & WR_VT_HEAP;
        if (wr_vt_is_ref(type->values[i]) && heap < WR_HEAP_ABSTRACT) type_at(engine, heap)->refs++;
    }
    return WR_OK;
}

static wr_status intern(wr_engine *engine, const wr_heap *heap, const wr_vt *values, uint32_t params, uint32_t results,
                        wr_type **out) {
    uint32_t hash = type_hash(values, params, results);
    wr_type **bucket = &engine->buckets[hash % WR_TYPE_BUCKETS];
    wr_type *type = *bucket;
    while (type != NULL && !type_equals(type, hash, values, params, results)) type = type->next;
    if (type == NULL) {
        type = type_new(heap, hash, values, params, results);
        if (type == NULL) return WR_NO_MEMORY;
        wr_status status = type_register(engine, type);
        if (status != WR_OK) {
            wr_mem_free(heap, type, type_size(params + results));
            return status;
        }
        type->next = *bucket;
        *bucket = type;
    }
    type->refs++;
    *out = type;
    return WR_OK;
}

wr_status wr_type_intern(wr_engine *engine, const wr_heap *heap, const wr_vt *values, uint32_t params, uint32_t results,
                         const wr_type **out) {
    wr_type *type = NULL;
    pthread_mutex_lock(&engine->lock);
    wr_status status = intern(engine, heap, values, params, results, &type);
    pthread_mutex_unlock(&engine->lock);
    *out = type;
    return status;
}

static void type_unlink(wr_engine *engine, wr_type *type) {
    wr_type **link = &engine->buckets[type->hash % WR_TYPE_BUCKETS];
    while (*link != type) link = &(*link)->next;
    *link = type->next;
    ((wr_type **)engine->types.items)[type->id] = NULL;
    if (type->id < engine->free_id) engine->free_id = type->id;
    engine->live_types--;
}

/* Types mention only earlier ones, so chains are freed with a list instead of recursion. */
static void type_drop(wr_engine *engine, wr_type *type) {
    if (--type->refs != 0) return;
    type_unlink(engine, type);
    type->next = NULL;
    wr_type *dead = type;
    while (dead != NULL) {
        wr_type *last = dead;
        dead = dead->next;
        for (uint32_t i = 0; i < last->param_count + last->result_count; i++) {
            uint32_t heap = last->values[i] & WR_VT_HEAP;
            if (!wr_vt_is_ref(last->values[i]) || heap >= WR_HEAP_ABSTRACT) continue;
            wr_type *mentioned = type_at(engine, heap);
            if (--mentioned->refs != 0) continue;
            type_unlink(engine, mentioned);
            mentioned->next = dead;
            dead = mentioned;
        }
        wr_mem_free(&engine->heap, last, type_size(last->param_count + last->result_count));
    }
}

void wr_type_release(wr_engine *engine, const wr_type *type) {
    if (type == NULL) return;
    pthread_mutex_lock(&engine->lock);
    type_drop(engine, type_at(engine, type->id));
    if (engine->live_types == 0) wr_vec_free(&engine->heap, &engine->types, sizeof(wr_type *));
    pthread_mutex_unlock(&engine->lock);
}

wr_func_type wr_type_public(const wr_type *type) {
    const uint8_t *bytes = (const uint8_t *)(type->values + type->param_count + type->result_count);
    return (wr_func_type){bytes, bytes + type->param_count, type->param_count, type->result_count};
}
