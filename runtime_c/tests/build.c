#include "build.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wr.h"

void build_free(build_t *out) {
    free(out->at);
    *out = (build_t){0};
}

void build_bytes(build_t *out, const void *bytes, size_t len) {
    if (out->capacity - out->len < len) {
        out->capacity = (out->len + len) * 2;
        out->at = realloc(out->at, out->capacity);
        if (out->at == NULL) {
            fputs("out of memory\n", stderr);
            abort();
        }
    }
    if (len > 0) {
        memcpy(out->at + out->len, bytes, len);
        out->len += len;
    }
}

void build_byte(build_t *out, uint8_t byte) { build_bytes(out, &byte, 1); }

void build_u32(build_t *out, uint32_t value) {
    for (; value >= 0x80; value >>= 7) {
        build_byte(out, (uint8_t)(value | 0x80));
    }
    build_byte(out, (uint8_t)value);
}

void build_name(build_t *out, const char *name) {
    build_u32(out, (uint32_t)strlen(name));
    build_bytes(out, name, strlen(name));
}

void build_header(build_t *out) { build_bytes(out, "\0asm\1\0\0\0", 8); }

/* Sizes are five-byte LEB128 so that they can be filled in afterwards. */
size_t build_open(build_t *out, int section) {
    if (section >= 0) {
        build_byte(out, (uint8_t)section);
    }
    build_bytes(out, "\x80\x80\x80\x80\x00", 5);
    return out->len;
}

void build_close(build_t *out, size_t mark) {
    uint32_t size = (uint32_t)(out->len - mark);
    for (size_t i = 0; i < 5; i++) {
        out->at[mark - 5 + i] = (uint8_t)((size >> (7 * i) & 0x7F) | (i < 4 ? 0x80 : 0));
    }
}

static uint8_t type_of(char letter) {
    static const struct {
        char letter;
        uint8_t type;
    } LETTERS[] = {{'i', WR_TYPE_I32},  {'l', WR_TYPE_I64},     {'f', WR_TYPE_F32},      {'d', WR_TYPE_F64},
                   {'v', WR_TYPE_V128}, {'r', WR_TYPE_FUNCREF}, {'x', WR_TYPE_EXTERNREF}};
    for (size_t i = 0; i < sizeof LETTERS / sizeof LETTERS[0]; i++) {
        if (LETTERS[i].letter == letter) {
            return LETTERS[i].type;
        }
    }
    fprintf(stderr, "no type has the letter %c\n", letter);
    abort();
}

static void put_types(build_t *out, const char *letters) {
    build_u32(out, (uint32_t)strlen(letters));
    for (; *letters != '\0'; letters++) {
        build_byte(out, type_of(*letters));
    }
}

void build_type(build_t *out, const char *params, const char *results) {
    build_byte(out, 0x60);
    put_types(out, params);
    put_types(out, results);
}

static size_t count_imports(const build_module *module) {
    size_t count = 0;
    while (count < module->func_count && module->funcs[count].import_name != NULL) {
        count++;
    }
    return count;
}

/* Function i has type i. */
static void put_signatures(build_t *out, const build_module *module, size_t imports) {
    size_t mark = build_open(out, BUILD_TYPES);
    build_u32(out, (uint32_t)module->func_count);
    for (size_t i = 0; i < module->func_count; i++) {
        build_type(out, module->funcs[i].params, module->funcs[i].results);
    }
    build_close(out, mark);
    mark = build_open(out, BUILD_IMPORTS);
    build_u32(out, (uint32_t)imports);
    for (size_t i = 0; i < imports; i++) {
        build_name(out, "env");
        build_name(out, module->funcs[i].import_name);
        build_byte(out, 0);
        build_u32(out, (uint32_t)i);
    }
    build_close(out, mark);
    mark = build_open(out, BUILD_FUNCTIONS);
    build_u32(out, (uint32_t)(module->func_count - imports));
    for (size_t i = imports; i < module->func_count; i++) {
        build_u32(out, (uint32_t)i);
    }
    build_close(out, mark);
}

static void put_stores(build_t *out, const build_module *module) {
    size_t mark;
    if (module->table_min > 0) {
        mark = build_open(out, BUILD_TABLES);
        build_bytes(out, "\x01\x70\x00", 3);
        build_u32(out, module->table_min);
        build_close(out, mark);
    }
    if (module->memory_max > 0) {
        mark = build_open(out, BUILD_MEMORIES);
        build_bytes(out, "\x01\x01", 2);
        build_u32(out, module->memory_min);
        build_u32(out, module->memory_max);
        build_close(out, mark);
    }
}

static void put_exports(build_t *out, const build_module *module) {
    uint32_t count = module->memory_max > 0 ? 1 : 0;
    size_t mark = build_open(out, BUILD_EXPORTS);
    for (size_t i = 0; i < module->func_count; i++) {
        count += module->funcs[i].export_name != NULL;
    }
    build_u32(out, count);
    if (module->memory_max > 0) {
        build_name(out, "memory");
        build_bytes(out, "\x02\x00", 2);
    }
    for (size_t i = 0; i < module->func_count; i++) {
        if (module->funcs[i].export_name != NULL) {
            build_name(out, module->funcs[i].export_name);
            build_byte(out, 0);
            build_u32(out, (uint32_t)i);
        }
    }
    build_close(out, mark);
}

static void put_elements(build_t *out, const build_module *module) {
    size_t mark = build_open(out, BUILD_ELEMENTS);
    build_bytes(out, "\x01\x00\x41\x00\x0B", 5);
    build_u32(out, (uint32_t)module->func_count);
    for (size_t i = 0; i < module->func_count; i++) {
        build_u32(out, (uint32_t)i);
    }
    build_close(out, mark);
}

static void put_code(build_t *out, const build_module *module, size_t imports) {
    size_t section = build_open(out, BUILD_CODE);
    build_u32(out, (uint32_t)(module->func_count - imports));
    for (size_t i = imports; i < module->func_count; i++) {
        size_t body = build_open(out, -1);
        build_bytes(out, module->funcs[i].body, module->funcs[i].body_len);
        build_close(out, body);
    }
    build_close(out, section);
}

static void put_names(build_t *out, const build_module *module) {
    uint32_t count = 0;
    for (size_t i = 0; i < module->func_count; i++) {
        count += module->funcs[i].debug_name != NULL;
    }
    if (count == 0) {
        return;
    }
    size_t section = build_open(out, 0);
    build_name(out, "name");
    size_t names = build_open(out, 1);
    build_u32(out, count);
    for (size_t i = 0; i < module->func_count; i++) {
        if (module->funcs[i].debug_name != NULL) {
            build_u32(out, (uint32_t)i);
            build_name(out, module->funcs[i].debug_name);
        }
    }
    build_close(out, names);
    build_close(out, section);
}

void build_whole(build_t *out, const build_module *module) {
    size_t imports = count_imports(module);
    build_header(out);
    put_signatures(out, module, imports);
    put_stores(out, module);
    put_exports(out, module);
    if (module->table_min > 0 && (module->extra_len == 0 || module->extra[0] != BUILD_ELEMENTS)) {
        put_elements(out, module);
    }
    build_bytes(out, module->extra, module->extra_len);
    put_code(out, module, imports);
    put_names(out, module);
}

size_t build_find(const build_t *bytes, const void *needle, size_t len) {
    for (size_t i = 0; i + len <= bytes->len; i++) {
        if (memcmp(bytes->at + i, needle, len) == 0) {
            return i;
        }
    }
    return (size_t)-1;
}
