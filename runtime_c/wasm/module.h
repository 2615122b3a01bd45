/* A module: decoded, validated, translated; immutable but for the lazily made checked variant of its code. */
#ifndef WR_MODULE_H
#define WR_MODULE_H
#include <stdatomic.h>

#include "alloc.h"
#include "code.h"
#include "engine.h"

typedef struct wr_name {
    const char *bytes; /* NUL-terminated copy */
    uint32_t len;
} wr_name;

typedef struct wr_limit_pair {
    uint64_t min;
    uint64_t max; /* UINT64_MAX: none given */
    bool is64;
    bool shared;
} wr_limit_pair;

typedef struct wr_table_type {
    wr_vt elem;
    wr_limit_pair limits;
} wr_table_type;

typedef struct wr_global_type {
    wr_vt type;
    bool is_mutable;
} wr_global_type;

typedef struct wr_import {
    wr_name module;
    wr_name name;
    wr_extern_kind kind;
    uint32_t index; /* in the index space of its kind */
} wr_import;

typedef struct wr_export {
    wr_name name;
    wr_extern_kind kind;
    uint32_t index;
} wr_export;

/* Constant expression in postfix order. */
typedef enum wr_const_kind {
    WR_CONST_VALUE,
    WR_CONST_GLOBAL,
    WR_CONST_FUNC,
    WR_CONST_ADD32,
    WR_CONST_SUB32,
    WR_CONST_MUL32,
    WR_CONST_ADD64,
    WR_CONST_SUB64,
    WR_CONST_MUL64
} wr_const_kind;

typedef struct wr_const_op {
    wr_const_kind kind;
    uint64_t value;
} wr_const_op;

typedef struct wr_const_expr {
    const wr_const_op *ops;
    uint32_t count;
} wr_const_expr;

typedef enum wr_segment_mode { WR_SEGMENT_ACTIVE, WR_SEGMENT_PASSIVE, WR_SEGMENT_DECLARATIVE } wr_segment_mode;

typedef struct wr_elem {
    wr_segment_mode mode;
    wr_vt type;
    uint32_t table;
    wr_const_expr offset;
    uint32_t count;
    wr_const_expr *items;
} wr_elem;

typedef struct wr_data {
    wr_segment_mode mode;
    uint32_t memory;
    wr_const_expr offset;
    const uint8_t *bytes;
    uint32_t size;
} wr_data;

typedef struct wr_custom {
    wr_name name;
    const uint8_t *bytes;
    uint32_t size;
} wr_custom;

struct wr_module {
    wr_engine *engine;
    atomic_uint refs;
    wr_arena arena;
    const wr_type **types;
    uint32_t type_count;
    wr_import *imports;
    uint32_t import_count;
    /* index spaces: imported entries first */
    const wr_type **funcs;
    uint32_t func_count;
    uint32_t func_imports;
    wr_table_type *tables;
    wr_const_expr *table_inits; /* of defined tables; count 0: null */
    uint32_t table_count;
    uint32_t table_imports;
    wr_limit_pair *memories;
    uint32_t memory_count;
    uint32_t memory_imports;
    wr_global_type *globals;
    wr_const_expr *global_inits; /* of defined globals */
    uint32_t global_count;
    uint32_t global_imports;
    const wr_type **tags;
    uint32_t tag_count;
    uint32_t tag_imports;
    wr_export *exports;
    uint32_t export_count;
    uint32_t start; /* UINT32_MAX: none */
    wr_elem *elems;
    uint32_t elem_count;
    wr_data *datas;
    uint32_t data_count;
    wr_custom *customs;
    uint32_t custom_count;
    wr_name *func_names; /* NULL: no name section */
    uint32_t const_depth_max;
    /* Code of defined functions. Code with checked access fits every memory; code for guard pages gets a checked
     * variant when an instance's memory could not be guarded. */
    wr_code *code;
    bool code_is_checked;
    _Atomic(wr_code *) code_checked;
    struct wr_aot *aot; /* compiled code; NULL: none */
};

/* Code for an instance whose memories are all guarded, or not. NULL: out of memory. */
const wr_code *wr_module_code(wr_module *module, bool guarded);
/* Text name of an instruction (prefixed: 0xFC00 + number, WR_CODE_SIMD + number), or NULL: there is none. */
const char *wr_opcode_name(uint32_t code);
enum { WR_CODE_SIMD = 0xFD0000 }; /* numbers behind 0xFD need more than a byte */
/* Module offset of an instruction. */
uint32_t wr_code_offset(const wr_code *code, const wr_insn *insn);

#endif
