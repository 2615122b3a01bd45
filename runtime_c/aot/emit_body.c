/* One function body. */
#include <stdio.h>

#include "emit.h"

/* ---- constants, parametric, variables ---- */

static wr_status do_const(wr_aot_body *body, uint32_t code) {
    wr_aot_value value = {.place = AOT_CONST};
    int32_t i32;
    int64_t i64;
    uint32_t f32;
    switch (code) {
    case 0x41:
        WR_TRY(wr_read_s32(&body->reader, &i32));
        value.type = WR_VT_I32;
        value.bits = (uint32_t)i32;
        break;
    case 0x42:
        WR_TRY(wr_read_s64(&body->reader, &i64));
        value.type = WR_VT_I64;
        value.bits = (uint64_t)i64;
        break;
    case 0x43:
        WR_TRY(wr_read_fixed32(&body->reader, &f32));
        value.type = WR_VT_F32;
        value.bits = f32;
        break;
    default:
        WR_TRY(wr_read_fixed64(&body->reader, &value.bits));
        value.type = WR_VT_F64;
        break;
    }
    wr_aot_push_value(body, &value);
    return body->status;
}

/* Whether it can be taken for a value that is as loose. */
static bool is_as_loose(const wr_aot_value *value, uint8_t loose) {
    return value->loose == loose || (value->place == AOT_CONST && !wr_aot_may_be_nan(value->type, value->bits));
}

static bool is_same(const wr_aot_value *a, const wr_aot_value *b) {
    if (a->place == AOT_LOCAL) return b->place == AOT_LOCAL && a->local == b->local;
    return a->place == AOT_CONST && b->place == AOT_CONST && a->bits == b->bits;
}

/* The smaller or larger one of what has just been compared: compilers see that if it is chosen as signed, too. */
static bool is_extreme(const wr_aot_body *body, const wr_aot_value *a, const wr_aot_value *b) {
    const wr_aot_compared *it = &body->compared;
    if (it->code == 0 || it->end != body->text.bytes.count) return false;
    return (is_same(&it->left, a) && is_same(&it->right, b)) || (is_same(&it->left, b) && is_same(&it->right, a));
}

static void put_extreme(wr_aot_body *body, const wr_aot_value *a, const wr_aot_value *b) {
    static const char *const orders[] = {"<", ">", "<=", ">="};
    const wr_aot_compared it = body->compared;
    const bool wide = it.left.type == WR_VT_I64;
    const char *order = orders[(it.code - (wide ? 0x53 : 0x48)) / 2], *as = wide ? "S64" : "S32";
    const wr_aot_name left = wr_aot_text(body, &it.left), right = wr_aot_text(body, &it.right),
                      first = wr_aot_text(body, a), second = wr_aot_text(body, b);
    EMIT("    %s = %s(%s) %s %s(%s) ? %s(%s) : %s(%s);\n", wr_aot_push(body, it.left.type).text, as, left.text, order,
         as, right.text, as, first.text, as, second.text);
}

static wr_status do_select(wr_aot_body *body, uint32_t code) {
    uint32_t count;
    wr_vt type = WR_VT_BOTTOM;
    if (code == 0x1C) {
        WR_TRY(wr_read_u32(&body->reader, &count));
        WR_TRY(wr_aot_read_type(body->module, &body->reader, &type));
    }
    const wr_aot_value condition = wr_aot_pop(body), b = wr_aot_pop(body), a = wr_aot_pop(body);
    if (is_extreme(body, &a, &b)) {
        put_extreme(body, &a, &b);
        return body->status;
    }
    const uint8_t loose = a.loose != 0 ? a.loose : b.loose;
    const bool alike = is_as_loose(&a, loose) && is_as_loose(&b, loose);
    const wr_aot_name chooser = wr_aot_text(body, &condition), second = (alike ? wr_aot_number : wr_aot_text)(body, &b),
                      first = (alike ? wr_aot_number : wr_aot_text)(body, &a);
    EMIT("    %s = %s ? %s : %s;\n", wr_aot_push(body, code == 0x1C ? type : a.type).text, chooser.text, first.text,
         second.text);
    if (alike) wr_aot_value_at(body, body->stack.count - 1)->loose = loose;
    return body->status;
}

