/* Loaded before Python (LD_PRELOAD): the n-th allocation from now on fails, or threads do, until allow().
 *
 * Only allocations by Python, rae_fast and, if wanted, NumPy's core are counted: what the C library and BLAS do without
 * memory is not ours. Python must have its memory from malloc (PYTHONMALLOC=malloc). glibc only: __libc_malloc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

enum { MOST_RANGES = 256 };
static struct { uintptr_t start, end; int numpy; } code[MOST_RANGES];
static size_t n_code;
static long until, from_thread, threads, refused; /* until: allocations up to the one that fails; 0: none will */
static int armed, numpy;

static int look(struct dl_phdr_info *info, size_t size, void *first)
{
    const char *name = info->dlpi_name;
    const int program = *(int *)first; /* the main program comes first, without a name */
    const int of_numpy = strstr(name, "/numpy/_core/") != NULL;
    *(int *)first = 0;
    (void)size;
    if (program || strstr(name, "libpython") || of_numpy || strstr(name, "/rae_fast/_"))
        for (int i = 0; i < info->dlpi_phnum && n_code < MOST_RANGES; ++i)
            if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
                code[n_code].start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
                code[n_code].end = code[n_code].start + info->dlpi_phdr[i].p_memsz;
                code[n_code].numpy = of_numpy;
                n_code += 1;
            }
    return 0;
}

void refuse_allocation(long n, int with_numpy)
{
    int first = 1;
    if (n_code == 0)
        dl_iterate_phdr(look, &first);
    refused = 0;
    until = n;
    numpy = with_numpy;
    armed = 1;
}

/* The n-th thread from now on and all after it. */
void refuse_threads(long n)
{
    refused = threads = 0;
    from_thread = n;
}

/* How many were refused. */
long allow(void)
{
    armed = 0;
    until = from_thread = 0;
    return refused;
}

static int refuses(const void *caller)
{
    if (!armed)
        return 0;
    for (size_t i = 0; i < n_code; ++i)
        if ((uintptr_t)caller >= code[i].start && (uintptr_t)caller < code[i].end && (numpy || !code[i].numpy)) {
            const int no = __atomic_sub_fetch(&until, 1, __ATOMIC_SEQ_CST) == 0;
            refused += no;
            return no;
        }
    return 0;
}

#define OR_REFUSE(call)                                                                            \
    if (refuses(__builtin_return_address(0))) {                                                    \
        errno = ENOMEM;                                                                            \
        return NULL;                                                                               \
    }                                                                                              \
    return call

void *malloc(size_t size) { OR_REFUSE(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { OR_REFUSE(__libc_calloc(count, size)); }
void *realloc(void *memory, size_t size) { OR_REFUSE(__libc_realloc(memory, size)); }
void *aligned_alloc(size_t alignment, size_t size) { OR_REFUSE(__libc_memalign(alignment, size)); }

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *argument)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (from_thread && ++threads >= from_thread) {
        refused += 1;
        return EAGAIN;
    }
    *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    return create(thread, how, run, argument);
}
