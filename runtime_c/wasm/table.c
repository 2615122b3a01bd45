/* Tables of references. */
#include <string.h>

#include "runtime.h"

static void table_destroy(wr_object *object) {
    wr_table *table = (wr_table *)object;
    wr_mem_free(table->store->engine, table->elems, table->capacity * sizeof *table->elems);
}

static void table_visit(wr_object *object, struct wr_visitor *visitor) {
    const wr_table *table = (const wr_table *)object;
    wr_visit_slots(visitor, (const wr_slot *)table->elems, table->size);
}

wr_status wr_table_make(wr_store *store, const wr_table_type *type, uint64_t init, wr_table **out) {
    uint32_t limit = store->engine->config.limits.table_elements_max;
    if (type->limits.min > limit) return WR_LIMIT_TABLE_ELEMENTS;
    wr_table *table = wr_store_object(store, sizeof *table, table_destroy);
    if (table == NULL) return WR_NO_MEMORY;
    table->object.visit = table_visit;
    table->store = store;
    table->type = *type;
    table->max = type->limits.max < limit ? (uint32_t)type->limits.max : limit;
    if (wr_table_grow(table, type->limits.min, init) == UINT64_MAX) return WR_NO_MEMORY;
    *out = table;
    return WR_OK;
}

wr_status wr_table_new(wr_store *store, uint8_t type, uint32_t min, uint32_t max, wr_table **out) {
    wr_table_type full = {wr_vt_from_byte(type), {.min = min, .max = max}};
    if (!wr_vt_is_ref(full.elem) || min > max) return WR_BAD_ARGUMENT;
    return wr_table_make(store, &full, 0, out);
}

uint32_t wr_table_size(const wr_table *table) { return table->size; }

static bool make_room(wr_table *table, uint32_t size) {
    if (size <= table->capacity) return true;
    uint64_t capacity = (uint64_t)table->capacity + table->capacity / 2;
    if (capacity < size) capacity = size;
    if (capacity > table->max) capacity = table->max;
    if (capacity > SIZE_MAX / sizeof *table->elems) return false;
    uint64_t *elems = wr_mem_resize(table->store->engine, table->elems, table->capacity * sizeof *elems,
                                    (size_t)capacity * sizeof *elems);
    if (elems == NULL) return false;
    table->elems = elems;
    table->capacity = (uint32_t)capacity;
    return true;
}

uint64_t wr_table_grow(wr_table *table, uint64_t delta, uint64_t value) {
    uint32_t before = table->size;
    if (delta > table->max - before) return UINT64_MAX;
    if (!make_room(table, before + (uint32_t)delta)) return UINT64_MAX;
    for (uint64_t i = 0; i < delta; i++) table->elems[before + i] = value;
    table->size = before + (uint32_t)delta;
    return before;
}

static bool inside(uint64_t size, uint64_t at, uint64_t len) { return at <= size && len <= size - at; }

wr_status wr_table_fill(wr_table *table, uint64_t at, uint64_t value, uint64_t len) {
    if (!inside(table->size, at, len)) return WR_TRAP_TABLE_BOUNDS;
    for (uint64_t i = 0; i < len; i++) table->elems[at + i] = value;
    return WR_OK;
}

wr_status wr_table_copy(wr_table *to, uint64_t at, wr_table *from, uint64_t source, uint64_t len) {
    if (!inside(to->size, at, len) || !inside(from->size, source, len)) return WR_TRAP_TABLE_BOUNDS;
    if (len != 0) memmove(to->elems + at, from->elems + source, (size_t)len * sizeof *to->elems);
    return WR_OK;
}

wr_status wr_table_init(wr_instance *instance, uint32_t table, uint32_t segment, uint64_t at, uint64_t from,
                        uint64_t len) {
    const wr_table *target = instance->tables[table];
    uint64_t size = instance->elem_dropped[segment] ? 0 : instance->module->elems[segment].count;
    if (!inside(target->size, at, len) || !inside(size, from, len)) return WR_TRAP_TABLE_BOUNDS;
    if (len != 0) memcpy(target->elems + at, instance->elems[segment] + from, (size_t)len * sizeof *target->elems);
    return WR_OK;
}
