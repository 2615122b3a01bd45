/* Blocks and branches: labels and goto. */
#include "emit.h"

wr_aot_label *wr_aot_label_at(const wr_aot_body *body, size_t index) {
    return (wr_aot_label *)body->labels.items + index;
}

static wr_aot_label *innermost(const wr_aot_body *body) { return wr_aot_label_at(body, body->labels.count - 1); }

static const wr_vt *results_of(const wr_aot_block *type) {
    return type->results == NULL ? &type->single : type->results;
}

/* Types of what a jump to the label carries. */
static const wr_vt *carried(const wr_aot_label *label, uint32_t *count) {
    *count = label->kind == AOT_LOOP ? label->type.param_count : label->type.result_count;
    return label->kind == AOT_LOOP ? label->type.params : results_of(&label->type);
}

void wr_aot_die(wr_aot_body *body) {
    body->dead = true;
    body->dead_depth = 0;
}

/* ---- leaving ---- */

void wr_aot_return(wr_aot_body *body) {
    const uint32_t count = body->type->result_count;
    const wr_vt *types = body->type->values + body->type->param_count;
    const size_t first = body->stack.count - count;
    wr_aot_leave_loops(body, 0);
    if (body->outer != NULL) {
        if (count == 1) EMIT("    r%u = %s;\n", body->result, wr_aot_text_at(body, first).text);
        EMIT("    goto R%u;\n", body->result);
        return;
    }
    if (count == 1) {
        EMIT("    return %s;\n", wr_aot_text_at(body, first).text);
        return;
    }
    for (uint32_t i = 0, slot = 0; i < count; i++) {
        wr_aot_put_slot(body, "fp", slot, types[i], wr_aot_text_at(body, first + i).text);
        slot += wr_vt_slots(types[i]);
    }
    EMIT("    return;\n");
}

/* Destinations lie at or below what is still to be moved, so going upwards nothing is overwritten. */
static void move_values(wr_aot_body *body, const wr_aot_label *label) {
    uint32_t count;
    const wr_vt *types = carried(label, &count);
    const size_t first = body->stack.count - count;
    for (uint32_t i = 0; i < count; i++) {
        const wr_aot_value *value = wr_aot_value_at(body, first + i);
        if (value->place == AOT_TEMP && value->loose == 0 && first + i == label->height + i) continue;
        wr_aot_name to = wr_aot_temp(body, types[i], label->height + i);
        EMIT("    %s = %s;\n", to.text, wr_aot_text_at(body, first + i).text);
    }
}

void wr_aot_branch(wr_aot_body *body, uint32_t depth) {
    const size_t index = body->labels.count - 1 - depth;
    wr_aot_label *label = wr_aot_label_at(body, index);
    if (label->kind == AOT_FUNC) {
        wr_aot_return(body);
        return;
    }
    move_values(body, label);
    if (label->kind == AOT_LOOP) {
        const bool inside = body->region != AOT_NO_LABEL && index >= body->region;
        wr_aot_leave_loops(body, index);
        if (label->half == 1) {
            EMIT("    goto L%u_2;\n", label->number);
            return;
        }
        if (label->half == 2) {
            EMIT("    LOOP_JUMP(2, %u, 0x%x);\n    goto L%u_1;\n", label->number, body->offset, label->number);
            return;
        }
        if (inside) {
            EMIT("    LOOP_JUMP(%u, %u, 0x%x);\n", 1u << label->shift, label->number, body->offset);
        } else {
            EMIT("    JUMP(%u, 0x%x);\n", label->number, body->offset);
        }
    } else {
        wr_aot_leave_loops(body, index);
        label->reached = true;
    }
    EMIT("    goto L%u;\n", label->number);
}

/* ---- blocks ---- */

wr_status wr_aot_push_label(wr_aot_body *body, wr_aot_kind kind, const wr_aot_block *type) {
    WR_TRY(wr_vec_reserve(&body->emit->engine->heap, &body->labels, 1, sizeof(wr_aot_label)));
    wr_aot_label *label = wr_aot_label_at(body, body->labels.count);
    *label = (wr_aot_label){.kind = kind, .type = *type, .number = body->numbers++};
    label->height = (uint32_t)body->stack.count - type->param_count;
    body->labels.count++;
    return body->status;
}

static wr_status begin_block(wr_aot_body *body, wr_aot_kind kind) {
    wr_aot_block type;
    WR_TRY(wr_aot_read_block(body->module, &body->reader, &type));
    wr_aot_value condition = {0};
    if (kind == AOT_IF) condition = wr_aot_pop(body);
    wr_aot_settle_locals(body);
    for (size_t i = body->stack.count - type.param_count; i < body->stack.count; i++) {
        wr_aot_fix(body, i);
        wr_aot_value_at(body, i)->spare = 0; /* jumps to a loop bring others */
    }
    if (kind == AOT_LOOP) return wr_aot_loop_block(body, &type);
    WR_TRY(wr_aot_push_label(body, kind, &type));
    const uint32_t number = innermost(body)->number;
    if (kind == AOT_IF) EMIT("    if (!%s) goto E%u;\n", wr_aot_text(body, &condition).text, number);
    return body->status;
}

static void push_temps(wr_aot_body *body, const wr_vt *types, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) (void)wr_aot_push(body, types[i]);
}

