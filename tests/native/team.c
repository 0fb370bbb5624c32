/* Teams (csrc/team.h): they start, share work, meet and end, many times, in every size, side by side, and after a fork.
 *
 * tests/test_native.py compiles this with ThreadSanitizer, which sees what two members touch without an order between
 * them, and with AddressSanitizer, which sees what a team leaves behind. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <fenv.h>
#include <pthread.h>
#include <sys/wait.h>

#include "team.h"

enum { THINGS = 101, PHASES = 5, MOST_MEMBERS = 9 };

typedef struct {
    rae_team *team;
    int things[THINGS];          /* no atomics: the team is what puts accesses in order */
    int slots[MOST_MEMBERS];
    int round, rounding;
} work;

/* Each thing belongs to one member. */
static void count(void *argument, size_t member, size_t members)
{
    work *x = argument;
    size_t first, end;
    rae_share(THINGS, 4, member, members, &first, &end);
    for (size_t i = first; i < end; ++i)
        x->things[i] += x->round;
    EXPECT(fegetround() == x->rounding);
}

/* A slot is written by its member, and read by all others between two meetings. */
static void exchange(void *argument, size_t member, size_t members)
{
    work *x = argument;
    for (int phase = 1; phase <= PHASES; ++phase) {
        x->slots[member] = phase * (int)(member + 1);
        if (members > 1)
            rae_meet(x->team, members);
        int sum = 0;
        for (size_t i = 0; i < members; ++i)
            sum += x->slots[i];
        EXPECT(sum == phase * (int)(members * (members + 1) / 2));
        if (members > 1)
            rae_meet(x->team, members);
    }
}

static void work_once(work *x)
{
    const int before = x->things[0];
    x->round += 1;
    x->rounding = fegetround();
    rae_together(x->team, count, x);
    for (size_t i = 0; i < THINGS; ++i)
        EXPECT(x->things[i] == before + x->round);
    rae_together(x->team, exchange, x);
}

static void work_by(size_t members, int rounds, useconds_t pause)
{
    work x = {.team = rae_team_start(members)};
    EXPECT(rae_team_members(x.team) == (members > 1 ? members : 1) && (x.team != NULL) == (members > 1));
    for (int round = 0; round < rounds; ++round) {
        work_once(&x);
        if (pause) /* members go to sleep meanwhile */
            usleep(pause);
    }
    rae_team_end(x.team);
}

static void *several(void *members)
{
    for (int i = 0; i < 20; ++i)
        work_by(*(size_t *)members, 3, 0);
    return NULL;
}

/* Two threads of a program have a team each. */
static void side_by_side(void)
{
    pthread_t thread;
    size_t two = 2, three = 3;
    EXPECT(pthread_create(&thread, NULL, several, &two) == 0);
    several(&three);
    pthread_join(thread, NULL);
}

/* The child of a fork works on alone, and ends the team without waiting for members that are not there. */
static void after_a_fork(void)
{
    work x = {.team = rae_team_start(3)};
    work_once(&x);
    fflush(stdout);
    const pid_t child = fork();
    EXPECT(child >= 0);
    work_once(&x);
    rae_team_end(x.team);
    if (child == 0)
        _exit(0);
    int status = 1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

int main(void)
{
    for (size_t members = 0; members <= MOST_MEMBERS; ++members) {
        now("a team of %zu", members);
        for (int i = 0; i < 10; ++i)
            work_by(members, i, 0);
        work_by(members, 3, 3000);
    }
    now("two teams side by side");
    side_by_side();
    now("members round as their caller does");
    if (fesetround(FE_UPWARD) == 0) {
        work_by(3, 3, 0);
        fesetround(FE_TONEAREST);
    }
    now("a fork");
    after_a_fork();
    puts("whole");
    return 0;
}
