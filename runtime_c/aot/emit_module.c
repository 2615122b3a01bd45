/* A whole module as one C file: headers, prototypes, functions, thunks, the table by which the engine finds them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aot.h"
#include "embed.h"
#include "emit.h"
#include "hash.h"

/* ---- what is reached other than by direct calls ---- */

static void reach_expr(wr_aot_emit *emit, const wr_const_expr *expr) {
    if (expr->kind == WR_CONST_FUNC) emit->is_reachable[expr->value] = true; /* of a reference: one operation */
}

/* Vectors may also only pass through. */
static bool names_vectors(const wr_module *module) {
    for (uint32_t i = 0; i < module->type_count; i++) {
        const wr_type *type = module->types[i];
        for (uint32_t k = 0; k < type->param_count + type->result_count; k++) {
            if (type->values[k] == WR_VT_V128) return true;
        }
    }
    for (uint32_t i = 0; i < module->global_count; i++) {
        if (module->globals[i].type == WR_VT_V128) return true;
    }
    return false;
}

static void find_reachable(wr_aot_emit *emit) {
    const wr_module *module = emit->module;
    for (uint32_t i = 0; i < module->export_count; i++) {
        if (module->exports[i].kind == WR_EXTERN_FUNC) emit->is_reachable[module->exports[i].index] = true;
    }
    if (module->start != UINT32_MAX) emit->is_reachable[module->start] = true;
    for (uint32_t i = 0; i < module->elem_count; i++) {
        for (uint32_t k = 0; k < module->elems[i].count; k++) {
            const uint32_t item = module->elems[i].items[k];
            if (item < WR_ELEM_GLOBAL) emit->is_reachable[item] = true;
        }
    }
    for (uint32_t i = module->global_imports; i < module->global_count; i++) {
        reach_expr(emit, &module->global_inits[i - module->global_imports]);
    }
    for (uint32_t i = module->table_imports; i < module->table_count; i++) {
        reach_expr(emit, &module->table_inits[i - module->table_imports]);
    }
}

/* ---- bodies ---- */

static wr_status find_code(const wr_aot_emit *emit, wr_reader *out) {
    *out = (wr_reader){emit->bytes, emit->bytes + 8, emit->bytes + emit->len, 0};
    while (out->at != out->end) {
        uint8_t id;
        uint32_t size;
        WR_TRY(wr_read_byte(out, &id));
        WR_TRY(wr_read_u32(out, &size));
        if (id == 10) {
            out->end = out->at + size;
            return WR_OK;
        }
        out->at += size;
    }
    return WR_OK; /* no functions */
}

static wr_status translate_bodies(wr_aot_emit *emit, wr_aot_body *body) {
    wr_reader section;
    uint32_t count = 0, size;
    WR_TRY(find_code(emit, &section));
    if (section.at != section.end) WR_TRY(wr_read_u32(&section, &count));
    for (uint32_t i = 0; i < count; i++) {
        WR_TRY(wr_read_u32(&section, &size));
        emit->codes[i] = (wr_reader){section.base, section.at, section.at + size, 0};
        section.at += size;
    }
    WR_TRY(wr_aot_find_plain(emit));
    WR_TRY(wr_aot_find_frames(emit));
    for (uint32_t i = 0; i < count; i++) {
        WR_TRY(wr_aot_function(emit, emit->module->func_imports + i, emit->codes[i], body));
    }
    return WR_OK;
}

/* ---- thunks ---- */

static uint32_t type_index(const wr_module *module, const wr_type *type) {
    uint32_t i = 0;
    while (i + 1 < module->type_count && module->types[i] != type) i++;
    return i;
}

static const char *slot_member(wr_vt type) {
    switch (type) {
    case WR_VT_I32: return "u32";
    case WR_VT_F32: return "f32";
    case WR_VT_F64: return "f64";
    default: return "u64";
    }
}

static void put_thunk(wr_text *out, uint32_t number, const wr_type *type, bool has_tails) {
    const wr_vt *result = type->values + type->param_count;
    const bool single = type->result_count == 1;
    wr_text_add(out, "THUNK void t%u(wra_context *x, wr_slot *fp, wra_code code) {\n    typedef ", number);
    wr_aot_prototype(out, type, "(*type_)");
    wr_text_add(out, ";\n    ");
    if (single) wr_text_add(out, "%s result = ", wr_aot_ctype(*result));
    wr_text_add(out, "((type_)code)(x, fp");
    for (uint32_t i = 0, slot = 0; i < type->param_count; i++) {
        const wr_vt param = type->values[i];
        if (param == WR_VT_V128) {
            wr_text_add(out, ", get128(&fp[%u])", slot);
        } else {
            wr_text_add(out, ", fp[%u].%s", slot, slot_member(param));
        }
        slot += wr_vt_slots(param);
    }
    wr_text_add(out, ");\n");
    if (single && has_tails)
        wr_text_add(out, "    if (unlikely(x->tail != NULL)) return; /* the frame has its arguments */\n");
    if (single && *result == WR_VT_V128) {
        wr_text_add(out, "    put128(fp, result);\n");
    } else if (single) {
        wr_text_add(out, "    fp[0].%s = result;\n", *result == WR_VT_I32 ? "u64" : slot_member(*result));
    }
    wr_text_add(out, "}\n");
}

