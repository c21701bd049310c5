/* A library to preload (Linux): counts what a process does to the disk below one folder, and at the
 * N-th operation kills the process, tears the write and kills it, or returns an error.
 *
 * faults.py builds it with the system's compiler and arms it in a forked child.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, REMOVE = 2, READ = 4, OPEN_TO_WRITE = 8, OPEN_TO_READ = 16, SETTLE = 32 }; /* what counts */
enum { KILL = 1, TEAR = 2, FAIL = 3 }; /* what happens at the N-th */
enum { GO_ON = 0, RETURN_ERROR = 1, WRITE_HALF = 2 };

static int armed_kinds, armed_action, armed_errno, armed_for_good;
static long armed_at;
static long *operations; /* in memory that the parent shares: it outlives a killed child */
static char armed_root[PATH_MAX];
static size_t root_length;

void faults_arm(int kinds, long at, int action, int error, int for_good, const char *root, long *count)
{
    strncpy(armed_root, root, PATH_MAX - 1);
    root_length = strlen(armed_root);
    armed_at = at;
    armed_action = action;
    armed_errno = error;
    armed_for_good = for_good;
    operations = count;
    *operations = 0;
    armed_kinds = kinds;
}

static int below(const char *path)
{
    char folder[PATH_MAX];
    if (path[0] == '/')
        return !strncmp(path, armed_root, root_length);
    return getcwd(folder, sizeof folder) && !strncmp(folder, armed_root, root_length);
}

static int open_below(int descriptor)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return below(path);
}

static int at_below(int folder, const char *path)
{
    return folder == AT_FDCWD || path[0] == '/' ? below(path) : open_below(folder);
}

static int strike(int kind, int concerned)
{
    if (!(armed_kinds & kind) || !concerned)
        return GO_ON;
    long number = __sync_add_and_fetch(operations, 1);
    if (number != armed_at && !(armed_for_good && armed_at > 0 && number > armed_at))
        return GO_ON;
    if (armed_action == KILL)
        kill(getpid(), SIGKILL);
    if (armed_action == TEAR)
        return WRITE_HALF;
    if (armed_action == FAIL) {
        errno = armed_errno;
        return RETURN_ERROR;
    }
    return GO_ON;
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
#define REPLACE(kind, concerned, call)                         \
    do {                                                       \
        if (armed_kinds && strike(kind, concerned) != GO_ON)   \
            return -1;                                         \
        return call;                                           \
    } while (0)

/* Of data that is written, half can be. */
#define REPLACE_WRITE(concerned, half, call)          \
    do {                                              \
        int what = GO_ON;                             \
        if (armed_kinds)                              \
            what = strike(WRITE, concerned);          \
        if (what == RETURN_ERROR)                     \
            return -1;                                \
        if (what == WRITE_HALF) {                     \
            half;                                     \
            kill(getpid(), SIGKILL);                  \
        }                                             \
        return call;                                  \
    } while (0)

ssize_t write(int file, const void *data, size_t size)
{
    REPLACE_WRITE(open_below(file), REAL(write)(file, data, size / 2), REAL(write)(file, data, size));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    REPLACE_WRITE(open_below(file), REAL(pwrite64)(file, data, size / 2, at), REAL(pwrite64)(file, data, size, at));
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    REPLACE_WRITE(open_below(file), REAL(writev)(file, parts, count / 2), REAL(writev)(file, parts, count));
}

ssize_t read(int file, void *data, size_t size)
{
    REPLACE(READ, open_below(file), REAL(read)(file, data, size));
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t size)
{
    REPLACE_WRITE(open_below(to), REAL(sendfile64)(to, from, at, size / 2), REAL(sendfile64)(to, from, at, size));
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *to_at, size_t size, unsigned flags)
{
    REPLACE_WRITE(open_below(to), REAL(copy_file_range)(from, at, to, to_at, size / 2, flags),
                  REAL(copy_file_range)(from, at, to, to_at, size, flags));
}

int fsync(int file) { REPLACE(SETTLE, open_below(file), REAL(fsync)(file)); }
int fdatasync(int file) { REPLACE(SETTLE, open_below(file), REAL(fdatasync)(file)); }
int ftruncate(int file, off_t size) { REPLACE(SETTLE, open_below(file), REAL(ftruncate)(file, size)); }
int ftruncate64(int file, off64_t size) { REPLACE(SETTLE, open_below(file), REAL(ftruncate64)(file, size)); }
int rename(const char *old, const char *new) { REPLACE(SETTLE, below(old) || below(new), REAL(rename)(old, new)); }
int unlink(const char *path) { REPLACE(REMOVE, below(path), REAL(unlink)(path)); }
int rmdir(const char *path) { REPLACE(REMOVE, below(path), REAL(rmdir)(path)); }
int mkdir(const char *path, mode_t mode) { REPLACE(SETTLE, below(path), REAL(mkdir)(path, mode)); }
int link(const char *old, const char *new) { REPLACE(SETTLE, below(new), REAL(link)(old, new)); }

int renameat(int from, const char *old, int to, const char *new)
{
    REPLACE(SETTLE, at_below(from, old) || at_below(to, new), REAL(renameat)(from, old, to, new));
}

int unlinkat(int folder, const char *path, int flags)
{
    REPLACE(REMOVE, at_below(folder, path), REAL(unlinkat)(folder, path, flags));
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    REPLACE(SETTLE, at_below(to, new), REAL(linkat)(from, old, to, new, flags));
}

#define OPEN(name, before, arguments, concerned)                                   \
    int name before                                                                \
    {                                                                              \
        mode_t mode = 0;                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                       \
            va_list rest;                                                          \
            va_start(rest, flags);                                                 \
            mode = va_arg(rest, mode_t);                                           \
            va_end(rest);                                                          \
        }                                                                          \
        int kind = flags & (O_WRONLY | O_RDWR) ? OPEN_TO_WRITE : OPEN_TO_READ;                  \
        REPLACE(kind, concerned, REAL(name) arguments);                            \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), below(path))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), below(path))
OPEN(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), at_below(folder, path))
OPEN(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), at_below(folder, path))
