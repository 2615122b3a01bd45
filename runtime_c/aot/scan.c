/* Reading bodies without translating them. */
#include "emit.h"

wr_status wr_aot_read_code(wr_reader *reader, uint32_t *code) {
    uint8_t byte;
    uint32_t number;
    WR_TRY(wr_read_byte(reader, &byte));
    *code = byte;
    if (byte != 0xFC && byte != 0xFD && byte != 0xFE) return WR_OK;
    WR_TRY(wr_read_u32(reader, &number));
    *code = byte == 0xFD ? (uint32_t)WR_CODE_SIMD + number : (uint32_t)byte << 8 | number;
    return WR_OK;
}

static wr_status skip_numbers(wr_reader *reader, uint32_t count) {
    for (uint32_t number; count > 0; count--) WR_TRY(wr_read_u32(reader, &number));
    return WR_OK;
}

static wr_status skip_bytes(wr_reader *reader, uint32_t count) {
    const uint8_t *bytes;
    return wr_read_bytes(reader, count, &bytes);
}

static wr_status skip_memarg(wr_reader *reader) {
    uint32_t align;
    uint64_t offset;
    WR_TRY(wr_read_u32(reader, &align));
    if ((align & 0x40) != 0) WR_TRY(skip_numbers(reader, 1));
    return wr_read_u64(reader, &offset);
}

/* Block types, value types and heap types alike: a number, with a heap type behind 0x63 and 0x64. */
static wr_status skip_type(wr_reader *reader) {
    int64_t number;
    WR_TRY(wr_read_s33(reader, &number));
    return number == -0x1D || number == -0x1C ? wr_read_s33(reader, &number) : WR_OK;
}

static wr_status skip_list(wr_reader *reader, wr_status (*skip_item)(wr_reader *reader)) {
    uint32_t count;
    WR_TRY(wr_read_count(reader, &count));
    for (; count > 0; count--) WR_TRY(skip_item(reader));
    return WR_OK;
}

static wr_status skip_number(wr_reader *reader) { return skip_numbers(reader, 1); }

static wr_status skip_clause(wr_reader *reader) {
    uint8_t kind;
    WR_TRY(wr_read_byte(reader, &kind));
    return skip_numbers(reader, kind < 2 ? 2 : 1);
}

static wr_status skip_simd(wr_reader *reader, uint32_t number) {
    if (number <= 11 || number == 92 || number == 93) return skip_memarg(reader);
    if (number >= 84 && number <= 91) {
        WR_TRY(skip_memarg(reader));
        return skip_bytes(reader, 1);
    }
    if (number == 12 || number == 13) return skip_bytes(reader, 16);
    return number >= 21 && number <= 34 ? skip_bytes(reader, 1) : WR_OK;
}

wr_status wr_aot_skip(wr_reader *reader, uint32_t code) {
    int64_t number;
    if (code >= WR_CODE_SIMD) return skip_simd(reader, code - WR_CODE_SIMD);
    if (code >= 0xFE00) return code == 0xFE03 ? skip_bytes(reader, 1) : skip_memarg(reader);
    if (code >= 0x28 && code <= 0x3E) return skip_memarg(reader);
    switch (code) {
    case 0x02:
    case 0x03:
    case 0x04:
    case 0xD0: return skip_type(reader);
    case 0x08:
    case 0x0C:
    case 0x0D:
    case 0x10:
    case 0x12:
    case 0x14:
    case 0x15:
    case 0x20:
    case 0x21:
    case 0x22:
    case 0x23:
    case 0x24:
    case 0x25:
    case 0x26:
    case 0x3F:
    case 0x40:
    case 0xD2:
    case 0xD5:
    case 0xD6:
    case 0xFC09:
    case 0xFC0B:
    case 0xFC0D:
    case 0xFC0F:
    case 0xFC10:
    case 0xFC11: return skip_numbers(reader, 1);
    case 0x11:
    case 0x13:
    case 0xFC08:
    case 0xFC0A:
    case 0xFC0C:
    case 0xFC0E: return skip_numbers(reader, 2);
    case 0x0E: WR_TRY(skip_list(reader, skip_number)); return skip_numbers(reader, 1);
    case 0x1C: return skip_list(reader, skip_type);
    case 0x1F: WR_TRY(skip_type(reader)); return skip_list(reader, skip_clause);
    case 0x41:
    case 0x42: return wr_read_s64(reader, &number);
    case 0x43: return skip_bytes(reader, 4);
    case 0x44: return skip_bytes(reader, 8);
    default: return WR_OK;
    }
}