static wr_status do_local(wr_aot_body *body, uint32_t code) {
    uint32_t index;
    WR_TRY(wr_read_u32(&body->reader, &index));
    const wr_aot_value local = {
        .type = ((const wr_vt *)body->locals.items)[index],
        .place = AOT_LOCAL,
        .local = index,
        .loose = ((const uint8_t *)body->loose.items)[index],
    };
    if (code != 0x20) {
        const wr_aot_value value = wr_aot_pop(body);
        const bool itself = value.place == AOT_LOCAL && value.local == index;
        if (!itself) {
            wr_aot_preserve(body, index);
            EMIT("    l%u = %s;\n", index, (local.loose != 0 ? wr_aot_number : wr_aot_text)(body, &value).text);
        }
        if (code == 0x21) return body->status;
    }
    wr_aot_push_value(body, &local);
    return body->status;
}

static wr_status do_global(wr_aot_body *body, uint32_t code) {
    uint32_t index;
    char cell[48];
    WR_TRY(wr_read_u32(&body->reader, &index));
    const wr_vt type = body->module->globals[index].type;
    if (index >= body->module->global_imports) {
        snprintf(cell, sizeof cell, "cells[%u].value", index - body->module->global_imports);
        wr_aot_outermost(body)->has_cells = true;
    } else {
        snprintf(cell, sizeof cell, "x->self->globals[%u]->value", index);
    }
    if (code == 0x23) {
        wr_aot_get_slot(body, cell, 0, type, wr_aot_push(body, type).text);
    } else {
        const wr_aot_value value = wr_aot_pop(body);
        wr_aot_put_slot(body, cell, 0, type, wr_aot_text(body, &value).text);
    }
    return body->status;
}

/* ---- dispatch ---- */

/* As many as fill so many bytes in about the same time. */
enum { WEIGHED_INSNS = 128, WORK_PER_INSN = 16, DIVISION_INSNS = 16, LOCALS_PER_INSN = 2 };

static wr_status refuse(wr_aot_body *body, uint32_t code) {
    const char *name = wr_opcode_name(code);
    return wr_error_set(body->emit->error, WR_UNSUPPORTED, body->offset, "%s at offset 0x%x is not compiled",
                        name != NULL ? name : "an instruction", body->offset);
}

static wr_status translate(wr_aot_body *body, uint32_t code) {
    static wr_status (*const groups[])(wr_aot_body *, uint32_t) = {
        wr_aot_simple, wr_aot_control, wr_aot_memory, wr_aot_call, wr_aot_table, wr_aot_simd, wr_aot_atomic,
    };
    switch (code) {
    case 0x1A: (void)wr_aot_pop(body); return body->status;
    case 0x1B:
    case 0x1C: return do_select(body, code);
    case 0x20:
    case 0x21:
    case 0x22: return do_local(body, code);
    case 0x23:
    case 0x24: return do_global(body, code);
    case 0x41:
    case 0x42:
    case 0x43:
    case 0x44: return do_const(body, code);
    default: break;
    }
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        wr_status status = groups[i](body, code);
        if (status != WR_NOT_FOUND) return status;
    }
    return refuse(body, code);
}

/* Code that cannot be reached is passed over, up to what ends it. */
static bool passes_over(wr_aot_body *body, uint32_t code) {
    if (!body->dead) return false;
    if ((code >= 0x02 && code <= 0x04) || code == 0x1F) {
        body->dead_depth++;
        body->loop_at += code == 0x03;
        return true;
    }
    if (code == 0x0B && body->dead_depth != 0) {
        body->dead_depth--;
        return true;
    }
    return code != 0x0B && !(code == 0x05 && body->dead_depth == 0);
}

/* Loops without calls take more from their allowance, the longer they are. */
static void weigh(wr_aot_body *body, uint32_t code) {
    if (body->dead || body->region != AOT_NO_LABEL) return;
    body->unweighed += wr_opcode_divides(code) ? DIVISION_INSNS : 1;
    if (body->unweighed < WEIGHED_INSNS) return;
    EMIT("    WORK(%u, 0x%x);\n", body->unweighed * WORK_PER_INSN, body->offset);
    body->unweighed = body->compared.code = 0;
}

