/* What the parts of module loading share. */
#ifndef WR_LOADER_H
#define WR_LOADER_H
#include "module.h"
#include "reader.h"

typedef struct wr_body wr_body;

typedef struct wr_loader {
    wr_engine *engine;
    const wr_heap *heap; /* gives what loading takes, and counts it */
    wr_module *module;
    wr_reader reader;
    uint8_t *declared;   /* a bit per function: may ref.func name it in a body */
    wr_custom **customs; /* end of the module's list */
    wr_vec scratch;      /* wr_const_op */
    char *detail;        /* what the message adds to the status text; NULL: nothing */
    uint32_t code_end;   /* module offset behind the code section */
    uint32_t body_count; /* its entries */
    uint32_t bodies_seen;
    uint32_t data_declared; /* by the data count section */
    uint32_t fail_offset;   /* of the instruction at fault; 0: where the reader is */
    uint8_t last_rank;      /* of the sections so far (decode.c) */
    bool has_data_count;
} wr_loader;

/* Remembers what was wrong, returns status. */
wr_status wr_load_fail(wr_loader *loader, wr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

wr_status wr_load_value_type(wr_loader *loader, wr_vt *out);
wr_status wr_load_heap_type(wr_loader *loader, uint32_t *out);
wr_status wr_load_ref_type(wr_loader *loader, wr_vt *out);
/* A name where it lies. */
wr_status wr_load_name(wr_loader *loader, const char **out, uint32_t *len);
/* Bytes as a part of the module, with a zero behind them. */
wr_status wr_load_copy(wr_loader *loader, const char **bytes, uint32_t len);
/* Number of items of a section, at most max (status limit if above). */
wr_status wr_load_count(wr_loader *loader, uint32_t max, wr_status limit, uint32_t *out);
static inline void wr_load_declare(wr_loader *loader, uint32_t func) {
    loader->declared[func / 8] |= (uint8_t)(1u << func % 8);
}
static inline bool wr_load_is_declared(const wr_loader *loader, uint32_t func) {
    return (loader->declared[func / 8] >> func % 8 & 1) != 0;
}
void wr_load_forget(wr_loader *loader); /* what was wrong */
#define WR_LOAD_ALLOC(LOADER, COUNT, TYPE) ((TYPE *)wr_arena_zero(&(LOADER)->module->arena, (COUNT), sizeof(TYPE)))

wr_status wr_load_const_expr(wr_loader *loader, wr_vt type, wr_const_expr *out); /* const_expr.c */
wr_status wr_load_element_section(wr_loader *loader);                            /* segments.c */
wr_status wr_load_data_section(wr_loader *loader);
wr_status wr_load_custom(wr_loader *loader);                                     /* names.c */
wr_status wr_load_function_names(wr_module *module);
bool wr_load_is_section(uint8_t id);
/* Its place among the others. */
wr_status wr_load_section_begin(wr_loader *loader, uint8_t id);
/* A whole section but that of the code. */
wr_status wr_load_section(wr_loader *loader, uint8_t id, uint32_t size);
/* The code section's number of bodies; left: bytes of the section. */
wr_status wr_load_code_count(wr_loader *loader, uint64_t left);
/* The next body, whole and `size` bytes long. */
wr_status wr_load_code_entry(wr_loader *loader, uint32_t size, wr_body *body);
/* One code entry: loader->reader spans the locals and the body. */
wr_status wr_translate_function(wr_loader *loader, uint32_t func_index, wr_body *scratch); /* translate.c */

/* An empty module. */
wr_module *wr_module_new(wr_engine *engine, const wr_heap *heap);
wr_body *wr_body_new(wr_loader *loader);
void wr_body_free(wr_body *body);
/* All bodies are translated: their code becomes a part of the module. */
wr_status wr_body_finish(wr_body *body);

#endif
