/* Small functions become part of their callers, recursive ones a few levels deep: what a native compiler does too. The
 * call counts as any other, and back-traces show it: the sites of an inlined body name the chain of calls it is in. */
#include "emit.h"

enum { INLINE_BYTES_MAX = 64, INLINE_TOTAL_MAX = 384, INLINE_LEVELS = 2 };
enum { LEAF_BYTES_MAX = 4096 };

typedef struct facts {
    bool calls, has_tail, writes_tables;
} facts;

static wr_status look_through(wr_reader code, facts *out) {
    uint32_t runs, opcode;
    int64_t type;
    WR_TRY(wr_read_u32(&code, &runs));
    for (uint32_t i = 0; i < runs; i++) {
        WR_TRY(wr_read_u32(&code, &opcode));
        WR_TRY(wr_read_s33(&code, &type));
        if (type == -0x1D || type == -0x1C) WR_TRY(wr_read_s33(&code, &type)); /* a typed reference */
    }
    while (code.at != code.end) {
        WR_TRY(wr_aot_read_code(&code, &opcode));
        out->calls = out->calls || (opcode >= 0x10 && opcode <= 0x15);
        out->has_tail = out->has_tail || opcode == 0x12 || opcode == 0x13 || opcode == 0x15;
        out->writes_tables = out->writes_tables || opcode == 0x26 || (opcode >= 0xFC0C && opcode <= 0xFC11);
        WR_TRY(wr_aot_skip(&code, opcode));
    }
    return WR_OK;
}

wr_status wr_aot_find_plain(wr_aot_emit *emit) {
    const wr_module *module = emit->module;
    for (uint32_t i = 0; i < module->func_count - module->func_imports; i++) {
        const wr_reader code = emit->codes[i];
        const size_t size = wr_reader_left(&code);
        facts found = {0};
        WR_TRY(look_through(code, &found));
        emit->has_tail[i] = found.has_tail;
        emit->has_tails = emit->has_tails || found.has_tail;
        emit->writes_tables = emit->writes_tables || found.writes_tables;
        emit->is_leaf[i] = !found.calls && size <= LEAF_BYTES_MAX;
        emit->is_plain[i] = !found.has_tail && size <= INLINE_BYTES_MAX &&
                            wr_type_of_func(module, module->func_imports + i)->result_count <= 1;
    }
    return WR_OK;
}

bool wr_aot_is_inlined(const wr_aot_body *body, uint32_t index) {
    const wr_aot_emit *emit = body->emit;
    const uint32_t defined = index - body->module->func_imports;
    const wr_aot_body *outermost = body;
    while (outermost->outer != NULL) outermost = outermost->outer;
    const size_t size = wr_reader_left(&emit->codes[defined]);
    return emit->is_plain[defined] && body->level < INLINE_LEVELS &&
           outermost->inlined_bytes + size <= INLINE_TOTAL_MAX;
}

static wr_status add_chain(wr_aot_body *body, uint32_t *out) {
    wr_vec *chains = &body->emit->chains;
    WR_TRY(wr_vec_reserve(&body->emit->engine->heap, chains, 1, sizeof(wr_aot_chain)));
    ((wr_aot_chain *)chains->items)[chains->count++] = (wr_aot_chain){body->offset, body->chain};
    *out = (uint32_t)chains->count;
    return WR_OK;
}

static wr_status translate_inner(wr_aot_body *body, wr_aot_body *inner, uint32_t index) {
    WR_TRY(wr_aot_begin(inner, body->emit, index, body->emit->codes[index - body->module->func_imports]));
    inner->result = body->numbers++;
    inner->numbers = body->numbers;
    WR_TRY(add_chain(body, &inner->chain));
    WR_TRY(wr_aot_translate_until(inner, 0));
    body->numbers = inner->numbers;
    return WR_OK;
}

/* The arguments' names mean something else inside, so they pass through variables in between. */
static void put_inner(wr_aot_body *body, const wr_aot_body *inner, uint32_t base, size_t first) {
    const wr_type *type = inner->type;
    const uint32_t number = inner->result;
    EMIT("    { /* function %u */\n    wr_slot *const fp%u = fp + %u;\n", inner->index, number, base);
    for (uint32_t i = 0; i < type->param_count; i++) {
        EMIT("    const %s a%u_%u = %s;\n", wr_aot_ctype(type->values[i]), number, i,
             wr_aot_text_at(body, first + i).text);
    }
    if (type->result_count == 1) EMIT("    %s r%u;\n", wr_aot_ctype(type->values[type->param_count]), number);
    EMIT("    {\n    enum { chain = %u };\n    wr_slot *const fp = fp%u;\n", inner->chain, number);
    for (uint32_t i = 0; i < type->param_count; i++) {
        EMIT("    %s l%u = a%u_%u;\n", wr_aot_ctype(type->values[i]), i, number, i);
    }
    wr_aot_put_locals(inner, &body->text);
    wr_text_put(&body->text, inner->text.bytes.items, inner->text.bytes.count);
    EMIT("    }\n    R%u:;\n", number);
    if (type->result_count == 1) {
        EMIT("    %s = r%u;\n", wr_aot_temp(body, type->values[type->param_count], first).text, number);
    }
    EMIT("    }\n");
}

wr_status wr_aot_inline(wr_aot_body *body, uint32_t index, uint32_t base, size_t first) {
    wr_aot_body inner = {.outer = body, .level = body->level + 1, .emit = body->emit};
    wr_aot_body *outermost = wr_aot_outermost(body);
    const wr_reader *code = &body->emit->codes[index - body->module->func_imports];
    outermost->inlined_bytes += (uint32_t)wr_reader_left(code);
    wr_status status = translate_inner(body, &inner, index);
    if (status == WR_OK) put_inner(body, &inner, base, first);
    wr_aot_body_free(&inner);
    return status;
}
