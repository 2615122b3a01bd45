/* WASI preview 1 inside: what the functions share. Specified by the wasi_snapshot_preview1 witx of the WASI repository;
 * pointers and sizes there are 32 bits. */
#ifndef WR_WASI_H
#define WR_WASI_H
#include "wr.h"

/* The errors this implementation answers, with their numbers in preview 1. */
typedef enum wr_wasi_errno {
    WASI_OK = 0,
    WASI_BADF = 8,
    WASI_FAULT = 21,
    WASI_INVAL = 28,
    WASI_IO = 29,
    WASI_NOSYS = 52,
    WASI_SPIPE = 70
} wr_wasi_errno;

/* Descriptors 0 to 2 exist until they are closed; there are no others. */
enum { WASI_STDIN = 0, WASI_STDOUT = 1, WASI_STDERR = 2, WASI_FDS = 3 };

typedef struct wr_wasi_fd {
    bool is_closed;
    uint16_t flags; /* as the program set them; they change nothing */
} wr_wasi_fd;

/* NUL-terminated texts one behind the other. */
typedef struct wr_wasi_texts {
    const char *bytes;
    uint32_t count;
    uint32_t size;
} wr_wasi_texts;

struct wr_wasi {
    wr_store *store;
    wr_wasi_texts args;
    wr_wasi_texts env;
    wr_wasi_output_fn output;
    void *output_user;
    bool is_seeded;
    bool refuses_missing;
    uint64_t random_state;
    wr_wasi_fd fds[WASI_FDS];
};

/* One call of a function. */
typedef struct wr_wasi_call {
    wr_wasi *wasi;
    wr_exec *exec;
    const wr_memory *memory; /* of the calling instance; NULL: it has none */
    const wr_slot *args;
    wr_status status; /* not WR_OK: a trap, whatever is answered */
} wr_wasi_call;

typedef wr_wasi_errno (*wr_wasi_fn)(wr_wasi_call *call);

/* X(NAME, parameters, function): all of preview 1, with i = i32, l = i64. Each function answers an errno as i32, but
 * for proc_exit. The ones marked `missing` need files, sockets or signals. */
#define WR_WASI_TABLE(X)                              \
    X(args_get, "ii", args_get)                       \
    X(args_sizes_get, "ii", args_sizes_get)           \
    X(environ_get, "ii", environ_get)                 \
    X(environ_sizes_get, "ii", environ_sizes_get)     \
    X(clock_res_get, "ii", clock_res_get)             \
    X(clock_time_get, "ili", clock_time_get)          \
    X(fd_advise, "illi", missing)                     \
    X(fd_allocate, "ill", missing)                    \
    X(fd_close, "i", fd_close)                        \
    X(fd_datasync, "i", missing)                      \
    X(fd_fdstat_get, "ii", fd_fdstat_get)             \
    X(fd_fdstat_set_flags, "ii", fd_fdstat_set_flags) \
    X(fd_fdstat_set_rights, "ill", missing)           \
    X(fd_filestat_get, "ii", missing)                 \
    X(fd_filestat_set_size, "il", missing)            \
    X(fd_filestat_set_times, "illi", missing)         \
    X(fd_pread, "iiili", missing)                     \
    X(fd_prestat_dir_name, "iii", fd_prestat)         \
    X(fd_prestat_get, "ii", fd_prestat)               \
    X(fd_pwrite, "iiili", missing)                    \
    X(fd_read, "iiii", fd_read)                       \
    X(fd_readdir, "iiili", missing)                   \
    X(fd_renumber, "ii", missing)                     \
    X(fd_seek, "ilii", fd_seek)                       \
    X(fd_sync, "i", missing)                          \
    X(fd_tell, "ii", missing)                         \
    X(fd_write, "iiii", fd_write)                     \
    X(path_create_directory, "iii", missing)          \
    X(path_filestat_get, "iiiii", missing)            \
    X(path_filestat_set_times, "iiiilli", missing)    \
    X(path_link, "iiiiiii", missing)                  \
    X(path_open, "iiiiillii", missing)                \
    X(path_readlink, "iiiiii", missing)               \
    X(path_remove_directory, "iii", missing)          \
    X(path_rename, "iiiiii", missing)                 \
    X(path_symlink, "iiiii", missing)                 \
    X(path_unlink_file, "iii", missing)               \
    X(poll_oneoff, "iiii", poll_oneoff)               \
    X(proc_exit, "i", proc_exit)                      \
    X(proc_raise, "i", missing)                       \
    X(random_get, "ii", random_get)                   \
    X(sched_yield, "", sched_yield)                   \
    X(sock_accept, "iii", missing)                    \
    X(sock_recv, "iiiiii", missing)                   \
    X(sock_send, "iiiii", missing)                    \
    X(sock_shutdown, "ii", missing)

/* A function of the table; they are called from there only. */
#define WASI_FUNCTION(NAME) wr_wasi_errno wr_wasi_##NAME(wr_wasi_call *call)
WASI_FUNCTION(args_get); /* texts.c */
WASI_FUNCTION(args_sizes_get);
WASI_FUNCTION(environ_get);
WASI_FUNCTION(environ_sizes_get);
WASI_FUNCTION(clock_res_get); /* clocks.c */
WASI_FUNCTION(clock_time_get);
WASI_FUNCTION(poll_oneoff);
WASI_FUNCTION(sched_yield);
WASI_FUNCTION(fd_close); /* descriptors.c */
WASI_FUNCTION(fd_fdstat_get);
WASI_FUNCTION(fd_fdstat_set_flags);
WASI_FUNCTION(fd_prestat);
WASI_FUNCTION(fd_read);
WASI_FUNCTION(fd_seek);
WASI_FUNCTION(fd_write);
WASI_FUNCTION(proc_exit); /* wasi.c */
WASI_FUNCTION(random_get);
WASI_FUNCTION(missing);

/* The program's memory: NULL or false means that some of it is outside, to be answered with WASI_FAULT. Addresses need
 * no alignment. A store may trap: where the host has mapped read-only pages. */
void *wr_wasi_at(const wr_wasi_call *call, uint64_t address, uint64_t len);
bool wr_wasi_put_u32(const wr_wasi_call *call, uint32_t address, uint32_t value);
bool wr_wasi_put_u64(const wr_wasi_call *call, uint32_t address, uint64_t value);
uint32_t wr_wasi_u32(const uint8_t *at); /* loads of host pointers */
uint64_t wr_wasi_u64(const uint8_t *at);

/* WR_NO_MEMORY, or WR_BAD_ARGUMENT: more than 4 GiB. (texts.c) */
wr_status wr_wasi_copy_texts(wr_store *store, const char *const *texts, uint32_t count, wr_wasi_texts *out);
/* The descriptor, or NULL: to be answered with WASI_BADF. (descriptors.c) */
wr_wasi_fd *wr_wasi_fd_at(const wr_wasi_call *call, uint32_t fd);

#endif