wr_status wr_aot_translate_until(wr_aot_body *body, size_t labels) {
    while (body->labels.count > labels) {
        uint32_t code;
        body->offset = wr_reader_offset(&body->reader);
        WR_TRY(wr_aot_read_code(&body->reader, &code));
        weigh(body, code);
        WR_TRY(passes_over(body, code) ? wr_aot_skip(&body->reader, code) : translate(body, code));
        if (body->text.status != WR_OK) return body->text.status;
    }
    return body->status;
}

/* ---- functions ---- */

static wr_status read_locals(wr_aot_body *body) {
    uint32_t runs, count;
    const wr_engine *engine = body->emit->engine;
    body->locals.count = 0;
    WR_TRY(wr_vec_reserve(&engine->heap, &body->locals, body->type->param_count + 1, sizeof(wr_vt)));
    for (uint32_t i = 0; i < body->type->param_count; i++) {
        ((wr_vt *)body->locals.items)[body->locals.count++] = body->type->values[i];
    }
    WR_TRY(wr_read_u32(&body->reader, &runs));
    for (uint32_t i = 0; i < runs; i++) {
        wr_vt type;
        WR_TRY(wr_read_u32(&body->reader, &count));
        WR_TRY(wr_aot_read_type(body->module, &body->reader, &type));
        WR_TRY(wr_vec_reserve(&engine->heap, &body->locals, count, sizeof(wr_vt)));
        body->emit->has_vectors = body->emit->has_vectors || type == WR_VT_V128;
        for (uint32_t k = 0; k < count; k++) ((wr_vt *)body->locals.items)[body->locals.count++] = type;
    }
    return WR_OK;
}

void wr_aot_prototype(wr_text *text, const wr_type *type, const char *name) {
    const char *result = type->result_count == 1 ? wr_aot_ctype(type->values[type->param_count]) : "void";
    wr_text_add(text, "%s %s(wra_context *x, wr_slot *fp", result, name);
    for (uint32_t i = 0; i < type->param_count; i++) wr_text_add(text, ", %s l%u", wr_aot_ctype(type->values[i]), i);
    wr_text_add(text, ")");
}

/* The C compiler's time for a function grows with the product of its size and its loops: above these, it does less. */
enum { LARGE_BYTE_LOOPS = 1 << 18, HUGE_BYTE_LOOPS = 1 << 23 };

static const char *effort(const wr_aot_body *body, size_t bytes) {
    const uint64_t byte_loops = (uint64_t)bytes * body->loops.count;
    if (byte_loops < LARGE_BYTE_LOOPS) return "";
    return byte_loops < HUGE_BYTE_LOOPS ? "LARGE " : "HUGE ";
}

static void put_head(const wr_aot_body *body, size_t bytes, wr_text *out) {
    char name[16], shown[80] = "";
    uint32_t len = 0;
    const char *known = wr_module_func_name(body->module, body->index, &len);
    for (uint32_t i = 0; known != NULL && i < len && i < sizeof shown - 1; i++) { /* nothing that ends the comment */
        shown[i] = known[i] >= ' ' && known[i] < 0x7F && known[i] != '*' && known[i] != '\\' ? known[i] : '?';
        shown[i + 1] = '\0';
    }
    snprintf(name, sizeof name, "w%u", body->index);
    wr_text_add(out, "\n/* function %u %s @0x%x */\n%sFUNCTION ", body->index, shown, body->code->body_offset,
                effort(body, bytes));
    wr_aot_prototype(out, body->type, name);
    wr_text_add(out, " {\n");
}

void wr_aot_put_locals(const wr_aot_body *body, wr_text *out) {
    static const char letters[] = "ijfdv";
    static const wr_vt types[] = {WR_VT_I32, WR_VT_I64, WR_VT_F32, WR_VT_F64, WR_VT_V128};
    for (uint32_t i = body->type->param_count; i < body->locals.count; i++) {
        const wr_vt type = ((const wr_vt *)body->locals.items)[i];
        wr_text_add(out, "    %s l%u = %s;\n", wr_aot_ctype(type), i, type == WR_VT_V128 ? "{0}" : "0");
    }
    for (size_t i = 0; i < body->temps.count; i++) {
        for (size_t k = 0; k < 5; k++) {
            if ((((const uint8_t *)body->temps.items)[i] >> k & 1) == 0) continue;
            wr_text_add(out, "    %s %c%zu;\n", wr_aot_ctype(types[k]), letters[k], i);
        }
    }
    if (body->loops.count != 0) wr_text_add(out, "    uint32_t late;\n");
    if (body->has_region) wr_text_add(out, "    int64_t n = 0;\n");
}

