/* Loading compiled modules. Nothing of a file is mapped before its own checksum has been found right, and nothing in it
 * is called before ABI and module hash have. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aot.h"

/* ---- what the ABI promises of runtime.h ---- */

#define SAME_PLACE(A, B, FIELD) _Static_assert(offsetof(A, FIELD) == offsetof(B, FIELD), #A "." #FIELD)
#define SAME_SIZE(A, B) _Static_assert(sizeof(A) == sizeof(B), #A)
SAME_SIZE(wra_func, wr_func);
SAME_PLACE(wra_func, wr_func, type);
SAME_PLACE(wra_func, wr_func, instance);
SAME_PLACE(wra_func, wr_func, thunk);
SAME_PLACE(wra_func, wr_func, index);
SAME_PLACE(wra_func, wr_func, frame_slots);
_Static_assert(offsetof(wra_func, code) == offsetof(wr_func, compiled), "wra_func.code");
SAME_SIZE(wra_global, wr_global);
SAME_PLACE(wra_global, wr_global, value);
SAME_PLACE(wra_table, wr_table, elems);
SAME_PLACE(wra_table, wr_table, size);
SAME_PLACE(wra_memory, wr_memory, data);
SAME_PLACE(wra_memory, wr_memory, len);
SAME_PLACE(wra_memory, wr_memory, plain);

/* ---- the file ---- */

#if defined(__x86_64__)
#define TARGET "x86_64"
#elif defined(__aarch64__)
#define TARGET "aarch64"
#elif defined(__arm__)
#define TARGET "armv7"
#elif defined(__riscv) && __riscv_xlen == 64
#define TARGET "riscv64"
#else
#define TARGET "other"
#endif

/* Behind what the linker wrote. */
typedef struct footer {
    char magic[8];
    uint64_t size; /* of what is in front of it */
    char target[16];
    uint8_t hash[WR_HASH_BYTES]; /* ditto, and of the fields above */
} footer;
static const char magic[8] = {'W', 'R', 'A', 'O', 'T', '\n', '\032', '\n'};

typedef struct file {
    uint8_t *bytes;
    size_t len;
} file;

static wr_status read_file(const char *path, file *out, wr_error *error) {
    FILE *stream = fopen(path, "rb");
    long len = -1;
    out->bytes = NULL;
    if (stream != NULL && fseek(stream, 0, SEEK_END) == 0) len = ftell(stream);
    if (len >= 0) out->bytes = malloc((size_t)len + sizeof(footer)); /* room to seal it */
    if (out->bytes != NULL) {
        rewind(stream);
        out->len = fread(out->bytes, 1, (size_t)len, stream);
    }
    const bool failed = out->bytes == NULL || out->len != (size_t)len;
    const int reason = errno;
    if (stream != NULL) fclose(stream);
    if (!failed) return WR_OK;
    free(out->bytes);
    return wr_error_set(error, WR_SYSTEM, 0, "%.140s: %s", path, strerror(reason));
}

static footer make_footer(uint8_t *bytes, size_t len, const char *target) {
    footer foot = {.size = len};
    memcpy(foot.magic, magic, sizeof magic);
    memcpy(foot.target, target, strlen(target));
    memcpy(bytes + len, &foot, offsetof(footer, hash));
    wr_hash(bytes, len + offsetof(footer, hash), foot.hash);
    return foot;
}

wr_status wr_aot_seal(const char *path, const char *target, wr_error *error) {
    file content;
    if (strlen(target) >= sizeof((footer *)0)->target) return WR_BAD_ARGUMENT;
    wr_status status = read_file(path, &content, error);
    if (status != WR_OK) return status;
    const footer foot = make_footer(content.bytes, content.len, target);
    free(content.bytes);
    FILE *stream = fopen(path, "ab");
    bool done = stream != NULL && fwrite(&foot, sizeof foot, 1, stream) == 1;
    if (stream != NULL) done = fclose(stream) == 0 && done;
    return done ? WR_OK : wr_error_set(error, WR_SYSTEM, 0, "%.140s: %s", path, strerror(errno));
}

static wr_status refuse(wr_error *error, const char *path, const char *why) {
    return wr_error_set(error, WR_ARTEFACT, 0, "%.120s %s", path, why);
}

static wr_status check_file(const char *path, wr_error *error) {
    file content;
    footer foot, right;
    char why[64];
    wr_status status = read_file(path, &content, error);
    if (status != WR_OK) return status;
    const bool is_long = content.len > sizeof foot;
    if (is_long) memcpy(&foot, content.bytes + content.len - sizeof foot, sizeof foot);
    if (!is_long || memcmp(foot.magic, magic, sizeof magic) != 0 || foot.size != content.len - sizeof foot) {
        free(content.bytes);
        return refuse(error, path, "is damaged, or was not made by penstock aot");
    }
    foot.target[sizeof foot.target - 1] = '\0';
    right = make_footer(content.bytes, content.len - sizeof foot, foot.target);
    free(content.bytes);
    if (memcmp(&right, &foot, sizeof foot) != 0) return refuse(error, path, "is damaged: its checksum is wrong");
    if (strcmp(foot.target, TARGET) == 0) return WR_OK;
    snprintf(why, sizeof why, "is for %s, this machine is %s", foot.target, TARGET);
    return refuse(error, path, why);
}