static void settle_results(wr_aot_body *body, const wr_aot_label *label) {
    for (uint32_t i = 0; i < label->type.result_count; i++) wr_aot_fix(body, label->height + i);
}

static wr_status do_else(wr_aot_body *body) {
    wr_aot_label *label = innermost(body);
    if (!body->dead) {
        settle_results(body, label);
        EMIT("    goto L%u;\n", label->number);
        label->reached = true;
    }
    EMIT("E%u:;\n", label->number);
    label->kind = AOT_ELSE;
    body->dead = false;
    wr_aot_drop_to(body, label->height);
    push_temps(body, label->type.params, label->type.param_count);
    return body->status;
}

static wr_status do_end(wr_aot_body *body) {
    const wr_aot_label label = *innermost(body);
    if (label.kind == AOT_FUNC) {
        if (!body->dead) wr_aot_return(body);
        body->labels.count = 0;
        return body->status;
    }
    if (!body->dead) settle_results(body, &label);
    if (label.kind == AOT_LOOP && !label.is_copy) wr_aot_put_late(body, label.number);
    if (label.kind == AOT_IF) { /* no else: the parameters are the results, in the same places */
        EMIT("E%u:;\n", label.number);
        body->dead = false;
    }
    if (body->region == body->labels.count - 1 && !label.is_copy) {
        if (!body->dead) EMIT("    LOOP_END();\n");
        body->region = AOT_NO_LABEL;
    }
    if (label.reached) {
        EMIT("L%u:;\n", label.number);
        body->dead = false;
    }
    body->labels.count--;
    wr_aot_drop_to(body, label.height);
    if (!body->dead) push_temps(body, results_of(&label.type), label.type.result_count);
    return body->status;
}

/* ---- branches ---- */

static wr_status do_br_if(wr_aot_body *body) {
    uint32_t depth;
    WR_TRY(wr_read_u32(&body->reader, &depth));
    const wr_aot_value condition = wr_aot_pop(body);
    if (wr_aot_loop_again(body, depth, wr_aot_text(body, &condition).text)) return body->status;
    EMIT("    if (%s) {\n", wr_aot_text(body, &condition).text);
    wr_aot_branch(body, depth);
    EMIT("    }\n");
    return body->status;
}

static wr_status do_br_table(wr_aot_body *body) {
    uint32_t count, depth, next, last;
    WR_TRY(wr_read_u32(&body->reader, &count));
    wr_reader ahead = body->reader;
    for (uint32_t i = 0; i <= count; i++) WR_TRY(wr_read_u32(&ahead, &last));
    const wr_aot_value index = wr_aot_pop(body);
    EMIT("    switch (%s) {\n", wr_aot_text(body, &index).text);
    if (count != 0) WR_TRY(wr_read_u32(&body->reader, &depth));
    for (uint32_t i = 0; i < count; i++, depth = next) {
        WR_TRY(wr_read_u32(&body->reader, &next)); /* behind the table: the default */
        if (depth == last) continue;
        EMIT("    case %u:\n", i);
        if (i + 1 < count && next == depth) continue;
        wr_aot_branch(body, depth);
    }
    if (count == 0) WR_TRY(wr_read_u32(&body->reader, &last));
    EMIT("    default:\n");
    wr_aot_branch(body, last);
    EMIT("    }\n");
    wr_aot_die(body);
    return body->status;
}

/* br_on_null drops a null and keeps the rest; br_on_non_null carries a value that is not null. */
static wr_status do_br_null(wr_aot_body *body, bool on_null) {
    uint32_t depth;
    WR_TRY(wr_read_u32(&body->reader, &depth));
    wr_aot_value value = wr_aot_pop(body);
    value.type &= ~WR_VT_NULLABLE;
    if (value.place == AOT_TEMP || on_null) {
        EMIT("    if (%s %s 0) {\n", wr_aot_text(body, &value).text, on_null ? "==" : "!=");
    } else {
        EMIT("    if (%s != 0) {\n", wr_aot_text(body, &value).text);
    }
    if (!on_null) wr_aot_push_value(body, &value);
    wr_aot_branch(body, depth);
    EMIT("    }\n");
    if (on_null) {
        wr_aot_push_value(body, &value);
    } else {
        (void)wr_aot_pop(body);
    }
    return body->status;
}

wr_status wr_aot_control(wr_aot_body *body, uint32_t code) {
    uint32_t depth;
    switch (code) {
    case 0x00:
        EMIT("    TRAP(0x%x, WR_TRAP_UNREACHABLE);\n", body->offset);
        wr_aot_die(body);
        return body->status;
    case 0x01: return WR_OK;
    case 0x02: return begin_block(body, AOT_BLOCK);
    case 0x03: return begin_block(body, AOT_LOOP);
    case 0x04: return begin_block(body, AOT_IF);
    case 0x05: return do_else(body);
    case 0x0B: return do_end(body);
    case 0x0C:
        WR_TRY(wr_read_u32(&body->reader, &depth));
        wr_aot_branch(body, depth);
        wr_aot_die(body);
        return body->status;
    case 0x0D: return do_br_if(body);
    case 0x0E: return do_br_table(body);
    case 0x0F:
        wr_aot_return(body);
        wr_aot_die(body);
        return body->status;
    case 0xD5: return do_br_null(body, true);
    case 0xD6: return do_br_null(body, false);
    default: return WR_NOT_FOUND;
    }
}
