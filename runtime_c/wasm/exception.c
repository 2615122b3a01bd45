/* Exceptions: throwing, finding who catches, and freeing what nothing refers to any more.
 *
 * An exnref is a pointer to a wr_exn. There is no count of references: when many exceptions are alive, everything that
 * can hold one (the stack, globals, tables, values of other exceptions) is looked through, and the rest is freed. Slots
 * are not typed at run time, so a number that equals an address keeps that exception; it costs memory, nothing else. */
#include <stdlib.h>
#include <string.h>

#include "interp.h"

#ifdef WR_NO_EXCEPTIONS

void wr_visit_slots(struct wr_visitor *visitor, const wr_slot *slots, size_t count) {
    (void)visitor, (void)slots, (void)count;
}
void wr_exceptions_free(wr_store *store) { (void)store; }

#else

enum { COLLECT_FIRST = 256, EXCEPTIONS_MAX = 65536 };

static size_t exn_size(const wr_tag *tag) { return sizeof(wr_exn) + tag->type->param_slots * sizeof(wr_slot); }

/* ---- collecting ---- */

typedef struct wr_visitor {
    wr_exn **sorted; /* by address */
    size_t count;
    wr_exn **found; /* reached, values not looked at yet */
    size_t found_count;
} wr_visitor;

static int by_address(const void *a, const void *b) {
    uintptr_t left = (uintptr_t)*(wr_exn *const *)a, right = (uintptr_t)*(wr_exn *const *)b;
    return left < right ? -1 : left > right;
}

void wr_visit_slots(wr_visitor *visitor, const wr_slot *slots, size_t count) {
    for (size_t i = 0; i < count; i++) {
        wr_exn *candidate = (wr_exn *)(uintptr_t)slots[i].u64;
        if (candidate == NULL || candidate < visitor->sorted[0]) continue;
        wr_exn **hit = bsearch(&candidate, visitor->sorted, visitor->count, sizeof *visitor->sorted, by_address);
        if (hit == NULL || (*hit)->reached) continue;
        (*hit)->reached = true;
        visitor->found[visitor->found_count++] = *hit;
    }
}

static void visit_roots(wr_store *store, const wr_exec *exec, wr_visitor *visitor) {
    wr_visit_slots(visitor, exec->stack, (size_t)(exec->stack_end - exec->stack));
    for (wr_object *object = store->objects; object != NULL; object = object->next) {
        if (object->visit != NULL) object->visit(object, visitor);
    }
    while (visitor->found_count != 0) {
        const wr_exn *exception = visitor->found[--visitor->found_count];
        wr_visit_slots(visitor, exception->values, exception->tag->type->param_slots);
    }
}

static void free_unreached(wr_store *store) {
    wr_exn **link = &store->exceptions;
    while (*link != NULL) {
        wr_exn *exception = *link;
        if (exception->reached) {
            exception->reached = false;
            link = &exception->next;
            continue;
        }
        *link = exception->next;
        store->exception_count--;
        wr_mem_free(&store->engine->heap, exception, exn_size(exception->tag));
    }
}

static wr_status collect(wr_store *store, const wr_exec *exec) {
    size_t count = store->exception_count;
    wr_exn **lists = wr_mem_resize(&store->engine->heap, NULL, 0, 2 * count * sizeof *lists);
    if (lists == NULL) return WR_NO_MEMORY;
    wr_visitor visitor = {lists, 0, lists + count, 0};
    for (wr_exn *exception = store->exceptions; exception != NULL; exception = exception->next) {
        lists[visitor.count++] = exception;
    }
    qsort(lists, count, sizeof *lists, by_address);
    visit_roots(store, exec, &visitor);
    wr_mem_free(&store->engine->heap, lists, 2 * count * sizeof *lists);
    free_unreached(store);
    store->exceptions_next = 2 * store->exception_count + COLLECT_FIRST;
    return store->exception_count < EXCEPTIONS_MAX ? WR_OK : WR_NO_MEMORY;
}

void wr_exceptions_free(wr_store *store) { free_unreached(store); }

static wr_status make_exception(wr_exec *exec, const wr_tag *tag, const wr_slot *values, wr_exn **out) {
    wr_store *store = exec->instance->store;
    if (store->exceptions_next == 0) store->exceptions_next = COLLECT_FIRST;
    if (store->exception_count >= store->exceptions_next) {
        wr_status status = collect(store, exec);
        if (status != WR_OK) return status;
    }
    wr_exn *exception = wr_mem_zero(&store->engine->heap, exn_size(tag));
    if (exception == NULL) return WR_NO_MEMORY;
    exception->tag = tag;
    if (tag->type->param_slots != 0) memcpy(exception->values, values, tag->type->param_slots * sizeof *values);
    exception->next = store->exceptions;
    store->exceptions = exception;
    store->exception_count++;
    *out = exception;
    return WR_OK;
}

/* ---- unwinding ---- */

static const wr_catch *find_catch(const wr_instance *instance, const wr_code *code, const wr_insn *pc,
                                  const wr_exn *exception) {
    uint32_t at = (uint32_t)(pc - code->insns);
    uint32_t count;
    const wr_catch *clauses = wr_code_catches(code, &count);
    for (uint32_t i = 0; i < count; i++) {
        const wr_catch *clause = &clauses[i];
        if (at < clause->first || at >= clause->end) continue;
        if (clause->tag == WR_CATCH_ALL || instance->tags[clause->tag] == exception->tag) return clause;
    }
    return NULL;
}

static const wr_insn *deliver(const wr_code *code, const wr_catch *clause, wr_exn *exception, wr_slot *fp) {
    wr_slot *to = fp + clause->slot;
    if (clause->tag != WR_CATCH_ALL) {
        uint32_t slots = exception->tag->type->param_slots;
        if (slots != 0) memcpy(to, exception->values, slots * sizeof *to);
        to += slots;
    }
    if (clause->with_ref) to->u64 = (uintptr_t)exception;
    return code->insns + clause->target;
}

const wr_insn *wr_unwind(wr_exec *exec, wr_exn *exception, const wr_insn *pc, wr_slot *fp) {
    wr_instance *instance = exec->instance;
    uint32_t index;
    exec->status = WR_TRAP_EXCEPTION;
    exec->exception = exception;
    for (const wr_code *code; (code = wr_code_find(instance, pc, &index)) != NULL;) {
        const wr_catch *clause = find_catch(instance, code, pc, exception);
        if (clause != NULL) {
            exec->exception = NULL;
            wr_set_instance(exec, instance);
            exec->fp = fp;
            return deliver(code, clause, exception, fp);
        }
        const wr_slot *info = fp + code->info_slot;
        pc = (const wr_insn *)(uintptr_t)info[0].u64;
        fp = (wr_slot *)(uintptr_t)info[1].u64;
        while (pc == &exec->instance_insns[0]) { /* fp is the record of a call across (call.c) */
            pc = (const wr_insn *)(uintptr_t)fp[0].u64;
            instance = (wr_instance *)(uintptr_t)fp[2].u64;
            fp = (wr_slot *)(uintptr_t)fp[1].u64;
        }
        if (pc == &exec->exit_insns[0]) return NULL;
    }
    return NULL;
}

const wr_insn *wr_throw(wr_exec *exec, const wr_tag *tag, const wr_slot *values, const wr_insn *pc, wr_slot *fp) {
    wr_exn *exception;
    exec->status = make_exception(exec, tag, values, &exception);
    return exec->status == WR_OK ? wr_unwind(exec, exception, pc, fp) : NULL;
}

#endif