static void put_thunks(wr_aot_emit *emit, wr_text *out) {
    const wr_module *module = emit->module;
    for (uint32_t i = module->func_imports; i < module->func_count; i++) {
        uint32_t number = type_index(module, wr_type_of_func(module, i));
        if (!emit->is_reachable[i] || emit->type_has_thunk[number]) continue;
        emit->type_has_thunk[number] = true;
        put_thunk(out, number, wr_type_of_func(module, i), emit->has_tails);
    }
}

/* ---- the file ---- */

/* A header without what it includes: that is in front of it, or not there at all. */
static void put_header(wr_text *out, const char *text) {
    static const char *const dropped[] = {"#include \"", "#include <math.h>", "#include <string.h>"};
    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        size_t len = end != NULL ? (size_t)(end - text) + 1 : strlen(text);
        bool keep = true;
        for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) {
            keep = keep && strncmp(text, dropped[i], strlen(dropped[i])) != 0;
        }
        if (keep) wr_text_put(out, text, len);
        text += len;
    }
}

#define STATUS_NAME(NAME, CLASS, TEXT) "WR_" #NAME,
static const char *const status_names[] = {WR_STATUS_TABLE(STATUS_NAME)};

static void put_headers(const wr_aot_emit *emit, wr_text *out) {
    wr_text_add(out, "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n\ntypedef enum wr_status {\n");
    for (uint32_t i = 0; i < WR_STATUS_COUNT; i++) {
        if (i == WR_OK || wr_status_class_of((wr_status)i) == WR_CLASS_TRAP) {
            wr_text_add(out, "    %s = %u,\n", status_names[i], i);
        }
    }
    wr_text_add(out, "} wr_status;\n"
                     "typedef union wr_slot {\n    uint64_t u64;\n    int64_t i64;\n    uint32_t u32;\n"
                     "    int32_t i32;\n    float f32;\n    double f64;\n} wr_slot;\n"
                     "#define S32(x) ((int32_t)(x))\n#define S64(x) ((int64_t)(x))\n\n");
    put_header(out, wr_text_abi);
    put_header(out, wr_text_rounding);
    put_header(out, wr_text_numeric);
    put_header(out, wr_text_prelude);
    if (!emit->has_vectors) return;
    put_header(out, wr_text_simd);
    put_header(out, wr_text_vectors);
    wr_aot_simd_functions(emit, out);
}

static void put_prototypes(const wr_aot_emit *emit, wr_text *out) {
    const wr_module *module = emit->module;
    wr_text_add(out, "\n");
    for (uint32_t i = module->func_imports; i < module->func_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%u", i);
        wr_text_add(out, "FUNCTION ");
        wr_aot_prototype(out, wr_type_of_func(module, i), name);
        wr_text_add(out, ";\n");
    }
}

static void put_artefact(const wr_aot_emit *emit, wr_text *out) {
    const wr_module *module = emit->module;
    uint8_t hash[WR_HASH_BYTES];
    char symbol[WR_AOT_SYMBOL_BYTES];
    wr_hash(emit->bytes, emit->len, hash);
    wr_aot_symbol(hash, symbol);
    wr_text_add(out, "\nstatic const wra_entry entries[] = {\n");
    for (uint32_t i = module->func_imports; i < module->func_count; i++) {
        if (emit->is_reachable[i]) {
            wr_text_add(out, "    {(wra_code)w%u, t%u},\n", i, type_index(module, wr_type_of_func(module, i)));
        } else {
            wr_text_add(out, "    {NULL, NULL},\n");
        }
    }
    wr_text_add(out, "    {NULL, NULL},\n};\nstatic const uint32_t chains[][2] = {\n    {0, 0},\n");
    for (size_t i = 0; i < emit->chains.count; i++) {
        const wr_aot_chain *link = (const wr_aot_chain *)emit->chains.items + i;
        wr_text_add(out, "    {0x%x, %u},\n", link->offset, link->outer);
    }
    wr_text_add(out,
                "};\nSECTION(int32_t, wr_sites);\nSECTION(int32_t, wr_inlined);\nSECTION(char, wr_thunks);\n"
                "extern const wra_artefact %s;\n"
                "__attribute__((visibility(\"default\"))) const wra_artefact %s = {\n"
                "    WRA_ABI, WRA_LAYOUT, WR_IS_CHECKED, %u,\n    {",
                symbol, symbol, module->func_count - module->func_imports);
    for (size_t i = 0; i < sizeof hash; i++) wr_text_add(out, "%u%s", hash[i], i + 1 < sizeof hash ? ", " : "");
    wr_text_add(out,
                "},\n    entries, __start_wr_sites, __stop_wr_sites, __start_wr_inlined, __stop_wr_inlined, chains,\n"
                "    __start_wr_thunks, __stop_wr_thunks,\n};\n");
}

