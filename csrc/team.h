/* A team of threads that lives as long as one call, and shares single pieces of work.
 *
 * No OpenMP, no pool that outlives a call: nothing is left to hang after a fork, or to fight with BLAS's own threads.
 * A team of one (or NULL) has no threads at all. Which member does what never changes a result: work is shared by
 * rows or columns of the output, and every element is computed by the same operations in the same order. */
#ifndef RAE_TEAM_H
#define RAE_TEAM_H

#include <stddef.h>

typedef struct rae_team rae_team;
typedef void (*rae_job)(void *argument, size_t member, size_t members);

/* A team of `members` threads, the caller's own among them; fewer if the system refuses threads. NULL for one, or if
 * none could be had. */
rae_team *rae_team_start(size_t members);
void rae_team_end(rae_team *team);
size_t rae_team_members(const rae_team *team);

/* job(argument, i, members) on every member, i = 0 on the caller; returns when all have returned. */
void rae_together(rae_team *team, rae_job job, void *argument);

/* Inside a job: wait until all `members` have come here. */
void rae_meet(rae_team *team, size_t members);

/* Member's share [*first, *end) of n things in units of `unit`: contiguous, nearly equal, in order. */
static inline void rae_share(size_t n, size_t unit, size_t member, size_t members, size_t *first, size_t *end)
{
    if (members == 1) { /* four divisions less */
        *first = 0;
        *end = n;
        return;
    }
    const size_t units = (n + unit - 1) / unit;
    *first = units * member / members * unit;
    *end = units * (member + 1) / members * unit;
    *first = *first < n ? *first : n;
    *end = *end < n ? *end : n;
}

#endif
