/* Whatever the system refuses a team, memory or threads, its work is done and nothing is left behind.
 *
 * Linked with --wrap for each function below that the team calls: the n-th call of one fails, for every n until none
 * does; then every call from the n-th on. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <pthread.h>

#include "team.h"

enum { ALLOCATIONS, THREADS, KINDS };
static size_t calls[KINDS], refused[KINDS], first_refused[KINDS], last_refused[KINDS];
static long held; /* pieces of memory, and threads not joined yet */

static int refuses(int kind)
{
    const size_t call = ++calls[kind];
    const int no = call >= first_refused[kind] && call <= last_refused[kind];
    refused[kind] += (size_t)no;
    return no;
}

void *__real_malloc(size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *argument);
int __real_pthread_join(pthread_t thread, void **result);

void *__wrap_malloc(size_t size)
{
    void *memory = refuses(ALLOCATIONS) ? NULL : __real_malloc(size);
    __atomic_fetch_add(&held, memory != NULL, __ATOMIC_SEQ_CST);
    return memory;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    void *memory = refuses(ALLOCATIONS) ? NULL : __real_aligned_alloc(alignment, size);
    __atomic_fetch_add(&held, memory != NULL, __ATOMIC_SEQ_CST);
    return memory;
}

void __wrap_free(void *memory) /* by members, too */
{
    __atomic_fetch_sub(&held, memory != NULL, __ATOMIC_SEQ_CST);
    __real_free(memory);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *argument)
{
    const int status = refuses(THREADS) ? EAGAIN : __real_pthread_create(thread, how, run, argument);
    __atomic_fetch_add(&held, status == 0, __ATOMIC_SEQ_CST);
    return status;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    __atomic_fetch_sub(&held, 1, __ATOMIC_SEQ_CST);
    return __real_pthread_join(thread, result);
}

typedef struct {
    rae_team *team;
    int things[64], arrived[8];
} work;

static void job(void *argument, size_t member, size_t members)
{
    work *x = argument;
    size_t first, end;
    rae_share(64, 1, member, members, &first, &end);
    for (size_t i = first; i < end; ++i)
        x->things[i] += 1;
    x->arrived[member] = 1;
    if (members > 1)
        rae_meet(x->team, members);
    for (size_t i = 0; i < members; ++i)
        EXPECT(x->arrived[i]);
}

/* Whether anything was refused. */
static int work_with(size_t members, int kind, size_t first, size_t last)
{
    now("members %zu, kind %d, refused %zu to %zu", members, kind, first, last);
    first_refused[kind] = first;
    last_refused[kind] = last;
    calls[ALLOCATIONS] = calls[THREADS] = refused[kind] = 0;
    work x = {.team = rae_team_start(members)};
    const size_t had = rae_team_members(x.team);
    EXPECT(had <= members && (had > 1) == (x.team != NULL) && (had < members) == (refused[kind] > 0));
    for (int round = 1; round <= 3; ++round) {
        rae_together(x.team, job, &x);
        for (size_t i = 0; i < 64; ++i)
            EXPECT(x.things[i] == round);
    }
    rae_team_end(x.team);
    EXPECT(__atomic_load_n(&held, __ATOMIC_SEQ_CST) == 0);
    const int any = refused[kind] > 0;
    first_refused[kind] = last_refused[kind] = 0;
    return any;
}

int main(void)
{
    size_t most[KINDS] = {0};
    for (size_t members = 2; members <= 6; ++members)
        for (int kind = 0; kind < KINDS; ++kind) {
            size_t n = 1;
            for (; work_with(members, kind, n, n); ++n)
                EXPECT(work_with(members, kind, n, SIZE_MAX));
            most[kind] = n - 1;
        }
    printf("refused one by one for six: %zu allocations, %zu threads\n", most[ALLOCATIONS], most[THREADS]);
    EXPECT(most[ALLOCATIONS] == 7 && most[THREADS] == 5); /* the team, its list, five places; five threads */
    return 0;
}
