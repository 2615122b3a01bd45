/* Exceptions: throwing, finding who catches, and freeing what nothing refers to any more.
 *
 * An exnref is a pointer to a wr_exn. There is no count of references: when many exceptions are alive, everything that
 * can hold one (the stack, globals, tables, values of other exceptions) is looked through, and the rest is freed. Slots
 * are not typed at run time, so a number that equals an address keeps that exception; it costs memory, nothing else. */
#include <string.h>

#include "interp.h"
#include "reader.h"

#ifdef WR_NO_EXCEPTIONS

void wr_visit_slots(struct wr_visitor *visitor, const wr_slot *slots, size_t count) {
    (void)visitor, (void)slots, (void)count;
}
void wr_exceptions_free(wr_store *store) { (void)store; }

#else

enum { COLLECT_FIRST = 256, EXCEPTIONS_MAX = 65536 };

static size_t exn_size(const wr_tag *tag) { return sizeof(wr_exn) + tag->type->param_slots * sizeof(wr_slot); }

/* ---- collecting: where the limits of the call end it, the next one begins anew ---- */

enum { ITEM_BYTES = 64, PIECE_SLOTS = 256 };

typedef struct wr_visitor {
    wr_exec *exec;
    wr_status status; /* of the limits */
    uint32_t pass;    /* mark of what is reached */
    wr_exn **known;   /* all there are, a hash table with linear probing; a power of two */
    size_t mask;
    wr_exn *found; /* reached, values not looked at yet */
} wr_visitor;

/* Whether there is time for so many items more. */
static bool may_go_on(wr_visitor *visitor, size_t items) {
    if (visitor->status == WR_OK) visitor->status = wr_exec_worked(visitor->exec, items * ITEM_BYTES);
    return visitor->status == WR_OK;
}

/* Where an address is in the table, or would be put. */
static wr_exn **place_of(const wr_visitor *visitor, uintptr_t address) {
    size_t at = (size_t)((uint64_t)address * UINT64_C(0x9E3779B97F4A7C15) >> 32) & visitor->mask;
    while (visitor->known[at] != NULL && (uintptr_t)visitor->known[at] != address) at = (at + 1) & visitor->mask;
    return &visitor->known[at];
}

static void visit_slot(wr_visitor *visitor, uint64_t value) {
    if (value == 0 || value > UINTPTR_MAX || value % sizeof(uint64_t) != 0) return;
    wr_exn *exception = *place_of(visitor, (uintptr_t)value);
    if (exception == NULL || exception->pass == visitor->pass) return;
    exception->pass = visitor->pass;
    exception->next_found = visitor->found;
    visitor->found = exception;
}

void wr_visit_slots(struct wr_visitor *visitor, const wr_slot *slots, size_t count) {
    while (count != 0) {
        const size_t piece = count < PIECE_SLOTS ? count : PIECE_SLOTS;
        if (!may_go_on(visitor, (piece + 3) / 4)) return;
        for (size_t i = 0; i < piece; i++) visit_slot(visitor, slots[i].u64);
        slots += piece;
        count -= piece;
    }
}

static void visit_roots(const wr_store *store, wr_visitor *visitor) {
    const wr_exec *exec = visitor->exec;
    wr_visit_slots(visitor, exec->stack, (size_t)(exec->stack_end - exec->stack));
    for (wr_object *object = store->objects; object != NULL && may_go_on(visitor, 1); object = object->next) {
        if (object->visit != NULL) object->visit(object, visitor);
    }
    while (visitor->found != NULL && may_go_on(visitor, 1)) {
        const wr_exn *exception = visitor->found;
        visitor->found = exception->next_found;
        wr_visit_slots(visitor, exception->values, exception->tag->type->param_slots);
    }
}

static void free_exception(wr_store *store, wr_exn **link) {
    wr_exn *exception = *link;
    *link = exception->next;
    store->exception_count--;
    wr_mem_free(&store->engine->heap, exception, exn_size(exception->tag));
}

