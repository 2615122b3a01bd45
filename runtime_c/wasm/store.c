/* Stores: what was made in one is freed with it. */
#include <string.h>

#include "runtime.h"

wr_status wr_store_new(wr_engine *engine, wr_store **out) {
    wr_store *store = wr_mem_zero(&engine->heap, sizeof *store);
    if (store == NULL) return WR_NO_MEMORY;
    store->engine = engine;
    *out = store;
    return WR_OK;
}

void *wr_store_object(wr_store *store, size_t size, void (*destroy)(wr_object *object)) {
    wr_object *object = wr_mem_zero(&store->engine->heap, size);
    if (object == NULL) return NULL;
    object->size = size;
    object->destroy = destroy;
    object->next = store->objects;
    store->objects = object;
    return object;
}

typedef struct host_block {
    wr_object object;
    max_align_t bytes[];
} host_block;

void *wr_store_alloc(wr_store *store, size_t bytes) {
    if (bytes > SIZE_MAX - sizeof(host_block)) return NULL;
    host_block *block = wr_store_object(store, sizeof *block + bytes, NULL);
    return block == NULL ? NULL : block->bytes;
}

void wr_store_free(wr_store *store) {
    if (store == NULL) return;
    wr_exceptions_free(store);
    wr_object *object = store->objects;
    while (object != NULL) {
        wr_object *next = object->next;
        if (object->destroy != NULL) object->destroy(object);
        wr_mem_free(&store->engine->heap, object, object->size);
        object = next;
    }
    wr_mem_free(&store->engine->heap, store, sizeof *store);
}

/* ---- host-made objects ---- */

typedef struct host_func {
    wr_object object;
    wr_func func;
    wr_engine *engine;
} host_func;

static void host_func_destroy(wr_object *object) {
    host_func *host = (host_func *)object;
    wr_type_release(host->engine, host->func.type);
}

static wr_status intern_public(wr_engine *engine, const wr_func_type *type, const wr_type **out) {
    enum { VALUES_MAX = 64 };
    wr_vt values[VALUES_MAX];
    if (type->param_count + type->result_count > VALUES_MAX) return WR_BAD_ARGUMENT;
    for (uint32_t i = 0; i < type->param_count + type->result_count; i++) {
        uint8_t byte = i < type->param_count ? type->params[i] : type->results[i - type->param_count];
        values[i] = wr_vt_from_byte(byte);
        if (values[i] == WR_VT_BOTTOM) return WR_BAD_ARGUMENT;
    }
    return wr_type_intern(engine, &engine->heap, values, type->param_count, type->result_count, out);
}

wr_status wr_func_new(wr_store *store, const wr_func_type *type, wr_host_fn fn, void *env, wr_func **out) {
    const wr_type *interned;
    wr_status status = intern_public(store->engine, type, &interned);
    if (status != WR_OK) return status;
    host_func *host = wr_store_object(store, sizeof *host, host_func_destroy);
    if (host == NULL) {
        wr_type_release(store->engine, interned);
        return WR_NO_MEMORY;
    }
    host->engine = store->engine;
    host->func = (wr_func){.type = interned, .host = fn, .env = env};
    *out = &host->func;
    return WR_OK;
}

static void global_visit(wr_object *object, struct wr_visitor *visitor) {
    wr_visit_slots(visitor, ((const wr_global *)object)->value, 1);
}

static wr_status global_make(wr_store *store, wr_vt type, bool is_mutable, const wr_slot *value, wr_global **out) {
    wr_global *global = wr_store_object(store, sizeof *global, NULL);
    if (global == NULL) return WR_NO_MEMORY;
    global->object.visit = global_visit;
    global->type = (wr_global_type){type, is_mutable};
    memcpy(global->value, value, wr_vt_slots(type) * sizeof *value);
    *out = global;
    return WR_OK;
}

wr_status wr_global_new(wr_store *store, uint8_t type, bool is_mutable, wr_slot value, wr_global **out) {
    wr_vt full = wr_vt_from_byte(type);
    if (full == WR_VT_BOTTOM || full == WR_VT_V128) return WR_BAD_ARGUMENT;
    return global_make(store, full, is_mutable, &value, out);
}

wr_status wr_global_new_v128(wr_store *store, bool is_mutable, const wr_slot *value, wr_global **out) {
    return global_make(store, WR_VT_V128, is_mutable, value, out);
}

#ifdef WR_NO_EXCEPTIONS

wr_status wr_tag_new(wr_store *store, const wr_func_type *type, wr_tag **out) {
    (void)store, (void)type, (void)out;
    return WR_UNSUPPORTED;
}

#else

static void tag_destroy(wr_object *object) {
    wr_tag *tag = (wr_tag *)object;
    wr_type_release(tag->engine, tag->type);
}

wr_status wr_tag_new(wr_store *store, const wr_func_type *type, wr_tag **out) {
    const wr_type *interned;
    if (type->result_count != 0) return WR_BAD_ARGUMENT;
    wr_status status = intern_public(store->engine, type, &interned);
    if (status != WR_OK) return status;
    wr_tag *tag = wr_store_object(store, sizeof *tag, tag_destroy);
    if (tag == NULL) {
        wr_type_release(store->engine, interned);
        return WR_NO_MEMORY;
    }
    tag->type = interned;
    tag->engine = store->engine;
    *out = tag;
    return WR_OK;
}

#endif

wr_func_type wr_func_type_of(const wr_func *func) { return wr_type_public(func->type); }
wr_slot wr_global_get(const wr_global *global) { return global->value[0]; }

wr_status wr_global_get_v128(const wr_global *global, wr_slot *value) {
    if (global->type.type != WR_VT_V128) return WR_BAD_ARGUMENT;
    memcpy(value, global->value, sizeof global->value);
    return WR_OK;
}

uint8_t wr_global_type_of(const wr_global *global, bool *is_mutable) {
    *is_mutable = global->type.is_mutable;
    return wr_vt_to_byte(global->type.type);
}

wr_status wr_global_set(wr_global *global, wr_slot value) {
    if (!global->type.is_mutable || global->type.type == WR_VT_V128) return WR_BAD_ARGUMENT;
    global->value[0] = value;
    return WR_OK;
}

wr_status wr_global_set_v128(wr_global *global, const wr_slot *value) {
    if (!global->type.is_mutable || global->type.type != WR_VT_V128) return WR_BAD_ARGUMENT;
    memcpy(global->value, value, sizeof global->value);
    return WR_OK;
}
