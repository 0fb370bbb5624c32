/* What the drivers share: memory that ends where a kernel may no longer look, numbers, and what is expected. */
#ifndef RAE_CHECK_H
#define RAE_CHECK_H

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* EXACT: malloc'ed to the byte, for AddressSanitizer. SHIFTED: the same, but aligned as one element is and no more.
 * GUARDED: the next page may not be touched, which also catches what a sanitizer does not see, such as masked loads. */
typedef enum { EXACT, SHIFTED, GUARDED } placement;
static placement placing;

static const char *version = ""; /* instruction set and type */
static char context[256];
static size_t n_checks;

__attribute__((format(printf, 1, 2))) static inline void now(const char *format, ...)
{
    va_list arguments;
    ++n_checks;
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
}

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s %s: %s\n", __FILE__, __LINE__, version, context, #condition);                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static inline void near(double found, double exact, double tolerance)
{
    if (!(fabs(found - exact) <= tolerance)) {
        printf("%s %s: %.17g instead of %.17g, more than %.3g away\n", version, context, found, exact, tolerance);
        exit(1);
    }
}

/* ---- memory that lasts until release() ---- */

enum { MOST_PIECES = 64 };
static struct { void *start; size_t mapped; } pieces[MOST_PIECES];
static size_t n_pieces;

static inline void *piece(size_t count, size_t item)
{
    const size_t bytes = count * item;
    EXPECT(n_pieces < MOST_PIECES);
    if (placing == GUARDED) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (bytes + page - 1) / page * page;
        char *start = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT(start != MAP_FAILED && mprotect(start + size, page, PROT_NONE) == 0);
        pieces[n_pieces].start = start;
        pieces[n_pieces++].mapped = size + page;
        return start + size - bytes;
    }
    const size_t shift = placing == SHIFTED ? item : 0;
    char *start = malloc(bytes + shift);
    EXPECT(start || !(bytes + shift));
    pieces[n_pieces].start = start;
    pieces[n_pieces++].mapped = 0;
    return start ? start + shift : NULL;
}

static inline void release(void)
{
    while (n_pieces > 0) {
        --n_pieces;
        if (pieces[n_pieces].mapped)
            munmap(pieces[n_pieces].start, pieces[n_pieces].mapped);
        else
            free(pieces[n_pieces].start);
    }
}

/* ---- numbers between -1 and 1 ---- */

static uint64_t state = 1;

static inline double drawn(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(int64_t)state / 9223372036854775808.0;
}

static inline size_t up_to(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

/* Elements of rows of n that lie ld apart. */
static inline size_t extent(size_t rows, size_t n, size_t ld) { return rows ? (rows - 1) * ld + n : 0; }

#endif