/* What an inlined function uses, the outermost one has the variables of. */
static void put_uses(const wr_aot_body *body, wr_text *out) {
    for (uint32_t i = 0; i < 32; i++) {
        if ((body->memories >> i & 1) != 0) wr_text_add(out, "    USE_MEMORY(%u);\n", i);
    }
    for (size_t i = 0; i < body->used.count; i++) {
        const wr_aot_use *use = (const wr_aot_use *)body->used.items + i;
        wr_text_add(out, "    USE_%s(%u);\n", use->is_type ? "TYPE" : "TABLE", use->index);
    }
    if (body->has_plain) wr_text_add(out, "    USE_PLAIN();\n");
    if (body->has_cells) wr_text_add(out, "    USE_CELLS();\n");
    if (body->has_calls) wr_text_add(out, "    USE_INSTANCE();\n");
}

wr_status wr_aot_begin(wr_aot_body *body, wr_aot_emit *emit, uint32_t index, wr_reader code) {
    const wr_module *module = emit->module;
    body->emit = emit;
    body->module = module;
    body->index = index;
    body->code = &module->code[index - module->func_imports];
    body->type = wr_type_of_func(module, index);
    body->reader = code;
    body->text.engine = emit->engine;
    body->text.status = body->status = WR_OK;
    body->stack.count = body->labels.count = body->temps.count = body->text.bytes.count = body->used.count = 0;
    body->flushed = body->numbers = body->loop_at = body->memories = 0;
    body->region = AOT_NO_LABEL;
    body->compared.code = 0;
    body->proven = NULL;
    body->has_plain = body->has_region = body->has_calls = body->has_cells = body->dead = false;
    body->inlined_bytes = 0;
    WR_TRY(read_locals(body));
    body->unweighed = (uint32_t)(body->locals.count - body->type->param_count) / LOCALS_PER_INSN;
    if (body->unweighed < WEIGHED_INSNS) body->unweighed = 0;
    WR_TRY(wr_aot_scan_loops(body));
    WR_TRY(wr_aot_scan_floats(body));
    const wr_aot_block results = {NULL, body->type->values + body->type->param_count, 0, body->type->result_count, 0};
    return wr_aot_push_label(body, AOT_FUNC, &results);
}

wr_aot_body *wr_aot_outermost(wr_aot_body *body) {
    while (body->outer != NULL) body = body->outer;
    return body;
}

wr_status wr_aot_function(wr_aot_emit *emit, uint32_t index, wr_reader code, wr_aot_body *body) {
    WR_TRY(wr_aot_begin(body, emit, index, code));
    WR_TRY(wr_aot_translate_until(body, 0));
    put_head(body, wr_reader_left(&code), &emit->bodies);
    wr_text_add(&emit->bodies, "    BUDGET();\n");
    wr_aot_put_locals(body, &emit->bodies);
    put_uses(body, &emit->bodies);
    wr_text_put(&emit->bodies, body->text.bytes.items, body->text.bytes.count);
    wr_text_add(&emit->bodies, "}\n");
    return emit->bodies.status;
}

void wr_aot_body_free(wr_aot_body *body) {
    const wr_engine *engine = body->emit->engine;
    wr_vec_free(&engine->heap, &body->locals, sizeof(wr_vt));
    wr_vec_free(&engine->heap, &body->stack, sizeof(wr_aot_value));
    wr_vec_free(&engine->heap, &body->labels, sizeof(wr_aot_label));
    wr_vec_free(&engine->heap, &body->temps, 1);
    wr_vec_free(&engine->heap, &body->loops, sizeof(wr_aot_loop));
    wr_vec_free(&engine->heap, &body->loose, 1);
    wr_vec_free(&engine->heap, &body->used, sizeof(wr_aot_use));
    wr_text_free(&body->text);
}
