#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE
#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fp_state.h"

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

/* Turns of a waiting loop before the core is offered to others, and before the waiter goes to sleep: about 20 us and
 * 200 us. A member that sleeps needs some 50 us to wake up, more than most pieces of work last. */
enum { SPINS_BEFORE_YIELD = 400, SPINS_BEFORE_SLEEP = 2000 };

/* How often this process has been forked off: a team from before has lost its threads, and works alone. */
static atomic_uint forks;
static pthread_once_t watching = PTHREAD_ONCE_INIT;

static void after_fork(void) { atomic_fetch_add(&forks, 1); }
static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork); }

struct rae_team {
    size_t members;
    unsigned born;            /* `forks` at its start */
    pthread_t *threads;       /* members - 1 */
    rae_job job;
    void *argument;
    uint64_t fp_state;        /* of the caller: members compute as it does */
    _Alignas(64) atomic_size_t round;    /* pieces of work so far; the end of the team is one as well */
    _Alignas(64) atomic_size_t finished; /* members that have done the present one */
    _Alignas(64) atomic_size_t arrived;
    _Alignas(64) atomic_size_t meeting;
    atomic_int end;
    atomic_size_t sleepers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

typedef struct {
    rae_team *team;
    size_t member;
} place;

/* One turn of a loop that waits for another member. */
static inline void wait_a_little(size_t turn)
{
    if (turn < SPINS_BEFORE_YIELD)
        PAUSE();
    else
        sched_yield();
}

static void wait_for_round(rae_team *team, size_t round)
{
    for (size_t turn = 0; turn < SPINS_BEFORE_SLEEP; ++turn) {
        if (atomic_load_explicit(&team->round, memory_order_acquire) != round)
            return;
        wait_a_little(turn);
    }
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->sleepers, 1);
    while (atomic_load(&team->round) == round)
        pthread_cond_wait(&team->wake, &team->lock);
    atomic_fetch_sub(&team->sleepers, 1);
    pthread_mutex_unlock(&team->lock);
}

static void next_round(rae_team *team)
{
    atomic_fetch_add(&team->round, 1); /* sequentially consistent, as is `sleepers`: one of the two sees the other */
    if (atomic_load(&team->sleepers)) {
        pthread_mutex_lock(&team->lock);
        pthread_cond_broadcast(&team->wake);
        pthread_mutex_unlock(&team->lock);
    }
}

static void *work(void *argument)
{
    const place mine = *(place *)argument;
    rae_team *const team = mine.team;
    free(argument);
    for (size_t round = 0;; ++round) {
        wait_for_round(team, round);
        if (atomic_load(&team->end))
            return NULL;
        rae_set_fp_state(team->fp_state);
        team->job(team->argument, mine.member, team->members);
        atomic_fetch_add_explicit(&team->finished, 1, memory_order_release);
    }
}

rae_team *rae_team_start(size_t members)
{
    rae_team *team = members > 1 ? aligned_alloc(64, (sizeof(rae_team) + 63) / 64 * 64) : NULL;
    if (!team)
        return NULL;
    pthread_once(&watching, watch_forks);
    *team = (rae_team){.members = 1, .born = atomic_load(&forks)};
    team->threads = malloc((members - 1) * sizeof(pthread_t));
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->wake, NULL);
    /* Signals are for Python's threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team->threads && team->members < members) {
        place *seat = malloc(sizeof(place));
        if (!seat)
            break;
        *seat = (place){team, team->members};
        if (pthread_create(&team->threads[team->members - 1], NULL, work, seat)) {
            free(seat);
            break;
        }
        team->members += 1;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (team->members == 1) {
        rae_team_end(team);
        return NULL;
    }
    return team;
}

void rae_team_end(rae_team *team)
{
    if (!team)
        return;
    if (team->born == atomic_load(&forks)) { /* else no threads, and a lock in an unknown state */
        atomic_store(&team->end, 1);
        next_round(team);
        for (size_t i = 0; i + 1 < team->members; ++i)
            pthread_join(team->threads[i], NULL);
        pthread_mutex_destroy(&team->lock);
        pthread_cond_destroy(&team->wake);
    }
    free(team->threads);
    free(team);
}

size_t rae_team_members(const rae_team *team)
{
    return team ? team->members : 1;
}

void rae_together(rae_team *team, rae_job job, void *argument)
{
    if (!team || team->born != atomic_load_explicit(&forks, memory_order_relaxed)) {
        job(argument, 0, 1);
        return;
    }
    team->job = job;
    team->argument = argument;
    team->fp_state = rae_fp_state();
    atomic_store_explicit(&team->finished, 0, memory_order_relaxed);
    next_round(team);
    job(argument, 0, team->members);
    for (size_t turn = 0; atomic_load_explicit(&team->finished, memory_order_acquire) + 1 < team->members; ++turn)
        wait_a_little(turn);
}

void rae_meet(rae_team *team, size_t members)
{
    const size_t meeting = atomic_load_explicit(&team->meeting, memory_order_acquire);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == members) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->meeting, meeting + 1, memory_order_release);
        return;
    }
    for (size_t turn = 0; atomic_load_explicit(&team->meeting, memory_order_acquire) == meeting; ++turn)
        wait_a_little(turn);
}
