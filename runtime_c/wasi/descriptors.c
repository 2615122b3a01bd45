/* Descriptors: standard input, which is empty, and the two outputs, which go to the host. */
#include <string.h>

#include "wasi.h"

enum {
    IOVECS_MAX = 1024,      /* as in POSIX */
    WRITE_MAX = 64 * 1024, /* bytes of one fd_write, so that limits are looked at in between; programs write the rest */
    IOVEC_BYTES = 8,
    FDSTAT_BYTES = 24, /* u8 file type, u16 flags at 2, u64 rights at 8, u64 inherited rights at 16 */
    FILE_TYPE_TERMINAL = 2, /* a character device that cannot seek: C libraries pass on what they have at every line */
    FLAGS_ALL = 31
};
#define RIGHT_READ (UINT64_C(1) << 1)
#define RIGHT_SET_FLAGS (UINT64_C(1) << 3)
#define RIGHT_WRITE (UINT64_C(1) << 6)
#define RIGHT_POLL (UINT64_C(1) << 27)

wr_wasi_fd *wr_wasi_fd_at(const wr_wasi_call *call, uint32_t fd) {
    return fd < WASI_FDS && !call->wasi->fds[fd].is_closed ? &call->wasi->fds[fd] : NULL;
}

WASI_FUNCTION(fd_close) {
    wr_wasi_fd *fd = wr_wasi_fd_at(call, call->args[0].u32);
    if (fd == NULL) return WASI_BADF;
    fd->is_closed = true;
    return WASI_OK;
}

WASI_FUNCTION(fd_seek) { return wr_wasi_fd_at(call, call->args[0].u32) == NULL ? WASI_BADF : WASI_SPIPE; }

/* No descriptor is a directory that was opened beforehand. */
WASI_FUNCTION(fd_prestat) {
    (void)call;
    return WASI_BADF;
}

WASI_FUNCTION(fd_fdstat_get) {
    const wr_wasi_fd *fd = wr_wasi_fd_at(call, call->args[0].u32);
    if (fd == NULL) return WASI_BADF;
    uint8_t *into = wr_wasi_at(call, call->args[1].u32, FDSTAT_BYTES);
    if (into == NULL) return WASI_FAULT;
    uint64_t rights = RIGHT_POLL | RIGHT_SET_FLAGS | (call->args[0].u32 == WASI_STDIN ? RIGHT_READ : RIGHT_WRITE);
    uint8_t made[FDSTAT_BYTES] = {FILE_TYPE_TERMINAL};
    memcpy(made + 2, &fd->flags, sizeof fd->flags);
    memcpy(made + 8, &rights, sizeof rights);
    memcpy(into, made, sizeof made);
    return WASI_OK;
}

WASI_FUNCTION(fd_fdstat_set_flags) {
    wr_wasi_fd *fd = wr_wasi_fd_at(call, call->args[0].u32);
    if (fd == NULL) return WASI_BADF;
    if (call->args[1].u32 > FLAGS_ALL) return WASI_INVAL;
    fd->flags = (uint16_t)call->args[1].u32;
    return WASI_OK;
}

/* Arguments of reading and writing: descriptor, iovecs, how many, where the number of bytes goes. */

WASI_FUNCTION(fd_read) {
    if (call->args[0].u32 != WASI_STDIN || wr_wasi_fd_at(call, WASI_STDIN) == NULL) return WASI_BADF;
    return wr_wasi_put_u32(call, call->args[3].u32, 0) ? WASI_OK : WASI_FAULT;
}

typedef struct span {
    const uint8_t *bytes;
    uint32_t len;
} span;

/* Other threads may change an iovec at any time, so each is read once, and checked then. */
static bool read_iovec(const wr_wasi_call *call, uint32_t index, span *out) {
    const uint8_t *iovec = wr_wasi_at(call, call->args[1].u32 + (uint64_t)index * IOVEC_BYTES, IOVEC_BYTES);
    if (iovec == NULL) return false;
    out->len = wr_wasi_u32(iovec + 4);
    out->bytes = wr_wasi_at(call, wr_wasi_u32(iovec), out->len);
    return out->bytes != NULL;
}

WASI_FUNCTION(fd_write) {
    uint32_t fd = call->args[0].u32, count = call->args[2].u32, left = WRITE_MAX;
    if (fd == WASI_STDIN || wr_wasi_fd_at(call, fd) == NULL) return WASI_BADF;
    if (count > IOVECS_MAX) return WASI_INVAL;
    if (!wr_wasi_put_u32(call, call->args[3].u32, 0)) return WASI_FAULT;
    for (uint32_t i = 0; i < count && left != 0; i++) {
        span one;
        if (!read_iovec(call, i, &one)) return WASI_FAULT;
        if (i != 0) call->status = wr_exec_check(call->exec);
        uint32_t len = one.len < left ? one.len : left;
        if (call->status == WR_OK && len != 0 && call->wasi->output != NULL) {
            call->status = call->wasi->output(call->wasi->output_user, fd, one.bytes, len);
        }
        if (call->status != WR_OK) return WASI_OK;
        left -= len;
    }
    return wr_wasi_put_u32(call, call->args[3].u32, WRITE_MAX - left) ? WASI_OK : WASI_FAULT;
}