wr_status wr_aot_read_type(const wr_module *module, wr_reader *reader, wr_vt *out) {
    int64_t number, heap;
    WR_TRY(wr_read_s33(reader, &number));
    if (number != -0x1D && number != -0x1C) {
        *out = wr_vt_from_byte((uint8_t)(number & 0x7F));
        return WR_OK;
    }
    WR_TRY(wr_read_s33(reader, &heap));
    uint32_t kind = heap < 0 ? WR_HEAP_ABSTRACT | (uint32_t)(heap & 0x7F) : module->types[heap]->id;
    *out = WR_VT_REF | (number == -0x1D ? WR_VT_NULLABLE : 0) | kind;
    return WR_OK;
}

wr_status wr_aot_read_block(const wr_module *module, wr_reader *reader, wr_aot_block *out) {
    wr_reader ahead = *reader;
    int64_t number;
    *out = (wr_aot_block){0};
    WR_TRY(wr_read_s33(&ahead, &number));
    if (number >= 0) {
        const wr_type *type = module->types[number];
        *out = (wr_aot_block){type->values, type->values + type->param_count, type->param_count, type->result_count, 0};
        *reader = ahead;
        return WR_OK;
    }
    if (number == -0x40) {
        *reader = ahead;
        return WR_OK;
    }
    out->result_count = 1;
    return wr_aot_read_type(module, reader, &out->single);
}

static bool is_call(uint32_t code) { return code >= 0x10 && code <= 0x15; }
static bool opens(uint32_t code) { return (code >= 0x02 && code <= 0x04) || code == 0x1F; }

static wr_aot_loop *loop_at(const wr_aot_body *body, size_t index) { return (wr_aot_loop *)body->loops.items + index; }

/* Open blocks: the loop that each is, or AOT_NO_LABEL. */
static wr_status open_block(wr_aot_body *body, wr_vec *open, bool is_loop, uint32_t offset) {
    const wr_engine *engine = body->emit->engine;
    WR_TRY(wr_vec_reserve(&engine->heap, open, 1, sizeof(uint32_t)));
    WR_TRY(wr_vec_reserve(&engine->heap, &body->loops, 1, sizeof(wr_aot_loop)));
    for (size_t i = 0; is_loop && i < open->count; i++) {
        const uint32_t outer = ((const uint32_t *)open->items)[i];
        if (outer != AOT_NO_LABEL) loop_at(body, outer)->has_loops = true;
    }
    ((uint32_t *)open->items)[open->count++] = is_loop ? (uint32_t)body->loops.count : AOT_NO_LABEL;
    if (is_loop) *loop_at(body, body->loops.count++) = (wr_aot_loop){.size = offset};
    return WR_OK;
}

/* As much text as is counted as one jump, and as a division is. */
enum { UNIT_BYTES = 64, DIVISION_BYTES = 32, SHIFT_MAX = 12 };

static void close_block(const wr_aot_body *body, wr_vec *open, uint32_t offset) {
    if (open->count == 0) return;
    const uint32_t loop = ((const uint32_t *)open->items)[--open->count];
    if (loop == AOT_NO_LABEL) return;
    wr_aot_loop *closed = loop_at(body, loop);
    closed->size = offset - closed->size;
    while (closed->shift < SHIFT_MAX && closed->size >> closed->shift > UNIT_BYTES) closed->shift++;
}

