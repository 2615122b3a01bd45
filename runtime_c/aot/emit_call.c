/* Calls. Parameters are C values; a single result too, several are left in the callee's first slots. Where the callee
 * is not known to be compiled code of this instance, parameters and results go through the slots. */
#include <stdio.h>

#include "emit.h"

/* A call's operands, popped, and the slot its frame begins at. */
typedef struct callee {
    const wr_type *type;
    uint32_t base;
    size_t first; /* height of the first parameter */
} callee;

static callee take_operands(wr_aot_body *body, const wr_type *type) {
    callee out = {type, 0, body->stack.count - type->param_count};
    out.base = type->param_count != 0 ? wr_aot_value_at(body, out.first)->slot : wr_aot_next_slot(body);
    return out;
}

static void put_arguments(wr_aot_body *body, const callee *call) {
    uint32_t slot = call->base;
    for (uint32_t i = 0; i < call->type->param_count; i++) {
        wr_aot_put_slot(body, "fp", slot, call->type->values[i], wr_aot_text_at(body, call->first + i).text);
        slot += wr_vt_slots(call->type->values[i]);
    }
}

static void get_results(wr_aot_body *body, const callee *call) {
    const wr_vt *types = call->type->values + call->type->param_count;
    uint32_t slot = call->base;
    for (uint32_t i = 0; i < call->type->result_count; i++) {
        wr_aot_get_slot(body, "fp", slot, types[i], wr_aot_temp(body, types[i], call->first + i).text);
        slot += wr_vt_slots(types[i]);
    }
}

static void push_results(wr_aot_body *body, const callee *call) {
    wr_aot_drop_to(body, call->first);
    for (uint32_t i = 0; i < call->type->result_count; i++) {
        (void)wr_aot_push(body, call->type->values[call->type->param_count + i]);
    }
}

/* A function that ends in a tail call leaves that to its caller. */
static void put_finish(wr_aot_body *body, const callee *call) {
    EMIT("    if (unlikely(x->tail != NULL)) {\n    SITE(0x%x);\n    x->rt->finish(x, fp + %u);\n    COUNT_AGAIN();\n",
         body->offset, call->base);
    if (call->type->result_count == 1) get_results(body, call);
    EMIT("    }\n");
}

static void put_c_call(wr_aot_body *body, const callee *call, const char *function, bool has_tail) {
    const wr_type *type = call->type;
    EMIT("    SITE(0x%x);\n    ", body->offset);
    if (type->result_count == 1) {
        EMIT("%s = ", wr_aot_temp(body, type->values[type->param_count], call->first).text);
    }
    EMIT("%s(x, fp + %u", function, call->base);
    for (uint32_t i = 0; i < type->param_count; i++) EMIT(", %s", wr_aot_text_at(body, call->first + i).text);
    EMIT(");\n    COUNT_AGAIN();\n");
    if (has_tail) put_finish(body, call);
    if (type->result_count > 1) get_results(body, call);
}

static void put_slow_call(wr_aot_body *body, const callee *call, const char *func) {
    put_arguments(body, call);
    EMIT("    SITE(0x%x);\n    x->rt->call(x, %s, fp + %u);\n    COUNT_AGAIN();\n", body->offset, func, call->base);
    get_results(body, call);
}

static wr_status call_direct(wr_aot_body *body) {
    uint32_t index;
    char name[32];
    WR_TRY(wr_read_u32(&body->reader, &index));
    const callee call = take_operands(body, wr_type_of_func(body->module, index));
    if (index < body->module->func_imports) {
        snprintf(name, sizeof name, "x->self->funcs[%u]", index);
        put_slow_call(body, &call, name);
    } else {
        const wr_code *code = &body->module->code[index - body->module->func_imports];
        const bool is_leaf = body->emit->is_leaf[index - body->module->func_imports];
        EMIT("    %s(fp + %u, 0x%x);\n", is_leaf ? "ENTER_LEAF" : "ENTER", call.base + code->frame_slots, body->offset);
        if (wr_aot_is_inlined(body, index)) {
            WR_TRY(wr_aot_inline(body, index, call.base, call.first));
            push_results(body, &call);
            return body->status;
        }
        snprintf(name, sizeof name, "w%u", index);
        put_c_call(body, &call, name, body->emit->has_tail[index - body->module->func_imports]);
    }
    push_results(body, &call);
    return body->status;
}

wr_status wr_aot_find_frames(wr_aot_emit *emit) {
    const wr_module *module = emit->module;
    for (uint32_t i = 0; i < module->type_count; i++) {
        if (module->types[i]->id >= emit->type_ids) emit->type_ids = module->types[i]->id + 1;
    }
    emit->most_slots = wr_mem_zero(&emit->engine->heap, (emit->type_ids + 1) * sizeof *emit->most_slots);
    if (emit->most_slots == NULL) return WR_NO_MEMORY;
    for (uint32_t i = module->func_imports; i < module->func_count; i++) {
        const uint32_t slots = module->code[i - module->func_imports].frame_slots;
        uint32_t *most = &emit->most_slots[wr_type_of_func(module, i)->id];
        if (slots > *most) *most = slots;
    }
    return WR_OK;
}

static void put_enter_found(wr_aot_body *body, const callee *call) {
    EMIT("    ENTER_FOUND(fp + %u, fp + %u + f->frame_slots, 0x%x);\n    typedef ",
         call->base + body->emit->most_slots[call->type->id], call->base, body->offset);
}