static void free_unreached(wr_store *store, wr_visitor *visitor) {
    for (wr_exn **link = &store->exceptions; *link != NULL && may_go_on(visitor, 1);) {
        if ((*link)->pass == visitor->pass) {
            link = &(*link)->next;
        } else {
            free_exception(store, link);
        }
    }
}

static void learn_known(const wr_store *store, wr_visitor *visitor) {
    for (size_t at = 0; at <= visitor->mask && may_go_on(visitor, 1); at += PIECE_SLOTS) {
        memset(visitor->known + at, 0, PIECE_SLOTS * sizeof *visitor->known);
    }
    for (wr_exn *one = store->exceptions; one != NULL && may_go_on(visitor, 1); one = one->next) {
        *place_of(visitor, (uintptr_t)one) = one;
    }
}

static wr_status collect(wr_store *store, wr_exec *exec) {
    size_t size = PIECE_SLOTS;
    while (size < 2 * (size_t)store->exception_count) size *= 2;
    wr_exn **known = wr_mem_resize(&store->engine->heap, NULL, 0, size * sizeof *known);
    if (known == NULL) return WR_NO_MEMORY;
    wr_visitor visitor = {.exec = exec, .pass = ++store->exception_pass, .known = known, .mask = size - 1};
    learn_known(store, &visitor);
    visit_roots(store, &visitor);
    wr_mem_free(&store->engine->heap, known, size * sizeof *known);
    free_unreached(store, &visitor);
    if (visitor.status != WR_OK) return visitor.status;
    store->exceptions_next = 2 * store->exception_count + COLLECT_FIRST;
    return store->exception_count < EXCEPTIONS_MAX ? WR_OK : WR_NO_MEMORY;
}

void wr_exceptions_free(wr_store *store) {
    while (store->exceptions != NULL) free_exception(store, &store->exceptions);
}

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

enum { PIECE_CLAUSES = 128, CLAUSE_BYTES = 32, FRAME_BYTES = 256 }; /* as filling so many bytes */

/* *out NULL: nobody there. Not WR_OK: the limits of the call. */
static wr_status find_catch(wr_exec *exec, const wr_instance *instance, const wr_code *code, const wr_insn *pc,
                            const wr_catch **out) {
    uint32_t at = (uint32_t)(pc - code->insns);
    uint32_t count;
    const wr_catch *clauses = wr_code_catches(code, &count);
    *out = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const wr_catch *clause = &clauses[i];
        if (i % PIECE_CLAUSES == PIECE_CLAUSES - 1) WR_TRY(wr_exec_worked(exec, PIECE_CLAUSES * CLAUSE_BYTES));
        if (at < clause->first || at >= clause->end) continue;
        if (clause->tag != WR_CATCH_ALL && instance->tags[clause->tag] != exec->exception->tag) continue;
        *out = clause;
        return WR_OK;
    }
    return wr_exec_worked(exec, FRAME_BYTES);
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
    exec->exception = exception;
    for (const wr_code *code; (code = wr_code_find(instance, pc, &index)) != NULL;) {
        const wr_catch *clause;
        exec->status = find_catch(exec, instance, code, pc, &clause);
        if (exec->status != WR_OK) {
            exec->exception = NULL;
            return NULL;
        }
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
        if (pc == &exec->exit_insns[0]) break;
    }
    exec->status = WR_TRAP_EXCEPTION;
    return NULL;
}

const wr_insn *wr_throw(wr_exec *exec, const wr_tag *tag, const wr_slot *values, const wr_insn *pc, wr_slot *fp) {
    wr_exn *exception;
    exec->status = wr_exec_called(exec);
    if (exec->status == WR_OK) exec->status = make_exception(exec, tag, values, &exception);
    return exec->status == WR_OK ? wr_unwind(exec, exception, pc, fp) : NULL;
}

#endif