/* ---- the module ---- */

void wr_aot_symbol(const uint8_t hash[WR_HASH_BYTES], char out[WR_AOT_SYMBOL_BYTES]) {
    int used = snprintf(out, WR_AOT_SYMBOL_BYTES, "wr_aot_");
    for (int i = 0; i < 8; i++) used += snprintf(out + used, WR_AOT_SYMBOL_BYTES - (size_t)used, "%02x", hash[i]);
}

static int find_text(struct dl_phdr_info *info, size_t size, void *argument) {
    wr_aot *aot = argument;
    const uintptr_t known = (uintptr_t)aot->artefact;
    uintptr_t text = 0, end = 0;
    bool is_ours = false;
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const uintptr_t from = (uintptr_t)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        const uintptr_t to = from + (uintptr_t)info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        is_ours = is_ours || (known >= from && known < to);
        if ((info->dlpi_phdr[i].p_flags & PF_X) == 0) continue;
        text = from;
        end = to;
    }
    if (!is_ours) return 0;
    aot->text = text;
    aot->text_end = end;
    return 1;
}

static wr_status check_artefact(const wr_module *module, const wra_artefact *artefact, const uint8_t *hash,
                                const char *path, wr_error *error) {
    if (artefact == NULL || memcmp(artefact->hash, hash, WR_HASH_BYTES) != 0) {
        return refuse(error, path, "was compiled from another module: compile it again");
    }
    if (artefact->abi != WRA_ABI || artefact->layout != WRA_LAYOUT) {
        return refuse(error, path, "was compiled for another version of the engine: compile it again");
    }
    return artefact->func_count == module->func_count - module->func_imports ? WR_OK : WR_BAD_STATE;
}

wr_status wr_aot_attach(wr_module *module, const uint8_t *bytes, size_t len, const char *path, wr_error *error) {
    uint8_t hash[WR_HASH_BYTES];
    char symbol[WR_AOT_SYMBOL_BYTES];
    if (module->aot != NULL) return wr_error_set(error, WR_BAD_STATE, 0, "%s", "the module has compiled code");
    wr_status status = check_file(path, error);
    if (status != WR_OK) return status;
    wr_hash(bytes, len, hash);
    wr_aot_symbol(hash, symbol);
    wr_aot *aot = wr_mem_zero(&module->engine->heap, sizeof *aot);
    if (aot == NULL) return wr_error_set(error, WR_NO_MEMORY, 0, "%s", "");
    aot->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (aot->handle == NULL) {
        status = wr_error_set(error, WR_ARTEFACT, 0, "%.180s", dlerror());
    } else {
        aot->artefact = dlsym(aot->handle, symbol);
        status = check_artefact(module, aot->artefact, hash, path, error);
    }
    if (status != WR_OK) {
        if (aot->handle != NULL) dlclose(aot->handle);
        wr_mem_free(&module->engine->heap, aot, sizeof *aot);
        return status;
    }
    (void)dl_iterate_phdr(find_text, aot);
    module->aot = aot;
    return WR_OK;
}

void wr_aot_unload(wr_module *module) {
    if (module->aot == NULL) return;
    dlclose(module->aot->handle);
    wr_mem_free(&module->engine->heap, module->aot, sizeof *module->aot);
}

/* ---- instances ---- */

static void bind_data(wr_instance *instance) {
    instance->aot = (wra_instance){
        .instance = instance,
        .memories = (wra_memory **)(void *)instance->memories,
        .tables = (wra_table **)(void *)instance->tables,
        .funcs = (wra_func **)(void *)instance->funcs,
        .globals = (wra_global **)(void *)instance->globals,
        .cells = (wra_global *)(void *)instance->own_globals,
        .types = (const void *const *)(const void *)instance->module->types,
        .memory = instance->module->memory_count != 0 ? instance->memories[0]->data : NULL,
    };
}

void wr_aot_bind(wr_instance *instance, bool guarded) {
    const wr_module *module = instance->module;
    if (module->aot == NULL || (!guarded && module->memory_count != 0 && !module->aot->artefact->is_checked)) return;
    bind_data(instance);
    instance->is_compiled = true;
    for (uint32_t i = 0; i < module->func_count - module->func_imports; i++) {
        const wra_entry *entry = &module->aot->artefact->funcs[i];
        instance->own_funcs[i].compiled = entry->code;
        instance->own_funcs[i].thunk = entry->thunk;
    }
}

bool wr_instance_is_compiled(const wr_instance *instance) { return instance->is_compiled; }
