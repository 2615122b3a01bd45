/* Tables of references. */
#include <string.h>

#include "reader.h"
#include "runtime.h"

static void table_destroy(wr_object *object) {
    wr_table *table = (wr_table *)object;
    wr_mem_free(&table->store->engine->heap, table->elems, table->capacity * sizeof *table->elems);
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
    uint64_t before = 0;
    WR_TRY(wr_table_grow(NULL, table, type->limits.min, init, &before));
    if (before == UINT64_MAX) return WR_NO_MEMORY;
    *out = table;
    return WR_OK;
}

wr_status wr_table_new(wr_store *store, uint8_t type, uint32_t min, uint32_t max, wr_table **out) {
    wr_table_type full = {wr_vt_from_byte(type), {.min = min, .max = max}};
    if (!wr_vt_is_ref(full.elem) || min > max) return WR_BAD_ARGUMENT;
    return wr_table_make(store, &full, 0, out);
}

uint32_t wr_table_size(const wr_table *table) { return table->size; }

/* ---- bulk: long ones look at the limits of the call between pieces; exec NULL: there is no call ---- */

static size_t piece_elements(const wr_exec *exec) { return wr_work_piece(exec) / sizeof(uint64_t); }

static bool inside(uint64_t size, uint64_t at, uint64_t len) { return at <= size && len <= size - at; }

static wr_status fill(wr_exec *exec, uint64_t *elems, uint64_t value, uint64_t len) {
    const size_t piece = piece_elements(exec);
    while (len > piece) {
        for (size_t i = 0; i < piece; i++) elems[i] = value;
        elems += piece;
        len -= piece;
        if (exec != NULL) WR_TRY(wr_exec_check(exec));
    }
    for (uint64_t i = 0; i < len; i++) elems[i] = value;
    return exec != NULL ? wr_exec_worked(exec, len * sizeof *elems) : WR_OK;
}

/* As memmove: overlapping parts are read before they are written. */
static wr_status copy(wr_exec *exec, uint64_t *to, const uint64_t *from, uint64_t len) {
    const size_t piece = piece_elements(exec);
    bool backward = (uintptr_t)to - (uintptr_t)from < len * sizeof *to;
    while (len > piece) {
        uint64_t skip = backward ? len - piece : 0;
        memmove(to + skip, from + skip, piece * sizeof *to);
        if (!backward) {
            to += piece;
            from += piece;
        }
        len -= piece;
        if (exec != NULL) WR_TRY(wr_exec_check(exec));
    }
    memmove(to, from, (size_t)len * sizeof *to);
    return exec != NULL ? wr_exec_worked(exec, len * sizeof *to) : WR_OK;
}

static uint64_t capacity_for(const wr_table *table, uint32_t size) {
    uint64_t capacity = (uint64_t)table->capacity + table->capacity / 2;
    if (capacity < size) capacity = size;
    return capacity < table->max ? capacity : table->max;
}

/* No room: the capacity stays. What is large is copied here: the allocator does not look at the limits of a call. */
static wr_status make_room(wr_exec *exec, wr_table *table, uint32_t size) {
    const wr_heap *heap = &table->store->engine->heap;
    const uint64_t capacity = capacity_for(table, size);
    const size_t before = table->capacity * sizeof *table->elems, bytes = (size_t)capacity * sizeof *table->elems;
    if (size <= table->capacity || capacity > SIZE_MAX / sizeof *table->elems) return WR_OK;
    const bool is_large = exec != NULL && before > wr_work_piece(exec);
    uint64_t *elems = wr_mem_resize(heap, is_large ? NULL : table->elems, is_large ? 0 : before, bytes);
    if (elems == NULL) return WR_OK;
    if (is_large) {
        const wr_status status = copy(exec, elems, table->elems, table->size);
        wr_mem_free(heap, status == WR_OK ? table->elems : elems, status == WR_OK ? before : bytes);
        if (status != WR_OK) return status;
    }
    table->elems = elems;
    table->capacity = (uint32_t)capacity;
    return WR_OK;
}

wr_status wr_table_grow(wr_exec *exec, wr_table *table, uint64_t delta, uint64_t value, uint64_t *before) {
    uint32_t size = table->size;
    *before = UINT64_MAX;
    if (exec != NULL) WR_TRY(wr_exec_called(exec));
    if (delta > table->max - size) return WR_OK;
    WR_TRY(make_room(exec, table, size + (uint32_t)delta));
    if (table->capacity < size + delta) return WR_OK;
    if (delta != 0) WR_TRY(fill(exec, table->elems + size, value, delta));
    table->size = size + (uint32_t)delta;
    *before = size;
    return WR_OK;
}

wr_status wr_table_fill(wr_exec *exec, wr_table *table, uint64_t at, uint64_t value, uint64_t len) {
    if (!inside(table->size, at, len)) return WR_TRAP_TABLE_BOUNDS;
    return len != 0 ? fill(exec, table->elems + at, value, len) : WR_OK;
}

wr_status wr_table_copy(wr_exec *exec, wr_table *to, uint64_t at, wr_table *from, uint64_t source, uint64_t len) {
    if (!inside(to->size, at, len) || !inside(from->size, source, len)) return WR_TRAP_TABLE_BOUNDS;
    return len != 0 ? copy(exec, to->elems + at, from->elems + source, len) : WR_OK;
}

wr_status wr_table_init(wr_exec *exec, wr_instance *instance, uint32_t table, uint32_t segment, uint64_t at,
                        uint64_t from, uint64_t len) {
    const wr_table *target = instance->tables[table];
    uint64_t size = instance->elem_dropped[segment] ? 0 : instance->module->elems[segment].count;
    if (!inside(target->size, at, len) || !inside(size, from, len)) return WR_TRAP_TABLE_BOUNDS;
    return len != 0 ? copy(exec, target->elems + at, instance->elems[segment] + from, len) : WR_OK;
}
