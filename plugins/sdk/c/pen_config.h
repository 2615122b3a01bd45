/* The configuration block (docs/plugin-abi.md): read once in pen_init, then used in place. */
#ifndef PEN_CONFIG_H
#define PEN_CONFIG_H
#include "pen.h"
#include "pen_memory.h"

struct pen_config {
    const void *config;  /* struct NAME_config */
    const uint8_t *tags; /* tag_count times struct NAME_tag, ascending by tag index */
    uint32_t tag_count;
    uint32_t tag_bytes;
};

static inline const void *pen_config_tag_at(const struct pen_config *config, uint32_t position) {
    return config->tags + position * config->tag_bytes;
}

static inline uint32_t pen_config_index_at(const struct pen_config *config, uint32_t position) {
    return *(const uint32_t *)pen_config_tag_at(config, position); /* a tag struct starts with its index */
}

/* False: no memory, or not the structs this plugin was built with. */
static inline bool pen_config_load(struct pen_config *out, uint32_t config_bytes, uint32_t tag_bytes) {
    uint32_t size = (uint32_t)hal_config(NULL, 0);
    struct pen_config_head *head = pen_memory_take(size);
    if (head == NULL || size < sizeof *head) return false;
    hal_config(head, (int32_t)size);
    out->config = head + 1;
    out->tags = (const uint8_t *)(head + 1) + head->config_bytes;
    out->tag_count = head->tag_count;
    out->tag_bytes = head->tag_bytes;
    return head->config_bytes == config_bytes && head->tag_bytes == tag_bytes;
}

/* The tag struct of the tag with this index, or NULL: not configured for this stage. */
static inline const void *pen_config_tag(const struct pen_config *config, uint32_t tag) {
    /* A stage mostly has all tags from its first one on. */
    uint32_t guess = tag - pen_config_index_at(config, 0);
    if (guess < config->tag_count && pen_config_index_at(config, guess) == tag) {
        const void *entry = pen_config_tag_at(config, guess);
        __builtin_assume(entry != NULL);
        return entry;
    }
    uint32_t low = 0;
    uint32_t high = config->tag_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint32_t index = pen_config_index_at(config, middle);
        if (index == tag) return pen_config_tag_at(config, middle);
        if (index < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

#endif