/* f has been found by what is in front of this. */
static void call_found(wr_aot_body *body, const callee *call) {
    EMIT("    if (IS_OWN(f)) {\n");
    put_enter_found(body, call);
    wr_aot_prototype(&body->text, call->type, "(*type_)");
    EMIT(";\n");
    put_c_call(body, call, "((type_)f->code)", body->emit->has_tails);
    EMIT("    } else {\n");
    put_slow_call(body, call, "f");
    EMIT("    }\n    }\n");
    push_results(body, call);
}

/* Ditto, and it is one of this instance. slots: of its frame, or UINT32_MAX. */
static void call_own(wr_aot_body *body, const callee *call, uint32_t slots) {
    if (slots == UINT32_MAX) {
        put_enter_found(body, call);
    } else {
        EMIT("    ENTER(fp + %u, 0x%x);\n    typedef ", call->base + slots, body->offset);
    }
    wr_aot_prototype(&body->text, call->type, "(*type_)");
    EMIT(";\n");
    put_c_call(body, call, "((type_)f->code)", body->emit->has_tails);
    EMIT("    }\n");
    push_results(body, call);
}

static void tail_found(wr_aot_body *body, const callee *call);

static wr_status call_indirect(wr_aot_body *body, bool tail) {
    uint32_t type_index, table;
    WR_TRY(wr_read_u32(&body->reader, &type_index));
    WR_TRY(wr_read_u32(&body->reader, &table));
    const wr_aot_value index = wr_aot_pop(body);
    const callee call = take_operands(body, body->module->types[type_index]);
    const bool wide = index.type == WR_VT_I64;
    wr_aot_use_of(body, false, table);
    wr_aot_use_of(body, true, type_index);
    uint32_t slots = UINT32_MAX;
    const bool is_fixed = !tail && wr_aot_is_fixed(body->emit, table, call.type, &slots);
    EMIT("    {\n    FIND_INDIRECT(%u, ", table);
    if (is_fixed) {
        EMIT("%uu", (unsigned)body->module->tables[table].limits.min);
    } else {
        EMIT("table%u->size", table);
    }
    EMIT(", %s%s%s, %u, 0x%x);\n", wide ? "index64(" : "", wr_aot_text(body, &index).text, wide ? ")" : "", type_index,
         body->offset);
    if (is_fixed) {
        call_own(body, &call, slots);
    } else {
        (tail ? tail_found : call_found)(body, &call);
    }
    return body->status;
}

static wr_status call_ref(wr_aot_body *body, bool tail) {
    uint32_t type_index;
    WR_TRY(wr_read_u32(&body->reader, &type_index));
    const wr_aot_value ref = wr_aot_pop(body);
    const callee call = take_operands(body, body->module->types[type_index]);
    EMIT("    {\n    FIND_REF(%s, 0x%x);\n", wr_aot_text(body, &ref).text, body->offset);
    (tail ? tail_found : call_found)(body, &call);
    return body->status;
}

/* ---- tail calls ---- */

/* The arguments go to the frame's beginning, then the caller goes on (put_finish). */
static void put_tail(wr_aot_body *body, const callee *call, const char *func) {
    uint32_t slot = 0;
    for (uint32_t i = 0; i < call->type->param_count; i++) {
        wr_aot_put_slot(body, "fp", slot, call->type->values[i], wr_aot_text_at(body, call->first + i).text);
        slot += wr_vt_slots(call->type->values[i]);
    }
    EMIT("    x->tail = %s;\n    return", func);
    if (body->type->result_count == 1) {
        EMIT(" (%s){0}", wr_aot_ctype(body->type->values[body->type->param_count]));
    }
    EMIT(";\n");
}

/* Another instance or the host is called, and its results returned. */
static void put_foreign_tail(wr_aot_body *body, const callee *call, const char *func) {
    put_slow_call(body, call, func);
    push_results(body, call);
    wr_aot_return(body);
}

static wr_status tail_direct(wr_aot_body *body) {
    uint32_t index;
    char name[32];
    WR_TRY(wr_read_u32(&body->reader, &index));
    const callee call = take_operands(body, wr_type_of_func(body->module, index));
    snprintf(name, sizeof name, "x->self->funcs[%u]", index);
    if (index < body->module->func_imports) {
        put_foreign_tail(body, &call, name);
    } else {
        body->emit->is_reachable[index] = true;
        EMIT("    ENTER(fp + %u, 0x%x);\n", body->module->code[index - body->module->func_imports].frame_slots,
             body->offset);
        put_tail(body, &call, name);
    }
    wr_aot_die(body);
    return body->status;
}

static void tail_found(wr_aot_body *body, const callee *call) {
    EMIT("    if (IS_OWN(f)) {\n    ENTER(fp + f->frame_slots, 0x%x);\n", body->offset);
    put_tail(body, call, "f");
    EMIT("    }\n");
    put_foreign_tail(body, call, "f");
    EMIT("    }\n");
    wr_aot_die(body);
}

wr_status wr_aot_call(wr_aot_body *body, uint32_t code) {
    if (code >= 0x11 && code <= 0x15) wr_aot_outermost(body)->has_calls = true;
    switch (code) {
    case 0x10: return call_direct(body);
    case 0x11:
    case 0x13: return call_indirect(body, code == 0x13);
    case 0x12: return tail_direct(body);
    case 0x14:
    case 0x15: return call_ref(body, code == 0x15);
    default: return WR_NOT_FOUND;
    }
}
