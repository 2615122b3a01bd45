/* A whole file, for tools that are given modules. */
#ifndef WR_TOOLS_READ_FILE_H
#define WR_TOOLS_READ_FILE_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Its bytes, to be freed; NULL: it cannot be read, or memory is short. */
static inline uint8_t *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    const long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    rewind(file);
    uint8_t *bytes = size >= 0 ? malloc((size_t)size + 1) : NULL; /* of an empty one, too */
    *len = bytes != NULL ? fread(bytes, 1, (size_t)size, file) : 0;
    fclose(file);
    return bytes;
}

#endif