static wr_status emit_all(wr_aot_emit *emit, wr_text *out) {
    const wr_module *module = emit->module;
    wr_aot_body body = {.emit = emit};
    emit->is_reachable = wr_mem_zero(&emit->engine->heap, module->func_count + 1);
    emit->type_has_thunk = wr_mem_zero(&emit->engine->heap, module->type_count + 1);
    emit->codes = wr_mem_zero(&emit->engine->heap, (module->func_count + 1) * sizeof *emit->codes);
    emit->is_plain = wr_mem_zero(&emit->engine->heap, module->func_count + 1);
    emit->has_tail = wr_mem_zero(&emit->engine->heap, module->func_count + 1);
    emit->is_leaf = wr_mem_zero(&emit->engine->heap, module->func_count + 1);
    const bool has_room = emit->is_reachable != NULL && emit->type_has_thunk != NULL && emit->codes != NULL &&
                          emit->has_tail != NULL && emit->is_plain != NULL && emit->is_leaf != NULL;
    wr_status status = has_room ? WR_OK : WR_NO_MEMORY;
    if (status == WR_OK) {
        find_reachable(emit);
        emit->has_vectors = names_vectors(module);
        status = translate_bodies(emit, &body);
    }
    if (status == WR_OK) {
        put_headers(emit, out);
        put_prototypes(emit, out);
        wr_text_put(out, emit->bodies.bytes.items, emit->bodies.bytes.count);
        put_thunks(emit, out);
        put_artefact(emit, out);
        wr_text_put(out, "", 1);
        status = out->status;
    }
    wr_aot_body_free(&body);
    wr_text_free(&emit->bodies);
    wr_mem_free(&emit->engine->heap, emit->is_reachable, module->func_count + 1);
    wr_mem_free(&emit->engine->heap, emit->type_has_thunk, module->type_count + 1);
    wr_mem_free(&emit->engine->heap, emit->codes, (module->func_count + 1) * sizeof *emit->codes);
    wr_mem_free(&emit->engine->heap, emit->is_plain, module->func_count + 1);
    wr_mem_free(&emit->engine->heap, emit->has_tail, module->func_count + 1);
    wr_mem_free(&emit->engine->heap, emit->is_leaf, module->func_count + 1);
    wr_mem_free(&emit->engine->heap, emit->most_slots, (emit->type_ids + 1) * sizeof *emit->most_slots);
    wr_vec_free(&emit->engine->heap, &emit->chains, sizeof(wr_aot_chain));
    return status;
}

wr_status wr_aot_emit_c(wr_engine *engine, const uint8_t *bytes, size_t len, char **out, size_t *out_len,
                        wr_error *error) {
    wr_module *module = NULL;
    WR_TRY(wr_module_load(engine, bytes, len, &module, error));
    wr_text text = {.engine = engine};
    wr_error inner = {0};
    wr_aot_emit emit = {.engine = engine, .module = module, .bytes = bytes, .len = len, .error = &inner};
    emit.bodies.engine = engine;
    wr_status status = emit_all(&emit, &text);
    wr_module_release(module);
    *out = status == WR_OK ? malloc(text.bytes.count) : NULL;
    if (status == WR_OK && *out == NULL) status = WR_NO_MEMORY;
    if (status == WR_OK) {
        memcpy(*out, text.bytes.items, text.bytes.count);
        *out_len = text.bytes.count - 1;
    } else if (inner.status != WR_OK && error != NULL) {
        *error = inner;
    } else {
        wr_error_set(error, status, 0, "%s", "no C was written");
    }
    wr_text_free(&text);
    return status;
}

void wr_aot_free_c(char *text) { free(text); }