wr_status wr_aot_scan_loops(wr_aot_body *body) {
    wr_reader reader = body->reader;
    wr_vec open = {0};
    wr_status status = WR_OK;
    uint32_t divisions = 0;
    body->loops.count = 0;
    while (status == WR_OK && reader.at != reader.end) {
        uint32_t code = 0;
        status = wr_aot_read_code(&reader, &code);
        if (status == WR_OK) status = wr_aot_skip(&reader, code);
        if (status != WR_OK) break;
        divisions += wr_opcode_divides(code);
        const uint32_t at = wr_reader_offset(&reader) + divisions * DIVISION_BYTES;
        if (opens(code)) status = open_block(body, &open, code == 0x03, at);
        for (size_t i = 0; is_call(code) && i < open.count; i++) {
            const uint32_t loop = ((const uint32_t *)open.items)[i];
            if (loop != AOT_NO_LABEL) loop_at(body, loop)->has_calls = true;
        }
        if (code == 0x0B) close_block(body, &open, at);
    }
    wr_vec_free(&body->emit->engine->heap, &open, sizeof(uint32_t));
    return status;
}

/* ---- floats ---- */

/* What a local is set to: any NaN (bits of its lanes), anything else, or a constant that is none. */
enum { SOURCE_NUMBER = 0, SOURCE_EXACT = 1 };

bool wr_aot_may_be_nan(wr_vt type, uint64_t bits) {
    return type == WR_VT_F32 ? (bits & 0x7F800000u) == 0x7F800000u : (bits >> 52 & 0x7FF) == 0x7FF;
}

static wr_status read_vector(wr_reader *reader, uint8_t *out) {
    for (int i = 0; i < 2; i++) {
        uint64_t bits;
        WR_TRY(wr_read_fixed64(reader, &bits));
        if (wr_aot_may_be_nan(WR_VT_F32, bits) || wr_aot_may_be_nan(WR_VT_F32, bits >> 32) ||
            wr_aot_may_be_nan(WR_VT_F64, bits)) {
            *out = SOURCE_EXACT;
        }
    }
    return WR_OK;
}

static wr_status read_source(wr_reader reader, uint32_t code, uint8_t *out) {
    uint32_t low;
    uint64_t bits;
    const uint8_t loose = code >= WR_CODE_SIMD ? wr_aot_simd_loose(code) : wr_aot_simple_loose(code);
    *out = loose != 0 ? loose : SOURCE_EXACT;
    if (code == 0x43) {
        WR_TRY(wr_read_fixed32(&reader, &low));
        if (!wr_aot_may_be_nan(WR_VT_F32, low)) *out = SOURCE_NUMBER;
    } else if (code == 0x44) {
        WR_TRY(wr_read_fixed64(&reader, &bits));
        if (!wr_aot_may_be_nan(WR_VT_F64, bits)) *out = SOURCE_NUMBER;
    } else if (code == WR_CODE_SIMD + 12) {
        *out = SOURCE_NUMBER;
        return read_vector(&reader, out);
    }
    return WR_OK;
}

static void note_source(uint8_t *local, uint8_t source) {
    if (source == SOURCE_NUMBER) return;
    *local = *local == SOURCE_NUMBER || *local == source ? source : SOURCE_EXACT;
}

/* A local is loose if only arithmetic is put into it: what is on top was made by the instruction in front. */
wr_status wr_aot_scan_floats(wr_aot_body *body) {
    wr_reader reader = body->reader;
    uint8_t source = SOURCE_EXACT;
    body->loose.count = 0;
    WR_TRY(wr_vec_reserve(&body->emit->engine->heap, &body->loose, body->locals.count + 1, 1));
    uint8_t *loose = body->loose.items;
    for (size_t i = 0; i < body->locals.count; i++)
        loose[i] = i < body->type->param_count ? SOURCE_EXACT : SOURCE_NUMBER;
    while (reader.at != reader.end) {
        uint32_t code, local;
        WR_TRY(wr_aot_read_code(&reader, &code));
        wr_reader operands = reader;
        if (code == 0x21 || code == 0x22) {
            WR_TRY(wr_read_u32(&operands, &local));
            note_source(&loose[local], source);
        }
        if (code != 0x22) WR_TRY(read_source(operands, code, &source));
        WR_TRY(wr_aot_skip(&reader, code));
    }
    for (size_t i = 0; i < body->locals.count; i++) loose[i] = loose[i] == SOURCE_EXACT ? 0 : loose[i];
    return WR_OK;
}
